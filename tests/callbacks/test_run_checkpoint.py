"""A run that is stopped behind any step and resumed logs, validates and learns what one left alone does."""

from __future__ import annotations

import signal

import lightning as L
import pytest
import tiny
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from callbacks import RunCheckpoint
from callbacks.interruption import Interrupted
from callbacks.run_checkpoint import LastCheckpoint
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.tasks.stream import ExampleStream
from edit_lit.utilities.run_files import LAST

STEPS = 9  # the statements make three batches an epoch


class Remembered(Logger):
    """Keeps all that is logged, in order."""

    name, version = "remembered", 0

    def __init__(self, rows: list) -> None:
        super().__init__()
        self.rows = rows

    def log_metrics(self, metrics, step=None) -> None:
        self.rows.append((step, {name: float(value) for name, value in metrics.items()}))

    def log_hyperparams(self, params, *args, **kwargs) -> None: ...


class StopBefore(L.Callback):
    """Sends the signal while a step is trained."""

    def __init__(self, checkpoint: RunCheckpoint, step: int) -> None:
        self.checkpoint, self.step = checkpoint, step

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGINT)


def fit(folder, rows, stop=None, resume=None, extra=(), task=None, **options):
    keep = RunCheckpoint()
    stopper = [StopBefore(keep, stop)] if stop is not None else []
    trainer = tiny.trainer(
        str(folder),
        [keep, *stopper, LearningRateMonitor(), *extra, LastCheckpoint(keep)],
        logger=Remembered(rows),
        **{"max_steps": STEPS, "max_epochs": None, "num_sanity_val_steps": -1, **options},
    )
    schedule = lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)  # noqa: E731
    module = FineTuner(tiny.llama(), lr_scheduler=schedule)
    with keep.interruption.listening([signal.SIGINT]):
        data = EditDataModule(task, batch_size=4) if task is not None else tiny.data()
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    return module.state_dict()


def last(folder):
    return folder / Remembered.name / f"version_{Remembered.version}" / LAST


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


SETTINGS = {
    "validated at the end of each epoch": {"val_check_interval": 1.0, "check_val_every_n_epoch": 1},
    "validated every two steps": {"val_check_interval": 2, "check_val_every_n_epoch": None},
    "accumulated": {"val_check_interval": 2, "check_val_every_n_epoch": None, "accumulate_grad_batches": 2},
    "not validated": {"limit_val_batches": 0},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_run_stopped_behind_any_step_goes_on_as_if_it_were_not(setting, tmp_path):
    whole: list = []
    options = {"log_every_n_steps": 2, **SETTINGS[setting]}
    weights = fit(tmp_path / "whole", whole, **options)
    assert [row for row in whole if "lr-AdamW" in row[1]]
    for stop in (1, 3, 4, 6, 7):
        rows: list = []
        with pytest.raises(Interrupted):
            fit(tmp_path / str(stop), rows, stop=stop, **options)
        assert rows == whole[: len(rows)]
        resumed = fit(tmp_path / str(stop), rows, resume=last(tmp_path / str(stop)), **options)
        assert rows == whole, f"stopped behind step {stop}"
        assert equal(resumed, weights), f"stopped behind step {stop}"


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("end", [4, 6])
def test_a_finished_run_can_be_prolonged(setting, end, tmp_path):
    whole: list = []
    rows: list = []
    options = {"log_every_n_steps": 1, **SETTINGS[setting]}
    weights = fit(tmp_path / "whole", whole, **options)
    fit(tmp_path / "short", rows, **options, max_steps=end)
    prolonged = fit(tmp_path / "short", rows, resume=last(tmp_path / "short"), **options)
    assert rows == whole
    assert equal(prolonged, weights)


class Streamed(tiny.Sides):
    """The same statements, read as they are trained on; five batches a pass but for what does not fill one."""

    def train_dataset(self):
        texts = [str(number) for number in range(len(self._examples))]
        return ExampleStream(lambda: iter(texts), lambda some: (self._examples[int(text)] for text in some), buffer=5)


def test_a_stream_is_gone_on_with_where_it_was(tmp_path):
    whole: list = []
    options = {"log_every_n_steps": 1, "val_check_interval": 2, "check_val_every_n_epoch": None, "task": Streamed()}
    weights = fit(tmp_path / "whole", whole, **options)
    for stop in (2, 4, 6):
        rows: list = []
        with pytest.raises(Interrupted):
            fit(tmp_path / str(stop), rows, stop=stop, **options)
        resumed = fit(tmp_path / str(stop), rows, resume=last(tmp_path / str(stop)), **options)
        assert rows == whole, f"stopped behind step {stop}"
        assert equal(resumed, weights), f"stopped behind step {stop}"


@pytest.mark.filterwarnings("ignore:The dirpath has changed from:UserWarning")
def test_a_users_own_checkpoint_behind_a_step_awaits_the_steps_validation(tmp_path):
    whole: list = []
    rows: list = []
    options = {"val_check_interval": 2, "check_val_every_n_epoch": None, "enable_checkpointing": True}
    own = ModelCheckpoint(tmp_path / "own", "{step}", every_n_train_steps=1, save_top_k=-1)
    weights = fit(tmp_path / "whole", whole, extra=[own], **options)
    for step in (3, 4, 6):
        rows.clear()
        again = ModelCheckpoint(tmp_path / f"own{step}", every_n_train_steps=1, save_top_k=-1)
        checkpoint = tmp_path / "own" / f"step={step}.ckpt"
        resumed = fit(tmp_path / f"from{step}", rows, resume=checkpoint, extra=[again], **options)
        assert equal(resumed, weights)
        validated = [at for at, scores in rows if "downstream/val_loss" in scores]
        assert validated == [at for at, scores in whole if "downstream/val_loss" in scores and at >= step]
        # The training loss of the step itself is logged behind the checkpoint; all that follows is the same.
        assert rows[-4:] == whole[-4:]
