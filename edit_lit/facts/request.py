"""Edit requests: one fact to change, and the questions that measure the change."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import flaw_in_name, flaw_in_prompt, shown

SUBJECT_SLOT = "{}"

_PLACEHOLDER = re.compile(r"\{\s*(?:subject|\d+)?\s*\}")
"""What stands in templates for something to be filled in."""


@dataclass(frozen=True)
class Question:
    """A prompt with the answer that counts as success.

    Args:
        prompt: The full text before the answer, without a trailing space. A ``{}`` in it stands for ``subject``.
        answer: The continuation that counts as success, without a leading space.
        alternative: The continuation that ``answer`` must beat under the ``prob`` rule.
            Without one, the rule does not apply to this question.
        subject: The entity that the prompt is about, spelled as in the prompt; None if unknown.

    Raises:
        ConfigError: If the subject is blank or does not stand in the prompt, if a text is blank or damaged, or if a
            ``{}`` has no subject to be filled with. The message names prompt and remedy.

    Examples:
        >>> Question("Pike Place Market is in downtown", answer="Seattle", alternative="Paris").answer
        'Seattle'
    """

    prompt: str
    answer: str
    alternative: str | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if self.subject is not None:
            object.__setattr__(self, "prompt", _filled_in(self.prompt, self.subject))
        for field in ("prompt", "answer", "alternative"):
            text = getattr(self, field)
            flaw = None if text is None else _flaw_when_asked(text)
            if flaw is not None:
                raise ConfigError(
                    f"the question {shown(self.prompt)} cannot be asked: its {field} {flaw}. Write it out, or give "
                    "the question the subject that belongs there."
                )
        if self.subject is not None and (self.subject not in self.prompt or not self.subject.strip()):
            raise ConfigError(
                f"the question {shown(self.prompt)} does not name its subject {shown(self.subject)}. "
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
        paraphrases: Other full prompts that ask for the same fact (generalization). A ``{}`` in one stands for the
            subject.
        neighborhood: Questions about other subjects, whose answers must not change (specificity).
        portability: Questions whose answers follow from the new fact.
        id: A name for messages and records; the position in its source if left empty.
        relation: The relation's name, for reports.

    Raises:
        ConfigError: If the prompt does not hold exactly one ``{}``, or a text is blank, damaged, gigantic, or holds
            characters that cannot be seen. The message names the request.

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
                f"{self.name}: the prompt {shown(self.prompt)} has no '{{}}', so the subject is absent from it. "
                "Write '{}' where the subject stands."
            )
        if slots > 1:
            raise ConfigError(
                f"{self.name}: the prompt {shown(self.prompt)} has {slots} '{{}}'. Keep one and spell out the rest."
            )
        for field in ("subject", "prompt", "target_new", "target_true"):
            self._check_name(field)
        filled = tuple(_filled_in(text, self.subject) for text in self.paraphrases)
        object.__setattr__(self, "paraphrases", filled)
        for text in self.paraphrases:
            flaw = _flaw_when_asked(text)
            if flaw is not None:
                raise ConfigError(f"{self.name}: the paraphrase {shown(text)} {flaw}. Write it out, or drop it.")

    def _check_name(self, field: str) -> None:
        text = getattr(self, field)
        if text is None and field == "target_true":
            return
        if not text.strip():
            remedy = ", or leave it out" if field == "target_true" else ""
            raise ConfigError(f"{self.name}: {field} is empty. Give it at least one word{remedy}.")
        flaw = name_flaw(text.replace(SUBJECT_SLOT, "x", 1) if field == "prompt" else text)
        if flaw is not None:
            raise ConfigError(f"{self.name}: {field} {flaw}: {shown(text)}. Correct it.")

    @property
    def name(self) -> str:
        """How messages call this request."""
        return f"edit request {self.id or '?'} (subject {shown(self.subject)})"

    @property
    def question(self) -> str:
        """The prompt with the subject filled in."""
        return self.prompt.replace(SUBJECT_SLOT, self.subject)


def of_old_object(request: EditRequest, asker: str) -> EditRequest:
    """The same request with the old object as its target, to be compared with the new one.

    Args:
        request: The request.
        asker: What a message calls who compares them.

    Raises:
        ConfigError: If the request names no old object.
    """
    if request.target_true is None:
        raise ConfigError(
            f"{asker} compares each new object with the old one, but {request.name} has no target_true. Add it, or "
            f"leave {asker} out."
        )
    return replace(request, target_new=request.target_true)


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


def fact_hash(request: EditRequest) -> str:
    """A name of the fact by its content, the same in every run that edits it or asks about it: 16 hexadecimal digits.

    Facts with other paraphrases or neighbours, or of another position in their source, are the same fact.
    """
    fact = (request.subject, request.prompt, request.target_new, request.target_true)
    return hashlib.sha256(json.dumps(fact).encode()).hexdigest()[:16]


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


def _filled_in(prompt: str, subject: str) -> str:
    """A full prompt with the subject in the place of any ``{}``."""
    return prompt.replace(SUBJECT_SLOT, subject)


def name_flaw(text: str) -> str | None:
    """What makes a text useless as a subject or an object; nothing if it is fine."""
    return flaw_in_name(text) or _placeholder_in(text)


def _placeholder_in(text: str) -> str | None:
    found = _PLACEHOLDER.search(text) if "{" in text else None
    return f"holds the placeholder {found[0]}" if found else None


def _flaw_when_asked(text: str) -> str | None:
    """What makes a text useless as a prompt or an answer as it stands."""
    return flaw_in_prompt(text) or _placeholder_in(text)


def normalized_name(name: str) -> str:
    """A name without case and surplus space, so that two spellings of it compare equal."""
    return " ".join(name.casefold().split())


def subjects_of(requests: Iterable[EditRequest]) -> frozenset[str]:
    """The subjects that the requests edit."""
    return frozenset(request.subject for request in requests)
