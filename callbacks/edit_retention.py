"""Watching edits through fine-tuning."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from edit_lit import distributed
from edit_lit.data_module import EditDataModule
from edit_lit.errors import ConfigError
from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.curve import BEFORE_EDIT, curve_point
from edit_lit.measures.outcome_files import FOLDER, copy_probes, read_probes, write_probe
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.probe import Probe

_LAYOUT = {
    "edits": {
        "decay over downstream": [
            "Multiline",
            ["retention/edited/exact", "retention/intrinsic/exact", "downstream/val_accuracy"],
        ],
        "edited facts": ["Multiline", [r"edit/(efficacy|generalization|specificity)/exact"]],
        "what became of them": ["Multiline", [r"retention/(stable|reverted|displaced|emergent|impossible)/exact"]],
    },
    "downstream": {"loss": ["Multiline", [r"downstream/(train|val)_loss"]]},
}


class EditRetentionCallback(L.Callback):
    """Probes the edited and the intrinsic facts during training and logs the curves.

    The unedited model is probed once; the baseline is taken right before the first training step; then come
    every N steps and the last one. Raw outcomes go to ``retention.parquet`` in the run's folder, scores to all
    loggers.

    Args:
        every_n_steps: Optimizer steps between probes.
        early: Probe at steps 1, 2, 4, 8, … as well, below ``every_n_steps``: decay is fastest at first.
        batch_tokens: Tokens in a probe's batch, padding included.
    """

    def __init__(self, every_n_steps: int = 50, early: bool = False, batch_tokens: int = 8192) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"retention.every_n_steps is {every_n_steps}; it must be at least 1.")
        self.every_n_steps = every_n_steps
        self.early = early
        self.batch_tokens = batch_tokens
        self.probes: dict[Pool, Probe] = {}
        self.baseline: dict[Pool, Outcomes] = {}
        self.last_step = -1
        self._folder = Path()
        self._resumed_from: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Build the probes and ask the unedited model."""
        assert isinstance(pl_module, FineTuner)
        if stage != "fit" or self.probes:
            return
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / FOLDER
        tokenizer = pl_module.language_model.tokenizer
        for pool, requests in self._pools(trainer).items():
            self.probes[pool] = Probe(requests, tokenizer, pool, self.batch_tokens)
        pl_module.language_model.to(trainer.strategy.root_device)
        if pl_module.delta is None:
            self._record(BEFORE_EDIT, self._ask(pl_module))
        else:
            with pl_module.delta.suspended(pl_module.language_model):
                self._record(BEFORE_EDIT, self._ask(pl_module))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the baseline, or continue the curve of the run that is resumed."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and distributed.rank() == 0:
                logger.experiment.add_custom_scalars(_LAYOUT)
        if self.baseline:
            self._continue(trainer)
            return
        if trainer.global_step > 0:
            warnings.warn(
                "the checkpoint holds no baseline of the edits, so retention is measured against the state at "
                f"step {trainer.global_step}.",
                stacklevel=2,
            )
        self.probe(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Probe if one is due; gradient accumulation calls this several times for each optimizer step."""
        if trainer.global_step != self.last_step and self.is_due(trainer.global_step):
            self.probe(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Probe the last step; later hooks find the model already moved off its device."""
        if trainer.global_step != self.last_step:
            self.probe(trainer, pl_module)

    def is_due(self, step: int) -> bool:
        """Whether a step is probed for its number."""
        power_of_two = step > 0 and step & (step - 1) == 0
        return step % self.every_n_steps == 0 or (self.early and power_of_two and step < self.every_n_steps)

    def probe(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask all pools now, record and log."""
        assert isinstance(pl_module, FineTuner)
        started = time.perf_counter()
        outcomes = self._ask(pl_module)
        seconds = time.perf_counter() - started
        self.last_step = trainer.global_step
        self.baseline = self.baseline or outcomes
        self._record(self.last_step, outcomes)
        _log(trainer, curve_point(self.baseline, outcomes) | {"probe/seconds": seconds}, self.last_step)

    def state_dict(self) -> dict[str, Any]:
        """Baseline and position of the curve, as primitives and tensors."""
        return {
            "baseline": {str(pool): outcomes.tensors() for pool, outcomes in self.baseline.items()},
            "facts": self._facts(),
            "last_step": self.last_step,
            "records": str(self._folder),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the curve where a checkpoint left it.

        Raises:
            ConfigError: If the checkpoint's curve is of other facts than those of this run.
        """
        facts = self._facts()
        if state_dict["facts"] != facts:
            pools = ", ".join(sorted(set(facts) | set(state_dict["facts"])))
            raise ConfigError(
                f"the checkpoint's curve is of other facts than this run's (pools {pools}). "
                "Resume with the data.edits and data.intrinsic of that run."
            )
        self.baseline = {Pool(pool): Outcomes(**tensors) for pool, tensors in state_dict["baseline"].items()}
        self.last_step = state_dict["last_step"]
        self._resumed_from = Path(state_dict["records"])

    def _facts(self) -> dict[str, str]:
        """A hash of each pool's facts."""
        return {str(pool): requests_hash(probe.requests) for pool, probe in self.probes.items()}

    def _pools(self, trainer: L.Trainer) -> dict[Pool, list[EditRequest]]:
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, EditDataModule):
            return {}
        edited = any(getattr(callback, "editor", None) is not None for callback in trainer.callbacks)  # type: ignore[attr-defined] # set by a connector
        pools = {
            Pool.EDITED if edited else Pool.UNEDITED: datamodule.requests,
            Pool.INTRINSIC: datamodule.intrinsic_requests,
        }
        return {pool: requests for pool, requests in pools.items() if requests}

    def _ask(self, fine_tuner: FineTuner) -> dict[Pool, Outcomes]:
        return {pool: probe.run(fine_tuner.language_model) for pool, probe in self.probes.items()}

    def _record(self, step: int, outcomes: dict[Pool, Outcomes]) -> None:
        if distributed.rank() == 0 and outcomes:
            write_probe(self._folder, step, outcomes, {pool: probe.requests for pool, probe in self.probes.items()})

    def _continue(self, trainer: L.Trainer) -> None:
        """Bring the earlier part of the curve into this run's records and loggers."""
        if self._resumed_from is None or self._resumed_from == self._folder or distributed.rank() > 0:
            return
        copy_probes(self._resumed_from, self._folder, self.last_step)
        earlier = read_probes(self._folder)
        steps = sorted({step for of_pool in earlier.values() for step in of_pool if step != BEFORE_EDIT})
        if not steps:
            warnings.warn(
                f"the records of the run that is resumed are not in {self._resumed_from} any more; "
                "the curve starts at the resumed step.",
                stacklevel=2,
            )
        for step in steps:
            now = {pool: of_pool[step] for pool, of_pool in earlier.items() if step in of_pool}
            _log(trainer, curve_point(self.baseline, now), step)


def _log(trainer: L.Trainer, point: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(point, step=step)
