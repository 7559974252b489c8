"""The tests of a run's lost edits, one after the other, on the fine-tuned model and on the control."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from edit_lit.deltas import ModelStates
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule
from edit_lit.recoverability.asking import Asking
from edit_lit.recoverability.lost import LostEdits
from edit_lit.recoverability.put_back import ALPHAS, PutBack
from edit_lit.recoverability.relearning import Relearning
from edit_lit.recoverability.result import Evidence, Finding, LostEdit, Recoverability
from edit_lit.recoverability.sides import Side, tuned_side, unedited_control
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress_bar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Battery:
    """The tests of whether lost edits are gone or hidden.

    Args:
        rule: The success rule.
        most_rank: The k of the tests that look at ranks.
        relearning: How lost edits are relearnt from each other.
        batch_tokens: Tokens in a batch, padding included.

    Raises:
        ConfigError: If ``most_rank`` is below 1.
    """

    rule: Rule = Rule.EXACT
    most_rank: int = 10
    relearning: Relearning = field(default_factory=Relearning)
    batch_tokens: int = 8192

    def __post_init__(self) -> None:
        check_number("top", self.most_rank, least=1)

    def run(
        self,
        states: ModelStates,
        requests: Sequence[EditRequest],
        edits: LostEdits,
        step: int,
        control: Side | None = None,
        tested: Side | None = None,
    ) -> Recoverability:
        """Put every test to the fine-tuned model, or to an erased one, and to the control.

        Weights, modes and flags are bit for bit what they were afterwards; gradients are cleared.

        Args:
            states: The states of the model, which is the fine-tuned one now.
            requests: The edited facts.
            edits: Which of them were lost.
            step: Optimizer steps taken.
            control: A model that never had the edit; the unedited one if not given.
            tested: What was made of the fine-tuned model; that model itself if not given.

        Raises:
            ConfigError: If nothing was edited, or a model's answers are not numbers.
        """
        if states.delta is None:
            raise ConfigError("nothing was edited, so that nothing was lost. Name a run that edits.")
        model, control = tested or tuned_side(states), control or unedited_control(states)
        lost = [requests[place] for place in edits.lost]
        sides = [_Tested(self, states, lost, side) for side in (model, control)] if lost else []
        passes = sum(one.passes for one in sides)
        log.info("recoverability of %d lost edits, against %s: %d passes over them", len(lost), control.name, passes)
        with progress_bar("recoverability", passes, "passes") as bar:
            values = [one.values(bar.update) for one in sides]
        found = [self._lost_edit(place, request, values) for place, request in enumerate(lost)]
        return Recoverability(tuple(found), len(edits.alive), step, self.rule, control.name, self.most_rank, model.name)

    def _lost_edit(self, place: int, request: EditRequest, values: Sequence[dict[Evidence, Tensor]]) -> LostEdit:
        ours, theirs = values
        findings = (
            Finding(test, float(ours[test][place]), float(theirs[test][place]), self.most_rank)
            for test in Evidence
            if test in ours and not (ours[test][place].isnan() or theirs[test][place].isnan())
        )
        return LostEdit(fact_hash(request), request.id, request.question, request.target_new, tuple(findings))


class _Tested:
    """One side's tests.

    Args:
        battery: What is tested, and how.
        states: The states of the model.
        lost: The lost edits.
        side: The model.
    """

    def __init__(self, battery: Battery, states: ModelStates, lost: Sequence[EditRequest], side: Side) -> None:
        self.battery = battery
        self.states = states
        self.lost = lost
        self.side = side
        self.asking = Asking(states.language_model, lost, battery.rule, battery.batch_tokens)
        bare = [replace(request, paraphrases=(), neighborhood=(), portability=()) for request in lost]
        probe = Probe(bare, states.language_model.tokenizer, batch_tokens=battery.batch_tokens)
        self.put_back = PutBack(states, probe, battery.rule, side.changes)

    @property
    def passes(self) -> int:
        """How often models run over the lost edits, backward passes included."""
        relearning = self.battery.relearning
        folds = len(relearning.parts(self.lost))
        return self.asking.passes + len(ALPHAS) * self.put_back.possible + folds * relearning.steps

    def values(self, watch: Callable[[], object]) -> dict[Evidence, Tensor]:
        """The number of each test that is possible, [lost edits]; see :class:`Evidence`."""
        states, battery = self.states, self.battery
        with states.unedited():
            before = self.asking.nll()
        with self.side.enter():
            answers = self.asking.ask(watch)
        if not answers.nll.isfinite().all():
            raise ConfigError(f"{self.side.name} gives answers that are not numbers. Name a run that did not diverge.")
        values = {
            Evidence.TRACE: before - answers.nll,
            Evidence.TOP_K: answers.rank,
            Evidence.WORDING: answers.wordings,
            Evidence.LENS: answers.lens,
        }
        if self.put_back.possible:
            values[Evidence.PUT_BACK] = self.put_back.largest_alpha(self.side, watch)
        if battery.relearning.parts(self.lost):
            with self.side.enter(), torch.enable_grad():
                values[Evidence.RELEARNING] = battery.relearning.first_steps(
                    states.language_model, self.lost, battery.rule, battery.batch_tokens, watch
                )
        return values
