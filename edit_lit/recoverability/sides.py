"""The two models that every test is put to: the fine-tuned or erased one, and one that never had the edit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edit_lit.deltas import ModelStates
from edit_lit.deltas.swap import swapped
from edit_lit.recoverability.result import FINE_TUNED
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class Side:
    """A model that the tests are put to.

    Args:
        name: What it is called in tables.
        enter: Makes the model it for the length of a ``with`` block.
        changes: Weights of the model's own in which it differs from the edited one, beside those that trained.
    """

    name: str
    enter: Callable[[], AbstractContextManager[None]]
    changes: Collection[nn.Parameter] = ()


def tuned_side(states: ModelStates) -> Side:
    """The fine-tuned model."""
    return Side(FINE_TUNED, states.tuned)


def erased_side(states: ModelStates, weights: Mapping[nn.Parameter, Tensor], name: str) -> Side:
    """What an eraser left of the fine-tuned model: other weights, and no adapter, since it was merged into them.

    Args:
        states: The states of the run whose edits were erased.
        weights: All weights of the model's own, as they are in the erased one.
        name: What that is called.
    """

    @contextmanager
    def enter() -> Iterator[None]:
        with states.edited(), swapped(weights):
            yield

    changes = [
        parameter
        for parameter, erased in weights.items()
        if not torch.equal(states.edited_value(parameter).cpu(), erased.cpu())
    ]
    return Side(name, enter, changes)


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
