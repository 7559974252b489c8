"""The attribution itself: hybrids in all combinations, Shapley values, put-backs, and the view by activations.

Shape legend: N groups in which something trained; S = 2ᴺ hybrids, each at the number whose bit n says whether group n
is the fine-tuned one; F lost edits; the axis of size 2 holds margin and NLL.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from edit_lit.attribution.activation_view import PASSES, look_at_activations
from edit_lit.attribution.groups import GROUPS, trained_pieces
from edit_lit.attribution.hybrids import Hybrids, holds, measured
from edit_lit.attribution.judging import Lattice, judged
from edit_lit.attribution.losses import Losses, prompt_alone
from edit_lit.attribution.result import Attribution, LayerShare
from edit_lit.attribution.shapley import sampled_values, subsets
from edit_lit.deltas import ModelStates
from edit_lit.facts.request import EditRequest
from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress, progress_bar


@dataclass(frozen=True)
class Recorded:
    """What a run's probes found, to compare with.

    Args:
        step: Optimizer steps taken.
        baseline: Outcomes of the edited facts right after the edit.
        now: Outcomes at the step.
        losses: The edits that were lost by these.
    """

    step: int
    baseline: Outcomes
    now: Outcomes
    losses: Losses


def attribute(
    states: ModelStates,
    requests: Sequence[EditRequest],
    recorded: Recorded,
    rule: Rule = Rule.EXACT,
    pairs: int = 0,
    seed: int = 0,
) -> Attribution:
    """Find the cause of each lost edit.

    Nothing about the model is changed. It takes 2^groups passes over the prompts of the lost edits, and five for the
    activations; no second model is held on the accelerator.

    Args:
        states: The states of the model; as it is now, it is the fine-tuned one.
        requests: All edited facts.
        recorded: What the run's probes found.
        rule: The success rule by which edits are lost.
        pairs: Refine groups to layers by so many pairs of sampled orders; 0 for none.
        seed: Seed of these orders.

    Raises:
        ConfigError: If nothing was edited, the model is sharded, a parameter belongs to no single group, or the model
            answers otherwise than the run recorded.
    """
    check_number("pairs", pairs, least=0)
    started = time.perf_counter()
    if states.delta is None:
        raise ConfigError("nothing was edited, so that no edit can be lost. Name a run that edits.")
    pieces = trained_pieces(states.language_model, states.delta)
    trained = [group for group in GROUPS if any(piece.group is group for piece in pieces)]
    losses = recorded.losses
    if not losses.numbers:
        return Attribution.of_nothing(recorded.step, rule, losses, trained)
    lost = [requests[number] for number in losses.numbers]
    probe = Probe([prompt_alone(request) for request in lost], states.language_model.tokenizer)
    hybrids = Hybrids(states, pieces, probe)
    by_group = [frozenset(n for n, piece in enumerate(pieces) if piece.group is group) for group in trained]
    sets = [frozenset().union(*(by_group[n] for n in members)) for members in subsets(len(trained))]
    asked: list[Outcomes] = []
    with progress_bar("causes of lost edits", len(sets) + PASSES, "probes") as bar:
        for tuned in sets:
            asked.append(hybrids.ask(tuned))
            bar.update()
        off = _off_records(asked, recorded)
        _check_records(off, states)
        patched, changes = look_at_activations(states, lost, bar.update)
    lattice = Lattice(trained, torch.stack([*map(measured, asked)]), torch.stack([holds(o, rule) for o in asked]))
    again = lattice.holds_SF[0] & ~lattice.holds_SF[-1]
    shares = _layer_shares(hybrids, by_group, again, pairs, seed) if pairs and again.any() else ()
    edits = judged(lost, lattice, asked[-1], patched, changes, rule, again)
    return Attribution(
        step=recorded.step,
        rule=rule,
        took=losses.took,
        never_took=losses.never_took,
        trained=trained,
        probes=hybrids.probes + PASSES,
        seconds=time.perf_counter() - started,
        edits=edits,
        layer_shares=shares,
        pairs=pairs,
        off_records=off,
        left_out=len(lost) - len(edits),
    )


def _off_records(asked: Sequence[Outcomes], recorded: Recorded) -> float:
    """The largest difference between what both ends of the lattice answer and what was recorded, in nats."""
    numbers = torch.tensor(recorded.losses.numbers)
    differences = []
    for outcomes, then in ((asked[0], recorded.baseline), (asked[-1], recorded.now)):
        rows = then.of_kind(Kind.REWRITE)
        noted = rows[torch.isin(rows.request, numbers)]
        # Requests stand in their order in both.
        known = ~noted.nll.isnan()
        differences.append((outcomes.nll - noted.nll)[known].abs())
    # NaN, where a model answers with what is no number, is larger than anything.
    return float(torch.cat(differences).max())


def _check_records(off: float, states: ModelStates) -> None:
    """Refuse a model that is not the recorded one; 16 bits round differently in other batches."""
    types = {parameter.dtype for parameter in states.language_model.model.parameters()}
    most = 0.5 if types & {torch.float16, torch.bfloat16} else 0.05
    if not off <= most:
        raise ConfigError(
            f"the model's answers are up to {off:.2g} nats per token off the run's records, so it is not the model "
            "that was probed: its files, the Delta, or the checkpoint are of another run or version. Run it again."
        )


def _layer_shares(
    hybrids: Hybrids, by_group: Sequence[frozenset[int]], which: Tensor, pairs: int, seed: int
) -> list[LayerShare]:
    """The margin's change by layer, mean over the lost edits that have an alternative."""

    def value(tuned: frozenset[int]) -> Tensor:
        margin_F = measured(hybrids.ask(tuned))[0][which]
        return margin_F[~margin_F.isnan()].mean()

    watch = partial(progress, label="layers by sampled orders", unit="pairs of orders")
    drawn = sampled_values(value, [sorted(members) for members in by_group], pairs, seed, watch)
    errors = drawn.std(dim=0) / math.sqrt(pairs) if pairs > 1 else torch.full_like(drawn[0], math.nan)
    means = zip(hybrids.pieces, drawn.mean(dim=0).tolist(), errors.tolist(), strict=True)
    return [LayerShare(piece.group, piece.layer, mean, error) for piece, mean, error in means]
