"""FineTuneEdited: the edited matrices train on texts, freely or only in what they answer to the edits' keys.

Shape legend: O outputs and N inputs of a matrix, R directions of the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from edit_lit.activations.keys import KeyExtractor
from edit_lit.deltas import Delta
from edit_lit.deltas.swap import on_cpu
from edit_lit.erasers.eraser import Eraser
from edit_lit.erasers.task_rows import task_rows
from edit_lit.erasers.training import Descent, training
from edit_lit.facts.request import EditRequest
from edit_lit.guards.fact_gradient import FactGradient, target_loss
from edit_lit.guards.protected_write import key_basis
from edit_lit.guards.wordings import check_contexts, rows_one_by_one, with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import as_linear, projection_weight
from edit_lit.surgery.put_back import own_projection
from edit_lit.surgery.written import check_bare, written_layers
from edit_lit.tasks.task import Task
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class FineTuneEdited(Eraser):
    """Trains the edited matrices alone on a task's training texts (arXiv 2511.05852).

    With ``within_keys`` they learn in the keys' space alone, the opposite of the guard Hold: with an orthonormal basis
    Q of the keys that the edited prompts have when it begins, gradients become G Q Qᵀ, and behind each step W becomes
    W_t + (W − W_t) Q Qᵀ, with W_t the matrix at the start, since Adam's elementwise scaling leaks otherwise. So W x
    stays what it was for every x orthogonal to the keys, to the rounding of the weights. It is a test of whether
    writes matter: whatever such a training takes from the edits, it takes by what the matrices answer to those keys.

    It does not know what the edits say, and promises nothing about them. The loss is the mean over the texts of a step
    of each one's mean NLL per label token.

    Args:
        task: The texts: the run's own task, or other text by one.
        within_keys: Change what the matrices answer to the edits' keys alone.
        steps: Optimizer steps.
        lr: Learning rate of Adam.
        batch_size: Texts in a step.
        paraphrases: With ``within_keys``: the keys of so many paraphrases of each fact count, too.
        contexts: With ``within_keys``: texts with one ``{}``; the keys of the prompts inside each of them count, too.
        energy: With ``within_keys``: the share of the keys' energy that their space holds, above 0.
        seed: Seed of which texts are read, and of their order.
    """

    def __init__(
        self,
        task: Task,
        within_keys: bool = False,
        steps: int = 200,
        lr: float = 1e-4,
        batch_size: int = 16,
        paraphrases: int = 0,
        contexts: Sequence[str] = (),
        energy: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_number("eraser.batch_size", batch_size, least=1)
        check_number("eraser.paraphrases", paraphrases, least=0)
        check_number("eraser.energy", energy, above=0, most=1)
        check_contexts(contexts, "eraser.contexts")
        for name, value, nothing in (
            ("paraphrases", paraphrases, 0),
            ("contexts", len(contexts), 0),
            ("energy", energy, 1),
        ):
            if not within_keys and value != nothing:
                raise ConfigError(
                    f"eraser.{name} says which keys count, but eraser.within_keys is false, so that none do. Leave it "
                    "out, or set eraser.within_keys to true."
                )
        self.task = task
        self.within_keys = within_keys
        self.descent = Descent(steps, lr)
        self.batch_size = batch_size
        self.paraphrases = paraphrases
        self.contexts = list(contexts)
        self.energy = energy
        self.seed = seed
        self._requests: Sequence[EditRequest] = ()
        self._layers: list[int] = []
        self._did = ""

    def setup(self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]) -> None:
        """Take the facts and the edited layers."""
        layers = written_layers(language_model, delta, "FineTuneEdited", "Use Undo.")
        with_paraphrases(requests, self.paraphrases, "eraser.paraphrases")
        self._requests, self._layers, self._did = requests, layers, ""

    def changes(self, language_model: LanguageModel) -> list[str]:
        """The weights of the edited layers' MLP output projections."""
        return [language_model.parameter_name(weight) for weight in self._modules(language_model)]

    def erase(self, language_model: LanguageModel) -> None:
        """Train.

        Raises:
            ConfigError: If there was no setup, an adapter is on an edited matrix, the task has no texts, the keys span
                all inputs of a matrix, or the training diverges.
        """
        modules = self._modules(language_model)
        check_bare(language_model, modules, "FineTuneEdited")
        most = self.descent.steps * self.batch_size
        rows = task_rows(language_model, self.task, self._requests, most, self.seed)
        within = self._within(language_model, modules)
        losses: list[float] = []
        with training(language_model, list(modules)):
            texts = FactGradient(
                language_model, len(rows), target_loss(language_model, rows), self.batch_size, self.seed
            )
            spaces = [within[weight] for weight in texts.parameters if weight in within]

            def gradient_at(step: int) -> tuple[float, Sequence[Tensor]]:
                loss, gradients = texts.at(step)
                losses.append(float(loss))
                for space, gradient in zip(spaces, gradients, strict=bool(spaces)):
                    space.keep(gradient)
                return losses[-1], gradients

            def project(weights: Sequence[Tensor]) -> None:
                for space, weight in zip(spaces, weights, strict=bool(spaces)):
                    space.bring_back(weight)

            self.descent.run(texts.parameters, gradient_at, "fine-tuning the edited matrices", project)
        ranks = ", ".join(f"{space.rank} of {space.inputs}" for space in within.values())
        only = f", each within the edits' keys alone ({ranks} input directions)" if within else ""
        self._did = (
            f"FineTuneEdited trained {len(modules)} matrices for {len(losses)} steps{only}; loss on the texts "
            f"{losses[0]:.3f} in the first step, {losses[-1]:.3f} in the last"
        )

    def describe(self) -> str:
        """How long it trained, in how many directions, and the loss on its texts."""
        return self._did or "FineTuneEdited has not erased anything yet"

    def _modules(self, language_model: LanguageModel) -> dict[nn.Parameter, nn.Module]:
        """The edited matrices, each with its weight."""
        if not self._layers:
            raise ConfigError("FineTuneEdited knows of no edit. Call its setup right after the edit.")
        modules = [own_projection(language_model, layer) for layer in self._layers]
        return {projection_weight(module): module for module in modules}

    def _within(
        self, language_model: LanguageModel, modules: dict[nn.Parameter, nn.Module]
    ) -> dict[nn.Parameter, WithinKeys]:
        """The keys' space of each matrix; none if all of it may change."""
        if not self.within_keys:
            return {}
        said = with_paraphrases(self._requests, self.paraphrases, "eraser.paraphrases")
        rows = rows_one_by_one(language_model, said, self.contexts)
        with evaluating(language_model.model):
            reader = KeyExtractor(language_model, rows, value_layer=self._layers[-1])
            keys = [reader.read(layer).bare_keys for layer in self._layers]
        spaces = {}
        for layer, (weight, module), of_layer in zip(self._layers, modules.items(), keys, strict=True):
            spaces[weight] = WithinKeys(module, of_layer, self.energy)
            if spaces[weight].rank >= spaces[weight].inputs:
                raise ConfigError(
                    f"the {len(of_layer)} keys span all inputs of the matrix of layer {layer}, so that "
                    "eraser.within_keys would change nothing. Lower eraser.energy, or erase fewer facts."
                )
        return spaces


