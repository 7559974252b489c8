"""Parameter-efficient fine-tuning with the peft library, on selected layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer, is_projection
from edit_lit.tuning.selection import LayerChoice, ModuleChoice
from edit_lit.tuning.tuning import Tuning
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.random_state import seeded


class PeftTuning(Tuning):
    """Freezes the model and trains an adapter of any kind that peft offers.

    Args:
        config: The adapter. Its ``target_modules`` are filled in from ``layers`` and ``modules``.
        layers: The layers that get an adapter; see :class:`~edit_lit.tuning.selection.LayerSelection`.
        modules: The matrices within them that do; see :class:`~edit_lit.tuning.selection.LayerSelection`.
        seed: Seed of the adapter's first weights; they are drawn with ``seed_everything``'s if not given.

    Raises:
        ConfigError: If ``config`` names target modules itself, or a rank below 1.
    """

    def __init__(
        self,
        config: PeftConfig,
        layers: LayerChoice | list[int] = "all",
        modules: ModuleChoice | list[str] = "all",
        seed: int | None = None,
    ) -> None:
        super().__init__(layers, modules)
        given = getattr(config, "target_modules", None)
        if given:
            raise ConfigError(
                f"tuning.config.target_modules is {given!r}; leave it out and "
                "choose with tuning.layers and tuning.modules."
            )
        rank, usual = (getattr(of, "r", None) for of in (config, type(config)))
        # Where the usual rank is 0, as of OFT, another option takes its place.
        if isinstance(rank, int) and rank < 1 and rank != usual:
            raise ConfigError(f"tuning.config.r is {rank}; the adapter's rank must be at least 1.")
        self.config = config
        self.seed = seed

    def check(self, language_model: LanguageModel, edited_layers: Sequence[int] | None) -> None:
        """Refuse a selection that holds no matrix, and a model that wears an adapter already."""
        _check_bare(language_model)
        if edited_layers is not None or not self.selection.hangs_on_edit:
            self._placed(language_model, edited_layers or ())

    def apply(self, language_model: LanguageModel, edited_layers: Sequence[int]) -> None:
        """Wrap the model; the blocks' own weights are frozen by peft."""
        _check_bare(language_model)
        config = self._placed(language_model, edited_layers)
        chosen = self._targets(language_model, edited_layers) if hasattr(config, "target_modules") else {}
        with seeded(self.seed, language_model.device):
            language_model.model = get_peft_model(language_model.model, config)  # type: ignore[assignment] # acts as one
        _check_all_wear_it(language_model.model, chosen, type(config).__name__)

    def _placed(self, language_model: LanguageModel, edited_layers: Sequence[int]) -> PeftConfig:
        """The adapter's config with the modules that it is put on."""
        config = copy.deepcopy(self.config)
        config.task_type = "CAUSAL_LM"
        if hasattr(config, "target_modules"):
            targets = self._targets(language_model, edited_layers)
            config.target_modules = list(targets)
            if hasattr(config, "fan_in_fan_out"):
                config.fan_in_fan_out = any(isinstance(module, Conv1D) for module in targets.values())
        elif self.layers != "all" or self.modules != "all":
            raise ConfigError(
                f"{type(config).__name__} adds no weights inside layers, so tuning.layers {self.layers!r} and "
                f"tuning.modules {self.modules!r} cannot be honoured. Leave both at 'all'."
            )
        return config

    def _targets(self, language_model: LanguageModel, edited_layers: Sequence[int]) -> dict[str, nn.Module]:
        """The selected matrices; those outside the blocks only where they are named."""
        in_blocks = {id(module) for block in language_model.blocks for module in block.modules()}
        selected = self.selection.select(language_model, edited_layers)
        targets = {
            name: module
            for name, module in selected.items()
            if is_projection(module) and (id(module) in in_blocks or not isinstance(self.modules, str))
        }
        if not targets:
            raise ConfigError(
                f"tuning.layers {self.layers!r} with tuning.modules {self.modules!r} selects no matrix for an "
                f"adapter, only {', '.join(selected)}. Choose modules that hold one."
            )
        return targets


def _check_bare(language_model: LanguageModel) -> None:
    if isinstance(language_model.model, PeftModel):
        raise ConfigError(
            "the model wears an adapter already, which another one cannot be put around. Load the model anew, or "
            "merge the adapter first (model.merge_and_unload of peft)."
        )


def _check_all_wear_it(model: nn.Module, chosen: Mapping[str, nn.Module], adapter: str) -> None:
    """Refuse an adapter that peft puts on some of the chosen matrices only, without a word."""
    worn = {id(base_layer(module)) for module in model.modules() if isinstance(module, BaseTunerLayer)}
    bare = [name for name, module in chosen.items() if id(module) not in worn]
    if bare:
        raise ConfigError(
            f"{adapter} passes over {len(bare)} of {len(chosen)} matrices, such as {bare[0]}, because peft has it for "
            f"no {type(chosen[bare[0]]).__name__}. Use another adapter, such as LoraConfig, or leave these matrices "
            "out (tuning.layers, tuning.modules)."
        )


class LoRA(PeftTuning):
    """Low-rank adapters (Hu et al., arXiv 2106.09685).

    Args:
        r: Rank.
        alpha: Scale of the adapter is alpha / r.
        dropout: Dropout on the adapter's input.
        layers: The layers that get an adapter; see :class:`~edit_lit.tuning.selection.LayerSelection`.
        modules: The matrices within them that do; see :class:`~edit_lit.tuning.selection.LayerSelection`.
        seed: Seed of the adapters' first weights; they are drawn with ``seed_everything``'s if not given.

    Raises:
        ConfigError: If ``r`` or ``alpha`` is below 1, or ``dropout`` no share.
    """

    use_dora = False

    def __init__(
        self,
        r: int = 8,
        alpha: int = 16,
        dropout: float = 0.0,
        layers: LayerChoice | list[int] = "all",
        modules: ModuleChoice | list[str] = "all",
        seed: int | None = None,
    ) -> None:
        if r < 1 or alpha < 1:
            raise ConfigError(f"tuning.r is {r} and tuning.alpha is {alpha}; both must be at least 1.")
        if not 0 <= dropout < 1:
            raise ConfigError(f"tuning.dropout is {dropout}; it must be at least 0 and below 1.")
        config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, use_dora=self.use_dora)
        super().__init__(config, layers, modules, seed)


class DoRA(LoRA):
    """Low-rank adapters of the weights' directions, with trained magnitudes (Liu et al., arXiv 2402.09353).

    Args:
        r: Rank.
        alpha: Scale of the adapter is alpha / r.
        dropout: Dropout on the adapter's input.
        layers: The layers that get an adapter; see :class:`~edit_lit.tuning.selection.LayerSelection`.
        modules: The matrices within them that do; see :class:`~edit_lit.tuning.selection.LayerSelection`.
        seed: Seed of the adapters' first weights; they are drawn with ``seed_everything``'s if not given.

    Raises:
        ConfigError: If ``r`` or ``alpha`` is below 1, or ``dropout`` no share.
    """

    use_dora = True
