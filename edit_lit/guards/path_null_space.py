"""PathNullSpace: fine-tuning may not change what any matrix answers while the model reads the edits' prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edit_lit.deltas import Delta
from edit_lit.editors.gradient.training import teacher_forced
from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.guards.held_writes import HeldWrites, check_beginning, protected, trains
from edit_lit.guards.path_inputs import block_projections, inputs_on_texts
from edit_lit.guards.wordings import with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class PathNullSpace(HeldWrites):
    """Keeps what every matrix of the blocks answers to every token of the edits' prompts and targets.

    Gradient projection memory (Saha et al., arXiv 2103.09762) over the edits' prompts, with the answers restored behind
    each step besides, because Adam leaks otherwise. Where nothing else trains, and with an energy of 1, the whole pass
    over these prompts stays what it was: the written matrices, what feeds them and what reads them. Norms, embeddings
    and the head are not held; choose ``tuning.modules`` if they shall not train.

    It takes as many input directions from each matrix as the prompts use, which is why less than all of their energy is
    kept by default; the promise is approximate then.

    Args:
        energy: The share of the inputs' energy that is protected in each matrix, above 0; 1 for all of it.
        paraphrases: So many paraphrases of each fact are protected beside its own prompt.
        facts: A control: protect the prompts of these facts instead of the edits'. Edited subjects are left out.
        random: A control: protect as many directions in each matrix, drawn at random.
        seed: Seed of the random directions.
    """

    def __init__(
        self,
        energy: float = 0.95,
        paraphrases: int = 0,
        facts: FactSource | None = None,
        random: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_number("guards.use.energy", energy, above=0, most=1)
        check_number("guards.use.paraphrases", paraphrases, least=0)
        self.energy = energy
        self.paraphrases = paraphrases
        self.facts = facts
        self.random = random
        self.seed = seed
        self._tokens = 0

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Read what every matrix that trains is given on the prompts, and what it answers.

        All inputs wait on the CPU meanwhile: as many numbers as the prompts have distinct tokens, times the inputs of
        all matrices together.
        """
        modules = _trained_projections(language_model)
        facts = requests if self.facts is None else self.facts.load(exclude_subjects=subjects_of(requests))
        said = with_paraphrases(facts, self.paraphrases, "guards.use.paraphrases")
        rows = [row.ids for row in teacher_forced(language_model.tokenizer, said, end=False)]
        inputs = inputs_on_texts(language_model, modules, rows)
        generator = torch.Generator().manual_seed(self.seed)
        self.writes, self._tokens = {}, len(next(iter(inputs.values())))
        for name, module in modules.items():
            keys_TN = inputs.pop(name)
            write = protected(name, module, keys_TN, self.energy)
            if self.random:
                other_RN = torch.randn(write.rank, keys_TN.shape[1], generator=generator, dtype=torch.float64)
                write = protected(name, module, other_RN, 1.0)
            self.writes[name] = write

    def describe(self) -> str:
        """How much of how many matrices is protected."""
        shares = [write.rank / write.inputs for write in self.writes.values()]
        whose = "the edits' prompts" if self.facts is None else "other facts' prompts"
        what = "random inputs, as many as for" if self.random else "the inputs on"
        return (
            f"PathNullSpace keeps what {len(self.writes)} matrices answer to {what} {self._tokens} tokens of {whose} "
            f"({min(shares):.0%} to {max(shares):.0%} of their input directions)"
        )


def _trained_projections(language_model: LanguageModel) -> dict[str, nn.Module]:
    """The matrices of the blocks that train.

    Raises:
        ConfigError: If there is none, or something else of more than one dimension trains in a block.
    """
    check_beginning(language_model.model)
    modules = {name: module for name, module in block_projections(language_model) if trains(module)}
    if not modules:
        raise ConfigError("PathNullSpace would do nothing: no matrix of a block trains. Leave it out.")
    held = {parameter for module in modules.values() for parameter in module.parameters()}
    for layer, block in enumerate(language_model.blocks):
        for name, parameter in block.named_parameters():
            if parameter.requires_grad and parameter.ndim > 1 and parameter not in held:
                raise ConfigError(
                    f"PathNullSpace keeps what projections answer, but {name} of layer {layer} trains, which is of "
                    "none. Leave it out (tuning.modules), or leave the guard out."
                )
    return modules