class WithinKeys:
    """Lets a projection's matrix change in what it answers to some keys alone.

    Args:
        module: A Linear or Conv1D, as it is at the start.
        keys_KN: The keys, [keys, N].
        energy: The share of the sum of squares of the keys, each of unit norm, that their space holds.
    """

    def __init__(self, module: nn.Module, keys_KN: Tensor, energy: float = 1.0) -> None:
        weight = projection_weight(module)
        self._oriented = partial(as_linear, module)
        # A basis is one of many: processes on other machines might find another, and their weights would part.
        basis_NR = distributed.from_first_process(key_basis(keys_KN.double(), energy).cpu())
        self.inputs, self.rank = basis_NR.shape
        self._basis_NR = basis_NR.to(weight.device)
        self._start_ON = self._oriented(on_cpu(weight)).to(
            weight.device, torch.promote_types(weight.dtype, torch.float32)
        )

    def _along(self, change_ON: Tensor) -> Tensor:
        return ((change_ON.double() @ self._basis_NR) @ self._basis_NR.T).to(change_ON.dtype)

    @torch.no_grad()
    def keep(self, gradient: Tensor) -> None:
        """Leave of a gradient what acts on the keys, in place."""
        oriented_ON = self._oriented(gradient)
        oriented_ON.copy_(self._along(oriented_ON))

    @torch.no_grad()
    def bring_back(self, weight: Tensor) -> None:
        """Leave of what a matrix of the weight's shape has learnt since the start what acts on the keys, in place."""
        oriented_ON = self._oriented(weight)
        oriented_ON.copy_(self._start_ON + self._along(oriented_ON - self._start_ON))
