"""Looks for edits in a model without a list of them: in its weights, and in its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edit_lit.detection.flags import PromptsFinding, check_enough, judge
from edit_lit.detection.matrices import check_matrices, check_same_architecture, difference, spectra
from edit_lit.detection.prompts import Behavior, PromptRows, read_behavior
from edit_lit.detection.weights import WeightsFinding, find, find_difference
from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

Load = Callable[[], LanguageModel]
"""Loads a model, so that one after another can be looked at."""


@dataclass(frozen=True)
class Finding:
    """All that was found.

    Args:
        weights: In the matrices themselves.
        difference: In what differs from the release, if one was given.
        prompts: In the answers, if facts were given.
    """

    weights: WeightsFinding
    difference: WeightsFinding | None
    prompts: PromptsFinding | None


class Detection:
    """What is asked of a model that may have been edited, and how sure one must be.

    Args:
        facts: Facts that may have been edited; which of them look so is told from the model's answers.
        reference: Facts that are known not to be edited, by which that is calibrated; those about a subject of
            ``facts`` or ``edited`` are passed over.
        edited: Facts that are known to be edited, to see how many of them are found.
        alarm_rate: The rate of false alarms at which a model or a fact may be called edited.
        seed: Seed by which the reference facts are dealt out into parts.
        batch_tokens: Tokens in a batch, padding included.

    Raises:
        ConfigError: If facts are given without a reference, a reference without facts, or a number is out of its range.
    """

    def __init__(
        self,
        facts: FactSource | None = None,
        reference: FactSource | None = None,
        edited: FactSource | None = None,
        alarm_rate: float = 0.05,
        seed: int = 0,
        batch_tokens: int = 8192,
    ) -> None:
        check_number("alarm_rate", alarm_rate, above=0, below=1)
        check_number("batch_tokens", batch_tokens, least=1)
        self.facts, self.reference, self.edited = facts, reference, edited
        self.alarm_rate = alarm_rate
        self.seed = seed
        self.batch_tokens = batch_tokens
        asked = next((name for name in ("facts", "edited") if getattr(self, name) is not None), None)
        if asked is not None and reference is None:
            raise ConfigError(
                f"{asked} is given, but reference names no facts that are known not to be edited, by which the rate of "
                "false alarms is set. Name some."
            )
        if asked is None and reference is not None:
            raise ConfigError(
                "reference is given, but facts names none that may be edited. Name some, or leave it out."
            )

    def load(self) -> LoadedDetection:
        """Read the facts, for which no model is needed.

        Raises:
            ConfigError: If a source yields no facts, or there are too few unedited ones for the rate of false alarms.
        """
        facts = self.facts.load() if self.facts is not None else []
        edited = self.edited.load() if self.edited is not None else []
        # What an edit does to other facts about its subject is no false alarm of an unedited fact.
        touched = subjects_of([*facts, *edited])
        reference = self.reference.load(exclude_subjects=touched) if self.reference is not None else []
        if reference:
            check_enough(reference, self.seed, self.alarm_rate)
        return LoadedDetection(self, facts, reference, edited)


@dataclass(frozen=True)
class LoadedDetection:
    """A detection with its facts at hand.

    Args:
        options: How it looks.
        facts: Facts that may be edited.
        reference: Facts that are not.
        edited: Facts that are.
    """

    options: Detection
    facts: Sequence[EditRequest]
    reference: Sequence[EditRequest]
    edited: Sequence[EditRequest]

    def run(
        self,
        language_model: LanguageModel,
        release: tuple[str, LanguageModel] | None = None,
        unedited: Mapping[str, Load] | None = None,
    ) -> Finding:
        """Look at a model.

        Args:
            language_model: The model.
            release: Name of the unedited model that it was made from, and that model.
            unedited: Models of the same architecture that nobody edited, by name; with a release, such that were made
                from it. Each is loaded twice, to be checked before anything is computed.

        Raises:
            ConfigError: If a model is of another architecture, or has no single MLP output projection in each block.
        """
        others = unedited or {}
        check_matrices(language_model)
        prompts = [PromptRows.of(language_model, requests) for requests in (self.reference, self.facts, self.edited)]
        if release is not None:
            check_same_architecture(language_model, release[1], "release", release[0])
        for name, load in others.items():
            check_same_architecture(language_model, load(), "unedited", name)
        weights, of_release = self._weights(language_model, None if release is None else release[1], others)
        return Finding(weights, of_release, self._prompts(language_model, prompts))

    def _weights(
        self, language_model: LanguageModel, release: LanguageModel | None, others: Mapping[str, Load]
    ) -> tuple[WeightsFinding, WeightsFinding | None]:
        """Look at the matrices; each model is in memory for as long as it is looked at."""
        ours = spectra(language_model, "matrices")
        changed = None if release is None else difference(language_model, release, "differences from the release")
        theirs, their_changes = {}, {}
        for name, load in others.items():
            other = load()
            theirs[name] = spectra(other, f"matrices of {name}")
            if release is not None:
                their_changes[name] = difference(other, release, f"differences of {name}")
        rate = self.options.alarm_rate
        found = find(ours, theirs, rate)
        return found, None if changed is None else find_difference(changed, their_changes, rate)

    def _prompts(self, language_model: LanguageModel, prompts: Sequence[PromptRows]) -> PromptsFinding | None:
        if not self.reference:
            return None
        groups = {"reference": self.reference, "facts": self.facts, "edited": self.edited}
        answered: dict[str, tuple[Sequence[EditRequest], Behavior]] = {
            name: (requests, read_behavior(language_model, rows, self.options.batch_tokens, f"{name}: prompts"))
            for (name, requests), rows in zip(groups.items(), prompts, strict=True)
            if requests
        }
        return judge(
            answered["reference"],
            answered.get("facts"),
            answered.get("edited"),
            self.options.alarm_rate,
            self.options.seed,
        )
