"""Write what a study of real facts needs beside the model: ``python -m real_facts.prepare --config FILE``."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.records.readers import read_records
from real_facts.facts import FactBook, TaughtFact, read_book
from real_facts.text import paragraphs, question_and_answer, split_questions
from real_facts.tokenizer import build_tokenizer


@dataclass(frozen=True)
class Sources:
    """Where the data are.

    Args:
        pararel: ParaRel's data folder.
        counterfact: CounterFact's file.
        running_text: Files of WikiText.
        questions: The file of commonsense_170k.
        relations: Wikidata's numbers of the relations to teach.
        read_every: One in so many questions is read before the edit; all others are for fine-tuning.
    """

    pararel: str = "data/pararel"
    counterfact: str = "data/counterfact.json"
    running_text: Sequence[str] = ("data/wikitext2/valid.txt", "data/wikitext2/wiki.test.raw")
    questions: str = "data/commonsense_170k.json"
    relations: Sequence[str] = ("P27", "P413", "P449")
    read_every: int = 4

    def book(self) -> FactBook:
        """The facts and the requests."""
        return read_book(self.pararel, self.counterfact, self.relations)

    def paragraphs(self) -> list[str]:
        """The running text."""
        return paragraphs(list(self.running_text))

    def split(self) -> tuple[list[Any], list[Any]]:
        """Questions to read, and questions to fine-tune on."""
        return split_questions(read_records(self.questions), self.read_every)


def prepare(sources: Sources, output: str, vocabulary: int = 8000, name_weight: int = 8, trial_requests: int = 400) -> None:
    """Write the tokenizer, the requests, the fine-tuning data and a corpus for second moments.

    Args:
        sources: Where the data are.
        output: Folder to write.
        vocabulary: Size of the tokenizer.
        name_weight: How often the tokenizer reads each subject with its object; the more, the fewer tokens of a name.
        trial_requests: How many requests are set apart to pick settings on (``trial_requests.json``); the others are
            for reported results (``requests.json``).
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    book, text = sources.book(), sources.paragraphs()
    read, tune = sources.split()
    spoken = [*text, *map(question_and_answer, read), *map(name_and_object, book.facts * name_weight)]
    build_tokenizer(spoken, vocabulary).save_pretrained(folder / "tokenizer")
    trial, reported = split_requests(book, read_records(sources.counterfact), trial_requests)
    for name, records in (("trial_requests", trial), ("requests", reported), ("tune", tune)):
        (folder / f"{name}.json").write_text(json.dumps(records), encoding="utf-8")
    corpus = [*statements(book.facts), *text]
    random.Random(0).shuffle(corpus)
    (folder / "corpus.txt").write_text("\n".join(corpus), encoding="utf-8")


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
