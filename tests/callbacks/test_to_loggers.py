from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import tiny
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from callbacks import EditRetentionCallback, KnowledgeEdit, RunRecorder, RunReport
from callbacks.to_loggers import log_figure, log_table, log_text
from edit_lit.reports.tensorboard import FRAME

pytestmark = tiny.ROUGH_EDITS


class FakeRun:
    """A run of W&B as far as Lightning's logger and ours use it."""

    id, name = "r1", "run"

    def __init__(self):
        self.logged, self.config = {}, SimpleNamespace(update=lambda values, allow_val_change: None)

    def log(self, values):
        self.logged |= values


class Wandb(WandbLogger):
    """Lightning's logger before a W&B that is not installed."""

    def __init__(self):
        self._prefix, self._wandb_init, self._checkpoint_callbacks, self.run = "", {}, {}, FakeRun()
        self._experiment, self._save_dir, self._project, self._log_model = self.run, None, "p", False

    @property
    def experiment(self):
        return self.run

    def finalize(self, status):
        pass


class FakeClient:
    """MLflow's client, with its methods' signatures."""

    def __init__(self):
        self.artifacts, self.metrics = {}, {}

    def log_figure(self, run_id, figure, artifact_file, *, save_kwargs=None):
        assert isinstance(figure, Figure)
        self.artifacts[run_id, artifact_file] = figure

    def log_text(self, run_id, text, artifact_file):
        self.artifacts[run_id, artifact_file] = text


class MLFlow(MLFlowLogger):
    """Lightning's logger before an MLflow that is not installed."""

    def __init__(self):
        self._prefix, self._run_id, self.client, self._experiment_id = "", "r2", FakeClient(), "e"
        self._tracking_uri, self._checkpoint_callback, self._log_model = "file:./mlruns", None, False

    @property
    def experiment(self):
        return self.client

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step=None):
        self.client.metrics |= metrics

    def finalize(self, status):
        pass


@pytest.fixture(autouse=True)
def _wandb(monkeypatch):
    """What of W&B is called here and by Lightning's logger."""

    def image(data, **options):
        assert isinstance(data, Figure)
        return ("image", data)

    def table(columns=None, data=None, dataframe=None):
        assert all(len(row) == len(columns) for row in data)
        return ("table", columns, data)

    def line_series(xs, ys, keys=None, title="", xname="x", split_table=False):
        assert [len(line) for line in xs] == [len(line) for line in ys]
        return ("lines", title, dict(zip(keys, map(dict, map(zip, xs, ys)), strict=True)))

    fake = ModuleType("wandb")
    fake.Image, fake.Table = image, table
    fake.plot = SimpleNamespace(line_series=line_series)
    monkeypatch.setitem(sys.modules, "wandb", fake)


def test_each_logger_gets_what_it_can_show(tmp_path):
    wandb, mlflow, plain = Wandb(), MLFlow(), CSVLogger(str(tmp_path))
    figure = Figure()
    for logger in (wandb, mlflow, plain):
        log_figure(logger, "decay", figure, 4)
        log_text(logger, "config", "    a: b\n", 4)
        log_table(logger, "lost facts", ("what", "n"), [("a|b", "1")], 4, above="- note\n")
    assert wandb.run.logged["decay"] == [("image", figure)]
    assert wandb.run.logged["config"] == ("table", ["text"], [["    a: b\n"]])
    assert wandb.run.logged["lost facts"] == ("table", ["what", "n"], [["a|b", "1"]])
    assert wandb.run.logged["trainer/global_step"] == 4
    assert mlflow.client.artifacts["r2", "report/decay.png"] is figure
    assert mlflow.client.artifacts["r2", "report/config.md"] == "    a: b\n"
    assert mlflow.client.artifacts["r2", "report/lost facts.md"].startswith("- note\n\n\n| what | n |")
    assert not list(tmp_path.rglob("*.png"))


def test_a_run_reaches_all_its_loggers(tmp_path, corpus, capsys):
    board = TensorBoardLogger(str(tmp_path), name="n", version="v", default_hp_metric=False)
    board.log_hyperparams({"model.tuning": "LoRA", "seed_everything": 0})
    wandb, mlflow = Wandb(), MLFlow()
    folder = tmp_path / "n" / "v"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: <b>\n")
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    callbacks = [edit, EditRetentionCallback(every_n_steps=2), RunRecorder(), RunReport("prob")]
    tiny.trainer(str(tmp_path), callbacks, logger=[board, wandb, mlflow]).fit(tiny.tuner(), datamodule=tiny.data())

    names = {"report/decay.png", "report/table.md", "report/config.md"}
    assert names <= {name for _, name in mlflow.client.artifacts}
    assert {"decay", "table", "config"} <= set(wandb.run.logged)
    _, title, lines = wandb.run.logged["charts/retention over downstream accuracy"]
    assert title == "retention over downstream accuracy"
    scalars = EventAccumulator(str(folder)).Reload()
    for tag in ("retention/edited/exact", "retention/intrinsic/exact"):
        if tag in lines:
            assert lines[tag] == {event.step: pytest.approx(event.value) for event in scalars.Scalars(tag)}
    assert lines
    assert wandb.run.logged["config"][2] == [["    name: <b>\n"]]
    assert not any("chart/" in tag or "at_end" in tag for tag in [*wandb.run.logged, *mlflow.client.metrics])

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    tags = events.Tags()
    assert tags["images"] == ["decay"]
    assert {"config/text_summary", "table/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
    (text,) = events.Tensors("config/text_summary")
    assert make_ndarray(text.tensor_proto).item() == b"    name: <b>\n"
    for tag, value in FRAME.items():
        assert [(event.step, event.value) for event in events.Scalars(tag)] == [(step, value) for step in (0, 2, 4, 6)]
    hparams = {tag for tag in events.summary_metadata if tag.startswith("_hparams_")}
    assert hparams == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    shown = capsys.readouterr().out
    assert re.search(r"Did the edits survive\? n/v\n(.*\n)*seed|no global seed", shown)
    assert "after fine-tuning" in shown


def test_a_report_that_cannot_be_written_costs_no_run(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edit_lit.reports.report.write_atomically", full)
    trainer = tiny.trainer(str(tmp_path), [EditRetentionCallback(every_n_steps=3), RunRecorder(), RunReport()])
    with pytest.warns(UserWarning, match=r"report could not be written \(No space left on device\)"):
        trainer.fit(tiny.tuner(), datamodule=tiny.data())
    assert "Did the edits survive?" in capsys.readouterr().out
