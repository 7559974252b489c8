"""Three states of one model: unedited, edited and tuned."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext

from peft import PeftModel
from torch import Tensor, nn

from edit_lit.deltas.adapters import adapter_parts, switched_off
from edit_lit.deltas.delta import Delta
from edit_lit.deltas.swap import on_cpu, swapped
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import plain_parameters
from edit_lit.utilities.errors import ConfigError


class ModelStates:
    """Goes back to the edited or the unedited model for the length of a ``with`` block, and returns bit for bit.

    Made right after the edit and before the first training step. It remembers the weights that train, as the Delta does
    those that it changed, on the CPU; while it goes back, the weights as they are now wait on the CPU too. There is
    never a second copy on the accelerator. What is changed inside a block is lost at its end.

    Args:
        language_model: The model, with the Delta applied and the parameters that will train marked so.
        delta: The applied Delta; none if the run edits nothing.

    Raises:
        ConfigError: If the Delta is not applied, so that the model is not the edited one.
    """

    def __init__(self, language_model: LanguageModel, delta: Delta | None = None) -> None:
        if delta is not None and not delta.applied:
            raise ConfigError("this Delta is not applied, so the model is not edited. Call apply first.")
        self.language_model = language_model
        self.delta = delta
        self._edited = {
            parameter: on_cpu(parameter) for parameter in language_model.model.parameters() if parameter.requires_grad
        }

    def edited_value(self, parameter: nn.Parameter) -> Tensor:
        """A parameter's values right after the edit: on the CPU if it trains, else where it is, since it never changed.

        Args:
            parameter: A parameter of the model, not of an adapter around it.
        """
        return self._edited.get(parameter, parameter.detach())

    @contextmanager
    def tuned(self) -> Iterator[None]:
        """The model as it is now."""
        yield

    @contextmanager
    def edited(self) -> Iterator[None]:
        """The model right after the edit, without adapters."""
        with swapped(self._edited), _without_adapters(self.language_model.model):
            yield

    @contextmanager
    def partly_edited(self, parameters: Collection[nn.Parameter]) -> Iterator[None]:
        """The model as it is now, but with some of what trains as it was right after the edit: a hybrid of both.

        Args:
            parameters: The parameters that go back. Those of an adapter go back by being switched off, together with
                all others that the adapter has on the same module.

        Raises:
            ConfigError: If one is neither among those that train nor of an adapter on a module, as prompt tuning's.
        """
        chosen = set(parameters)
        off = [part for part in adapter_parts(self.language_model.model) if not chosen.isdisjoint(part.parameters)]
        back = chosen.difference(*(part.parameters for part in off))
        own = {parameter for _, parameter in plain_parameters(self.language_model.model)}
        if not back <= own & self._edited.keys():
            raise ConfigError("a parameter to put back did not train, or is of an adapter that is on no single module.")
        with swapped({parameter: self._edited[parameter] for parameter in back}), switched_off(off):
            yield

    @contextmanager
    def unedited(self) -> Iterator[None]:
        """The model before the edit, without adapters."""
        before = nullcontext() if self.delta is None else self.delta.suspended(self.language_model)
        with self.edited(), before:
            yield


@contextmanager
def _without_adapters(model: nn.Module) -> Iterator[None]:
    """The base model, if an adapter is around it; which parameters train stays as it is."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}

    def mark() -> None:
        # peft takes the mark off the parameters of an adapter that it switches off.
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)

    try:
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            mark()
            yield
    finally:
        mark()
