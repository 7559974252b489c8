"""The cause of a loss in activations: what the edited layers add at the lookup token, and whose return saves the edit.

Shape legend: F facts, N size of a key, D outputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor
from transformers.pytorch_utils import Conv1D

from edit_lit.attribution.groups import Group, WrittenMatrix, written_matrices
from edit_lit.attribution.patches import LookupRows, Patch
from edit_lit.deltas import ModelStates
from edit_lit.facts.request import EditRequest
from edit_lit.language_model.modes import evaluating
from edit_lit.measures.outcomes import Outcomes


@dataclass(frozen=True)
class LayerChange:
    """How far fine-tuning changed what one matrix adds for one edit, along the edit's own write Δk, in units of it.

    The three parts sum to ``whole``, exactly: with W and k right after the edit, and W + D and k + d now, that is
    D k + W d + D d. At −1 they have taken away as much as the edit wrote.

    Args:
        layer: The number of the block.
        matrix: Name of the weight.
        write: Of the write: D k, with the change of a trained bias.
        key_drift: Of the key: W d.
        product: Of both: D d.
    """

    layer: int
    matrix: str
    write: float
    key_drift: float
    product: float

    @property
    def whole(self) -> float:
        """The whole change."""
        return self.write + self.key_drift + self.product


KINDS_OF_PATCH = ("key", "value", "hidden")
PASSES = 2 + 2 * len(KINDS_OF_PATCH)
"""Passes over the facts that :func:`look_at_activations` takes."""


@dataclass(frozen=True)
class Patched:
    """What the fine-tuned model answers with old activations.

    Args:
        tuned: Without any.
        edited: What the edited model answers.
        at_lookup: With old activations at the lookup token alone: the ``key`` and the ``value`` of each written matrix,
            which are its input and its output, and the ``hidden`` state behind the last edited layer.
        everywhere: With those of all tokens.
    """

    tuned: Outcomes
    edited: Outcomes
    at_lookup: Mapping[str, Outcomes]
    everywhere: Mapping[str, Outcomes]


def look_at_activations(
    states: ModelStates, requests: Sequence[EditRequest], watch: Callable[[], object] = lambda: None
) -> tuple[Patched, list[list[LayerChange]]]:
    """Compare both states of a model, and patch old activations into the fine-tuned one.

    Args:
        states: The states of the model; as it is now, it is the fine-tuned one.
        requests: The facts.
        watch: Called after each of the passes over the facts.

    Returns:
        The answers, and for each fact what became of the sum that each written matrix adds at the lookup token.

    Raises:
        ConfigError: If the Delta changes something else than matrices inside the blocks.
    """
    language_model, delta = states.language_model, states.delta
    assert delta is not None
    matrices = written_matrices(language_model, delta)
    modules = [matrix.module for matrix in matrices]
    block = language_model.blocks[matrices[-1].layer]
    rows = LookupRows(language_model, requests)
    with states.edited():
        old = rows.ask((), modules, [*modules, block])
        watch()
    now = rows.ask((), modules)
    watch()
    *values, hidden = old.outputs
    patches = {
        "key": [Patch(module, key, inward=True) for module, key in zip(modules, old.inputs, strict=True)],
        "value": [Patch(module, value) for module, value in zip(modules, values, strict=True)],
        "hidden": [Patch(block, hidden)],
    }
    answers: dict[bool, dict[str, Outcomes]] = {False: {}, True: {}}
    for everywhere, kind in product(answers, KINDS_OF_PATCH):
        chosen = [replace(patch, everywhere=everywhere) for patch in patches[kind]]
        answers[everywhere][kind] = rows.ask(chosen).outcomes
        watch()
    keys = [[rows.at_lookup(of) for of in read] for read in (old.inputs, now.inputs)]
    return Patched(now.outcomes, old.outcomes, answers[False], answers[True]), _changes(states, matrices, *keys)


def _changes(
    states: ModelStates, matrices: Sequence[WrittenMatrix], old_keys: Sequence[Tensor], new_keys: Sequence[Tensor]
) -> list[list[LayerChange]]:
    """The changes of each fact, by matrix."""
    assert states.delta is not None
    facts = range(len(old_keys[0]))
    by_fact: list[list[LayerChange]] = [[] for _ in facts]
    with states.edited():
        then = [_through(matrices, keys) for keys in (old_keys, new_keys)]
    now = [_through(matrices, keys) for keys in (old_keys, new_keys)]
    for place, matrix in enumerate(matrices):
        (old_of_old, old_of_new), (new_of_old, new_of_new) = [[of[place] for of in pair] for pair in (then, now)]
        parts = {
            "write": new_of_old - old_of_old,
            "key_drift": old_of_new - old_of_old,
            "product": new_of_new - new_of_old - old_of_new + old_of_old,
        }
        written_FD = _written(states, matrix, old_keys[place])
        size_F = (written_FD * written_FD).sum(1)
        along = {name: ((part * written_FD).sum(1) / size_F).tolist() for name, part in parts.items()}
        for fact in facts:
            own = {name: values[fact] for name, values in along.items()}
            by_fact[fact].append(LayerChange(matrix.layer, matrix.name, **own))
    return by_fact


def _through(matrices: Sequence[WrittenMatrix], keys: Sequence[Tensor]) -> list[Tensor]:
    """What each matrix, as it is now, makes of its keys, [F, D] in float64, on the CPU."""
    outputs = []
    for matrix, keys_FN in zip(matrices, keys, strict=True):
        with evaluating(matrix.module):
            # With an axis of positions, as modules have it in the model.
            outputs.append(matrix.module(keys_FN[:, None])[:, 0].double().cpu())
    return outputs


def _written(states: ModelStates, matrix: WrittenMatrix, keys_FN: Tensor) -> Tensor:
    """The edit's own write Δk, [F, D] in float64, on the CPU."""
    assert states.delta is not None
    update = states.delta.updates[matrix.name].dense().cpu()
    stored_by_input = isinstance(matrix.owner, Conv1D)
    return keys_FN.double().cpu() @ (update if stored_by_input else update.T)


def activation_losses(values: Mapping[str, float]) -> dict[Group, float]:
    """What each group cost an edit by activations, in nats; they sum to the whole loss.

    A path of patches into the fine-tuned model at all tokens, each one stronger than the one before: what the old keys
    give back is key drift; what the old outputs of the written matrices give beyond that was overwritten; what the old
    hidden states behind the last edited layer give beyond that drifted below as well, past these matrices; and what
    even those do not give back lies above. What two share goes to the earlier one. Embeddings are below here, and a
    head is above; a written matrix that moves the keys of a higher one makes key drift.

    Args:
        values: Margin, or negative NLL, of the edit: ``tuned``, ``edited`` and with each kind of patch.
    """
    return {
        Group.WRITTEN: values["value"] - values["key"],
        Group.BELOW: values["key"] - values["tuned"] + values["hidden"] - values["value"],
        Group.ABOVE: values["edited"] - values["hidden"],
    }
