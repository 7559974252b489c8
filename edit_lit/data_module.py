"""The facts to edit, the facts to leave alone, and the downstream task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, IterableDataset

from edit_lit.facts.conflicts import warn_of_conflicts
from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.language_model import LanguageModel
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.tasks.bucketing import BucketedSampler
from edit_lit.tasks.loading import FilledUp, ResumableLoader, ResumableStream
from edit_lit.tasks.stream import ExampleStream
from edit_lit.tasks.task import IGNORED, Example, ExampleSet, Task
from edit_lit.training_checks import check_batches
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.seeds import seed_or_global


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
        seed: Seed of the order of training examples; that of ``seed_everything`` if not given.
        bucket_by_length: Put training examples of similar length into a batch, so that little of it is padding.
    """

    def __init__(
        self,
        task: Task,
        edits: FactSource | None = None,
        intrinsic: FactSource | IntrinsicPool | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int | None = None,
        bucket_by_length: bool = False,
    ) -> None:
        super().__init__()
        check_number("data.batch_size", batch_size, least=1)
        check_number("data.num_workers", num_workers, least=0)
        self.task = task
        self.edits = edits
        self.intrinsic = intrinsic
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.bucket_by_length = bucket_by_length
        self._all_requests: list[EditRequest] | None = None
        self._chosen: Sequence[int] | None = None
        self.intrinsic_requests: list[EditRequest] = []
        self._fact_seeds: dict[str, int | None] = {}
        self._ready = False

    @property
    def requests(self) -> list[EditRequest]:
        """The facts to edit, of those that :meth:`choose` has left; none before they are loaded."""
        everything = self._all_requests or []
        return everything if self._chosen is None else [everything[position] for position in self._chosen]

    def load_edits(self) -> list[EditRequest]:
        """All facts of ``edits``, which are read once; none without a source."""
        if self._all_requests is None:
            self._all_requests = self.edits.load() if self.edits is not None else []
        return self._all_requests

    def choose(self, positions: Sequence[int] | None) -> None:
        """Let some of the facts be those to edit, until the next call.

        Task and intrinsic facts keep clear of all of them, so that they are the same whatever is chosen.

        Args:
            positions: Their positions among :meth:`load_edits`; all of them if none.
        """
        self._chosen = positions

    def setup(self, stage: str) -> None:
        """Hand the task over; load facts and task, once, while the model is not edited yet."""
        module = self._module()
        module.take_task(self.task)
        if self._ready:
            self._check_examples(stage)
            return
        self._check_batch_size()
        language_model = module.language_model
        requests = self.load_edits()
        if requests:
            warn_of_conflicts(requests)
            # Whatever cannot be asked is refused here, and not once the model has been edited.
            Probe(requests, language_model.tokenizer).check(language_model)
        self.task.setup(language_model.tokenizer, requests)
        self.task.check(language_model)
        self._check_examples(stage)
        # Behind all checks, for it asks the model.
        self.intrinsic_requests = self._intrinsic(language_model)
        # Those that were in force when the facts were chosen, whatever is seeded later on.
        self._fact_seeds = self._seeds_of_facts()
        self._ready = True

    def teardown(self, stage: str) -> None:
        """Take the task back, for the module may be validated on other data next."""
        self._module().take_task(None)

    def seeds(self) -> dict[str, int]:
        """The seeds in force, by option; a part without one keeps its own order."""
        seeds = {"data": seed_or_global(self.seed), "data.task": getattr(self.task, "seed", None)}
        seeds |= self._fact_seeds or self._seeds_of_facts()
        return {f"{option}.seed": seed for option, seed in seeds.items() if isinstance(seed, int)}

    def _seeds_of_facts(self) -> dict[str, int | None]:
        source = self.intrinsic.source if isinstance(self.intrinsic, IntrinsicPool) else self.intrinsic
        intrinsic = "data.intrinsic.source" if source is not self.intrinsic else "data.intrinsic"
        chosen = {"data.edits": self.edits, intrinsic: source}
        return {option: facts.seed_in_force for option, facts in chosen.items() if facts is not None}

    def _check_batch_size(self) -> None:
        processes = self._processes()
        if self.batch_size % processes:
            raise ConfigError(
                f"data.batch_size is {self.batch_size}, which {processes} processes cannot share equally. "
                f"Use a multiple of {processes}."
            )

    def _check_examples(self, stage: str) -> None:
        """Refuse what training or validation would stumble over, behind an edit that may have taken long."""
        _check_labels("validation", self.task.val_dataset())
        if stage != TrainerFn.FITTING:
            return
        assert self.trainer is not None
        train = self.task.train_dataset()
        if not isinstance(train, ExampleSet):
            check_batches(self.trainer, None)
            return
        if len(train) < self.batch_size:
            raise ConfigError(
                f"data.batch_size is {self.batch_size}, but the task has {len(train)} training examples. Lower it."
            )
        check_batches(self.trainer, len(train) // self.batch_size)
        _check_labels("training", train)

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
            return self.intrinsic.choose(language_model.to(self.trainer.strategy.root_device), self.load_edits())
        facts = self.intrinsic.load(exclude_subjects=subjects_of(self.load_edits()))
        Probe(facts, language_model.tokenizer, Pool.INTRINSIC).check(language_model)
        return facts

    def train_dataloader(self) -> DataLoader[Example]:
        """Training batches in an order that depends on the seed and the epoch only."""
        dataset = self.task.train_dataset()
        if not isinstance(dataset, ExampleSet):
            return self._stream(dataset)
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
                seed=seed_or_global(self.seed),
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
        if isinstance(dataset, ExampleStream):
            dataset.seed = seed_or_global(self.seed)
        return ResumableStream(
            dataset,
            batch_size=self.batch_size // self._processes(),
            collate_fn=self.task.collate,
            num_workers=self.num_workers,
            drop_last=True,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            batches_done=self._batches_done,
        )

    def _batches_done(self) -> int:
        """Batches of the current epoch that have been trained on."""
        if self.trainer is None:
            return 0
        processed: int = self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()["current"]["processed"]
        return processed

    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1


def _check_labels(part: str, examples: ExampleSet) -> None:
    """Refuse texts of which no token is a label, so that their loss would be the mean of nothing."""
    if len(examples) and not any(
        label != IGNORED for index in range(len(examples)) for label in examples[index]["labels"][1:]
    ):
        raise ConfigError(
            f"data.task has no label token in any of its {len(examples)} {part} examples, so that there is nothing to "
            "learn from or to measure. Look at its templates and lengths."
        )
