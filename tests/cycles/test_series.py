from __future__ import annotations

import csv

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from peft import PromptTuningConfig

from callbacks import EditRetentionCallback, KnowledgeEdit, RunRecorder
from edit_lit.cli.csv_log import MetricsTable
from edit_lit.cycles import Series
from edit_lit.language_model.fingerprint import model_fingerprint
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.reports import series as read_back
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.reports.series_table import report_series, series_notes, series_table
from edit_lit.tuning import FullTuning, LoRA, PeftTuning
from edit_lit.utilities.errors import ConfigError

pytestmark = tiny.ROUGH_EDITS

TUNINGS = {
    "full": lambda: FullTuning("through_edited"),
    "lora": lambda: LoRA(r=2, dropout=0.3, layers="edited"),
    "prompt": lambda: PeftTuning(PromptTuningConfig(num_virtual_tokens=2)),
}


@pytest.fixture(autouse=True)
def _seeded(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    """Makes Trainers, with an edit for each of them unless told otherwise."""
    place = tmp_path_factory.mktemp("shared")
    (place / "corpus.txt").write_text("\n".join(tiny.TEXT))

    def make(folder, more=(), edit=True, **options):
        editor = tiny.memit(str(place / "corpus.txt"), str(place))
        callbacks = [
            KnowledgeEdit(editor, reuse=False, apply=edit),
            EditRetentionCallback(every_n_steps=2),
            RunRecorder(),
        ]
        callbacks += [one() for one in more]
        return tiny.trainer(str(folder), callbacks, **{"max_steps": 3, "logger": MetricsTable(folder), **options})

    return make


def series(folder, trainers, tuning="full", module=None, facts=3, size=1, same_seed=False, **options):
    module = module or tiny.tuner(tuning=TUNINGS[tuning]())
    return Series(
        module,
        tiny.data(tiny.requests(facts)),
        folder,
        lambda place: trainers(place, **options),
        size,
        same_seed,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory, trainers):
    """The folder of a series of three cycles that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "5")
        series(folder, trainers).run()
    return folder


def answers(folder):
    return read_probes(folder / FOLDER)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for pool, curve in first.items():
        assert curve.keys() == second[pool].keys()
        for step, outcomes in curve.items():
            assert outcomes.equals(second[pool][step]), (pool, step)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_behind_a_cycle_the_model_is_bit_for_bit_what_it_was(tmp_path, trainers, tuning):
    made = series(tmp_path, trainers, tuning)
    model = made.module.language_model.model
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    made.run([1])
    assert made.module.language_model.model is model
    assert {name for name, _ in model.named_parameters()} == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(module.training for module in model.modules())


def test_a_cycle_alone_is_that_of_the_whole_series(tmp_path, trainers, whole):
    series(tmp_path, trainers).run([2])
    assert not (tmp_path / "cycle_000").exists()
    assert_same(answers(tmp_path / "cycle_002"), answers(whole / "cycle_002"))


def test_what_is_chosen_by_the_run_s_seed_is_the_same_in_every_cycle(tmp_path, trainers):
    made = series(tmp_path, trainers)
    made.data.intrinsic.seed, made.data.intrinsic.limit = "run", 2
    expected = made.data.intrinsic.load()
    made.run([2])
    assert made.data.intrinsic_requests == expected
    seeds = RunRecord.read(tmp_path / "cycle_002").last.seeds
    assert (seeds["seed_everything"], seeds["data.seed"], seeds["data.intrinsic.seed"]) == (7, 7, 5)


@pytest.mark.parametrize(("tuning", "same_seed"), [("full", True), ("lora", False)])
def test_a_cycle_is_a_plain_fit_of_one_fact(tmp_path, trainers, tuning, same_seed, monkeypatch):
    series(tmp_path / "whole", trainers, tuning, facts=2, same_seed=same_seed).run()
    for number, request in enumerate(tiny.requests(2)):
        seed = 5 if same_seed else 5 + number
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        module = tiny.tuner(tuning=TUNINGS[tuning]())
        torch.manual_seed(seed)
        trainers(tmp_path / f"plain_{number}").fit(module, datamodule=tiny.data([request]))
        assert_same(answers(tmp_path / "whole" / f"cycle_{number:03d}"), answers(tmp_path / f"plain_{number}"))


def test_the_weights_are_back_behind_every_cycle(tmp_path, trainers):
    found = []

    class Look(Callback):
        def setup(self, trainer, pl_module, stage):
            found.append(model_fingerprint(pl_module.language_model.model))

    series(tmp_path, trainers, more=[Look], facts=2).run()
    # Callbacks behind the edit find the model unedited, until it is applied.
    assert found == [model_fingerprint(tiny.llama().model)] * 2


def test_what_else_changes_the_weights_is_found_out(tmp_path, trainers):
    class Careless(Callback):
        def on_train_end(self, trainer, pl_module):
            with torch.no_grad():
                pl_module.language_model.model.lm_head.weight += 1

    with pytest.raises(ConfigError, match=r"behind cycle 0 \(Oslo: north → south\) the model is not what it was"):
        series(tmp_path, trainers, more=[Careless]).run()


class Stop(Callback):
    """Is interrupted in the second cycle."""

    runs = 0

    def on_train_start(self, trainer, pl_module):
        Stop.runs += 1
        if Stop.runs == 2:
            raise KeyboardInterrupt


def test_finished_cycles_are_not_run_again_and_one_that_was_cut_off_is(tmp_path, trainers, whole):
    Stop.runs = 0
    # Lightning turns Ctrl-C into the end of the program.
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        series(tmp_path / "cut", trainers, more=[Stop]).run()
    states = [RunRecord.read(tmp_path / "cut" / f"cycle_{number:03d}") for number in range(3)]
    assert [record and record.last.state for record in states] == [State.FINISHED, State.INTERRUPTED, None]
    assert RunRecord.read(tmp_path / "cut").last.state is State.INTERRUPTED
    assert series_notes(read_back.Series.read(tmp_path / "cut"))[0].startswith(
        "in no mean: not run to their end: cycle 1"
    )
    first = (tmp_path / "cut" / "cycle_000" / "run.json").read_text()
    series(tmp_path / "cut", trainers, more=[Stop]).run()
    assert Stop.runs == 4
    assert (tmp_path / "cut" / "cycle_000" / "run.json").read_text() == first
    assert RunRecord.read(tmp_path / "cut").last.state is State.FINISHED
    for number in range(3):
        folder = f"cycle_{number:03d}"
        assert_same(answers(tmp_path / "cut" / folder), answers(whole / folder))


class Overflow(Callback):
    """The second fact's training leaves the numbers."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.datamodule.requests[0].id == "1" and trainer.global_step == 2:
            with torch.no_grad():
                next(weight for weight in pl_module.parameters() if weight.requires_grad).fill_(torch.nan)


def test_a_diverged_cycle_is_named_in_no_mean_and_spoils_none_behind_it(tmp_path, trainers, whole):
    series(tmp_path, trainers, more=[Overflow]).run()
    assert_same(answers(tmp_path / "cycle_002"), answers(whole / "cycle_002"))
    found = read_back.Series.read(tmp_path)
    assert [result.counts for result in found.results] == [True, False, True]
    assert series_notes(found)[0] == "in no mean: diverged: cycle 1 (New Delhi: south → east)"
    assert dict(row[:2] for row in series_table([found]))["cycles in the means"] == "2 of 3"


def test_a_loss_ends_each_cycle_by_itself(tmp_path, trainers):
    def stop():
        return EarlyStopping("downstream/val_loss", stopping_threshold=100.0, patience=1000)

    options = {"val_check_interval": 1, "check_val_every_n_epoch": None, "num_sanity_val_steps": -1}
    series(tmp_path, trainers, more=[stop], facts=2, **options).run()
    found = read_back.Series.read(tmp_path)
    assert [(result.steps, result.came_to_its_score) for result in found.results] == [(1, True)] * 2
    assert "2 of 2 cycles were at the score to stop at before their first step" in " ".join(series_notes(found))


def test_a_control_has_cycles_too(tmp_path, trainers):
    series(tmp_path, trainers, edit=False, facts=1).run()
    found = read_back.Series.read(tmp_path)
    assert found.is_control
    rows, notes = report_series([found], tmp_path)
    assert "a control: nothing was edited" in notes
    assert not any(row[0].startswith("efficacy") for row in rows)


def test_facts_share_cycles_in_groups(tmp_path, trainers):
    series(tmp_path, trainers, facts=4, size=2).run([1])
    found = read_back.Series.read(tmp_path)
    assert [list(result.cycle.ids) for result in found.results] == [["0", "1"], ["2", "3"]]
    edited = answers(tmp_path / "cycle_001")[Pool.EDITED][0]
    assert edited.request.unique().tolist() == [0, 1]
    report_series([found], tmp_path)
    with (tmp_path / "report" / "cycles.csv").open() as file:
        assert [row["ids"] for row in csv.DictReader(file)] == ["0; 1", "2; 3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facts": 3, "size": 2}, "facts_per_cycle is 2, but the 3 facts.*data.edits.limit to 2"),
        ({"size": 0}, "facts_per_cycle is 0"),
        ({"module": tiny.tuner(export=True)}, "model.export is true"),
    ],
)
def test_what_makes_no_series_is_refused(tmp_path, trainers, options, message):
    with pytest.raises(ConfigError, match=message):
        series(tmp_path, trainers, **options)


def test_another_series_is_not_gone_on_with(tmp_path, trainers, whole, monkeypatch):
    for options in ({"facts": 2}, {"same_seed": True}):
        with pytest.raises(ConfigError, match="has other facts, other seeds"):
            series(whole, trainers, **options)
    with pytest.raises(ConfigError, match="numbers holds 3, but there are 3 cycles"):
        series(whole, trainers).run([3])
    monkeypatch.delenv("PL_GLOBAL_SEED")
    with pytest.raises(ConfigError, match="cycles need a seed"):
        series(tmp_path, trainers)


def test_several_processes_are_refused_before_any_starts(tmp_path, trainers):
    with pytest.raises(ConfigError, match="trainer.devices is 2.*cycles run in one. Set it to 1"):
        series(tmp_path, trainers, devices=2, strategy="ddp").run()


def test_a_module_that_kept_no_way_back_is_not_reset(tmp_path, trainers):
    module = tiny.tuner()
    trainers(tmp_path).fit(module, datamodule=tiny.data())
    with pytest.raises(ConfigError, match="kept no way back. Set resettable"):
        module.reset()
