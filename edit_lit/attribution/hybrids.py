"""Hybrids of the edited and the fine-tuned model, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edit_lit.attribution.groups import Piece
from edit_lit.deltas import ModelStates
from edit_lit.measures.outcomes import Outcomes
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success


class Hybrids:
    """Asks hybrids: some pieces of the model as fine-tuning left them, the others as they were right after the edit.

    Weights are swapped in place, and the model is bit for bit what it was after each question. What has been asked
    once is not asked again.

    Args:
        states: The states of the model.
        pieces: All that trained.
        probe: Asks the facts.

    Attributes:
        probes: How often the probe has run.
    """

    def __init__(self, states: ModelStates, pieces: Sequence[Piece], probe: Probe) -> None:
        self.pieces = pieces
        self.probes = 0
        self._states = states
        self._probe = probe
        self._known: dict[frozenset[int], Outcomes] = {}

    def ask(self, tuned: frozenset[int]) -> Outcomes:
        """What the hybrid answers in which these pieces, by their numbers, are the fine-tuned ones."""
        if tuned not in self._known:
            back = [p for number, piece in enumerate(self.pieces) if number not in tuned for p in piece.parameters]
            with self._states.partly_edited(back):
                self._known[tuned] = self._probe.run(self._states.language_model)
            self.probes += 1
        return self._known[tuned]


def measured(outcomes: Outcomes) -> Tensor:
    """Margin and NLL of each question in nats per token, [2, Q]; a margin is NaN where there is no alternative."""
    answer, alternative = outcomes.nll.unbind(1)
    return torch.stack([alternative - answer, answer])


def holds(outcomes: Outcomes, rule: Rule) -> Tensor:
    """Whether each question is answered, [Q]."""
    return success(outcomes, rule) == 1
