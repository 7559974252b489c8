"""The training texts of a task as rows whose tokens can be scored."""

from __future__ import annotations

import random
from collections.abc import Sequence

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow
from edit_lit.tasks.task import IGNORED, Example, ExampleSet, Task
from edit_lit.utilities.errors import ConfigError


def task_rows(
    language_model: LanguageModel, task: Task, requests: Sequence[EditRequest], most: int, seed: int
) -> list[ScoredRow]:
    """Some training texts of a task, whose label tokens are scored.

    Args:
        language_model: The model that reads them.
        task: The task; it is set up here.
        requests: The edited facts, for tasks that keep clear of them.
        most: How many texts are needed at most; if there are more, they are drawn.
        seed: Seed of that.

    Raises:
        ConfigError: If it reads its texts as they are needed, or packs several into a row, or none has a label.
    """
    task.setup(language_model.tokenizer, requests)
    task.check(language_model)
    examples = task.train_dataset()
    if not isinstance(examples, ExampleSet):
        raise ConfigError("eraser.task reads its texts as they are needed. Set its stream to false, with a limit.")
    places: Sequence[int] = range(len(examples))
    if most < len(examples):
        places = sorted(random.Random(seed).sample(places, most))
    rows = [row for place in places if (row := _row(examples[place])) is not None]
    if not rows:
        raise ConfigError("eraser.task has no label token in its training texts, so that there is nothing to ask.")
    return rows


def _row(example: Example) -> ScoredRow | None:
    """A row of an example; none if nothing of it is a label."""
    ids, labels = example["input_ids"], example["labels"]
    if list(example.get("position_ids", range(len(ids)))) != list(range(len(ids))):
        raise ConfigError(
            "eraser.task packs several texts into a row, which an eraser cannot keep apart. Let it not pack; of "
            "RunningText set across to true."
        )
    columns = [column for column in range(len(ids) - 1) if labels[column + 1] != IGNORED]
    if not columns:
        return None
    return ScoredRow(ids[: columns[-1] + 1], columns, [labels[column + 1] for column in columns])
