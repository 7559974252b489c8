"""Drift beside a training: the same rows however the run came to its end, and no trace of them in the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

from callbacks import DriftCallback, EditRetentionCallback, KnowledgeEdit
from edit_lit.drift import read_drift
from edit_lit.drift.curves import drift_charts, drift_point
from edit_lit.drift.files import DriftFiles
from edit_lit.drift.neutral import neutral_texts
from edit_lit.drift.rows import FACT, FOLDER, DriftRow, read_fact_rows, write_rows
from edit_lit.editors import FTM, TargetTraining
from edit_lit.facts.request import fact_hash
from edit_lit.language_model.spans import encode
from edit_lit.tasks.task import Example, ExampleList
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError

pytestmark = [
    *tiny.ROUGH_EDITS,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning"),
]


@pytest.fixture
def run(tmp_path):
    """Edits, fine-tunes for six steps, probes every second one and measures drift with it."""

    def run(folder, tuning, drift=True, callbacks=(), resume=None, module=None, every=2, before=(), **options):
        torch.manual_seed(0)
        edit = KnowledgeEdit(FTM([1, 2], TargetTraining(epochs=2)), cache_dir=str(tmp_path / "deltas"))
        watch = [EditRetentionCallback(every_n_steps=every), *([DriftCallback(True)] if drift else [])]
        module = module or tiny.tuner(tuning=tuning)
        trainer = tiny.trainer(str(folder), [edit, *before, *watch, *callbacks], **options)
        trainer.fit(module, datamodule=tiny.data(), ckpt_path=resume)
        return module

    return run


def rows_of(folder):
    # NaN is not equal to itself.
    return [replace(row, value=repr(row.value)) for row in read_drift(folder / FOLDER)]


@pytest.mark.parametrize("tuning", [FullTuning("before_edited"), LoRA(r=2, dropout=0.2)])
def test_a_run_with_drift_ends_in_the_weights_of_a_run_without(run, tmp_path, tuning):
    logger = CSVLogger(tmp_path / "logs")
    watched = run(tmp_path / "a", tuning, logger=logger, default_root_dir=str(tmp_path / "a"))
    alone = run(tmp_path / "b", tuning, drift=False)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[name], tensor), name
    rows = read_drift(Path(logger.log_dir) / FOLDER)
    assert sorted({row.step for row in rows}) == [0, 2, 4, 6]
    assert {row.pool for row in rows} == {"edited", "intrinsic", "neutral", None}
    assert {row.step for row in rows if row.part == FACT} == {0}
    header = (Path(logger.log_dir) / "metrics.csv").read_text().split("\n")[0]
    for tag in ("drift/key/cosine/layer_2", "drift/weight/along_delta/layer_1", "drift/representation/cka/neutral"):
        assert tag in header
    assert "drift/fact" not in header
    assert not (tmp_path / "b" / FOLDER).exists()


def test_facts_are_compared_with_the_texts_that_are_trained_on(run, tmp_path):
    run(tmp_path, FullTuning())
    rows = read_fact_rows(tmp_path / FOLDER)
    named = {row.fact: row.value for row in rows if row.measure == "texts_naming_subject"}
    # Each of the first four subjects is in the first eight training texts once and in the last four once, of twelve.
    assert named == {fact_hash(request): pytest.approx(2 / 12) for request in tiny.requests()}
    near = {(row.layer, row.fact): row.value for row in rows if row.measure == "nearest_training_key"}
    assert len(near) == 8
    assert all(-1 <= value <= 1 for value in near.values())


def drawn(folder):
    """The charts of a run's layout by category and title, and the tags of what it logged."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    (logged,) = events.Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(make_ndarray(logged.tensor_proto).item())
    charts = {
        category.title: {chart.title: [series.value for series in chart.margin.series] for chart in category.chart}
        for category in layout.category
    }
    return charts, set(events.Tags()["scalars"])


@pytest.mark.parametrize("drift_first", [False, True])
def test_all_lines_of_the_drift_s_charts_are_logged(run, tmp_path, drift_first):
    logger = TensorBoardLogger(tmp_path / "logs")
    first = [DriftCallback(True)] if drift_first else []
    run(tmp_path, FullTuning(), drift=not drift_first, before=first, logger=logger, max_steps=1, every=1)
    charts, scalars = drawn(logger.log_dir)
    assert charts["drift"] == {
        "change of hidden states": [f"drift/representation/relative/{p}" for p in ("edited", "intrinsic", "neutral")],
        "change of keys": ["drift/key/relative/layer_1", "drift/key/relative/layer_2"],
        "what is left of the writes": ["drift/value/write_retention/layer_1", "drift/value/write_retention/layer_2"],
        "change along the Delta": ["drift/weight/along_delta/layer_1", "drift/weight/along_delta/layer_2"],
    }
    assert {tag for tags in charts["drift"].values() for tag in tags} <= scalars


def test_without_drift_there_are_no_charts_of_it(run, tmp_path):
    logger = TensorBoardLogger(tmp_path / "logs")
    run(tmp_path, FullTuning(), drift=False, callbacks=[DriftCallback(False)], logger=logger, max_steps=1)
    charts, scalars = drawn(logger.log_dir)
    assert list(charts) == ["edits", "downstream"]
    assert not any(tag.startswith("drift") for tag in scalars)


