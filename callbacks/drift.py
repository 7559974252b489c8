"""Watching what drifts while edits decay, with Lightning."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.charts import Charts, DrawsCharts
from callbacks.edit_retention import EditRetentionCallback
from edit_lit.data_module import EditDataModule
from edit_lit.drift import Drift
from edit_lit.drift.curves import drift_point
from edit_lit.drift.files import DriftFiles
from edit_lit.drift.neutral import neutral_texts
from edit_lit.drift.rows import DriftRow
from edit_lit.drift.training_texts import training_texts
from edit_lit.fine_tuner import FineTuner, as_fine_tuner
from edit_lit.measures.retention import ProbeSteps
from edit_lit.run_folder import run_folder
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class DriftCallback(DrawsCharts, L.Callback):
    """Measures how far hidden states, keys and weights move from what they were right after the edit.

    It measures at the steps at which ``EditRetentionCallback`` probes, and like a probe it leaves no trace in the
    training. Curves go to all loggers under ``drift/``, every number to ``drift.parquet`` in the run's folder. Neutral
    prompts are the task's validation texts that name no edited subject. At its first probe it also says of each edited
    fact how large its key and the edit's write are, how near the training texts come to its key, and how many of them
    name it: what may foretell which edits are lost.

    Args:
        enabled: Measure drift. It costs two forward passes over the prompts at each probe, and a copy of the weights
            that train, on the CPU; and once a pass over training texts.
        prompts: The most prompts of each pool (edited, intrinsic, neutral) that are read, from the first on. As many
            training texts are read for their keys.
        batch_tokens: Tokens in a batch, padding included.
    """

    def __init__(self, enabled: bool = False, prompts: int = 100, batch_tokens: int = 8192) -> None:
        check_number("drift.prompts", prompts, least=1)
        check_number("drift.batch_tokens", batch_tokens, least=1)
        self.enabled = enabled
        self.prompts = prompts
        self.batch_tokens = batch_tokens
        self.drift: Drift | None = None
        self._files: DriftFiles | None = None
        self._fit: tuple[L.Trainer, FineTuner, object, Path] | None = None
        self._checkpoint: str | Path | None = None
        self._last_step = self._carried_step = -1

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have the module keep the way back to the edited model, before a checkpoint's weights are loaded.

        Raises:
            ConfigError: If there is no ``EditRetentionCallback``, or the model has been trained before, so that what it
                was right after the edit is not known.
        """
        if stage != "fit" or not self.enabled:
            return
        fine_tuner = as_fine_tuner(pl_module)
        _probe_steps(trainer)
        if fine_tuner.trained and fine_tuner.states is None:
            raise ConfigError(
                "drift.enabled is true, but the model has been trained already and did not keep what it was right "
                "after the edit. Enable drift in its first fit."
            )
        fine_tuner.keeps_states = True
        fit = (trainer, fine_tuner, getattr(trainer, "datamodule", None), run_folder(trainer))
        if fit != self._fit:
            self._fit, self.drift, self._files = fit, None, DriftFiles(fit[-1])
            self._last_step = self._carried_step = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure at the baseline, or bring the curves of the run that is resumed to this run's loggers."""
        if self._files is None:
            return
        self._get_ready(trainer, pl_module)
        for step, rows in self._files.brought_over():
            for logger in trainer.loggers:
                logger.log_metrics(drift_point(rows), step=step)
        self._measure_if_due(trainer)

    def charts(self, trainer: L.Trainer, pl_module: L.LightningModule) -> tuple[str, Charts]:
        """Charts of hidden states, keys, writes and weights; none if drift is not measured."""
        return "drift", self._get_ready(trainer, pl_module).charts if self._files is not None else {}

    def _get_ready(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Drift:
        if self.drift is None:
            self.drift = self._made(as_fine_tuner(pl_module), getattr(trainer, "datamodule", None))
        return self.drift

    def _made(self, fine_tuner: FineTuner, data: object) -> Drift:
        assert fine_tuner.states is not None
        options: dict[str, Any] = {"prompts": self.prompts, "batch_tokens": self.batch_tokens}
        if not isinstance(data, EditDataModule):
            return Drift(fine_tuner.states, **options)
        edited, tokenizer = data.requests, fine_tuner.language_model.tokenizer
        neutral = neutral_texts(data.task, tokenizer, edited, self.prompts)
        return Drift(fine_tuner.states, edited=edited, intrinsic=data.intrinsic_requests, neutral=neutral, **options)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure if a probe is due; gradient accumulation calls this several times for each optimizer step."""
        self._measure_if_due(trainer, last=0 < trainer.estimated_stepping_batches <= trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure at the last step of a fit that was stopped."""
        self._measure_if_due(trainer, last=True)

    def _measure_if_due(self, trainer: L.Trainer, last: bool = False) -> None:
        step = trainer.global_step
        if self.drift is None or self._files is None or step == self._last_step:
            return
        regular = step in _probe_steps(trainer)
        if not (regular or last or self._last_step < 0):
            return
        started = time.perf_counter()
        rows = self.drift.measure(step)
        if self._last_step < 0:
            rows += self._facts(getattr(trainer, "datamodule", None), self.drift, step)
        point = drift_point(rows) | {"drift/seconds": time.perf_counter() - started}
        self._files.write(step, rows)
        self._last_step = step
        # What was measured only because the run ended here is no part of the curve of a run that goes on.
        self._carried_step = step if regular else self._carried_step
        for logger in trainer.loggers:
            logger.log_metrics(point, step=step)

    @staticmethod
    def _facts(data: object, drift: Drift, step: int) -> list[DriftRow]:
        """What the edited facts are like, at the first probe of a run; one that goes on has it already."""
        return drift.facts(step, training_texts(data.task)) if isinstance(data, EditDataModule) else []

    def state_dict(self) -> dict[str, Any]:
        """The last step that was due, for the rows of a run that goes on."""
        return {"last_step": self._carried_step} if self.enabled else {}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note where the checkpoint is, for the rows of the run are beside it; Lightning calls this first."""
        self._checkpoint = trainer.ckpt_path

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the rows of the run that is resumed, where the checkpoint left it."""
        if self._files is not None and self._checkpoint is not None and state_dict.get("last_step", -1) >= 0:
            self._last_step = self._carried_step = state_dict["last_step"]
            self._files.go_on(Path(self._checkpoint), self._last_step)


def _probe_steps(trainer: L.Trainer) -> ProbeSteps:
    """The steps at which retention is probed."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by a connector
    found = next((callback for callback in callbacks if isinstance(callback, EditRetentionCallback)), None)
    if found is None:
        raise ConfigError(
            "drift.enabled is true, but the trainer has no EditRetentionCallback, at whose steps drift is measured. "
            "List one."
        )
    return ProbeSteps(found.every_n_steps, found.early)
