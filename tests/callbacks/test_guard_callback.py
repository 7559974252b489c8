"""Guards in a fit: they keep what they say, a resumed run ends as one left alone, and without them nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from callbacks import EditRetentionCallback, GuardCallback, KnowledgeEdit
from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows
from edit_lit.editors import FTM, TargetTraining
from edit_lit.guards import AGEM, EWC, L2SP, HiddenStateAnchor, Hold, PathNullSpace, Replay
from edit_lit.measures.outcome_files import FOLDER, read_names
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.measures.seen_facts import read_seen
from edit_lit.reports.run import Run
from edit_lit.rewriters import RestoreValues, Rewrite
from edit_lit.tuning import DoRA, FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError

pytestmark = [
    *tiny.ROUGH_EDITS,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning"),
    pytest.mark.filterwarnings("ignore:Hold protects more than a quarter"),
    pytest.mark.filterwarnings("ignore:the model is edited already:UserWarning"),
]
LAYERS = [1, 2]


@pytest.fixture
def run(tmp_path):
    """Edits and fine-tunes for six steps."""

    def run(folder, guards, tuning=None, edit=True, apply=True, callbacks=(), resume=None, module=None, **options):
        torch.manual_seed(0)
        editor = FTM(LAYERS, TargetTraining(epochs=2)) if edit else None
        watch = [
            KnowledgeEdit(editor, apply=apply, cache_dir=str(tmp_path / "deltas")),
            *guards,
            EditRetentionCallback(every_n_steps=2),
        ]
        module = module or tiny.tuner(tuning=tuning or FullTuning())
        trainer = tiny.trainer(str(folder), [*watch, *callbacks], **options)
        trainer.fit(module, datamodule=tiny.data(), ckpt_path=resume)
        return module

    return run


def moved(module):
    """By how much the answers to the edits' first keys have moved, in relation to their norm."""
    model, states = module.language_model, module.states
    answers = []
    with states.edited():
        rows = prompt_rows(model.tokenizer, tiny.requests(4), ["{}"])
        reader = KeyExtractor(model, rows, max(LAYERS))
        keys = {layer: reader.read(layer).bare_keys for layer in LAYERS}
        answers.append([model.output_projection(layer)(keys[layer]) for layer in LAYERS])
    answers.append([model.output_projection(layer)(keys[layer]) for layer in LAYERS])
    return max(float((now - then).norm() / then.norm()) for then, now in zip(*answers, strict=True))


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}])
def test_the_writes_are_kept_through_a_fit(run, tmp_path, options):
    logger = CSVLogger(tmp_path / "logs")
    kept = run(tmp_path / "a", [GuardCallback([Hold()])], logger=logger, default_root_dir=str(tmp_path), **options)
    free = run(tmp_path / "b", [GuardCallback([Hold(energy=1e-9)])], **options)
    with torch.no_grad():
        assert moved(kept) < 1e-12
        assert moved(free) > 1e-3
    table = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    header = table[0].split(",")
    off = [float(line.split(",")[header.index("guard/Hold/write_off")] or 0) for line in table[1:]]
    assert 0 < max(off) < 1e-12
    assert max(float(line.split(",")[header.index("guard/Hold/write_moved")] or 0) for line in table[1:]) > 0


def test_two_guards_of_one_class_speak_under_names_of_their_own(run, tmp_path):
    logger = CSVLogger(tmp_path / "logs")
    run(tmp_path / "a", [GuardCallback([L2SP(0.1), Hold(), L2SP(0.2)])], logger=logger, default_root_dir=str(tmp_path))
    header = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0].split(",")
    names = {"guard/L2SP/distance", "guard/L2SP_2/distance", "guard/Hold/write_off", "guard/Hold/write_moved"}
    assert {tag for tag in header if tag.startswith("guard/")} == names


def test_without_guards_not_a_bit_changes(run, tmp_path):
    plain, off = run(tmp_path / "a", []), run(tmp_path / "b", [GuardCallback()])
    assert off.states is None
    for name, tensor in plain.state_dict().items():
        assert torch.equal(off.state_dict()[name], tensor), name


SETS = {
    "hold": (lambda: [Hold()], None),
    "hold on LoRA": (lambda: [Hold()], lambda: LoRA(r=2)),
    "all others": (lambda: [PathNullSpace(energy=0.5), Replay(), AGEM(), HiddenStateAnchor(), L2SP(), EWC()], None),
    "others on LoRA": (lambda: [HiddenStateAnchor(), EWC()], lambda: LoRA(r=2)),
}


