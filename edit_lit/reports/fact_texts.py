"""The facts of a run in words, as far as its records have them."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.measures.outcome_files import FOLDER, FactNames, read_names
from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.question_files import FILE, AskedQuestion
from edit_lit.reports.run import Run
from edit_lit.utilities.errors import ConfigError


def fact_names(run: Run, pool: Pool) -> FactNames | None:
    """What the facts of a pool are called; nothing in a run of a version that did not name them by content."""
    try:
        return read_names(run.folder / FOLDER, [pool])[pool]
    except ConfigError:
        return None


def fact_texts(run: Run, pool: Pool) -> Sequence[AskedQuestion]:
    """The question of each fact of a pool, in the order of the requests.

    In a run of an earlier version it is the subject alone, with no text and no answers; in a still earlier one the
    fact's number.

    Raises:
        ConfigError: If the run's questions are not those of its records.
    """
    names = fact_names(run, pool)
    asked = [question for question in run.questions.get(pool, ()) if question.kind is Kind.REWRITE]
    if asked:
        if names is not None and [question.fact for question in asked] != list(names.fact):
            raise ConfigError(
                f"{run.folder / FILE} is of other facts than {run.folder / FOLDER}. Delete it to go on without texts."
            )
        return asked
    if names is None:
        facts = range(len(next(iter(run.curve(pool).values())).request.unique()))
        return [_unknown(number, "", "", f"fact {number}") for number in facts]
    rows = zip(names.fact, names.id, names.subject, strict=True)
    return [_unknown(number, *row) for number, row in enumerate(rows)]


def _unknown(number: int, fact: str, id_: str, subject: str) -> AskedQuestion:
    return AskedQuestion(number, fact, id_, subject, None, Kind.REWRITE, 0, "", "", None, 0, 0, None)


def answers_now(run: Run, pool: Pool, most: int = 60) -> list[str] | None:
    """What the model answers to each fact of a pool at the last probe, in words; nothing if it was not asked.

    A text that goes on, or is longer than ``most`` characters, ends in an ellipsis.
    """
    found = run.answers.get(run.last_step, {}).get(pool)
    if found is None:
        return None
    shown = []
    for answer in found:
        text = " ".join(answer.text.split())
        cut = len(text) > most or (answer.tokens > 0 and not answer.ended)
        shown.append(f"{text[:most]} …".strip() if cut else text)
    return shown
