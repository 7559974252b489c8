from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import EditRetentionCallback, KnowledgeEdit, RunReport
from edit_lit.data_module import EditDataModule
from edit_lit.deltas import Delta, DeltaCache
from edit_lit.editors import MEMIT
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.fates import Fate
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.retention import ProbeSteps
from edit_lit.reports.run import Run
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError

pytestmark = [
    *tiny.ROUGH_EDITS,
    # The run that stopped had one callback more: the one that wrote the checkpoint.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning"),
]


def run(folder, corpus, callbacks=(), tuning=None, every=2, retention=True, resume=None, **options):
    """Edit, fine-tune for six steps, probe every second one."""
    module = tiny.tuner(tuning=tuning or FullTuning())
    edit = KnowledgeEdit(
        tiny.memit(corpus, str(Path(corpus).parent / "moments")), cache_dir=f"{Path(corpus).parent}/deltas"
    )
    watch = [EditRetentionCallback(every_n_steps=every)] if retention else []
    trainer = tiny.trainer(str(folder), [edit, *watch, *callbacks], **options)
    trainer.fit(module, datamodule=tiny.data(), ckpt_path=resume)
    return module, trainer


def curves(folder):
    return read_probes(folder / FOLDER)


def assert_same_curves(first, second):
    assert {pool: list(steps) for pool, steps in first.items()} == {pool: list(steps) for pool, steps in second.items()}
    for pool, steps in first.items():
        for step, outcomes in steps.items():
            for name, tensor in outcomes.tensors().items():
                torch.testing.assert_close(second[pool][step].tensors()[name], tensor, equal_nan=True, rtol=0, atol=0)


def assert_same_weights(first, second):
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


def test_the_edit_is_applied_before_training_and_kept(tmp_path, corpus):
    module, trainer = run(tmp_path, corpus)
    assert trainer.global_step == 6
    probes = curves(tmp_path)
    assert list(probes[Pool.EDITED]) == [BEFORE_EDIT, 0, 2, 4, 6]
    assert list(probes[Pool.INTRINSIC]) == [BEFORE_EDIT, 0, 2, 4, 6]

    unedited = tiny.llama()
    expected = Probe(tiny.requests(), unedited.tokenizer).run(unedited)
    torch.testing.assert_close(probes[Pool.EDITED][BEFORE_EDIT].nll, expected.nll, rtol=0, atol=0)
    edited = tiny.llama()
    saved = type(module.delta).load(tmp_path / "edits" / "delta.safetensors")
    saved.apply(edited)
    torch.testing.assert_close(
        probes[Pool.EDITED][0].nll, Probe(tiny.requests(), edited.tokenizer).run(edited).nll, rtol=0, atol=0
    )
    last = Probe(tiny.requests(), module.language_model.tokenizer).run(module.language_model)
    torch.testing.assert_close(probes[Pool.EDITED][6].nll, last.nll, rtol=0, atol=0)


@pytest.mark.parametrize("tuning", [FullTuning("before_edited"), LoRA(r=2, dropout=0.2)])
def test_a_run_with_probes_ends_in_the_weights_of_a_run_without(tmp_path, corpus, tuning):
    torch.manual_seed(0)
    watched, _ = run(tmp_path / "a", corpus, tuning=tuning, every=1)
    torch.manual_seed(0)
    alone, _ = run(tmp_path / "b", corpus, tuning=tuning, retention=False)
    assert_same_weights(watched, alone)


def test_the_same_seed_gives_the_same_curve(tmp_path, corpus):
    for name in ("a", "b"):
        torch.manual_seed(3)
        run(tmp_path / name, corpus, tuning=LoRA(r=2, dropout=0.1))
    assert_same_curves(curves(tmp_path / "a"), curves(tmp_path / "b"))


