"""Two processes with gloo on this machine, against one."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import torch.multiprocessing as mp
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from threads import set_threads

from callbacks import DriftCallback, EditRetentionCallback, GuardCallback, KnowledgeEdit
from edit_lit.data_module import EditDataModule
from edit_lit.deltas import Delta
from edit_lit.drift import read_drift
from edit_lit.drift.rows import FACT
from edit_lit.drift.rows import FOLDER as DRIFT
from edit_lit.fine_tuner import FineTuner
from edit_lit.guards import AGEM, EWC, HiddenStateAnchor, Hold, Replay
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import target_probability
from edit_lit.rewriters import RestoreValues, Rewrite
from edit_lit.tuning import FullTuning


def fit(rank: int, processes: int, port: int, folder: str, corpus: str) -> None:
    """Edit five facts, train with a guard, probe and validate, as one of some processes."""
    set_threads()
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes
        )
    from lightning.pytorch.plugins.environments import LightningEnvironment

    class Started(LightningEnvironment):
        """Processes that are running already."""

        creates_processes_externally = True

        def world_size(self) -> int:
            return processes

        def global_rank(self) -> int:
            return rank

        def local_rank(self) -> int:
            return rank

    edit = KnowledgeEdit(tiny.memit(corpus, f"{folder}/moments"), cache_dir=f"{folder}/deltas")
    options = {"devices": processes, "strategy": "ddp", "plugins": [Started()]} if processes > 1 else {}
    stopper = EarlyStopping("edit/target_prob", mode="max", stopping_threshold=1.0)
    saver = ModelCheckpoint(f"{folder}/saved", "{step}", monitor="edit/target_prob", mode="min", every_n_train_steps=2)
    watch = EditRetentionCallback(every_n_steps=2)
    callbacks = [
        edit,
        GuardCallback(
            [
                Hold(refresh=2),
                AGEM(batch_size=3),
                Replay(batch_size=3),
                HiddenStateAnchor(batch_size=3),
                EWC(strength=0.1),
                Rewrite(RestoreValues(), every=4),
            ]
        ),
        watch,
        DriftCallback(True, batch_tokens=40),
        stopper,
        saver,
    ]
    trainer = tiny.trainer(folder, callbacks, enable_checkpointing=True, **options)
    # Plain gradient descent, because Adam would hide a loss of another scale.
    module = FineTuner(tiny.llama(), FullTuning(), lambda parameters: torch.optim.SGD(parameters, lr=0.05))
    trainer.fit(module, datamodule=tiny.data(tiny.requests(5)))
    fit_in_parts(folder, rank, options)
    scores = {name: float(value) for name, value in trainer.callback_metrics.items() if "val" in name}
    # What early stopping found behind an epoch and the checkpoint behind a step; the paths are the same in all ranks.
    monitored = {"stopper": stopper.best_score, "saver": saver.best_model_score, "path": saver.best_model_path}
    kept = {"weights": module.state_dict(), "delta": module.delta.hash(), "scores": scores, "monitored": monitored}
    torch.save(kept, f"{folder}/rank{rank}.pt")


class Losses(Callback):
    """What is logged of the training, and where it diverged."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        tags = {name: float(value) for name, value in trainer.logged_metrics.items() if "/train_" in name}
        if batch_idx % 2 == 0 and tags:
            self.logged.append(tags)


