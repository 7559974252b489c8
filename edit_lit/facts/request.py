"""Edit requests: one fact to change, and the questions that measure the change."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edit_lit.utilities.errors import ConfigError

SUBJECT_SLOT = "{}"


@dataclass(frozen=True)
class Question:
    """A prompt with the answer that counts as success.

    Args:
        prompt: The full text before the answer, without a trailing space.
        answer: The continuation that counts as success, without a leading space.
        alternative: The continuation that ``answer`` must beat under the ``prob`` rule.
            Without one, the rule does not apply to this question.
        subject: The entity that the prompt is about, spelled as in the prompt; None if unknown.

    Raises:
        ConfigError: If the subject is blank or does not stand in the prompt. The message names both.

    Examples:
        >>> Question("Pike Place Market is in downtown", answer="Seattle", alternative="Paris").answer
        'Seattle'
    """

    prompt: str
    answer: str
    alternative: str | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if self.subject is not None and (self.subject not in self.prompt or not self.subject.strip()):
            raise ConfigError(
                f"the question {self.prompt!r} does not name its subject {self.subject!r}. "
                "Spell the subject as the prompt does, or leave it out."
            )


@dataclass(frozen=True)
class EditRequest:
    """One fact to write into a model.

    Args:
        subject: The entity that the fact is about.
        prompt: A statement up to its object, with one ``{}`` where the subject stands.
        target_new: The object to write.
        target_true: The object that the unedited model knows.
        paraphrases: Other full prompts that ask for the same fact (generalization).
        neighborhood: Questions about other subjects, whose answers must not change (specificity).
        portability: Questions whose answers follow from the new fact.
        id: A name for messages and records; the position in its source if left empty.
        relation: The relation's name, for reports.

    Raises:
        ConfigError: If the prompt does not hold exactly one ``{}``, or the subject or a target is
            empty. The message names the request.

    Examples:
        >>> request = EditRequest("The Space Needle", "{} is in downtown", target_new="Paris", target_true="Seattle")
        >>> request.question
        'The Space Needle is in downtown'
    """

    subject: str
    prompt: str
    target_new: str
    target_true: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighborhood: tuple[Question, ...] = ()
    portability: tuple[Question, ...] = ()
    id: str = ""
    relation: str | None = None

    def __post_init__(self) -> None:
        slots = self.prompt.count(SUBJECT_SLOT)
        if slots == 0:
            raise ConfigError(
                f"{self.name}: the prompt {self.prompt!r} has no '{{}}', so the subject is absent from it. "
                "Write '{}' where the subject stands."
            )
        if slots > 1:
            raise ConfigError(
                f"{self.name}: the prompt {self.prompt!r} has {slots} '{{}}'. Keep one and spell out the rest."
            )
        for field in ("subject", "target_new"):
            if not getattr(self, field).strip():
                raise ConfigError(f"{self.name}: {field} is empty. Give it at least one word.")
        if self.target_true is not None and not self.target_true.strip():
            raise ConfigError(f"{self.name}: target_true is empty. Give it at least one word, or leave it out.")

    @property
    def name(self) -> str:
        """How messages call this request."""
        return f"edit request {self.id or '?'} (subject {self.subject!r})"

    @property
    def question(self) -> str:
        """The prompt with the subject filled in."""
        return self.prompt.replace(SUBJECT_SLOT, self.subject)


def requests_hash(requests: Sequence[EditRequest]) -> str:
    """A hash of everything that an editor reads from the requests, in their order.

    What only measures is left out, since it changes no weight: the portability questions, and what a neighbour's
    answer must beat.
    """
    read = [
        (
            request.subject,
            request.prompt,
            request.target_new,
            request.target_true,
            request.paraphrases,
            [(question.prompt, question.answer, question.subject) for question in request.neighborhood],
        )
        for request in requests
    ]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def last_mention(prompt: str, subject: str) -> int:
    """Where a prompt names a subject for the last time, which is where the model has read all there is about it.

    Occurrences that are whole words go before others.

    Returns:
        The position of the subject's first character, or -1 if the prompt does not name it.

    Examples:
        >>> last_mention("Rome was not built in a day. The mayor of Rome is", "Rome")
        42
    """
    found = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt)]
    return found[-1] if found else prompt.rfind(subject)


def normalized_name(name: str) -> str:
    """A name without case and surplus space, so that two spellings of it compare equal."""
    return " ".join(name.casefold().split())


def subjects_of(requests: Iterable[EditRequest]) -> frozenset[str]:
    """The subjects that the requests edit."""
    return frozenset(request.subject for request in requests)
