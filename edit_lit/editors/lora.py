"""LoRA as an editor: low-rank adapters trained on the targets and merged into the weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from edit_lit.deltas.updates import LowRank, Update
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.gradient.editor import Batches, TrainingEditor
from edit_lit.editors.gradient.training import TargetTraining, teacher_forced
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer, is_projection, projection_weight
from edit_lit.language_model.scoring import ScoredRow
from edit_lit.tuning.selection import LayerSelection, ModuleChoice
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress

_ADAPTER = "edit"


class LoRAEdit(TrainingEditor):
    """Trains low-rank adapters on the targets and keeps their products as the edit (Hu et al., arXiv 2106.09685).

    Args:
        layers: The layers that get an adapter; all of them if not given.
        modules: The matrices within them that do: ``attention``, ``mlp``, ``all``, or patterns such as ``*.q_proj``
            matched against full module names.
        r: Rank.
        alpha: Scale of the adapter is alpha / r.
        training: The optimisation. Published: 30 to 70 steps at a learning rate of 5.0e-3.
        schedule: Batches and paraphrases. Facts of a batch are trained together, batches one after another.
        seed: Seed of the adapters' first factors; the second ones start at zero.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        modules: ModuleChoice | list[str] = "attention",
        r: int = 8,
        alpha: int = 32,
        training: TargetTraining = TargetTraining(lr=5e-3, epochs=50),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(layers, training, schedule)
        check_number("r", r, least=1)
        check_number("alpha", alpha, above=0)
        self.modules = modules
        self.r = r
        self.alpha = alpha
        self.seed = seed

    def default_layers(self, depth: int) -> list[int]:
        """All layers."""
        return list(range(depth))

    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """Prompt and target under teacher forcing."""
        return teacher_forced(language_model.tokenizer, requests, end=False)

    def train(self, language_model: LanguageModel, batches: Batches) -> tuple[Mapping[str, Update], list[float]]:
        """Train the adapters, each batch from where the last one left them."""
        losses: list[float] = []
        with self._adapted(language_model, self._targets(language_model)) as adapters:
            factors = [
                parameter.requires_grad_()
                for layer in adapters.values()
                for part in (layer.lora_A, layer.lora_B)
                for parameter in part.parameters()
            ]
            for rows in progress(batches, "batches of facts", "batches"):
                losses += self.training.run(language_model, rows, factors)[1]
            return {name: _product(layer).in_float32() for name, layer in adapters.items()}, losses

    def _targets(self, language_model: LanguageModel) -> dict[str, nn.Module]:
        """The matrices that get an adapter, by their names in the model."""
        chosen = LayerSelection(self.edited_layers(language_model), self.modules).select(language_model, [])
        targets = {name: module for name, module in chosen.items() if is_projection(module)}
        if not targets:
            raise ConfigError(f"modules is {self.modules!r}, which selects no matrix. Choose modules that hold one.")
        return targets

    @contextmanager
    def _adapted(
        self, language_model: LanguageModel, targets: dict[str, nn.Module]
    ) -> Iterator[Mapping[str, LoraLayer]]:
        """Adapters in place, by the names of the weights that they adapt; they are taken out again afterwards."""
        model = language_model.model
        names = {name: language_model.parameter_name(projection_weight(module)) for name, module in targets.items()}
        config = LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            target_modules=list(targets),
            fan_in_fan_out=any(isinstance(base_layer(module), Conv1D) for module in targets.values()),
        )
        with torch.random.fork_rng(devices=[language_model.device] if language_model.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="fan_in_fan_out")
                adapted = LoraModel(model, config, _ADAPTER)
        model.eval()
        try:
            layers: dict[str, LoraLayer] = {}
            for name, weight in names.items():
                layer = model.get_submodule(name)
                assert isinstance(layer, LoraLayer)
                layers[weight] = layer
            yield layers
        finally:
            adapted.unload()


def _product(layer: LoraLayer) -> Update:
    """What merging an adapter adds to its weight, as the weight is stored."""
    scale = layer.scaling[_ADAPTER]
    down, up = (projection_weight(part[_ADAPTER]).detach() for part in (layer.lora_A, layer.lora_B))
    update = LowRank(up * scale, down.T.contiguous())
    return update.transposed if isinstance(layer.get_base_layer(), Conv1D) else update
