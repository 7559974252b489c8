"""What an attribution found: the cause of each lost edit, with the numbers behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edit_lit.attribution.activation_view import LayerChange
from edit_lit.attribution.groups import Group
from edit_lit.attribution.losses import Losses
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.scores import Rule


@dataclass(frozen=True)
class GroupPart:
    """What one group of parameters has to do with one edit's loss. All numbers are in nats per token.

    Args:
        margin: Its Shapley value of the margin's change; below 0 where it cost the edit something.
        nll: Its Shapley value of the NLL's change; above 0 where it cost something.
        put_back_margin: The margin with this group alone as it was right after the edit.
        put_back_saves: Whether the edit holds then.
        swap_margin: The margin of the edited model with this group alone fine-tuned.
        swap_loses: Whether the edit is lost then.
    """

    margin: float
    nll: float
    put_back_margin: float
    put_back_saves: bool
    swap_margin: float
    swap_loses: bool


@dataclass(frozen=True)
class ActivationPart:
    """The same loss by activations; see :func:`~.activation_view.activation_losses`.

    Args:
        written: What was overwritten, in nats.
        below: What drifted below.
        above: What no old activation up to the last edited layer gives back.
        key_saves: Whether the written matrices' old keys at the lookup token alone save the edit.
        value_saves: Whether their old outputs at that token do.
        hidden_saves: Whether the old hidden state behind the last edited layer at that token does.
        everywhere_saves: Whether the old hidden states of all tokens there do.
        verdict: The cause by these three numbers and the same rule.
        confidence: How far that is from another verdict, between 0 and .5.
    """

    written: float
    below: float
    above: float
    key_saves: bool
    value_saves: bool
    hidden_saves: bool
    everywhere_saves: bool
    verdict: Verdict
    confidence: float


@dataclass(frozen=True)
class LostEdit:
    """One lost edit and its cause.

    Args:
        fact: The fact's name by content.
        id: The request's own name.
        subject: Its subject.
        question: What was asked.
        target_new: What the edit had the model say.
        target_true: What the unedited model said, if that is known.
        became: ``reverted`` to that, or ``displaced`` by something else.
        margin_edited: Margin right after the edit, in nats per token; NaN without ``target_true``.
        margin_tuned: Margin now.
        nll_edited: NLL of ``target_new`` right after the edit, in nats per token.
        nll_tuned: NLL now.
        groups: What each group has to do with it.
        smallest: The groups of the smallest set whose return saves the edit; of several, that with the best value.
        judged_by: The value that the verdict is made by: the margin of a reverted edit, the NLL of a displaced one; the
            other one if that did not get worse.
        verdict: The cause; see :func:`~.verdict.verdict_of`.
        confidence: How far that is from another verdict, between 0 and .5.
        activations: The same by activations.
        layers: What became of the sum that each written matrix adds at the lookup token.
    """

    fact: str
    id: str
    subject: str
    question: str
    target_new: str
    target_true: str | None
    became: Literal["reverted", "displaced"]
    margin_edited: float
    margin_tuned: float
    nll_edited: float
    nll_tuned: float
    groups: Mapping[Group, GroupPart]
    smallest: Sequence[Group]
    judged_by: Literal["margin", "nll"]
    verdict: Verdict
    confidence: float
    activations: ActivationPart
    layers: Sequence[LayerChange]

    def losses(self) -> dict[Group, float]:
        """What each group cost the edit, in nats of the value that the verdict is made by."""
        if self.judged_by == "margin":
            return {group: -part.margin for group, part in self.groups.items()}
        return {group: part.nll for group, part in self.groups.items()}


@dataclass(frozen=True)
class LayerShare:
    """The share of one layer of a group, from sampled orders.

    Args:
        group: The group.
        layer: The number of the block; none outside the blocks.
        margin: Its share of the margin's change, mean over the lost edits, in nats per token.
        error: Standard error over pairs of orders; NaN with one pair. It says nothing of other facts.
    """

    group: Group
    layer: int | None
    margin: float
    error: float


@dataclass(frozen=True)
class Attribution:
    """The causes of a run's lost edits.

    Args:
        step: The optimizer step at which the model was looked at.
        rule: The success rule by which edits are lost.
        took: How many facts the edit made right.
        never_took: How many it did not, which are not explained.
        trained: The groups in which something trained; the others' shares are exactly 0.
        probes: Passes over the lost edits' prompts.
        seconds: How long it took.
        edits: The lost edits.
        layer_shares: Groups refined to layers, if asked for.
        pairs: Pairs of orders behind these.
        off_records: The largest difference of an NLL from the run's records, in nats; NaN if they were not compared.
        left_out: Lost by the records, but not when asked again, by rounding at the edge of the rule.
    """

    step: int
    rule: Rule
    took: int
    never_took: int
    trained: Sequence[Group]
    probes: int
    seconds: float
    edits: Sequence[LostEdit]
    layer_shares: Sequence[LayerShare] = ()
    pairs: int = 0
    off_records: float = math.nan
    left_out: int = 0

    @classmethod
    def of_nothing(cls, step: int, rule: Rule, losses: Losses, trained: Sequence[Group] = ()) -> Attribution:
        """That no edit was lost, for which no model was asked."""
        return cls(step, rule, losses.took, losses.never_took, trained, 0, 0.0, [])

    def agreement(self) -> tuple[int, int]:
        """Of how many lost edits both views name the same cause, and of how many both name one that is not mixed."""
        named = [edit for edit in self.edits if Verdict.MIXED not in (edit.verdict, edit.activations.verdict)]
        return sum(edit.verdict == edit.activations.verdict for edit in named), len(named)
