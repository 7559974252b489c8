from __future__ import annotations

import shutil
import warnings
from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback

from callbacks import EditRetentionCallback, KnowledgeEdit
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.retention import Retention
from edit_lit.tasks.task import IGNORED
from edit_lit.utilities.errors import ConfigError

pytestmark = tiny.ROUGH_EDITS


class Batches(Callback):
    """Keeps what a run trains on."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append({name: tensor.clone() for name, tensor in batch.items()})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run by Lightning: its folder, its callback, its batches and its Delta."""
    folder = tmp_path_factory.mktemp("lightning")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(tiny.TEXT * 3))
    edit = KnowledgeEdit(tiny.memit(str(corpus), str(folder / "moments")), cache_dir=str(folder / "deltas"))
    watch, batches = EditRetentionCallback(every_n_steps=2), Batches()
    module = tiny.tuner()
    tiny.trainer(str(folder), [edit, watch, batches]).fit(module, datamodule=tiny.data())
    return folder, watch.retention, batches.seen, folder / "edits" / "delta.safetensors", type(module.delta)


def pools():
    return {"edited": tiny.requests(), "intrinsic": tiny.requests(8)[4:]}


def edited_model(place):
    language_model = tiny.llama()
    place[4].load(place[3]).apply(language_model)
    return language_model


def steps_of_training(language_model, batches, optimizer=None):
    """A loop of one's own over the batches; yields behind each optimizer step."""
    model = language_model.model
    model.train()
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step, batch in enumerate(batches, start=1):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED).backward()
        optimizer.step()
        optimizer.zero_grad()
        yield step


def assert_close(first, second):
    assert {pool: list(steps) for pool, steps in first.items()} == {pool: list(steps) for pool, steps in second.items()}
    for pool, steps in first.items():
        for step, outcomes in steps.items():
            for name, tensor in outcomes.tensors().items():
                other = second[pool][step].tensors()[name]
                torch.testing.assert_close(other, tensor, equal_nan=True, rtol=1e-6, atol=1e-8)


def test_a_loop_of_ones_own_gives_the_records_and_points_of_lightning(place, tmp_path):
    folder, watched, batches, *_ = place
    language_model = tiny.llama()
    retention = Retention(language_model, **pools(), folder=tmp_path, every_n_steps=2)
    retention.before_edit()
    place[4].load(place[3]).apply(language_model)
    retention.probe(0)
    for step in steps_of_training(language_model, batches):
        if retention.is_due(step, last=step == len(batches)):
            retention.probe(step)
        assert language_model.model.training
    assert_close(read_probes(folder / FOLDER), read_probes(tmp_path / FOLDER))
    assert list(retention.points) == list(watched.points) == [0, 2, 4, 6]
    for step, point in watched.points.items():
        assert retention.points[step] == pytest.approx(point, rel=1e-6), step
    assert retention.latest == retention.points[6]


def test_points_are_shares_of_the_baseline_counted_one_by_one(place):
    language_model = edited_model(place)
    retention = Retention(language_model, **pools())
    first = retention.probe(0)
    assert first["retention/intrinsic/prob"] == 1
    for _ in steps_of_training(language_model, place[2]):
        pass
    point = retention.probe(6)
    rewrites = retention.baseline[Pool.EDITED].of_kind(Kind.REWRITE).nll
    now = retention.probes[Pool.EDITED].run(language_model).of_kind(Kind.REWRITE).nll
    held = [index for index, (new, true) in enumerate(rewrites.tolist()) if new < true]
    kept = [index for index in held if now[index, 0] < now[index, 1]]
    assert held
    assert point["retention/edited/prob"] == pytest.approx(len(kept) / len(held))
    assert point["probe/seconds"] > 0
    assert "probe/seconds" not in retention.points[6]


def test_a_checkpoint_continues_the_curve_in_another_folder(place, tmp_path):
    folder, _, batches, *_ = place
    language_model = edited_model(place)
    first = Retention(language_model, **pools(), folder=tmp_path / "first", every_n_steps=2)
    first.probe(0)
    optimizer = torch.optim.AdamW(language_model.model.parameters(), lr=3e-3)
    for step in steps_of_training(language_model, batches[:3], optimizer):
        if first.is_due(step):
            first.probe(step)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    # A step that the checkpoint does not know is not the resumed run's.
    shutil.copy(tmp_path / "first" / FOLDER / "step_000000002.parquet", tmp_path / "first" / FOLDER / "step_9.parquet")

    second = Retention(language_model, **pools(), folder=tmp_path / "second", every_n_steps=2)
    earlier = second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert earlier == second.points == first.points
    assert second.latest == first.latest
    for step in steps_of_training(language_model, batches[3:], optimizer):
        if second.is_due(3 + step):
            second.probe(3 + step)
    expected = {pool: {s: o for s, o in of.items() if s >= 0} for pool, of in read_probes(folder / FOLDER).items()}
    assert_close(expected, read_probes(tmp_path / "second" / FOLDER))


