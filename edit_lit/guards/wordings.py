"""The wordings of facts that are kept, or taken back: prompts, paraphrases, and prompts inside contexts."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.activations.token_rows import SubjectRow, prompt_rows
from edit_lit.editors.base.schedule import Schedule
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError


def with_paraphrases(requests: Sequence[EditRequest], count: int, option: str) -> list[EditRequest]:
    """Facts, each followed by its first paraphrases as requests of their own.

    Args:
        requests: The facts.
        count: How many paraphrases of each.
        option: What a message calls that number.

    Raises:
        ConfigError: If a fact has fewer, or a paraphrase does not name its subject.
    """
    for request in requests:
        if len(request.paraphrases) < count:
            raise ConfigError(f"{option} is {count}, but {request.name} has {len(request.paraphrases)}. Lower it.")
    return [said for batch in Schedule(paraphrases=count).batches(requests) for said in batch]


def check_contexts(contexts: Sequence[str], option: str) -> None:
    """Refuse a context in which there is no place, or more than one, for the prompt.

    Raises:
        ConfigError: Naming the option and the context.
    """
    for context in contexts:
        if context.count(SUBJECT_SLOT) != 1:
            raise ConfigError(f"{option} holds {context!r}. Write one '{{}}' where the prompt stands.")


def rows_one_by_one(
    language_model: LanguageModel, requests: Sequence[EditRequest], contexts: Sequence[str]
) -> list[list[SubjectRow]]:
    """Each prompt, bare and in each context, as a row of its own, so that each has a key of its own."""
    rows = prompt_rows(language_model.tokenizer, requests, [SUBJECT_SLOT, *contexts])
    return [[row] for of_request in rows for row in of_request]
