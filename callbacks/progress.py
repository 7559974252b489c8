"""How far a run is, for whoever watches the terminal or the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.edit_retention import EditRetentionCallback
from callbacks.terminal_bar import TerminalBar
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.escaping import visible
from edit_lit.utilities.progress import LogLines, Pace, counted, shows_bars, time_text

log = logging.getLogger(__name__)

_LOSS, _ACCURACY = "downstream/train_loss", "downstream/val_accuracy"
_RETENTION = {"retention/edited/exact": "retention", "retention/unedited/exact": "retention (unedited)"}
_STEP, _VALIDATION = "step", "validation"


class Progress(ProgressBar):
    """Shows step, loss, retention and the time left: in a bar on a terminal, and in lines where there is none.

    In a log a line is written every 5 seconds at first, and the rarer the longer the run: a twentieth of the time so
    far lies between two lines, but never more than five minutes, and never less than is asked for here. List it before
    the callbacks that print when training ends.

    Args:
        every_n_steps: Least steps between two lines of a log.
        every_n_seconds: Least seconds between two lines of a log.

    Raises:
        ConfigError: If one of them is below 1 step or 0 seconds.
    """

    def __init__(self, every_n_steps: int = 1, every_n_seconds: float = 5.0) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ConfigError(f"progress.every_n_steps is {every_n_steps}; it must be at least 1.")
        if not every_n_seconds >= 0:
            raise ConfigError(f"progress.every_n_seconds is {every_n_seconds}; it must not be below 0.")
        self.every_n_steps = every_n_steps
        self.every_n_seconds = every_n_seconds
        self._enabled = True
        self._bar: TerminalBar | None = None
        self._pace: Pace | None = None
        self._total: int | None = None
        self._lines: LogLines | None = None
        self._validated_at: int | None = None

    def disable(self) -> None:
        """Show nothing; Lightning asks for it in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with an empty bar."""
        self._pace = None
        self._total = _steps_in_all(trainer)
        if self._enabled and shows_bars():
            self._bar = TerminalBar(keep=True)
            self._bar.move(_STEP, trainer.global_step, self._total)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show the steps before this one, for the other callbacks have measured them by now."""
        step = trainer.global_step
        if self._pace is None:
            on_terminal = self._bar is not None
            in_log = Pace(step, self.every_n_seconds, self.every_n_steps)
            self._pace = Pace(step, seconds=0.2, share=0) if on_terminal else in_log
        elif self._enabled and self._pace.due(step):
            left = self._pace.left(step, self._total)
            self._show(trainer, f"left {time_text(left)}" if left is not None else "")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; what stands beside it costs more, and waits."""
        if self._bar is not None:
            self._bar.move(_STEP, trainer.global_step, self._total)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a bar of its own, unless that of the steps is there."""
        if self._enabled and self._bar is None and shows_bars():
            self._bar = TerminalBar(keep=False)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin to count the batches."""
        if self.has_dataloader_changed(dataloader_idx) and self._enabled and self._bar is None:
            self._lines = LogLines(_VALIDATION, self._validation_batches(), "batches")

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batches."""
        if self._bar is not None:
            self._bar.move(_VALIDATION, batch_idx + 1, self._validation_batches())
        elif self._lines is not None:
            self._lines.update()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the validation's bar away."""
        self.reset_dataloader_idx_tracker()
        self._validated_at = trainer.global_step
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        if self._bar is not None:
            self._bar.remove(_VALIDATION)
            if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
                self._stop()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the last step, before others print what came out."""
        self._finish(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Show how far the run came."""
        # Metrics may be reduced over processes when they are read, for which the others do not wait any more.
        self._finish(trainer, scores=trainer.world_size == 1)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def _validation_batches(self) -> int | None:
        total = self.total_val_batches_current_dataloader
        return int(total) if math.isfinite(total) else None

    def _show(self, trainer: L.Trainer, when: str, with_scores: bool = True) -> None:
        step, scores = trainer.global_step, [*_scores(trainer, self._validated_at)] if with_scores else []
        if self._bar is not None:
            # Where it is too narrow, the end is missing.
            self._bar.move(_STEP, step, self._total, "  ".join(filter(None, [when, *scores])))
        else:
            log.info("  ".join(filter(None, [counted(_STEP, step, self._total), *scores, when])))

    def _finish(self, trainer: L.Trainer, scores: bool = True) -> None:
        if self._enabled and self._pace is not None:
            self._show(trainer, f"took {time_text(self._pace.elapsed)}", scores)
        self._pace = None
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _steps_in_all(trainer: L.Trainer) -> int | None:
    """The step at which training ends, if that is known beforehand."""
    try:
        steps = trainer.estimated_stepping_batches
    except MisconfigurationException:  # the number of batches in a step changes between epochs
        return None
    return int(steps) if 0 < steps < math.inf else None


def _scores(trainer: L.Trainer, validated_at: int | None) -> Iterator[str]:
    """Loss, retention, accuracy, and what else a module wants to be shown, each with its name."""
    shown = dict(trainer.progress_bar_metrics)
    if _LOSS in shown:
        yield f"loss {shown[_LOSS]:.4g}"
    yield from _retention(trainer)
    if _ACCURACY in shown:
        yield f"accuracy {_percent(shown[_ACCURACY])}{_at(validated_at, trainer)}"
    for name in sorted(shown.keys() - {_LOSS, _ACCURACY, "retention"}):
        yield f"{visible(name.rsplit('/')[-1])} {shown[name]:.4g}"


def _retention(trainer: L.Trainer) -> Iterator[str]:
    """What the last probe found."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined] # set by a connector
        retention = callback.retention if isinstance(callback, EditRetentionCallback) else None
        for tag in _RETENTION.keys() & (retention.latest if retention is not None else {}):
            assert retention is not None
            yield f"{_RETENTION[tag]} {_percent(retention.latest[tag])}{_at(retention.last_step, trainer)}"


def _at(step: int | None, trainer: L.Trainer) -> str:
    """The step at which something was measured, if that is not this one."""
    return "" if step in (None, trainer.global_step) else f" at {step}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
