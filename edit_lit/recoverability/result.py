"""What the tests found of each lost edit, and the rule by which it is told gone from hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edit_lit.measures.scores import Rule

FINE_TUNED = "the fine-tuned model"
"""What is tested unless something else is said to be."""

TRACE = 0.1
"""Nats per token by which a target must be likelier for a trace; less may be rounding."""


class Evidence(StrEnum):
    """What the tests look for, the weakest sign first.

    ``trace``: nats per token by which the target is likelier than before the edit; found from 0.1 on. ``top_k``: the
    target's rank; found up to k. ``wording``: how many other wordings find it; found from 1 on. ``lens``: the best rank
    of its first token in a middle layer; found up to k. ``put_back``: the largest α at which it is right in the model
    θ_e + α (θ − θ_e); found above 0. ``relearning``: after how many steps on other lost edits it is right; found if
    ever.
    """

    TRACE = "trace"
    TOP_K = "top_k"
    WORDING = "wording"
    LENS = "lens"
    PUT_BACK = "put_back"
    RELEARNING = "relearning"


class Verdict(StrEnum):
    """What became of an edit.

    ``alive``: right at the last probe. ``concealed``: lost, but one of the tests from ``top_k`` on says more of it in
    the fine-tuned model than in the control. ``eroded``: only a trace is left that the control has not. ``gone``:
    nothing that the control has not.
    """

    ALIVE = "alive"
    CONCEALED = "concealed"
    ERODED = "eroded"
    GONE = "gone"


@dataclass(frozen=True)
class Finding:
    """What one test found of one lost edit.

    Args:
        evidence: Which test it was.
        value: Its number in the fine-tuned model; see :class:`Evidence`.
        control: Its number in the control.
        most_rank: The k of the tests that look at ranks.
    """

    evidence: Evidence
    value: float
    control: float
    most_rank: int

    @property
    def found(self) -> bool:
        """Whether the fine-tuned model still shows the edit."""
        return self._shows(self.value)

    @property
    def control_found(self) -> bool:
        """Whether the control shows it, which never had it."""
        return self._shows(self.control)

    @property
    def beyond(self) -> bool:
        """Whether the fine-tuned model shows it more than the control."""
        return self.found and self._more(self.value, self.control)

    @property
    def control_beyond(self) -> bool:
        """The same with the two in each other's place: how far chance goes."""
        return self.control_found and self._more(self.control, self.value)

    def _shows(self, value: float) -> bool:
        # What is not a number compares as false.
        if self.evidence is Evidence.TRACE:
            return value >= TRACE
        if self.evidence in (Evidence.TOP_K, Evidence.LENS):
            return value <= self.most_rank
        if self.evidence is Evidence.RELEARNING:
            return value < float("inf")
        return value > 0

    def _more(self, value: float, other: float) -> bool:
        if self.evidence is Evidence.TRACE:
            return value - other >= TRACE
        if self.evidence is Evidence.PUT_BACK:
            return value > other
        if self.evidence is Evidence.RELEARNING:
            return value < other
        return not self._shows(other)


@dataclass(frozen=True)
class LostEdit:
    """A lost edit with its findings.

    Args:
        fact: Its name by content.
        id: The request's own name.
        question: The prompt.
        target: What the edit had it answer.
        findings: One for each test that was possible.
    """

    fact: str
    id: str
    question: str
    target: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Concealed, eroded or gone."""
        return _verdict([finding.evidence for finding in self.findings if finding.beyond])

    @property
    def control_verdict(self) -> Verdict:
        """The verdict with the fine-tuned model and the control in each other's place."""
        return _verdict([finding.evidence for finding in self.findings if finding.control_beyond])

    def finding(self, evidence: Evidence) -> Finding | None:
        """What a test found; nothing if it was not possible."""
        return next((finding for finding in self.findings if finding.evidence is evidence), None)


def _verdict(beyond: Sequence[Evidence]) -> Verdict:
    if any(evidence is not Evidence.TRACE for evidence in beyond):
        return Verdict.CONCEALED
    return Verdict.ERODED if beyond else Verdict.GONE


@dataclass(frozen=True)
class Recoverability:
    """What the tests found in one run.

    Args:
        edits: The lost edits.
        alive: How many edits are still right.
        step: Optimizer steps that had been taken.
        rule: The success rule.
        control: What the control is.
        most_rank: The k of the tests that look at ranks.
        model: What was tested.
    """

    edits: tuple[LostEdit, ...]
    alive: int
    step: int
    rule: Rule
    control: str
    most_rank: int
    model: str = FINE_TUNED

    def counts(self) -> Mapping[Verdict, tuple[int, int]]:
        """How many edits get each verdict, and how many would with model and control in each other's place."""
        ours = Counter(edit.verdict for edit in self.edits)
        theirs = Counter(edit.control_verdict for edit in self.edits)
        counts = {verdict: (ours[verdict], theirs[verdict]) for verdict in Verdict}
        return counts | {Verdict.ALIVE: (self.alive, 0)}

    def findings(self, evidence: Evidence) -> list[Finding]:
        """What a test found of each edit; none if it was not possible."""
        return [finding for edit in self.edits for finding in edit.findings if finding.evidence is evidence]