@pytest.mark.parametrize("stop", [2, 3])  # in the middle and at the end of an epoch
@pytest.mark.parametrize("tuning", [FullTuning("edited"), LoRA(r=2, dropout=0.2)])
def test_a_stopped_and_resumed_run_continues_the_same_curve(tmp_path, corpus, tuning, stop):
    torch.manual_seed(0)
    whole, _ = run(tmp_path / "whole", corpus, tuning=tuning)
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=stop, save_top_k=-1)
    torch.manual_seed(0)
    run(tmp_path / "first", corpus, [saver], tuning=tuning, max_steps=stop, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    stored = torch.load(checkpoint, weights_only=True)
    trainable = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    assert set(stored["state_dict"]) == trainable
    assert stored["edit"] == whole.delta.hash()

    second, _ = run(tmp_path / "second", corpus, tuning=tuning, resume=str(checkpoint))
    assert_same_weights(whole, second)
    assert_same_curves(curves(tmp_path / "whole"), curves(tmp_path / "second"))


def test_a_checkpoint_of_another_edit_or_tuning_is_refused(tmp_path, corpus):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=3)
    run(tmp_path, corpus, [saver], max_steps=3, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    with pytest.raises(ValueError, match="trained on another edit"):
        tiny.trainer(str(tmp_path)).fit(tiny.tuner(), datamodule=tiny.data(), ckpt_path=str(checkpoint))
    with pytest.raises(ValueError, match=r"trained parameters are not this run's.*same model.tuning"):
        run(tmp_path, corpus, tuning=FullTuning("edited"), resume=str(checkpoint))


def test_a_checkpoint_of_other_intrinsic_facts_is_refused(tmp_path, corpus):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=3)
    run(tmp_path, corpus, [saver], max_steps=3, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    data = EditDataModule(tiny.Sides(), tiny.Given(tiny.requests()), tiny.Given(tiny.requests(8)[5:]), batch_size=4)
    trainer = tiny.trainer(str(tmp_path), [edit, EditRetentionCallback(every_n_steps=2)])
    with pytest.raises(ValueError, match=r"of other facts than this run's \(pools edited, intrinsic\).*data.intrinsic"):
        trainer.fit(tiny.tuner(), datamodule=data, ckpt_path=str(checkpoint))


def test_edits_are_made_once_for_all_runs(tmp_path, corpus, monkeypatch):
    first, _ = run(tmp_path / "a", corpus)
    monkeypatch.setattr(MEMIT, "compute", lambda *_: 1 / 0)
    second, _ = run(tmp_path / "b", corpus, tuning=LoRA(r=2))
    assert first.delta.hash() == second.delta.hash()
    (cached,) = Path(corpus).parent.joinpath("deltas").glob("*.safetensors")
    cached.write_bytes(cached.read_bytes()[:100])
    with pytest.warns(UserWarning, match="made again: .*no complete Delta"), pytest.raises(ZeroDivisionError):
        run(tmp_path / "c", corpus)


def test_an_edit_taken_from_the_cache_warns_as_it_did_when_it_was_made(tmp_path, corpus):
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    (request,) = tiny.requests(1)
    made = [request, replace(request, target_new="deep west")]
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 facts, such as .* share their subject"):
            edit.delta_for(tiny.llama(), made)
    assert len(list((tmp_path / "deltas").glob("*.safetensors"))) == 1


def test_another_models_cached_edit_is_not_used(tmp_path, corpus):
    editor = tiny.memit(corpus, str(tmp_path / "moments"))
    edit = KnowledgeEdit(editor, cache_dir=str(tmp_path / "deltas"))
    first = edit.delta_for(tiny.llama(), tiny.requests())
    second = edit.delta_for(tiny.llama(seed=1), tiny.requests())
    assert first.hash() != second.hash()
    cache = DeltaCache(tmp_path / "deltas")
    paths = [cache.path(editor.provenance(tiny.llama(seed=seed), tiny.requests())) for seed in (0, 1)]
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.warns(UserWarning, match="belongs to another model or edit"):
        assert edit.delta_for(tiny.llama(), tiny.requests()).hash() == first.hash()


def test_a_run_without_an_editor_is_a_control(tmp_path):
    module = tiny.tuner()
    trainer = tiny.trainer(str(tmp_path), [KnowledgeEdit(), EditRetentionCallback(every_n_steps=3)])
    trainer.fit(module, datamodule=tiny.data())
    assert module.delta is None
    probes = curves(tmp_path)
    assert set(probes) == {Pool.UNEDITED, Pool.INTRINSIC}
    torch.testing.assert_close(probes[Pool.UNEDITED][BEFORE_EDIT].nll, probes[Pool.UNEDITED][0].nll)


def test_an_editor_without_facts_is_refused(tmp_path, corpus):
    module = tiny.tuner()
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path)))
    with pytest.raises(ValueError, match=r"data.edits yields no facts"):
        tiny.trainer(str(tmp_path), [edit]).fit(module, datamodule=EditDataModule(tiny.Sides(), batch_size=4))


