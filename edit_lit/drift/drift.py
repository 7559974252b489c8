"""The drift of one model through a training: what is read, against what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from edit_lit.deltas import ModelStates, Update, WeightPart
from edit_lit.deltas.swap import swapped
from edit_lit.drift.curves import drift_charts
from edit_lit.drift.edited_matrix import applied, drift_along, drift_on_keys, key_drift, value_drift
from edit_lit.drift.reading import POSITIONS, Position, Prompt, Reader, Reading, check_whole, prompts_of
from edit_lit.drift.representation import cosine, linear_cka, mean_known, relative_change
from edit_lit.drift.rows import FACT, NO_LAYER, DriftRow
from edit_lit.drift.training_keys import nearest_training_keys
from edit_lit.drift.training_texts import shares_naming_facts, spread
from edit_lit.drift.weights import block_change, matrix_now, matrix_right_after_edit, oriented
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer, is_projection, projection_weight
from edit_lit.measures.outcomes import Pool
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number

NEUTRAL = "neutral"
"""The pool of texts that have nothing to do with the edits."""


class Drift:
    """Measures how far a model has moved from what it was right after the edit.

    It knows no training loop. What it compares with is read at the first measure, from the states, and kept on the CPU:
    16 bytes × prompts × layers × hidden size, and 8 bytes × edited prompts × edited layers × size of the MLP; while it
    measures, as much again. For 100 prompts of each of three pools and 32 layers of 4096 that is 0.6 GB. Matrices are
    compared one at a time, in float64, where the model is; nothing is as large as a square of the MLP's size.

    Args:
        states: The way back to the model right after the edit.
        edited: The edited facts; those that other runs edit in a run that edits nothing.
        intrinsic: Facts that nobody edits.
        neutral: Tokens of texts that name no edited subject; each is read at its last token.
        prompts: The most prompts of a pool that are read, from the first on; also the most training texts that are
            read for their keys.
        batch_tokens: Tokens in a batch, padding included.

    Raises:
        ConfigError: If ``prompts`` or ``batch_tokens`` is below 1, or the model is split over processes.
    """

    def __init__(
        self,
        states: ModelStates,
        *,
        edited: Sequence[EditRequest] = (),
        intrinsic: Sequence[EditRequest] = (),
        neutral: Sequence[Sequence[int]] = (),
        prompts: int = 100,
        batch_tokens: int = 8192,
    ) -> None:
        check_number("drift.prompts", prompts, least=1)
        check_number("drift.batch_tokens", batch_tokens, least=1)
        check_whole(states.language_model)
        self.states = states
        self.language_model = states.language_model
        self.prompts = prompts
        self.batch_tokens = batch_tokens
        self._requests = list(edited[:prompts])
        self._facts = [fact_hash(request) for request in self._requests]
        pools: dict[str, list[Prompt]] = {
            Pool.EDITED if states.delta is not None else Pool.UNEDITED: prompts_of(self.language_model, self._requests),
            Pool.INTRINSIC: prompts_of(self.language_model, intrinsic[:prompts]),
            NEUTRAL: [Prompt(ids) for ids in neutral[:prompts]],
        }
        self._pools = _places(pools)
        self._updates = _updates_by_layer(self.language_model, states)
        keyed = [layer for layer, updates in self._updates.items() if self._projection(layer) in updates]
        everything = [prompt for of_pool in pools.values() for prompt in of_pool]
        self._reader = Reader(self.language_model, everything, len(self._facts), keyed, batch_tokens)
        self._reference: tuple[Reading, Reading] | None = None

    @property
    def charts(self) -> dict[str, tuple[str, ...]]:
        """The tags of the curves that are drawn together, by the chart's title."""
        return drift_charts(list(self._pools), self._reader.key_layers if self._facts else [], list(self._updates))

    @torch.no_grad()
    def measure(self, step: int) -> list[DriftRow]:
        """Compare the model as it is now with what it was; weights, modes and random states stay as they are.

        All processes call it together, and get the same rows.

        Args:
            step: Optimizer steps taken, for the rows.
        """
        unedited, edited = self._earlier()
        now, without = self._reader.read(), self._without_delta()
        rows = [*self._representation(step, edited, now), *self._directions(step, unedited, edited, now, without)]
        rows += [row for layer in self._reader.key_layers for row in self._keys_and_values(step, layer, edited, now)]
        return [*rows, *self._weights(step, edited)]

    @torch.no_grad()
    def facts(self, step: int, texts: Sequence[Sequence[int]] = ()) -> list[DriftRow]:
        """What each edited fact is like right after the edit, from which its loss may be foretold.

        Of each edited layer: ``key_norm`` ‖k‖ and ``write_norm`` ‖Δk‖ of the fact's key k, and
        ``nearest_training_key``, the largest cosine of k to a key at any token of ``prompts`` of the texts, which are
        chosen evenly. Of no layer: the share of all texts that name the fact's subject, its new and its old object.
        They are the same at whatever step they are asked for, and all processes get the same; they call it together.

        It costs a pass over the chosen texts, see :func:`~edit_lit.drift.training_keys.nearest_training_keys`, and one
        reading of all of them as words.

        Args:
            step: Optimizer steps taken, for the rows.
            texts: Texts that are trained on, as tokens.

        Returns:
            None of a run that edits nothing.
        """
        if self.states.delta is None or not self._facts:
            return []
        keys = self._earlier()[1].keys
        chosen = [texts[place] for place in spread(len(texts), self.prompts)]
        with self.states.edited():
            nearest = nearest_training_keys(self.language_model, keys, chosen, self.batch_tokens)
        rows: list[DriftRow] = []
        for layer in keys:
            measures = {**self._norms(layer, keys[layer]), "nearest_training_key": nearest[layer].tolist()}
            rows += self._of_facts(step, layer, measures, Position.SUBJECT)
        tokenizer = self.language_model.tokenizer
        shares = distributed.at_first_process(lambda: shares_naming_facts(self._requests, tokenizer, texts))
        return [*rows, *self._of_facts(step, NO_LAYER, shares)]

    def _norms(self, layer: int, keys_EI: Tensor) -> dict[str, list[float]]:
        module = self._projection(layer)
        keys_EI = keys_EI.to(projection_weight(module).device, torch.float64)
        write_EO = applied(oriented(self._updates[layer][module], module), keys_EI)
        return {"key_norm": keys_EI.norm(dim=1).tolist(), "write_norm": write_EO.norm(dim=1).tolist()}

    def _of_facts(
        self, step: int, layer: int, measures: Mapping[str, Sequence[float]], position: Position | None = None
    ) -> Iterator[DriftRow]:
        for measure, values in measures.items():
            for fact, value in zip(self._facts, values, strict=True):
                yield DriftRow(step, FACT, measure, layer, value, Pool.EDITED, position, fact)

    def _earlier(self) -> tuple[Reading, Reading]:
        """The unedited and the edited model; bit for bit the same at whatever step they are first read."""
        if self._reference is None:
            with self.states.unedited():
                unedited = self._reader.read()
            with self.states.edited():
                self._reference = unedited, self._reader.read()
        return self._reference

    def _without_delta(self) -> Reading | None:
        if self.states.delta is None:
            return None
        with delta_taken_off(self.states):
            return self._reader.read()

    def _representation(self, step: int, then: Reading, now: Reading) -> Iterator[DriftRow]:
        for pool, position, layer, (before, after) in self._each(then, now):
            measures = {
                "relative": mean_known(relative_change(before, after)),
                "cosine": mean_known(cosine(before, after)),
                "cka": linear_cka(before, after),
            }
            for measure, value in measures.items():
                yield DriftRow(step, "representation", measure, layer, value, pool, position)

    def _directions(
        self, step: int, unedited: Reading, edited: Reading, now: Reading, without: Reading | None
    ) -> Iterator[DriftRow]:
        """The first study's sizes and directions (arXiv 2511.05852, section 5), of a run that edits."""
        if without is None:
            return
        for pool, position, layer, states in self._each(unedited, edited, now, without):
            base, ed, ed_ft, ft = states
            sizes = {"size_ed": ed - base, "size_ft": ft - base, "size_ed_ft": ed_ft - base}
            measures = {name: mean_known(change.norm(dim=1)) for name, change in sizes.items()}
            directions = {"ed": ed - base, "ft": ft - base, "ed_ft": ed_ft - ed}
            for first, second in (("ed", "ft"), ("ed", "ed_ft"), ("ft", "ed_ft")):
                measures[f"cosine_{first}_and_{second}"] = mean_known(cosine(directions[first], directions[second]))
            for measure, value in measures.items():
                yield DriftRow(step, "direction", measure, layer, value, pool, position)

    def _each(self, *readings: Reading) -> Iterator[tuple[str, str, int, list[Tensor]]]:
        """The states of each pool, position and layer in each reading, [F, D] in float64."""
        for pool, place in self._pools.items():
            for number, position in enumerate(POSITIONS):
                if pool == NEUTRAL and position is Position.SUBJECT:
                    continue
                for layer in range(len(self.language_model.blocks)):
                    yield pool, position, layer, [read.hidden[number, layer, place].double() for read in readings]

    def _keys_and_values(self, step: int, layer: int, then: Reading, now: Reading) -> Iterator[DriftRow]:
        if not self._facts:
            return
        module = self._projection(layer)
        update = oriented(self._updates[layer][module], module)
        device = projection_weight(module).device
        keys = [reading.keys[layer].to(device, torch.float64) for reading in (then, now)]
        matrices = matrix_right_after_edit(module, self.states), matrix_now(module)
        for part, measures in (("key", key_drift(*keys)), ("value", value_drift(*matrices, update, *keys))):
            for measure, values in measures.items():
                for fact, value in zip(self._facts, values.tolist(), strict=True):
                    yield DriftRow(step, part, measure, layer, value, Pool.EDITED, Position.SUBJECT, fact)

    def _weights(self, step: int, then: Reading) -> Iterator[DriftRow]:
        for layer, block in enumerate(self.language_model.blocks):
            change, size = block_change(block, self.states)
            yield DriftRow(step, "weight", "relative", layer, change / size)
        for layer, updates in self._updates.items():
            for measure, value in self._along_delta(layer, updates, then).items():
                yield DriftRow(step, "weight", measure, layer, value)

    def _along_delta(self, layer: int, updates: Mapping[nn.Module, Update], then: Reading) -> dict[str, float]:
        """How much of the drift of a layer's edited matrices undoes the edit."""
        along, size, measures = 0.0, 0.0, {}
        for module, update in updates.items():
            matrices = matrix_right_after_edit(module, self.states), matrix_now(module)
            update = oriented(update, module)
            along += drift_along(*matrices, update)
            size += update.norm() ** 2
            if self._facts and module is self._projection(layer):
                keys = then.keys[layer].to(matrices[0].weight_OI)
                measures["on_edited_keys"] = drift_on_keys(*matrices, update, keys)
        return {"along_delta": along / size if size else float("nan"), **measures}

    def _projection(self, layer: int) -> nn.Module:
        return self.language_model.output_projection(layer)


