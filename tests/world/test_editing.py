"""Edits of the shipped model take, stay small, and decay in fine-tuning faster than what the model knew before."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from edit_lit.activations.contexts import Contexts
from edit_lit.deltas import Delta
from edit_lit.editors.closed_form.key_covariance import KeyCovariance
from edit_lit.editors.memit import MEMIT
from edit_lit.editors.targets.options import TargetValues
from edit_lit.facts.request import subjects_of
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, edit_scores
from edit_lit.world import WorldModel
from edit_lit.world.corpus import WorldCorpus
from edit_lit.world.facts import World
from edit_lit.world.sentences import FILLERS
from edit_lit.world.task import WorldReviews

N_EDITS = 50
N_STEPS = 400
ENOUGH_STEPS = 200  # by then the task is learnt; the rest of the run is left to the slow tests
BATCH_SIZE = 16
LR = 8e-4


@pytest.fixture(scope="module")
def memit(tmp_path_factory) -> MEMIT:
    return MEMIT(
        layers=[1, 2, 3],
        covariance_weight=10.0,
        ridge=2.0,
        target_values=TargetValues(stop_loss=0.15),
        contexts=Contexts([f"{filler} {{}}" for filler in FILLERS[:5]]),
        key_covariance=KeyCovariance(WorldCorpus(), cache_dir=str(tmp_path_factory.mktemp("covariance"))),
    )


def scores(language_model, requests, pool: Pool = Pool.EDITED, rule: Rule = Rule.EXACT) -> dict[str, float]:
    return edit_scores(Probe(requests, language_model.tokenizer, pool).run(language_model), rule)


def relative_sizes(language_model, delta: Delta) -> list[float]:
    parameters = dict(language_model.model.named_parameters())
    return [update.norm() / float(parameters[name].norm()) for name, update in delta.updates.items()]


def fine_tune(language_model, edits, n_steps: int) -> float:
    """Train as the quickstart does; the accuracy on held-out reviews afterwards."""
    task = WorldReviews(n_train=n_steps * BATCH_SIZE)
    task.setup(language_model.tokenizer, edits)
    tuner = FineTuner(
        language_model,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=LR),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 0.02, total_iters=50),
    )
    trainer = L.Trainer(
        max_steps=n_steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(tuner, DataLoader(task.train_dataset(), BATCH_SIZE, collate_fn=task.collate))
    language_model.eval()
    batch = task.collate([task.val_dataset()[index] for index in range(240)])
    with torch.no_grad():
        _, correct = tuner.loss(batch)
    return float(correct.float().mean())


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, 10))])
def test_fifty_edits_take_and_stay_small(memit, seed):
    language_model = WorldModel()
    requests = World(limit=N_EDITS, seed=seed).load()
    delta = memit.edit(language_model, requests)
    sizes = relative_sizes(language_model, delta)
    delta.apply(language_model)
    by_probability = scores(language_model, requests, rule=Rule.PROB)
    exact = scores(language_model, requests)
    assert by_probability["efficacy"] >= 0.95
    assert exact["efficacy"] >= 0.9
    assert by_probability["generalization"] >= 0.8
    assert by_probability["specificity"] >= 0.9
    assert len(sizes) == 3
    assert max(sizes) <= 0.5


def pools(seed: int = 0):
    edits = World(limit=N_EDITS, seed=seed).load()
    return edits, World(limit=150, seed=100 + seed).load(exclude_subjects=subjects_of(edits))


@pytest.mark.parametrize("n_steps", [ENOUGH_STEPS, pytest.param(N_STEPS, marks=pytest.mark.slow)])
def test_without_an_edit_the_facts_outlast_fine_tuning(n_steps):
    edits, others = pools()
    language_model = WorldModel()
    before = scores(language_model, [*edits, *others], Pool.UNEDITED)
    accuracy = fine_tune(language_model, edits, n_steps)
    after = scores(language_model, [*edits, *others], Pool.UNEDITED)
    assert accuracy >= 0.8
    assert before["efficacy"] >= 0.99
    assert after["efficacy"] >= 0.95


@pytest.mark.parametrize(
    ("seed", "n_steps"), [(3, ENOUGH_STEPS), *(pytest.param(s, N_STEPS, marks=pytest.mark.slow) for s in (1, 3, 4))]
)
def test_edits_decay_and_the_facts_beside_them_do_not(memit, seed, n_steps):
    edits, others = pools(seed)
    language_model = WorldModel()
    memit.edit(language_model, edits).apply(language_model)
    before = scores(language_model, edits)
    fine_tune(language_model, edits, n_steps)
    after = scores(language_model, edits)
    lost = [before[name] - after[name] for name in ("efficacy", "generalization")]
    assert max(lost) >= 0.15
    assert scores(language_model, others, Pool.INTRINSIC)["efficacy"] >= 0.95
