"""Texts that have nothing to do with the edits, from data that a run has anyway."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.tasks.edit_filter import EditFilter
from edit_lit.tasks.task import Example, Task

LONGEST = 128
_SHORTEST = 3


def neutral_texts(
    task: Task, tokenizer: PreTrainedTokenizerBase, edits: Sequence[EditRequest], count: int
) -> list[list[int]]:
    """The first validation texts of a task that name no edited subject, as tokens.

    Nothing is learnt from them, and they are like what is. Each is cut behind its 128th token and loses its last one,
    so that the token at which it is read is one that predicts another. Texts of fewer than three tokens are left out.

    Args:
        task: The task, set up.
        tokenizer: The model's tokenizer.
        edits: The edited facts.
        count: How many texts to take at most.
    """
    names, examples, found = EditFilter(edits, keep_mentions=False), task.val_dataset(), list[list[int]]()
    for index in range(len(examples)):
        ids = _first_text(examples[index])
        if len(found) == count:
            break
        if len(ids) >= _SHORTEST and names.named_in(str(tokenizer.decode(ids))) != "subject":
            found.append(ids[:-1])
    return found


def _first_text(example: Example) -> list[int]:
    """The beginning of an example; of the first text in a row that holds several."""
    places = example.get("position_ids") or list(range(len(example["input_ids"])))
    end = next((number for number in range(1, len(places)) if places[number] == 0), len(places))
    return list(example["input_ids"][: min(end, LONGEST + 1)])
