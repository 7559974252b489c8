"""Write what a study of real facts needs beside the model: ``python -m real_facts.prepare --config FILE``."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.records.readers import read_lines, read_records
from real_facts.facts import FactBook, TaughtFact, read_book
from real_facts.text import paragraphs, question_and_answer, split_questions
from real_facts.tokenizer import build_tokenizer

FACTS, TEXT, QUESTIONS = "facts.json", "text.txt", "questions.json"


def prepare(
    output: str,
    pararel: str,
    counterfact: str,
    running_text: list[str],
    questions: str,
    relations: list[str],
    read_every: int = 4,
    vocabulary: int = 8000,
    name_weight: int = 8,
    trial_requests: int = 400,
) -> None:
    """Write tokenizer, facts, texts, requests, fine-tuning data and a corpus for second moments.

    Args:
        output: Folder to write.
        pararel: ParaRel's data folder.
        counterfact: CounterFact's file.
        running_text: Files of WikiText.
        questions: The file of commonsense_170k.
        relations: Wikidata's numbers of the relations to teach.
        read_every: One in so many questions is read before the edit; all others are for fine-tuning.
        vocabulary: Size of the tokenizer.
        name_weight: How often the tokenizer reads each subject with its object; the more, the fewer tokens of a name.
        trial_requests: How many requests are set apart to pick settings on (``trial_requests.json``); the others are
            for reported results (``requests.json``).
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    book, text = read_book(pararel, counterfact, relations), paragraphs(running_text)
    read, tune = split_questions(read_records(questions), read_every)
    trial, reported = split_requests(book, read_records(counterfact), trial_requests)
    spoken = [*text, *map(question_and_answer, read), *map(name_and_object, book.facts * name_weight)]
    build_tokenizer(spoken, vocabulary).save_pretrained(folder / "tokenizer")
    corpus = [*statements(book.facts), *text]
    random.Random(0).shuffle(corpus)
    _write_lines(folder / TEXT, text)
    _write_lines(folder / "corpus.txt", corpus)
    for name, records in (
        (FACTS, [asdict(fact) for fact in book.facts]),
        (QUESTIONS, read),
        ("tune.json", tune),
        ("trial_requests.json", trial),
        ("requests.json", reported),
    ):
        (folder / name).write_text(json.dumps(records), encoding="utf-8")


@dataclass(frozen=True)
class Prepared:
    """What the model is trained on, as :func:`prepare` wrote it.

    Args:
        folder: The folder.
    """

    folder: str

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer."""
        return AutoTokenizer.from_pretrained(str(Path(self.folder) / "tokenizer"))

    def facts(self) -> list[TaughtFact]:
        """The facts."""
        records = read_records(f"{self.folder}/{FACTS}")
        return [
            TaughtFact(**{**record, "taught": tuple(record["taught"]), "held_out": tuple(record["held_out"])})
            for record in records
        ]

    def paragraphs(self) -> list[str]:
        """The running text."""
        return list(read_lines(f"{self.folder}/{TEXT}"))

    def questions(self) -> list[Any]:
        """The questions to read."""
        return read_records(f"{self.folder}/{QUESTIONS}")


def split_requests(book: FactBook, records: Sequence[Any], count: int) -> tuple[list[Any], list[Any]]:
    """The records of the book's requests, as they are: some to pick settings on, and all others.

    Args:
        book: The book.
        records: CounterFact's records.
        count: How many to pick settings on.
    """
    wanted = {request.id for request in book.requests}
    chosen = [record for record in records if str(record["case_id"]) in wanted]
    random.Random(0).shuffle(chosen)
    return chosen[:count], chosen[count:]


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines), encoding="utf-8")


def name_and_object(fact: TaughtFact) -> str:
    """A fact as the tokenizer learns of it."""
    return f"{fact.subject} {fact.object}"


def statements(facts: Sequence[TaughtFact]) -> Iterator[str]:
    """Each fact once, in one of the wordings that it is taught in."""
    rng = random.Random(0)
    for fact in facts:
        yield f"{rng.choice(fact.taught).replace(SUBJECT_SLOT, fact.subject)} {fact.object}."


if __name__ == "__main__":
    auto_cli(prepare, as_positional=False)
