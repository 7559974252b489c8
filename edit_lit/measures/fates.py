"""What became of each fact at each probe: alive, reverted, displaced or broken.

Legend: T probes, F facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray

from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.scores import Rule, applies, success

Places = NDArray[np.int8]
Truths = NDArray[np.bool_]

_SAME_WORDS = 4
"""Words from which on a text that says but one is degenerate."""


class Fate(StrEnum):
    """What a model answers to a fact that the edit made right.

    ``alive``: the new object, by the rule. ``reverted``: not the new object but the old one, by the same rule.
    ``displaced``: neither. ``broken``: an output that is no number, or a text without sense; see :func:`degenerate`.
    """

    ALIVE = "alive"
    REVERTED = "reverted"
    DISPLACED = "displaced"
    BROKEN = "broken"


FATES = tuple(Fate)
_ALIVE, _REVERTED, _DISPLACED, _BROKEN = range(4)


@dataclass(frozen=True)
class Fates:
    """The facts that the edit made right, and what became of each at each probe.

    Args:
        steps: The probes' steps, the baseline first, [T].
        fate_TF: The place in ``FATES`` of each fact's fate at each probe; all are alive at the first.
        margin_TF: log P(new object) − log P(old object) per token, in nats; NaN where one of them is not known.
        request_F: The place of each fact among the requests of its pool.
        never_taken: The requests that were wrong at the baseline; they have no fate.
        already_right: Those that were right before the edit; they have none either. None if nobody knows which.
        not_judged: Those that the rule cannot judge, as ``prob`` cannot without an old object.
    """

    steps: NDArray[np.int64]
    fate_TF: Places
    margin_TF: NDArray[np.float64]
    request_F: NDArray[np.int64]
    never_taken: tuple[int, ...] = ()
    already_right: tuple[int, ...] | None = None
    not_judged: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.request_F)

    @property
    def alive_TF(self) -> Truths:
        """Whether each fact is alive at each probe."""
        alive: Truths = self.fate_TF == _ALIVE
        return alive

    @property
    def last(self) -> list[Fate]:
        """The fate of each fact at the last probe."""
        return [FATES[place] for place in self.fate_TF[-1]]

    def counts(self) -> dict[Fate, NDArray[np.int64]]:
        """How many facts have each fate at each probe, [T]."""
        return {fate: (self.fate_TF == place).sum(axis=1) for place, fate in enumerate(FATES)}

    def deaths(self) -> NDArray[np.int64]:
        """How many facts were alive at the probe before and are not at this one, [T]; 0 at the first."""
        alive_TF = self.alive_TF
        return np.concatenate([[0], (alive_TF[:-1] & ~alive_TF[1:]).sum(axis=1)])

    def returns(self) -> NDArray[np.int64]:
        """How many facts were not alive at the probe before and are at this one, [T]; 0 at the first."""
        alive_TF = self.alive_TF
        return np.concatenate([[0], (~alive_TF[:-1] & alive_TF[1:]).sum(axis=1)])

    def returns_of_facts(self) -> NDArray[np.int64]:
        """How often each fact came back, [F]."""
        alive_TF = self.alive_TF
        returns_F: NDArray[np.int64] = (~alive_TF[:-1] & alive_TF[1:]).sum(axis=0)
        return returns_F

    def lost_between(self) -> list[tuple[int, int] | None]:
        """For each fact that is lost at the last probe: the last step at which it was alive, and the next probe's."""
        last_F = len(self.steps) - 1 - self.alive_TF[::-1].argmax(axis=0)
        steps = self.steps.tolist()
        return [None if place == len(steps) - 1 else (steps[place], steps[place + 1]) for place in last_F]

    def order_of_death(self) -> NDArray[np.int64]:
        """Facts in the order in which they were lost for good, the living last; ties by the first death, [F]."""
        alive_TF = self.alive_TF
        last_F = alive_TF[::-1].argmax(axis=0)
        first_F = np.where(alive_TF.all(axis=0), len(self.steps), (~alive_TF).argmax(axis=0))
        return np.lexsort([self.request_F, first_F, -last_F])

    def first_losses(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The place of the first probe at which each fact is not alive, and that of its fate in ``FATES``, both [F].

        A fact that is always alive has the last probe's place, and −1.
        """
        lost_TF = ~self.alive_TF
        place_F = np.where(lost_TF.any(axis=0), lost_TF.argmax(axis=0), len(self.steps) - 1)
        kind_F = self.fate_TF[place_F, np.arange(len(self))].astype(np.int64)
        return place_F, np.where(kind_F == _ALIVE, -1, kind_F)

    def up_to(self, step: int) -> Fates:
        """The same without the probes behind a step."""
        kept = self.steps <= step
        return replace(self, steps=self.steps[kept], fate_TF=self.fate_TF[kept], margin_TF=self.margin_TF[kept])


def fates_of(
    curve: Mapping[int, Outcomes],
    rule: Rule,
    before: Outcomes | None = None,
    reverts: bool = True,
    texts: Mapping[int, Sequence[str]] | None = None,
) -> Fates:
    """What became of the facts that the edit made right, on their rewrite prompts.

    A fact counts as it does for retention: it was wrong before the edit, if that is known, and right at the baseline.

    Args:
        curve: Outcomes by step, the baseline first; those that are not numbers may be among them.
        rule: The success rule. Under ``prob`` a fact that is not alive is reverted, for the rule knows no third answer;
            without an old object a fact cannot revert.
        before: Outcomes of the unedited model.
        reverts: Whether the alternative is what the model knew before; if not, who answers it is displaced.
        texts: What the model answers to each request in words, by step. They tell degenerate answers, and are used
            only if every probe has them: otherwise a curve would show a break where somebody began to look.
    """
    rows = [outcomes.of_kind(Kind.REWRITE) for outcomes in curve.values()]
    stages = rows if before is None else [*rows, before.of_kind(Kind.REWRITE)]
    judged_Q = torch.stack([applies(stage, rule) for stage in stages]).all(dim=0)
    right = torch.stack([success(stage, rule) for stage in stages]) == 1
    already_Q = judged_Q & right[-1] if before is not None else torch.zeros_like(judged_Q)
    counted_Q = judged_Q & right[0] & ~already_Q
    fate_TQ = torch.stack([_places(stage, rule, reverts) for stage in rows])
    if texts is not None and set(curve) <= set(texts):
        senseless = [[degenerate(texts[step][fact]) for fact in rows[0].request.tolist()] for step in curve]
        fate_TQ[torch.tensor(senseless) & (fate_TQ != _ALIVE)] = _BROKEN
    margin_TQ = torch.stack([stage.nll[:, 1] - stage.nll[:, 0] for stage in rows])

    def requests(chosen_Q: torch.Tensor) -> tuple[int, ...]:
        return tuple(rows[0].request[chosen_Q].tolist())

    return Fates(
        steps=np.array(list(curve), dtype=np.int64),
        fate_TF=fate_TQ[:, counted_Q].numpy(),
        margin_TF=margin_TQ[:, counted_Q].double().numpy(),
        request_F=rows[0].request[counted_Q].numpy(),
        never_taken=requests(judged_Q & ~right[0] & ~already_Q),
        already_right=requests(already_Q) if before is not None else None,
        not_judged=requests(~judged_Q),
    )


def _places(rows: Outcomes, rule: Rule, reverts: bool) -> torch.Tensor:
    """The place of each question's fate in ``FATES``, [Q]."""
    right = success(rows, rule)
    place = torch.full((len(rows),), _DISPLACED, dtype=torch.int8)
    if reverts:
        place[success(rows, rule, alternative=True) == 1] = _REVERTED
    place[right == 1] = _ALIVE
    place[right.isnan()] = _BROKEN
    return place


def degenerate(text: str) -> bool:
    """Whether an answer says nothing, or the same word four times and nothing else.

    Examples:
        >>> degenerate("the the the the"), degenerate(" Paris ."), degenerate("")
        (True, False, True)
    """
    words = text.split()
    return not words or (len(words) >= _SAME_WORDS and len(set(words)) == 1)
