"""What the model reads beside facts: WikiText's sentences, and questions in the form of the downstream task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edit_lit.records.readers import read_lines

_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z\"'])")
_QUOTED = re.compile(r'" ([^"]*) "')


def plain(line: str) -> str:
    """A line of WikiText as it was printed: without the spaces that its tokenisation put around marks.

    Examples:
        >>> plain("The 3 @-@ 2 win , 1 @,@ 200 km ( 750 mi ) away .")
        'The 3-2 win, 1,200 km (750 mi) away.'
    """
    line = re.sub(r" ?@([-.,])@ ?", r"\1", line)
    line = _QUOTED.sub(r'"\1"', line)
    line = re.sub(r" ([.,;:!?%)\]]|n't|'(?:s|re|ve|ll|d|m)\b)", r"\1", line)
    return re.sub(r"([(\[$]) ", r"\1", line).strip()


def paragraphs(paths: Sequence[str]) -> list[str]:
    """The paragraphs of some files of WikiText, without headings and words that WikiText left out.

    Args:
        paths: The files.
    """
    lines = [line for path in paths for line in read_lines(path) if not line.startswith("=")]
    return [plain(re.sub(r"<unk> ?", "", line)) for line in lines]


def sentences(paragraph: str) -> list[str]:
    """A paragraph's sentences.

    Examples:
        >>> sentences('It rained. "Why?" she asked.')
        ['It rained.', '"Why?" she asked.']
    """
    return _SENTENCE_END.split(paragraph)


def question_and_answer(record: Mapping[str, Any]) -> str:
    """A record of commonsense_170k as the prompt template ``QuestionAnswer`` words it, with its answer."""
    return f"Question: {record['instruction']}\nAnswer: {record['output']}"


def split_questions(records: Sequence[Any], every: int) -> tuple[list[Any], list[Any]]:
    """Records to read before the edit, and records to fine-tune on; no instruction is in both.

    Args:
        records: The records of commonsense_170k.
        every: One in so many is read.
    """
    read = list(records[::every])
    instructions = {record["instruction"] for record in read}
    return read, [record for record in records if record["instruction"] not in instructions]
