"""What is demanded of a model: bounds on the scores of groups of facts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from edit_lit.measures.scores import Rule
from edit_lit.utilities.errors import ConfigError

RETENTION = "retention"
_DIGITS = 9
_BOUND = re.compile(r"\s*(>=|<=|>|<)\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


class Group(StrEnum):
    """Which questions a demand is about; see :class:`Demands`."""

    EDITED = "edited"
    GENERALIZATION = "generalization"
    SPECIFICITY = "specificity"
    PORTABILITY = "portability"
    INTRINSIC = "intrinsic"
    ERASED = "erased"


@dataclass(frozen=True)
class Bound:
    """A bound on a share.

    Args:
        sign: ``>=``, ``>``, ``<=`` or ``<``.
        share: The share, between 0 and 1.

    Examples:
        >>> Bound.read(">= 95 %", "demands.edited.exact")
        Bound(sign='>=', share=0.95)
    """

    sign: str
    share: float

    @classmethod
    def read(cls, text: str, option: str) -> Bound:
        """Read a bound as a file has it: a sign and a share, such as ``>= .95`` or ``<= 5 %``.

        Args:
            text: The bound.
            option: What the message calls it.

        Raises:
            ConfigError: If it is none.
        """
        match = _BOUND.fullmatch(text)
        if match is None:
            raise ConfigError(f"{option} is {text!r}; write a sign and a share, such as '>= .95' or '<= 5 %'.")
        share = float(match[2]) / (100 if match[3] else 1)
        if share > 1:
            raise ConfigError(f"{option} is {text!r}, but a share is at most 1. Write it as '>= .95' or '>= 95 %'.")
        return cls(match[1], share)

    @property
    def is_least(self) -> bool:
        """Whether the share must be large, and not small."""
        return self.sign in (">=", ">")

    def holds(self, share: float) -> bool:
        """Whether a share keeps to the bound; means of thirds do not fall short of it by rounding."""
        return _COMPARE[self.sign](round(share, _DIGITS), round(self.share, _DIGITS))

    def __str__(self) -> str:
        return f"{self.sign} {100 * self.share:g} %"


@dataclass(frozen=True)
class Demand:
    """Bounds on the success of one group of questions, each a sign and a share: ``>= .95``, ``<= 5 %``.

    Args:
        prob: On the share for which the answer is likelier per token than the alternative.
        exact: On the share for which every answer token is the argmax.
        first: On the share for which the first answer token is.
        token: On the mean share of answer tokens that are.
        retention: On the share of what the baseline answered right that still is, by ``exact``.
    """

    prob: str | None = None
    exact: str | None = None
    first: str | None = None
    token: str | None = None
    retention: str | None = None

    def bounds(self, group: Group) -> dict[str, Bound]:
        """Its bounds by their measure: a rule, or ``retention``.

        Args:
            group: Whose they are, for messages.

        Raises:
            ConfigError: If one is none, or there is none at all.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        bounds = {
            measure: Bound.read(text, f"demands.{group}.{measure}")
            for measure, text in given.items()
            if text is not None
        }
        if not bounds:
            raise ConfigError(f"demands.{group} demands nothing. Give it a bound, such as exact: '>= .95'.")
        return bounds


@dataclass(frozen=True)
class Demands:
    """What is demanded, by the questions that it is about.

    Args:
        edited: The edited facts' own prompts must be answered with ``target_new``.
        generalization: Their paraphrases must be, too.
        specificity: Their neighborhood prompts must keep their answers.
        portability: What follows from them must be answered.
        intrinsic: The intrinsic facts' prompts must be answered with ``target_true``.
        erased: The prompts of ``erased`` facts should no longer be answered with ``target_new``: give an upper bound.
    """

    edited: Demand | None = None
    generalization: Demand | None = None
    specificity: Demand | None = None
    portability: Demand | None = None
    intrinsic: Demand | None = None
    erased: Demand | None = None

    def bounds(self) -> Iterator[tuple[Group, str, Bound]]:
        """Every bound with its group and measure.

        Raises:
            ConfigError: If nothing is demanded, a bound cannot be read, or nothing is to be erased after all.
        """
        given = [(group, demand) for group in Group if (demand := getattr(self, group)) is not None]
        if not given:
            raise ConfigError(
                "demands is empty, so that any model would pass. Demand something: edited: {exact: '>= .95'}."
            )
        for group, demand in given:
            for measure, bound in demand.bounds(group).items():
                if group is Group.ERASED and bound.is_least:
                    raise ConfigError(
                        f"demands.erased.{measure} is '{bound}', which asks for facts to stay that were to go. Give an "
                        "upper bound, such as '<= .05'."
                    )
                yield group, measure, bound


RULES = {str(rule): rule for rule in Rule}
"""Rules by the measures that are named after them."""
