from __future__ import annotations

import csv
import io
import logging
import os
import re
import sys
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import CSVLogger

from callbacks import EditRetentionCallback, KnowledgeEdit, Progress, RunReport
from edit_lit.cli.lightning_cli import EditCLI
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.utilities.errors import ConfigError

pytestmark = tiny.ROUGH_EDITS


class Losses(Callback):
    """The mean loss per label token of each step, from a forward pass of its own."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        ids, labels = batch["input_ids"], batch["labels"]
        with torch.no_grad():
            logits = pl_module.language_model.model(ids, attention_mask=batch["attention_mask"]).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])
        self.seen[trainer.global_step + 1] = f"{loss:.4g}"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def on_terminal(monkeypatch, columns=120):
    """Both streams on one terminal."""
    stream = Terminal()
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def known(count=3):
    """Facts that the tiny model knows."""
    language_model = tiny.llama()
    tokenizer = language_model.tokenizer
    made = []
    for request in tiny.requests(count):
        ids = torch.tensor([tokenizer(request.question)["input_ids"]])
        answer = language_model.model(ids).logits[0, -1].argmax()
        made.append(replace(request, target_true=tokenizer.decode(answer).strip()))
    return made


def fit(folder, corpus, progress, *callbacks, edits=True, **options):
    edit = KnowledgeEdit(tiny.memit(corpus, str(folder / "moments")), cache_dir=str(folder / "deltas"))
    watch = [*([edit] if edits else []), EditRetentionCallback(every_n_steps=2)]
    options = {"enable_progress_bar": True, "logger": CSVLogger(str(folder), "run"), **options}
    trainer = tiny.trainer(str(folder), [progress, *watch, *callbacks], **options)
    trainer.fit(tiny.tuner(), datamodule=tiny.data(None if edits else known()))
    return trainer


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "callbacks.progress"]


def kept(folder):
    """Retention in per cent by step, as the logger has it."""
    with open(folder / "run/version_0/metrics.csv") as file:
        rows = [(row["step"], row["retention/edited/exact"]) for row in csv.DictReader(file)]
    return {int(step): f"{100 * float(value):.3g} %" for step, value in rows if value}


def test_a_log_gets_a_line_with_step_loss_retention_and_the_time_left(tmp_path, corpus, caplog, capfd, monkeypatch):
    # A clock by which every step takes long.
    seconds = count(step=1000)
    monkeypatch.setattr("edit_lit.utilities.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    losses = Losses()
    with caplog.at_level(logging.INFO):
        fit(tmp_path, corpus, Progress(), losses)
    shape = re.compile(
        r"step (\d)/6  loss (\S+)  retention (\d\S* %)( at \d)?(  accuracy \S+ %( at 3)?)?  (left|took) [\d:]+"
    )
    found = [shape.fullmatch(line) for line in lines(caplog)]
    assert all(found), lines(caplog)
    assert [int(match[1]) for match in found] == [1, 2, 3, 4, 5, 6]
    assert {int(match[1]): match[2] for match in found} == losses.seen
    expected = kept(tmp_path)
    assert [(match[3], match[4] or "") for match in found] == [
        (expected[0], " at 0"),
        (expected[2], ""),
        (expected[2], " at 2"),
        (expected[4], ""),
        (expected[4], " at 4"),
        (expected[6], ""),
    ]
    assert [bool(match[5]) for match in found] == [False, False, True, True, True, True]
    assert [match[7] for match in found] == ["left"] * 5 + ["took"]
    assert "\r" not in "".join(capfd.readouterr())


def test_lines_keep_to_both_limits(tmp_path, corpus, caplog):
    with caplog.at_level(logging.INFO):
        fit(tmp_path, corpus, Progress(every_n_steps=4, every_n_seconds=0))
    assert [line.split()[1] for line in lines(caplog)] == ["4/6", "6/6"]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        fit(tmp_path, corpus, Progress(every_n_seconds=3600), accumulate_grad_batches=3)
    assert [line.split()[1] for line in lines(caplog)] == ["2/2"]


def test_a_control_says_that_its_facts_are_unedited_and_a_run_without_end_names_none(tmp_path, corpus, caplog):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == 2

    with caplog.at_level(logging.INFO):
        fit(tmp_path, corpus, Progress(every_n_seconds=0), Stop(), edits=False, max_epochs=-1)
    assert [line.split()[1] for line in lines(caplog)] == ["1", "2"]
    assert "retention (unedited)" in lines(caplog)[0]
    assert "left" not in lines(caplog)[0]


def test_an_exception_leaves_the_last_state(tmp_path, corpus, caplog):
    class Break(Callback):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == 3:
                raise ZeroDivisionError

    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError):
        fit(tmp_path, corpus, Progress(every_n_seconds=3600), Break())
    (line,) = lines(caplog)
    assert line.startswith("step 3/6  loss ")


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_terminal_gets_a_bar_that_ends_before_the_table(tmp_path, corpus, monkeypatch, caplog):
    terminal = on_terminal(monkeypatch)
    fit(tmp_path, corpus, Progress(), RunReport(), max_epochs=-1, max_steps=6, val_check_interval=2)
    shown = plain(terminal.getvalue())
    assert "Epoch" not in shown
    assert "-2" not in shown
    assert "step 0/6" in shown
    assert "validation 1/" in shown
    expected = kept(tmp_path)[6]
    bar = re.search(rf"step 6/6 ━+ took 0:\d\d  loss \S+  retention {expected}  accuracy \S+ %( at \d)?\s*\n", shown)
    assert bar is not None
    table = shown.index("Did the edits survive?")
    assert bar.start() < table
    assert not re.search(r"step \d/|validation \d|━ took", shown[table:])
    assert not lines(caplog)


def test_a_narrow_terminal_keeps_one_line(tmp_path, corpus, monkeypatch):
    terminal = on_terminal(monkeypatch, columns=50)
    fit(tmp_path, corpus, Progress(), max_epochs=1)
    shown = [line for line in re.split(r"[\r\n]+", plain(terminal.getvalue())) if "step" in line]
    assert max(map(len, shown)) <= 50
    assert re.search("step 3/3 ━+ took .*…", shown[-1])


def test_a_validation_leaves_nothing_on_the_terminal(tmp_path, monkeypatch):
    terminal = on_terminal(monkeypatch)
    options = {"enable_progress_bar": True, "num_sanity_val_steps": 2}
    tiny.trainer(str(tmp_path), [Progress()], **options).validate(tiny.tuner(), datamodule=tiny.data(), verbose=False)
    assert "validation 1/" in plain(terminal.getvalue())
    clear_line = "\x1b[2K"
    assert not plain(terminal.getvalue().rpartition(clear_line)[2]).strip()


@pytest.mark.parametrize(("option", "value"), [("every_n_steps", 0), ("every_n_seconds", -1.0)])
def test_limits_below_nothing_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"progress.{option} is {value}"):
        Progress(**{option: value})


QUICKSTART = ["--config", os.path.join(os.path.dirname(__file__), "../../configs/quickstart.yaml")]


@pytest.mark.parametrize(
    ("arguments", "bars"),
    [
        ([], [Progress]),
        (["--trainer.enable_progress_bar", "false"], []),
        (["--trainer.callbacks", "RichProgressBar"], [RichProgressBar]),
        (["--trainer.callbacks", "ModelCheckpoint", "--progress.every_n_steps", "7"], [Progress]),
    ],
)
def test_the_command_line_has_one_bar_before_all_that_print(arguments, bars):
    args = [*QUICKSTART, "--trainer.accelerator", "cpu", *arguments]
    cli = EditCLI(
        FineTuner, EditDataModule, args=args, run=False, seed_everything_default=0, auto_configure_optimizers=False
    )
    found = [callback for callback in cli.trainer.callbacks if isinstance(callback, (Progress, RichProgressBar))]
    assert [type(callback) for callback in found] == bars
    if bars == [Progress]:
        assert isinstance(cli.trainer.callbacks[0], Progress)
        assert found[0].every_n_steps == (7 if "--progress.every_n_steps" in arguments else 1)
