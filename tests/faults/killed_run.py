"""Runs of the command line that can be killed, and what they end in."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import matplotlib.backends.backend_agg
import pytest
import tiny
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from threads import set_threads
from tiny_run import write_run
from transformers.models.llama import modeling_llama

# Imported here, they are at hand in every process that is forked.
import edit_lit.cli.lightning_cli
from edit_lit.cli import main
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.utilities.log_files import whole_rows
from edit_lit.utilities.run_files import METRICS

AT_HAND = (edit_lit.cli.lightning_cli, matplotlib.backends.backend_agg, modeling_llama)

TIMES = ("probe/seconds",)
"""What is measured of the clock, and so never twice the same."""


def write_config(folder: Path, batch_size: int = 2, dropout: float = 0.2, **trainer: object) -> Path:
    """A run of twenty steps that edits, trains with dropout, validates, probes and keeps itself every three steps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.txt").write_text("\n".join(tiny.TEXT * 3))
    path = write_run(folder, str(folder / "corpus.txt"))
    content = yaml.safe_load(path.read_text())
    content["name"] = "killed"
    content["model"]["tuning"] = {"class_path": "LoRA", "init_args": {"r": 4, "dropout": dropout}}
    content["data"]["batch_size"] = batch_size
    content["edit"]["editor"]["init_args"]["target_values"]["steps"] = 6
    content["retention"] = {"every_n_steps": 4, "early": True}
    content["checkpoint"] = {"every_n_steps": 3}
    content["trainer"] |= {
        "max_steps": 20,
        "num_sanity_val_steps": -1,
        "val_check_interval": 5,
        "check_val_every_n_epoch": None,
        **trainer,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def run_of(config: Path, version: int = 0) -> Path:
    """The folder of a config's run."""
    return config.parent / "runs" / "killed" / f"version_{version}"


def _work(args: Sequence[str], cache: Path, log: Path) -> None:
    """Run the command line in this process, which has been forked for it."""
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    set_threads()
    os.environ["XDG_CACHE_HOME"] = str(cache)
    sys.argv = ["edit_lit", *args]
    logging.getLogger().handlers.clear()
    main(args)


def start(args: Sequence[str], folder: Path) -> multiprocessing.process.BaseProcess:
    """Start the command line in a process that has all imports done already.

    Args:
        args: The verb and its options.
        folder: Where the process keeps its cache and its output.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_work, args=(list(args), folder / "cache", folder / "output.log"))
    with pytest.MonkeyPatch.context() as patch:
        # What the server is to have at hand it finds by the environment alone.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        process.start()
    return process


def finish(args: Sequence[str], folder: Path) -> float:
    """Run the command line to its end; the seconds that it took."""
    started = time.monotonic()
    process = start(args, folder)
    process.join()
    output = (folder / "output.log").read_text() if (folder / "output.log").exists() else ""
    assert process.exitcode == 0, f"status {process.exitcode}: {output[-3000:]}"
    return time.monotonic() - started


def _killed(args: Sequence[str], folder: Path, seconds: float) -> bool:
    """Start the command line and kill it; false if it was done before."""
    process = start(args, folder)
    process.join(seconds)
    if not process.is_alive():
        return False
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    return True


@dataclass
class Tally:
    """What became of the runs that were killed."""

    kills: int = 0
    ends: int = 0
    equal: int = 0
    from_checkpoint: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = f"{self.kills} kills, {self.from_checkpoint} of them behind a checkpoint"
        return f"{kills}; {self.equal} of {self.ends} ends equal"


def kill_and_resume(folder: Path, seconds: float, chance: Random, expected: dict, tally: Tally) -> None:
    """Kill a run at a random moment, resume it, perhaps kill it again, and compare its end with one left alone."""
    config = write_config(folder)
    run, args = run_of(config), ["fit", "--config", str(config)]
    while _killed(args, folder, chance.uniform(0, seconds)):
        tally.kills += 1
        tally.from_checkpoint += (run / "checkpoints" / "last.ckpt").exists()
        if chance.random() < 0.5:
            shutil.rmtree(folder / "cache", ignore_errors=True)
        if (run / "config.yaml").exists():
            args = ["fit", "--resume", str(run)]
        else:
            shutil.rmtree(run, ignore_errors=True)
        if chance.random() < 0.7:
            finish(args, folder)
            break
    tally.ends += 1
    found = end_of(run)
    wrong = [name for name in expected if found[name] != expected[name]]
    tally.equal += not wrong
    tally.differences += [f"{folder}: {', '.join(wrong)}"] if wrong else []


def end_of(run: Path) -> dict[str, object]:
    """Weights, optimizer, records, scalars and rows of a run, to be compared bit for bit."""
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    header, *rows = whole_rows(run / METRICS)
    timed = [header.index(name) for name in TIMES if name in header]
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return {
        "weights": _bits(stored["state_dict"]),
        "optimizer": _bits(stored["optimizer_states"][0]["state"]),
        "random states": _bits(stored["random_states"]),
        "steps": stored["global_step"],
        "records": {
            pool: {step: _bits(answers.tensors()) for step, answers in of_pool.items()}
            for pool, of_pool in read_probes(run / FOLDER).items()
        },
        "rows": [header] + [[cell for place, cell in enumerate(row) if place not in timed] for row in rows],
        "scalars": {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
            if tag not in TIMES
        },
        "table": (run / "report" / "table.md").read_text(),
        "leftovers": sorted(
            path.name for path in run.rglob("*") if ".tmp" in path.name or path.name.startswith(".last")
        ),
    }


def _bits(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.detach().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _bits(item) for key, item in value.items()}
    return [_bits(item) for item in value] if isinstance(value, (list, tuple)) else value
