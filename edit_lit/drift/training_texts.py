"""The texts that a task trains on, as tokens: what edited facts are compared with before the training begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.tasks.name_matching import shares_naming
from edit_lit.tasks.task import Example, ExampleSet, Task

MOST = 10_000
"""Examples of a training set that are looked at; more are sampled."""


def training_texts(task: Task, most: int = MOST) -> list[Sequence[int]]:
    """The texts of a task's training set, or of so many of its examples, spread evenly over it.

    Nothing is drawn and no loader is asked, so that the order of the training is as it was. An example that packs
    several texts gives each of them. What is streamed is not read a second time and gives none.

    Args:
        task: The task, set up.
        most: Examples to take at most.
    """
    examples = task.train_dataset()
    if not isinstance(examples, ExampleSet):
        return []
    return [text for number in spread(len(examples), most) for text in _texts(examples[number])]


def shares_naming_facts(
    requests: Sequence[EditRequest], tokenizer: PreTrainedTokenizerBase, texts: Sequence[Sequence[int]]
) -> dict[str, list[float]]:
    """The share of some texts that name each fact's subject and its objects, as whole words.

    Every text is decoded and read once, in the process that asks: about a second for 5,000 texts of 100 tokens.

    Args:
        requests: The facts.
        tokenizer: The model's tokenizer.
        texts: The texts as tokens.

    Returns:
        ``texts_naming_subject``, ``texts_naming_new_object`` and ``texts_naming_old_object``, each between 0 and 1 in
        the order of the facts; NaN without texts, and for an object that is not known.
    """
    names: dict[str, list[str | None]] = {
        "texts_naming_subject": [request.subject for request in requests],
        "texts_naming_new_object": [request.target_new for request in requests],
        "texts_naming_old_object": [request.target_true for request in requests],
    }
    wanted = {name for of_facts in names.values() for name in of_facts if name is not None}
    decoded = (str(tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in texts)
    shares = shares_naming(decoded, wanted)
    return {
        measure: [math.nan if name is None else shares[name] for name in of_facts]
        for measure, of_facts in names.items()
    }


def spread(size: int, most: int) -> list[int]:
    """At most so many places of a list, at equal distances from the first one on.

    Examples:
        >>> spread(7, 3), spread(2, 3)
        ([0, 2, 4], [0, 1])
    """
    count = min(size, most)
    return [number * size // count for number in range(count)]


def _texts(example: Example) -> list[Sequence[int]]:
    """The texts of one row: its positions start at 0 with each."""
    ids = example["input_ids"]
    places = example.get("position_ids") or range(len(ids))
    starts = [0, *(number for number in range(1, len(ids)) if places[number] == 0)]
    return [ids[start:end] for start, end in zip(starts, [*starts[1:], len(ids)], strict=True) if start < end]