def test_a_chart_has_six_lines_at_most_and_one_at_least():
    charts = drift_charts(["unedited"], [], range(32))
    assert charts == {
        "change of hidden states": ("drift/representation/relative/unedited",),
        "change along the Delta": tuple(f"drift/weight/along_delta/layer_{layer}" for layer in (0, 5, 10, 16, 21, 26)),
    }


# Between two probes, and at one.
@pytest.mark.parametrize(("tuning", "stop"), [(FullTuning("edited"), 3), (LoRA(r=2, dropout=0.2), 4)])
def test_a_resumed_run_has_the_drift_of_one_that_never_stopped(run, tmp_path, tuning, stop):
    run(tmp_path / "whole", tuning)
    saver = ModelCheckpoint(dirpath=tmp_path / "first" / "checkpoints", every_n_train_steps=stop, save_top_k=-1)
    run(tmp_path / "first", tuning, callbacks=[saver], max_steps=stop, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "first" / "checkpoints").iterdir()
    run(tmp_path / "second", tuning, resume=str(checkpoint))
    run(tmp_path / "first", tuning, resume=str(checkpoint))
    assert rows_of(tmp_path / "second") == rows_of(tmp_path / "whole") == rows_of(tmp_path / "first")


@pytest.mark.slow
def test_a_run_resumed_without_earlier_drift_is_still_measured_against_the_edit(run, tmp_path):
    run(tmp_path / "whole", FullTuning())
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=2, save_top_k=-1)
    run(tmp_path / "first", FullTuning(), drift=False, callbacks=[saver], max_steps=2, enable_checkpointing=True)
    run(tmp_path / "second", FullTuning(), resume=str(next((tmp_path / "saved").iterdir())))
    # What facts are like before the training is the same, but written when it was first asked for.
    whole = [replace(row, step=2) if row.part == FACT else row for row in rows_of(tmp_path / "whole")]
    assert sorted(map(repr, rows_of(tmp_path / "second"))) == sorted(repr(row) for row in whole if row.step >= 2)


@pytest.mark.filterwarnings("ignore:the model is edited already:UserWarning")
def test_a_model_that_was_trained_before_is_refused(run, tmp_path):
    module = run(tmp_path / "a", FullTuning(), drift=False)
    with pytest.raises(ConfigError, match="drift.enabled is true, but the model has been trained already"):
        run(tmp_path / "b", FullTuning(), module=module)


def test_drift_without_retention_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="drift.enabled is true, but the trainer has no EditRetentionCallback"):
        tiny.trainer(str(tmp_path), [DriftCallback(True)]).fit(tiny.tuner(), datamodule=tiny.data())


@pytest.mark.parametrize("options", [{"prompts": 0}, {"batch_tokens": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=f"drift.{next(iter(options))} is 0; it must be at least 1"):
        DriftCallback(**options)


def test_rows_of_another_run_are_never_mixed_in(tmp_path):
    row = DriftRow(0, "weight", "relative", 1, 0.5)
    DriftFiles(tmp_path).write(0, [row])
    with pytest.raises(ConfigError, match="holds the drift of another run"):
        DriftFiles(tmp_path).write(0, [row])


def test_a_damaged_file_is_named(tmp_path):
    folder = tmp_path / FOLDER
    with pytest.raises(ConfigError, match="holds no drift. Run with --drift.enabled true"):
        read_drift(folder)
    row = DriftRow(2, "key", "cosine", 1, float("nan"), "edited", "subject", "abc")
    write_rows(folder, 2, [row])
    assert repr(read_drift(folder)) == repr([row])
    path = folder / "step_000000002.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="step_000000002.parquet is no whole record of the drift"):
        read_drift(folder)


def test_a_point_has_means_over_what_is_known():
    rows = [
        DriftRow(2, "key", "cosine", 1, value, "edited", "subject", fact)
        for value, fact in ((1.0, "a"), (0.5, "b"), (float("nan"), "c"))
    ]
    rows += [DriftRow(2, "representation", "cka", layer, layer / 2, "neutral", "last") for layer in (0, 1)]
    rows += [DriftRow(2, "representation", "cka", 0, 9.0, "edited", "subject")]
    rows += [DriftRow(2, "direction", "cosine_ed_and_ft", 0, float("nan"), "edited", "last")]
    rows += [DriftRow(2, FACT, "write_norm", 1, 3.0, "edited", "subject", "a")]
    assert drift_point(rows) == {"drift/key/cosine/layer_1": 0.75, "drift/representation/cka/neutral": 0.25}


def test_neutral_texts_name_no_edited_subject():
    tokenizer = tiny.word_tokenizer()
    texts = ["the bus goes to New York and it is late", "it rains where Oslo lies", "it is", "it is a city", "it rains"]
    ids = [encode(tokenizer, text).ids for text in texts]
    packed = Example(
        input_ids=[*ids[3], *ids[1]],
        labels=[*ids[3], *ids[1]],
        answer_mask=[False] * 9,
        position_ids=[*range(len(ids[3])), *range(len(ids[1]))],
    )
    examples = [Example(input_ids=row, labels=row, answer_mask=[False] * len(row)) for row in ids]

    class Made(tiny.Sides):
        def val_dataset(self):
            return ExampleList([*examples, packed])

    edits = [request for request in tiny.requests(8) if request.subject == "New York"]
    found = neutral_texts(Made(), tokenizer, edits, 5)
    # The last token of each is left out; of a row of several texts the first one is taken.
    assert found == [ids[1][:-1], ids[3][:-1], ids[3][:-1]]
    assert neutral_texts(Made(), tokenizer, edits, 1) == [ids[1][:-1]]
