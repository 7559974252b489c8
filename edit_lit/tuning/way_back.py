"""The way back from a trained model to the one that it was before its edit, bit for bit."""

from __future__ import annotations

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.deltas.swap import on_cpu, write_values
from edit_lit.language_model import LanguageModel


class WayBack:
    """Remembers what an edit and a fine-tuning change about a model, and puts all of it back.

    Made before the edit is applied. On the CPU it keeps the weights that train, while the Delta keeps those that it
    changes; an adapter's own weights go with the adapter.

    Args:
        language_model: The model, without edit and adapter.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model = language_model
        self._bare = language_model.model
        self._trains = {parameter: parameter.requires_grad for parameter in self._bare.parameters()}
        self._modes = {module: module.training for module in self._bare.modules()}
        self._buffers = {
            (module, name): buffer.detach().to("cpu", copy=True)
            for module in self._bare.modules()
            for name, buffer in module.named_buffers(recurse=False)
        }
        self._weights: dict[nn.Parameter, Tensor] = {}

    def remember_weights(self) -> None:
        """Keep what trains; called with the edit applied and the tuning chosen, before the first step."""
        self._weights = {parameter: on_cpu(parameter) for parameter in self._trains if parameter.requires_grad}

    def go(self, delta: Delta | None) -> None:
        """Put everything back.

        Args:
            delta: The edit; none if nothing was edited.

        Raises:
            ConfigError: If something else than the training has changed the edited weights.
        """
        worn = self._language_model.model
        if isinstance(worn, PeftModel) and isinstance(worn.base_model, BaseTuner):
            worn.base_model.unload()
        self._language_model.model = self._bare
        write_values(self._weights)
        if delta is not None and delta.applied:
            delta.revert(self._language_model)
        for (module, name), value in self._buffers.items():
            setattr(module, name, value.to(self._language_model.device))
        for parameter, trains in self._trains.items():
            parameter.requires_grad_(trains)
            parameter.grad = None
        for module, mode in self._modes.items():
            module.training = mode