def exact(outcomes):
    return [bool(value) for value in outcomes[Pool.EDITED].of_kind(Kind.REWRITE).exact[:, 0]]


def test_what_was_right_before_the_edit_is_not_retained(place):
    language_model = tiny.llama()
    facts = tiny.requests(8)
    for number, fact in enumerate(facts[4:], start=4):
        # What the model says by itself, as the object of an edit that is not made.
        ids = torch.tensor([language_model.tokenizer(fact.question)["input_ids"]])
        word = language_model.tokenizer.decode([int(language_model.model(input_ids=ids).logits[0, -1].argmax())])
        facts[number] = replace(fact, target_new=word)
    retention = Retention(language_model, edited=facts, intrinsic=tiny.requests(8)[4:])
    before = exact(retention.before_edit())
    place[4].load(place[3]).apply(language_model)
    retention.probe(0)
    for _ in steps_of_training(language_model, place[2]):
        pass
    point = retention.probe(6)
    had, has = exact(retention.baseline), exact({Pool.EDITED: retention.probes[Pool.EDITED].run(language_model)})
    made = [number for number in range(8) if had[number] and not before[number]]
    assert made
    assert sum(had) > len(made)
    assert point["retention/edited/exact"] == sum(has[number] for number in made) / len(made)
    again = Retention(language_model, edited=facts, intrinsic=tiny.requests(8)[4:])
    again.load_state_dict(retention.state_dict())
    assert again.probe(8)["retention/edited/exact"] == point["retention/edited/exact"]


def test_in_the_same_folder_the_loggers_have_the_points_already(place, tmp_path):
    language_model = edited_model(place)
    first = Retention(language_model, **pools(), folder=tmp_path)
    first.probe(0)
    second = Retention(language_model, **pools(), folder=tmp_path)
    assert second.load_state_dict(first.state_dict()) == {}
    assert second.points == first.points


def recorded(folder):
    return {path.name: path.read_bytes() for path in (folder / FOLDER).iterdir()}


def stopped(language_model, folder, probed=(0, 2, 4), **options):
    """A run that was probed at some steps; gives the state that a checkpoint behind step 2 holds."""
    retention = Retention(language_model, **pools(), folder=folder, every_n_steps=2, **options)
    retention.before_edit()
    states = {}
    for step in probed:
        with torch.no_grad():
            language_model.head.weight.mul_(0.9)
        retention.probe(step)
        states[step] = retention.state_dict()
    return states[2]


def test_steps_behind_the_checkpoint_are_dropped_where_the_run_goes_on(place, tmp_path):
    state = stopped(edited_model(place), tmp_path, probed=(0, 2, 3, 4))
    before = recorded(tmp_path)
    resumed = Retention(edited_model(place), **pools(), folder=tmp_path, every_n_steps=2)
    resumed.before_edit()
    assert resumed.load_state_dict(state) == {}
    # A run that was finished writes no more, and loses nothing.
    assert recorded(tmp_path) == before
    resumed.probe(6)
    after = recorded(tmp_path)
    assert list(read_probes(tmp_path / FOLDER)[Pool.EDITED]) == [BEFORE_EDIT, 0, 2, 6]
    kept = ("before_edit.parquet", "step_000000000.parquet", "step_000000002.parquet")
    assert all(after[name] == before[name] for name in kept)


def test_the_last_step_is_no_part_of_a_curve_that_goes_on(place, tmp_path):
    language_model = edited_model(place)
    first = Retention(language_model, **pools(), folder=tmp_path / "first", every_n_steps=2)
    for step in (0, 2):
        first.probe(step)
    due = first.state_dict()
    first.probe(3, last=True)
    assert list(first.state_dict()["points"]) == [0, 2]
    assert first.state_dict()["points"] == due["points"]
    second = Retention(language_model, **pools(), folder=tmp_path / "second", every_n_steps=2)
    second.load_state_dict(first.state_dict())
    second.probe(4, last=True)
    assert list(second.points) == [0, 2, 4]
    assert list(second.state_dict()["points"]) == [0, 2, 4]
    assert list(read_probes(tmp_path / "second" / FOLDER)[Pool.EDITED]) == [0, 2, 4]


