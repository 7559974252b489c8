"""The search for the target values of many facts, in chunks that are shared over processes.

Shape legend: F facts, M moved modules, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.activations.hook_points import BlockOutput, HookPoint
from edit_lit.activations.shared_prefix import SharedPrefixCache
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.editors.targets.chunk import TargetChunk
from edit_lit.editors.targets.options import TargetValues
from edit_lit.editors.targets.state import OptimizationState
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.token_batch import length_batches
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress_bar


@dataclass(frozen=True)
class OptimizedValues:
    """The target values of all facts, and how their optimisation went.

    Args:
        values: Target hidden states z, [facts, D].
        steps: Forward passes that each fact took, [facts].
        losses: Loss of each fact at its last pass, [facts].
        nll: Mean negative log-likelihood per target token at that pass, in nats, [facts].
        unfinished: Facts that met no condition to stop, [facts].
    """

    values: Tensor
    steps: Tensor
    losses: Tensor
    nll: Tensor
    unfinished: Tensor


def find_target_values(
    options: TargetValues,
    language_model: LanguageModel,
    layer: int,
    scored: Sequence[Sequence[SubjectRow]],
    kl_anchors: Sequence[SubjectRow],
    hook_point: HookPoint = BlockOutput(),
    old: Sequence[Sequence[SubjectRow]] = (),
) -> OptimizedValues:
    """Target values of all facts, shared over processes by whole chunks.

    Args:
        options: How to search.
        language_model: A frozen model.
        layer: The layer whose output is moved.
        scored: Each fact's rows whose answers are to become likely, the bare prompt first; as many for every fact.
        kl_anchors: Each fact's KL anchor prompt.
        hook_point: The part of the layer whose output is moved.
        old: Each fact's prompts, as ``scored`` begins, with the old object behind them; for a margin over it.

    Returns:
        Values in the facts' order.

    Raises:
        ConfigError: If a margin is asked for and there is no old object to lead.
    """
    facts = len(scored)
    if options.margin is not None and not (old and all(old)):
        raise ConfigError(
            f"target_values.margin is {options.margin:g}, but this editor gives the search no prompts with the old "
            "object. Leave it out."
        )
    reference = next(language_model.model.parameters())
    values = torch.zeros(facts, language_model.hidden_size, dtype=working_type(reference), device=reference.device)
    # By column: forward passes, last loss, last NLL, and whether the fact finished.
    notes = torch.zeros(facts, 4, dtype=torch.float64, device=reference.device)
    before = old or [()] * facts
    every_row = (row for fact in range(facts) for row in (*scored[fact], *before[fact], kl_anchors[fact]))
    prefixes = SharedPrefixCache(language_model, every_row, last_layer=len(language_model.blocks) - 1)
    with progress_bar("target values", facts, "facts") as bar:
        for numbers in distributed.shard(_chunks(scored, options.chunk)):
            rows = [[*scored[fact], *before[fact], kl_anchors[fact]] for fact in numbers]
            chunk = TargetChunk(options, language_model, layer, rows, hook_point, prefixes, len(before[0]))
            found = _optimized(options, chunk)
            values[numbers] = chunk.origin_FMD[:, 0] + found.delta_FMD[:, 0]
            notes[numbers] = torch.stack([found.steps_F, found.losses_F, found.nll_F, found.finished_F], 1).double()
            bar.update(len(numbers) * distributed.world_size())
    distributed.sum_over_processes(values)
    steps, losses, nll, finished = distributed.sum_over_processes(notes).unbind(1)
    return OptimizedValues(values, steps.long(), losses, nll, finished == 0)


def _chunks(scored: Sequence[Sequence[SubjectRow]], size: int) -> list[list[int]]:
    """Facts in chunks of similar length, counted from the subject's last token on, which is what every pass runs."""
    whole = [max(len(row.ids) for row in rows) for rows in scored]
    order = sorted(range(len(scored)), key=whole.__getitem__)
    lengths = [max(len(row.ids) - row.subject_last for row in scored[fact]) for fact in order]
    chunks = length_batches(lengths, max_tokens=max(lengths) * size, max_rows=size)
    return [[order[place] for place in chunk] for chunk in chunks]


def _optimized(options: TargetValues, chunk: TargetChunk) -> OptimizationState:
    """Optimise a chunk: once, or twice with anchored dimensions (EAC)."""
    start_FMD, anchor = torch.zeros_like(chunk.origin_FMD), options.anchor
    if anchor is None:
        return chunk.optimize(start_FMD, options.steps)
    first = chunk.optimize(start_FMD, anchor.first_steps)
    scores_FMD = (first.mean_gradient_FMD * first.delta_FMD).abs()
    count = max(1, round(anchor.share * scores_FMD.shape[-1]))
    free_FMD = torch.zeros_like(scores_FMD).scatter(-1, scores_FMD.topk(count, dim=-1).indices, 1.0)
    if anchor.warm_start:
        start_FMD = first.delta_FMD * free_FMD
    return chunk.optimize(start_FMD, options.steps, free_FMD, anchor.l1 / (scores_FMD + 1e-6))
