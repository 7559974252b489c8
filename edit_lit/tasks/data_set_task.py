"""The base class of tasks whose texts are read from files or from a data set on the hub."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from torch.utils.data import IterableDataset

from edit_lit.records.malformed import OnError, check_on_error
from edit_lit.records.readers import check_path
from edit_lit.tasks.edit_filter import check_options
from edit_lit.tasks.task import Example, ExampleList, ExampleSet, Task
from edit_lit.utilities.checks import check_number


@dataclass(eq=False)
class DataSetTask(Task):
    """A task with a training and a validation part, read from files or from a data set on the hub.

    Without ``val_path`` and ``val_split`` the validation part is held out of the training part. Such a task is a
    dataclass: its fields are its options, and a subclass inherits them with their help.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
        val_path: A file of the same form to measure on.
        exclude: ``edits`` drops training texts that name an edited subject, object or relation.
        only: ``edits`` keeps these alone.
        limit: Most training texts; all of them if not given.
        seed: Seed of the choice of texts.
        name: Configuration of a hub data set.
        split: Its training split.
        val_split: Its validation split.
        on_error: ``raise`` refuses a malformed record, naming its file, index, field and the remedy; ``skip`` leaves it
            out and warns with a count of them.
    """

    path: str
    _: KW_ONLY
    val_path: str | None = None
    exclude: Literal["edits"] | None = None
    only: Literal["edits"] | None = None
    limit: int | None = None
    seed: int = 0
    name: str | None = None
    split: str = "train"
    val_split: str | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        check_number("task limit", self.limit, least=1, null="for all training texts")
        check_on_error(self.on_error)
        check_path(self.path, "task path")
        check_path(self.val_path or self.path, "task val_path")
        check_options(self.exclude, self.only)
        self._train: ExampleSet | IterableDataset[Example] = ExampleList([])
        self._val: ExampleSet = ExampleList([])

    def train_dataset(self) -> ExampleSet | IterableDataset[Example]:
        """The training part."""
        return self._train

    def val_dataset(self) -> ExampleSet:
        """The validation part."""
        return self._val

    @property
    def _val_source(self) -> tuple[str, str] | None:
        """Path and split of the validation part, if it has any of its own."""
        if self.val_path is None and self.val_split is None:
            return None
        return self.val_path or self.path, self.val_split or self.split