def test_the_records_of_a_moved_run_are_found_beside_the_checkpoint(place, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    state = stopped(edited_model(place), "first")
    shutil.move(tmp_path / "home" / "first", tmp_path / "moved")
    (tmp_path / "home" / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "home" / "elsewhere")
    second = Retention(edited_model(place), **pools(), folder="second", every_n_steps=2)
    second.before_edit()
    assert list(second.load_state_dict(state, "../../moved/checkpoints/step=2.ckpt")) == [0, 2]
    expected = recorded(tmp_path / "moved")
    del expected["step_000000004.parquet"]
    assert recorded(tmp_path / "home" / "elsewhere" / "second") == expected


def test_from_another_working_directory_the_written_path_is_enough(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = stopped(edited_model(place), "first")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = Retention(edited_model(place), **pools(), folder="second")
    second.load_state_dict(state, "/nowhere/step=2.ckpt")
    assert list(read_probes(tmp_path / "elsewhere" / "second" / FOLDER)[Pool.EDITED]) == [BEFORE_EDIT, 0, 2]


def test_lost_records_leave_the_true_baseline(place, tmp_path):
    state = stopped(edited_model(place), tmp_path / "first")
    expected = read_probes(tmp_path / "first" / FOLDER)
    shutil.rmtree(tmp_path / "first")
    second = Retention(edited_model(place), **pools(), folder=tmp_path / "second")
    with pytest.warns(UserWarning, match="only the unedited model, step 0, step 2 are known"):
        second.load_state_dict(state)
    assert_close(
        {pool: {step: of[step] for step in (BEFORE_EDIT, 0, 2)} for pool, of in expected.items()},
        read_probes(tmp_path / "second" / FOLDER),
    )


def test_anothers_records_beside_the_checkpoint_are_not_taken_for_ones_own(place, tmp_path):
    state = stopped(edited_model(place), tmp_path / "first")
    other = tiny.llama(seed=1)
    stopped(other, tmp_path / "other")
    second = Retention(edited_model(place), **pools(), folder=tmp_path / "second")
    second.load_state_dict(state, tmp_path / "other" / "checkpoints" / "step=2.ckpt")
    copied, own = recorded(tmp_path / "second"), recorded(tmp_path / "first")
    assert copied.items() <= own.items()
    assert len(copied) == 3


def test_another_runs_records_are_never_written_over(place, tmp_path):
    state = stopped(edited_model(place), tmp_path / "first")
    stopped(tiny.llama(seed=1), tmp_path / "other")
    before = recorded(tmp_path / "other")
    rerun = Retention(edited_model(place), **pools(), folder=tmp_path / "other")
    rerun.before_edit()
    with pytest.raises(ConfigError, match="other/retention.parquet holds the records of another run"):
        rerun.probe(0)
    resumed = Retention(edited_model(place), **pools(), folder=tmp_path / "other")
    with pytest.raises(ConfigError, match="holds the records of another run"):
        resumed.load_state_dict(state)
    assert recorded(tmp_path / "other") == before


def test_a_checkpoint_of_an_older_version_is_refused(place):
    language_model = edited_model(place)
    first = Retention(language_model, **pools())
    first.probe(0)
    state = first.state_dict()
    del state["outcomes"]
    with pytest.raises(ConfigError, match="by an earlier version"):
        Retention(language_model, **pools()).load_state_dict(state)


def test_lost_records_are_warned_of_and_the_last_point_is_known_all_the_same(place, tmp_path):
    language_model = edited_model(place)
    first = Retention(language_model, **pools(), folder=tmp_path / "first")
    first.probe(0)
    shutil.rmtree(tmp_path / "first")
    second = Retention(language_model, **pools(), folder=tmp_path / "second")
    with pytest.warns(UserWarning, match="of its steps up to 0 only step 0 are known"):
        assert second.load_state_dict(first.state_dict()) == first.points
    assert second.latest == first.latest


def test_a_curve_of_other_facts_is_refused(place, tmp_path):
    language_model = edited_model(place)
    first = Retention(language_model, **pools())
    first.probe(0)
    second = Retention(language_model, edited=tiny.requests(3), intrinsic=tiny.requests(8)[4:], folder=tmp_path)
    with pytest.raises(ValueError, match=r"of other facts than this run's \(pools edited, intrinsic\)"):
        second.load_state_dict(first.state_dict())
    assert not list(tmp_path.iterdir())


def test_a_late_baseline_is_warned_of_once(place):
    retention = Retention(edited_model(place), **pools())
    with pytest.warns(UserWarning, match="measured against the state at step 4"):
        retention.probe(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retention.probe(8)


def test_steps_are_due_once_and_only_if_there_is_something_to_ask():
    language_model = tiny.llama()
    retention = Retention(language_model, unedited=tiny.requests(2), every_n_steps=4, early=True)
    assert [step for step in range(11) if retention.is_due(step)] == [0, 1, 2, 4, 8]
    assert retention.is_due(7, last=True)
    assert set(retention.before_edit()) == {Pool.UNEDITED}
    with pytest.warns(UserWarning, match="measured against the state at step 4"):
        retention.probe(4)
    assert not retention.is_due(4)
    assert not retention.is_due(4, last=True)
    assert retention.records is None
    assert not Retention(language_model).is_due(0, last=True)
    with pytest.raises(ValueError, match="every_n_steps is 0"):
        Retention(language_model, every_n_steps=0)


def test_what_was_known_before_the_edit_is_recorded_under_its_own_step(place, tmp_path):
    language_model = tiny.llama()
    asked = Retention(language_model, **pools(), folder=tmp_path).before_edit()
    recorded = read_probes(tmp_path / FOLDER)
    assert {pool: list(steps) for pool, steps in recorded.items()} == {
        Pool.EDITED: [BEFORE_EDIT],
        Pool.INTRINSIC: [BEFORE_EDIT],
    }
    assert torch.equal(recorded[Pool.EDITED][BEFORE_EDIT].nll, asked[Pool.EDITED].nll)