@pytest.mark.parametrize(("guards", "tuning"), SETS.values(), ids=SETS)
def test_a_resumed_run_ends_in_the_bits_of_one_that_never_stopped(run, tmp_path, guards, tuning):
    def fit(folder, **options):
        return run(tmp_path / folder, [GuardCallback(guards())], tuning=tuning and tuning(), **options)

    whole = fit("whole")
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=3, save_top_k=-1)
    fit("first", callbacks=[saver], max_steps=3, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    resumed = fit("second", resume=str(checkpoint))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    plain = run(tmp_path / "plain", [], tuning=tuning and tuning())
    assert any(not torch.equal(plain.state_dict()[name], tensor) for name, tensor in whole.state_dict().items())
    if isinstance(guards()[0], Hold):
        with torch.no_grad():
            assert moved(resumed) < 1e-12


CLOSE = {
    "rewriting": lambda: [Rewrite(RestoreValues(), every=2)],
    "hold with keys of today": lambda: [Hold(refresh=2)],
}
"""What solves for its weights in the middle of a training, which no two processors round alike."""


@pytest.mark.parametrize("guards", CLOSE.values(), ids=CLOSE)
def test_a_resumed_run_takes_the_same_turns(run, tmp_path, guards):
    def fit(folder, **options):
        return run(tmp_path / folder, [GuardCallback(guards())], **options)

    whole, plain = fit("whole"), run(tmp_path / "plain", [])
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=3, save_top_k=-1)
    fit("first", callbacks=[saver], max_steps=3, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    resumed = fit("second", resume=str(checkpoint)).state_dict()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-9, atol=1e-11)
    name = "language_model.model.model.layers.1.mlp.down_proj.weight"
    assert (plain.state_dict()[name] - resumed[name]).abs().max() > 1e-5


def test_facts_that_a_guard_learnt_from_are_told_apart(run, tmp_path):
    run(tmp_path / "a", [GuardCallback([Replay(share=0.25)])])
    read = Run.read(tmp_path / "a")
    assert {name: len(facts) for name, facts in read.seen_by_guards.items()} == {"seen": 1, "unseen": 3}
    (seen,) = read_seen(tmp_path / "a")
    names = read_names(tmp_path / "a" / FOLDER, [Pool.EDITED])[Pool.EDITED].fact
    assert names.index(seen) == int(read.seen_by_guards["seen"])
    for rule in (Rule.PROB, Rule.EXACT, Rule.FIRST):
        whole = read.transitions(Pool.EDITED, rule)[read.last_step]
        groups = [read.transitions(Pool.EDITED, rule, among=at)[read.last_step] for at in read.seen_by_guards.values()]
        for count in ("total", "baseline_successes", "stable", "already_right"):
            assert sum(getattr(group, count) for group in groups) == getattr(whole, count)
        assert whole.total + whole.already_right == 4
    run(tmp_path / "b", [GuardCallback([Hold()])])
    assert Run.read(tmp_path / "b").seen_by_guards == {}


def test_in_a_control_guards_act_as_they_would_on_edits(run, tmp_path):
    def fit(folder, guards):
        return run(tmp_path / folder, guards, apply=False)

    plain, guarded = fit("a", []), fit("b", [GuardCallback([L2SP(0.5)])])
    assert any(not torch.equal(plain.state_dict()[name], tensor) for name, tensor in guarded.state_dict().items())
    with pytest.raises(ConfigError, match="Hold keeps what an edit wrote, but the run edits nothing"):
        fit("c", [GuardCallback([Hold()])])


def test_a_second_fit_is_not_guarded_by_the_first_one_s_guards(run, tmp_path):
    module = run(tmp_path / "a", [GuardCallback([Hold()])], max_steps=2)
    run(tmp_path / "b", [], module=module)
    with torch.no_grad():
        assert moved(module) > 1e-3


def test_what_cannot_be_kept_is_refused_before_the_first_step(run, tmp_path):
    with pytest.raises(ConfigError, match="guards.use names Hold, but the run edits nothing to keep"):
        run(tmp_path / "a", [GuardCallback([Hold()])], edit=False)
    with pytest.raises(ConfigError, match="wears DoRA"):
        run(tmp_path / "b", [GuardCallback([Hold()])], tuning=DoRA(r=2))
    with pytest.raises(ConfigError, match="Hold would do nothing"):
        run(tmp_path / "c", [GuardCallback([Hold()])], tuning=FullTuning("unedited"))
    module = run(tmp_path / "d", [])
    with pytest.raises(ConfigError, match="guards.use is given, but the model has been trained already"):
        run(tmp_path / "e", [GuardCallback([Hold()])], module=module)