@contextmanager
def delta_taken_off(states: ModelStates) -> Iterator[None]:
    """The model as it is now with the Delta subtracted, as it might be if the same training had followed no edit.

    That is a stand-in, in one run, for a model that was fine-tuned without the edit.

    Args:
        states: The states of a run that edits.
    """
    delta, language_model = states.delta, states.language_model
    assert delta is not None
    with ExitStack() as stack:
        for part in reversed(delta.parts):
            if isinstance(part, WeightPart):
                stack.enter_context(swapped(_less(language_model, part.updates)))
            else:
                stack.enter_context(part.suspended(language_model))
        yield


def _less(language_model: LanguageModel, updates: Mapping[str, Update]) -> dict[nn.Parameter, Tensor]:
    parameters = {name: language_model.parameter(name) for name in updates}
    return {
        parameter: (parameter.detach().double() - updates[name].dense().to(parameter.device)).to(parameter.dtype)
        for name, parameter in parameters.items()
        if parameter is not None
    }


def _places(pools: Mapping[str, Sequence[Prompt]]) -> dict[str, slice]:
    """Where the prompts of each pool stand among all of them; pools without any are left out."""
    places, start = {}, 0
    for pool, prompts in pools.items():
        if prompts:
            places[pool] = slice(start, start + len(prompts))
        start += len(prompts)
    return places


def _updates_by_layer(language_model: LanguageModel, states: ModelStates) -> dict[int, dict[nn.Module, Update]]:
    """The edit's updates of matrices in blocks, by layer and the module that holds the matrix or its adapter."""
    updates = states.delta.updates if states.delta is not None else {}
    edited = {id(language_model.parameter(name)): update for name, update in updates.items()}
    found: dict[int, dict[nn.Module, Update]] = {}
    for layer, block in enumerate(language_model.blocks):
        inner = {id(base_layer(module)) for module in block.modules() if hasattr(module, "base_layer")}
        for module in block.modules():
            if id(module) not in inner and is_projection(module) and id(projection_weight(module)) in edited:
                found.setdefault(layer, {})[module] = edited[id(projection_weight(module))]
    return found
