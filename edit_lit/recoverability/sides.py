"""The two models that every test is put to: the fine-tuned one, and one that never had the edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from edit_lit.deltas import ModelStates
from edit_lit.deltas.swap import swapped
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class Side:
    """A model that the tests are put to.

    Args:
        name: What it is called in tables.
        enter: Makes the model it for the length of a ``with`` block.
    """

    name: str
    enter: Callable[[], AbstractContextManager[None]]


def unedited_control(states: ModelStates) -> Side:
    """The unedited model, as the control where there is none that was fine-tuned without the edit."""
    return Side("the unedited model, which was not fine-tuned", states.unedited)


def trained_control(states: ModelStates, trained: Mapping[nn.Parameter, Tensor], name: str) -> Side:
    """A model that was fine-tuned as the tuned one was, without the edit.

    Args:
        states: The states of the run that edits.
        trained: What the parameters that train became in the other run.
        name: What that is called.

    Raises:
        ConfigError: If nothing was edited.
    """
    delta = states.delta
    if delta is None:
        raise ConfigError("nothing was edited, so there is no edit to be looked for. Name a run that edits.")

    @contextmanager
    def enter() -> Iterator[None]:
        with delta.suspended(states.language_model), swapped(trained):
            yield

    return Side(name, enter)