def fit_in_parts(folder: str, rank: int, options: dict) -> None:
    """Accumulate two batches a step, of which this process's share may hold no label token, and then diverge."""
    kept = {}
    for name, rate, data in (
        ("parts", 0.05, EditDataModule(tiny.Uneven(), batch_size=2)),
        ("huge", 1e150, tiny.data()),
    ):
        losses = Losses()
        module = FineTuner(tiny.llama(), FullTuning(), lambda parameters: torch.optim.SGD(parameters, lr=rate))  # noqa: B023
        # Something to log to, so that the logged values are there to be read.
        logger = CSVLogger(folder, name, version=rank)
        trainer = tiny.trainer(
            folder,
            [losses],
            accumulate_grad_batches=2,
            gradient_clip_val=1.0,
            logger=logger,
            log_every_n_steps=2,
            **options,
        )
        trainer.fit(module, datamodule=data)
        kept[name] = {"weights": module.state_dict(), "logged": losses.logged, "diverged_at": module.diverged_at}
        kept[name]["steps"] = trainer.global_step
    torch.save(kept, f"{folder}/parts{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(tiny.TEXT * 3))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for processes in (1, 2):
        (folder / str(processes)).mkdir()
        mp.spawn(fit, (processes, port, str(folder / str(processes)), str(corpus)), nprocs=processes)
    return folder


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_two_processes_make_the_same_delta(results):
    one, two = (Delta.load(results / str(processes) / "edits" / "delta.safetensors") for processes in (1, 2))
    for name, update in one.updates.items():
        torch.testing.assert_close(two.updates[name].dense(), update.dense(), rtol=1e-5, atol=1e-7)
    assert load(results / "2" / "rank0.pt")["delta"] == load(results / "2" / "rank1.pt")["delta"]


def test_two_processes_record_the_same_curve(results):
    one, two = (read_probes(results / str(processes) / FOLDER) for processes in (1, 2))
    assert {pool: list(steps) for pool, steps in one.items()} == {pool: list(steps) for pool, steps in two.items()}
    for pool, steps in one.items():
        assert list(steps) == [-1, 0, 2, 4, 6]
        for step, outcomes in steps.items():
            torch.testing.assert_close(two[pool][step].nll, outcomes.nll, rtol=1e-4, atol=1e-5, equal_nan=True)
            assert torch.equal(two[pool][step].exact, outcomes.exact)


def test_two_processes_measure_the_same_drift_and_facts(results):
    one, two = (read_drift(results / str(processes) / DRIFT) for processes in (1, 2))
    assert any(row.part == FACT for row in one)
    # What is measured of a change that is 0 has the direction of rounding.
    sized = [row.part != "direction" for row in one]
    assert [replace(row, value=0.0) for row in one] == [replace(row, value=0.0) for row in two]
    alone, shared = (torch.tensor([row.value for row in rows])[torch.tensor(sized)] for rows in (one, two))
    torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_processes_monitor_the_same_retention(results):
    one, first, second = (load(results / name)["monitored"] for name in ("1/rank0.pt", "2/rank0.pt", "2/rank1.pt"))
    assert first == second
    assert Path(one.pop("path")).name == Path(first.pop("path")).name
    curve = read_probes(results / "1" / FOLDER)[Pool.EDITED]
    probabilities = {step: target_probability(outcomes) for step, outcomes in curve.items() if step > 0}
    assert float(one["saver"]) == pytest.approx(min(probabilities.values()), rel=1e-6)
    # Of the two epochs of three steps, the first ends behind the probe of step 2, the second behind that of step 6.
    assert float(one["stopper"]) == pytest.approx(max(probabilities[2], probabilities[6]), rel=1e-6)
    assert {name: float(value) for name, value in first.items()} == pytest.approx(
        {name: float(value) for name, value in one.items()}, rel=1e-4
    )


def test_two_processes_end_in_the_same_weights_and_scores(results):
    one, first, second = (load(results / name) for name in ("1/rank0.pt", "2/rank0.pt", "2/rank1.pt"))
    for name, tensor in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-5, atol=1e-7)
    assert first["scores"] == pytest.approx(one["scores"], rel=1e-4)
    assert set(one["scores"]) == {f"downstream/val_{name}" for name in ("loss", "perplexity", "accuracy")}


def test_parts_of_a_step_and_its_logged_scores_do_not_hang_on_the_number_of_processes(results):
    one, first, second = (load(results / name)["parts"] for name in ("1/parts0.pt", "2/parts0.pt", "2/parts1.pt"))
    for name, tensor in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-4, atol=1e-6)
    assert len(one["logged"]) == 5
    for alone, left, right in zip(one["logged"], first["logged"], second["logged"], strict=True):
        assert left == right == pytest.approx(alone, rel=1e-4)


def test_processes_agree_where_a_training_diverged_and_stop_together(results):
    ends = [load(results / name)["huge"] for name in ("1/parts0.pt", "2/parts0.pt", "2/parts1.pt")]
    assert [end["diverged_at"] for end in ends] == [2, 2, 2]
    assert [end["steps"] for end in ends] == [2, 2, 2]