def test_probes_come_once_per_optimizer_step_and_early_ones_at_powers_of_two(tmp_path, corpus):
    run(tmp_path / "a", corpus, accumulate_grad_batches=3, every=1)
    assert list(curves(tmp_path / "a")[Pool.EDITED]) == [BEFORE_EDIT, 0, 1, 2]
    early = ProbeSteps(every_n_steps=10, early=True)
    assert [step for step in range(33) if step in early] == [0, 1, 2, 4, 8, 10, 20, 30]
    with pytest.raises(ValueError, match="retention.every_n_steps is 0"):
        EditRetentionCallback(every_n_steps=0)


def test_a_killed_run_leaves_no_half_written_file(tmp_path, corpus, monkeypatch):
    import edit_lit.measures.outcome_files as records

    whole = records.pq.write_table
    calls = []

    def broken(table, path):
        calls.append(path)
        whole(table, path)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(records.pq, "write_table", broken)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path, corpus)
    names = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert names == ["before_edit.parquet", "step_000000000.parquet"]


# Two loggers share the run's folder on purpose.
@pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists and is not empty:UserWarning")
def test_everything_is_in_the_log(tmp_path, corpus):
    board = TensorBoardLogger(str(tmp_path), name="n", default_hp_metric=False)
    table = CSVLogger(str(tmp_path), name="n", version=board.version)
    board.log_hyperparams({"model.tuning": "LoRA"})
    _, trainer = run(
        tmp_path,
        corpus,
        [RunReport()],
        logger=[board, table],
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=-1,
        log_every_n_steps=1,
    )
    folder = Path(trainer.log_dir)
    events = EventAccumulator(str(folder)).Reload()
    tags = set(events.Tags()["scalars"])
    names = {"efficacy", "generalization", "specificity", "score"}
    expected = {f"edit/{name}/{rule}" for name in names for rule in ("prob", "exact", "first", "token")}
    expected |= {"retention/edited/exact", "retention/efr/exact", "retention/intrinsic/prob"}
    transitions = ("stable", "erased", "emergent", "impossible", "reverted", "displaced")
    expected |= {f"retention/{name}/prob" for name in transitions}
    expected |= {f"downstream/{name}" for name in ("train_loss", "val_loss", "val_perplexity", "val_accuracy")}
    expected |= {"edit/target_prob", "edit/margin", "probe/seconds"}
    assert expected - tags == set()
    assert [event.step for event in events.Scalars("edit/efficacy/prob")] == [0, 2, 4, 6]
    assert [event.step for event in events.Scalars("downstream/val_loss")] == [0, 2, 4, 6]
    assert {"custom_scalars__config__", "table/text_summary"} <= set(events.Tags()["tensors"])
    assert events.Tags()["images"][0] == "decay"
    assert set(events.Tags()["images"]) <= {"decay", "fates", "facts"}
    assert {f"fates/{fate}/exact" for fate in Fate} <= tags
    assert any(tag.startswith("_hparams_") for tag in EventAccumulator(str(folder)).Reload().summary_metadata)
    assert (folder / "metrics.csv").exists()
    assert (folder / "report" / "curve.png").stat().st_size > 10_000
    assert "| efficacy (prob) |" in (folder / "report" / "table.md").read_text()
    read = Run.read(folder)
    assert [step for step, _ in read.downstream["val_loss"]] == [0, 2, 4, 6]


