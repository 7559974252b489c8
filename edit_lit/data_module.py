"""The facts to edit, the facts to leave alone, and the downstream task."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loops.progress import _ProcessedTracker
from torch.utils.data import DataLoader, IterableDataset

from edit_lit.errors import ConfigError
from edit_lit.facts.conflicts import warn_of_conflicts
from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model import LanguageModel
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.tasks.bucketing import BucketedSampler
from edit_lit.tasks.task import IGNORED, Example, ExampleSet, Task


class EditDataModule(L.LightningDataModule):
    """Data of one run.

    Args:
        task: What the model is fine-tuned on.
        edits: The facts to edit; in a run without an editor they are asked about all the same, as the
            ``unedited`` pool.
        intrinsic: Facts that nobody edits, as the control for ordinary forgetting. Subjects that are edited
            are left out before the choice is made. An ``IntrinsicPool`` asks the unedited model which facts of its
            source it knows.
        batch_size: Examples in a batch, all processes together; the same run on more GPUs stays the same run.
        num_workers: Loader processes for each process.
        seed: Seed of the order of training examples.
        bucket_by_length: Put training examples of similar length into a batch, so that little of it is padding.
    """

    def __init__(
        self,
        task: Task,
        edits: FactSource | None = None,
        intrinsic: FactSource | IntrinsicPool | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        bucket_by_length: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.edits = edits
        self.intrinsic = intrinsic
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.bucket_by_length = bucket_by_length
        self.requests: list[EditRequest] = []
        self.intrinsic_requests: list[EditRequest] = []
        self._ready = False

    def setup(self, stage: str) -> None:
        """Load facts and task, once, while the model is not edited yet."""
        if self._ready:
            return
        assert self.trainer is not None
        assert isinstance(self.trainer.lightning_module, FineTuner)
        language_model = self.trainer.lightning_module.language_model
        if self.edits is not None:
            self.requests = self.edits.load()
            warn_of_conflicts(self.requests)
        self.intrinsic_requests = self._intrinsic(language_model)
        processes = self._processes()
        if self.batch_size % processes:
            raise ConfigError(
                f"data.batch_size is {self.batch_size}, which {processes} processes cannot share equally. "
                f"Use a multiple of {processes}."
            )
        self.task.setup(language_model.tokenizer, self.requests)
        self.task.check(language_model)
        self._ready = True

    def _intrinsic(self, language_model: LanguageModel) -> list[EditRequest]:
        if self.intrinsic is None:
            return []
        if isinstance(self.intrinsic, IntrinsicPool):
            assert self.trainer is not None
            return self.intrinsic.choose(language_model.to(self.trainer.strategy.root_device), self.requests)
        return self.intrinsic.load(exclude_subjects=subjects_of(self.requests))

    def train_dataloader(self) -> DataLoader[Example]:
        """Training batches in an order that depends on the seed and the epoch only."""
        dataset = self.task.train_dataset()
        if not isinstance(dataset, ExampleSet):
            return self._stream(dataset)
        if len(dataset) < self.batch_size:
            raise ConfigError(
                f"data.batch_size is {self.batch_size}, but the task has {len(dataset)} training examples. Lower it."
            )
        return self._loader(dataset, shuffle=True)

    def val_dataloader(self) -> DataLoader[Example]:
        """Validation batches; every example counts once, whatever the number of processes."""
        return self._loader(_FilledUp(self.task.val_dataset(), self._processes()), shuffle=False)

    def _loader(self, dataset: ExampleSet, shuffle: bool) -> DataLoader[Example]:
        processes = self._processes()
        rank = self.trainer.global_rank if self.trainer is not None else 0
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size // processes,
            sampler=_Order(
                dataset,
                processes,
                rank,
                shuffle=shuffle,
                seed=self.seed,
                bucket=self.batch_size if shuffle and self.bucket_by_length else None,
            ),
            collate_fn=self.task.collate,
            num_workers=self.num_workers,
            drop_last=shuffle,
            # Of its own, so that starting a pass draws nothing from the generator behind dropout.
            generator=torch.Generator(),
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            batches_done=self._batches_done,
        )

    def _stream(self, dataset: IterableDataset[Example]) -> DataLoader[Example]:
        """Batches of examples that are read as they are needed; the data set shares them among processes itself."""
        assert self.trainer is not None
        if self.trainer.max_steps < 0:
            raise ConfigError("the task streams its examples, so their number is unknown. Give trainer.max_steps.")
        return DataLoader(
            dataset,
            batch_size=self.batch_size // self._processes(),
            collate_fn=self.task.collate,
            num_workers=self.num_workers,
            drop_last=True,
            generator=torch.Generator(),
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def _batches_done(self) -> int:
        """Batches of the current epoch that have been trained on."""
        if self.trainer is None:
            return 0
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        assert isinstance(progress, _ProcessedTracker)
        return progress.processed

    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1


class _Order(BucketedSampler):
    """One process's share of an epoch's order; the first pass may start in the middle."""

    skip = 0

    def __iter__(self) -> Iterator[Example]:
        rest = itertools.islice(super().__iter__(), self.skip, None)
        self.skip = 0
        return rest


class ResumableLoader(DataLoader[Example]):
    """A loader that Lightning can put back to where a checkpoint was written, in the middle of an epoch.

    Args:
        dataset: The examples.
        sampler: Their order.
        batches_done: Tells how many batches of the epoch have been trained on; the loader's own count would run
            ahead, since batches are fetched before they are used.
        options: Everything else that a DataLoader takes.
    """

    def __init__(
        self, dataset: ExampleSet, *, sampler: _Order, batches_done: Callable[[], int], **options: Any
    ) -> None:
        super().__init__(dataset, sampler=sampler, **options)
        self.batches_done = batches_done

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch; a finished epoch is the start of the next."""
        return {"batches": self.batches_done() % max(1, len(self))}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next pass behind the batches that are done."""
        assert isinstance(self.sampler, _Order)
        assert self.batch_size is not None
        self.sampler.skip = state_dict["batches"] * self.batch_size


class _FilledUp(ExampleSet):
    """A data set filled up to a multiple of the processes with examples that no measure counts."""

    def __init__(self, dataset: ExampleSet, multiple: int) -> None:
        self.dataset = dataset
        self.real = len(dataset)
        self.length = -(-self.real // multiple) * multiple

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if index < self.real:
            return self.dataset[index]
        ids = self.dataset[0]["input_ids"]
        return Example(input_ids=ids, labels=[IGNORED] * len(ids), answer_mask=[False] * len(ids))
