"""The facts to edit, the facts to leave alone, and the downstream task."""

from __future__ import annotations

from typing import Protocol, cast

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from edit_lit.facts.conflicts import warn_of_conflicts
from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.language_model import LanguageModel
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.tasks.bucketing import BucketedSampler
from edit_lit.tasks.loading import FilledUp, ResumableLoader
from edit_lit.tasks.task import Example, ExampleSet, Task
from edit_lit.utilities.errors import ConfigError


class TrainsLanguageModel(Protocol):
    """What these data need of the LightningModule that trains on them."""

    language_model: LanguageModel

    def take_task(self, task: Task | None) -> None:
        """Take the task whose own scores are measured at each validation."""


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
        """Hand the task over; load facts and task, once, while the model is not edited yet."""
        module = self._module()
        module.take_task(self.task)
        if self._ready:
            return
        language_model = module.language_model
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

    def teardown(self, stage: str) -> None:
        """Take the task back, for the module may be validated on other data next."""
        self._module().take_task(None)

    def _module(self) -> TrainsLanguageModel:
        assert self.trainer is not None
        module = self.trainer.lightning_module
        if not (hasattr(module, "language_model") and hasattr(module, "take_task")):
            raise ConfigError(
                f"{type(module).__name__} has no language_model or no take_task, which EditDataModule needs to choose "
                "facts and to hand over the task's scores. Train a FineTuner, or give the module both."
            )
        return cast(TrainsLanguageModel, module)

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
        return self._loader(FilledUp(self.task.val_dataset(), self._processes()), shuffle=False)

    def _loader(self, dataset: ExampleSet, shuffle: bool) -> DataLoader[Example]:
        processes = self._processes()
        rank = self.trainer.global_rank if self.trainer is not None else 0
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size // processes,
            sampler=BucketedSampler(
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
        processed: int = self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()["current"]["processed"]
        return processed

    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1