def test_a_resumed_run_logs_the_earlier_part_again(tmp_path, corpus):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4)
    run(tmp_path / "first", corpus, [saver], max_steps=4, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    logger = CSVLogger(str(tmp_path), name="resumed")
    run(tmp_path, corpus, resume=str(checkpoint), logger=logger)
    rows = [line.split(",") for line in (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()]
    column = {name: place for place, name in enumerate(rows[0])}
    steps = [int(row[column["step"]]) for row in rows[1:] if row[column["edit/efficacy/prob"]]]
    assert steps == [0, 2, 4, 6]


class States(Callback):
    """Whether the model was edited when callbacks were set up, and at the start of the fit."""

    def __init__(self):
        self.weights = []

    def setup(self, trainer, pl_module, stage):
        self.weights.append(pl_module.language_model.model.model.layers[1].mlp.down_proj.weight.clone())

    def on_fit_start(self, trainer, pl_module):
        self.setup(trainer, pl_module, "fit")


def test_the_edit_comes_behind_the_callbacks_setup_and_is_never_taken_back(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(Delta, "revert", lambda *_: 1 / 0)
    states = States()
    module, _ = run(tmp_path, corpus, [states])
    unedited, edited = tiny.llama(), tiny.llama()
    Delta.load(tmp_path / "edits" / "delta.safetensors").apply(edited)
    for seen, expected in zip(states.weights, (unedited, edited), strict=True):
        assert torch.equal(seen, expected.model.model.layers[1].mlp.down_proj.weight)
    assert module.configured
    assert not module.edit_pending


def test_callbacks_in_the_wrong_order_are_refused_before_any_training(tmp_path, corpus):
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    trainer = tiny.trainer(str(tmp_path), [EditRetentionCallback(), edit])
    with pytest.raises(ConfigError, match="List KnowledgeEdit first"):
        trainer.fit(tiny.tuner(), datamodule=tiny.data())
    assert trainer.global_step == 0


def test_a_model_fitted_again_keeps_its_training_and_gets_no_wrong_record(tmp_path, corpus, caplog):
    module, _ = run(tmp_path / "first", corpus)
    trained = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    moments, deltas = str(Path(corpus).parent / "moments"), f"{Path(corpus).parent}/deltas"
    callbacks = [KnowledgeEdit(tiny.memit(corpus, moments), cache_dir=deltas), EditRetentionCallback(every_n_steps=2)]
    with pytest.warns(UserWarning, match="edited already, so edit.editor makes no further edit"):
        tiny.trainer(str(tmp_path / "second"), callbacks, max_steps=2, max_epochs=-1).fit(
            module, datamodule=tiny.data()
        )
    assert "what it knew before that is not recorded" in caplog.text
    probes = curves(tmp_path / "second")
    assert list(probes[Pool.EDITED]) == [0, 2]
    assert_same_curves(
        {pool: {6: steps[6]} for pool, steps in curves(tmp_path / "first").items()},
        {pool: {6: steps[0]} for pool, steps in probes.items()},
    )
    assert any(not torch.equal(tensor, trained[name]) for name, tensor in module.state_dict().items())


def test_a_model_that_was_validated_unedited_can_be_edited(tmp_path, corpus):
    module = tiny.tuner()
    tiny.trainer(str(tmp_path)).validate(module, datamodule=tiny.data(), verbose=False)
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    watch = EditRetentionCallback(every_n_steps=2)
    tiny.trainer(str(tmp_path), [edit, watch]).fit(module, datamodule=tiny.data())
    run(tmp_path / "alone", corpus)
    assert_same_curves(curves(tmp_path / "alone"), curves(tmp_path))


def test_an_edit_of_ones_own_is_handed_over_once(tmp_path, corpus):
    module = tiny.tuner()
    delta = tiny.memit(corpus, str(tmp_path / "moments")).edit(module.language_model, tiny.requests())
    module.take_edit(delta)
    assert module.edit_pending
    assert_same_weights(module.language_model, tiny.llama())
    tiny.trainer(str(tmp_path), [EditRetentionCallback(every_n_steps=2)]).fit(module, datamodule=tiny.data())
    assert list(curves(tmp_path)[Pool.EDITED]) == [BEFORE_EDIT, 0, 2, 4, 6]
    with pytest.raises(ConfigError, match="has an edit already"):
        module.take_edit(delta)


@pytest.mark.parametrize("callback", [EditRetentionCallback(), KnowledgeEdit(MEMIT([1]))])
def test_another_module_is_refused(tmp_path, callback):
    with pytest.raises(ConfigError, match="BoringModel is no FineTuner"):
        tiny.trainer(str(tmp_path), [callback]).fit(BoringModel())


def test_a_checkpoint_can_be_validated(tmp_path, corpus):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=6)
    module, trainer = run(tmp_path, corpus, [saver], enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    expected = trainer.validate(module, datamodule=tiny.data(), verbose=False)
    edit = KnowledgeEdit(
        tiny.memit(corpus, f"{Path(corpus).parent}/moments"), cache_dir=f"{Path(corpus).parent}/deltas"
    )
    fresh = tiny.trainer(str(tmp_path), [edit, EditRetentionCallback()])
    assert fresh.validate(tiny.tuner(), datamodule=tiny.data(), ckpt_path=checkpoint, verbose=False) == expected


def test_validation_alone_edits_too(tmp_path, corpus):
    module = tiny.tuner()
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")))
    trainer = tiny.trainer(str(tmp_path), [edit, EditRetentionCallback()], logger=CSVLogger(str(tmp_path)))
    trainer.validate(module, datamodule=tiny.data(), verbose=False)
    assert module.delta.layers == (1, 2)
    module.delta.revert(module.language_model)
    assert_same_weights(module.language_model, tiny.llama())
