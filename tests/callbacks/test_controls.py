from __future__ import annotations

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import EarlyStopping

from callbacks import EditRetentionCallback, KnowledgeEdit, RunRecorder
from edit_lit.measures.outcomes import Pool
from edit_lit.reports.notes import run_notes
from edit_lit.reports.report import report_comparison
from edit_lit.reports.run import Run
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError

pytestmark = tiny.ROUGH_EDITS

CHOICES = {"edited": {1, 2}, "unedited": {0, 3}, "through_edited": {0, 1, 2}, "before_edited": {0}, "after_edited": {3}}


class NeverEdits(tiny.MEMIT):
    """Knows where it would edit, and must not."""

    def prepare(self, language_model, requests):
        raise AssertionError("a control computes no edit")


def control(tmp_path, corpus):
    editor = tiny.memit(corpus, str(tmp_path / "moments"))
    editor.__class__ = NeverEdits
    return KnowledgeEdit(editor, apply=False)


def fit(folder, callbacks, tuning=FullTuning("edited"), **options):
    module, before = tiny.tuner(tuning=tuning), tiny.llama().model.state_dict()
    watch = [*callbacks, EditRetentionCallback(every_n_steps=2), RunRecorder()]
    tiny.trainer(str(folder), watch, **{"max_steps": 2, **options}).fit(module, datamodule=tiny.data())
    moved = {name for name, weight in module.language_model.model.state_dict().items() if name in before}
    return module, {
        name for name in moved if not torch.equal(before[name], module.language_model.model.get_parameter(name))
    }


@pytest.mark.parametrize("choice", CHOICES)
def test_a_control_trains_the_layers_that_the_editor_would_change_and_edits_nothing(tmp_path, corpus, choice):
    module, moved = fit(tmp_path, [control(tmp_path, corpus)], FullTuning(choice))
    assert {int(name.split(".")[2]) for name in moved} == CHOICES[choice]
    assert module.delta is None
    assert not (tmp_path / "edits").exists()
    assert set(Run.read(tmp_path).probes) == {Pool.UNEDITED, Pool.INTRINSIC}


def test_a_control_with_an_adapter_wears_it_there(tmp_path, corpus):
    module, _ = fit(tmp_path, [control(tmp_path, corpus)], LoRA(r=2, layers="edited"))
    trained = {name.split("layers.")[1][0] for name, weight in module.named_parameters() if weight.requires_grad}
    assert trained == {"1", "2"}


def test_without_an_editor_the_refusal_names_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="tuning.layers is 'edited'.*edit.editor and set edit.apply to false"):
        fit(tmp_path, [KnowledgeEdit()])


def test_a_control_is_never_taken_for_an_edited_run(tmp_path, corpus):
    fit(tmp_path / "control" / "version_0", [control(tmp_path, corpus)])
    fit(tmp_path / "plain" / "version_0", [KnowledgeEdit()], FullTuning())
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    fit(tmp_path / "edited" / "version_0", [edit])
    runs = [Run.read(tmp_path / name / "version_0") for name in ("control", "plain", "edited")]
    assert [run.is_control for run in runs] == [True, True, False]
    assert runs[0].segment.control == {"editor": "NeverEdits", "layers": [1, 2]}
    assert runs[1].segment.control == {"editor": None, "layers": []}
    assert runs[2].segment.control is None
    assert run_notes(runs[0])[0].startswith("a control: nothing was edited; layers chosen by the edit")
    assert run_notes(runs[1])[0] == "a control: nothing was edited"
    assert "control" not in " ".join(run_notes(runs[2]))
    rows, notes = report_comparison(runs, tmp_path)
    assert [row[0] for row in rows] == ["control (control)", "plain (control)", "edited"]
    assert "plain: a control: nothing was edited" in notes


def test_an_edit_that_was_handed_over_is_not_silently_kept_in_a_control(tmp_path, corpus):
    module = tiny.tuner()
    module.take_edit(tiny.memit(corpus, str(tmp_path)).edit(module.language_model, tiny.requests()))
    with pytest.warns(UserWarning, match="edited already, so edit.editor is not that of a control"):
        tiny.trainer(str(tmp_path), [control(tmp_path, corpus)], max_steps=1).fit(module, datamodule=tiny.data())


def test_there_is_no_control_to_write(tmp_path, corpus):
    with pytest.raises(ConfigError, match="edit.apply is false, so nothing is edited"):
        control(tmp_path, corpus).delta_for(tiny.llama(), tiny.requests())


@pytest.mark.parametrize(
    ("threshold", "step", "note"),
    [
        (100.0, 2, "ended at step 2 of 6, at the first evaluation with downstream/val_loss < 100.0"),
        (0.0, 6, "never came to downstream/val_loss < 0.0, up to step 6 of 6"),
    ],
)
def test_a_run_that_stops_at_a_loss_says_whether_it_came_there(tmp_path, threshold, step, note):
    # The first is below the loss before the first step, and trains to the first evaluation all the same.
    stop = EarlyStopping("downstream/val_loss", stopping_threshold=threshold, patience=1000)
    options = {"max_steps": 6, "val_check_interval": 2, "check_val_every_n_epoch": None, "num_sanity_val_steps": -1}
    fit(tmp_path, [stop], FullTuning(), **options)
    run = Run.read(tmp_path)
    assert run.last_step == run.segment.step == step
    assert note in run_notes(run)
    assert run.segment.stops == [
        {"monitor": "downstream/val_loss", "mode": "min", "threshold": threshold, "reached": step == 2}
    ]
