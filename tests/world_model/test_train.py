from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy
from world_model.batches import world_text
from world_model.knockouts import draw_knockouts, knocked_out
from world_model.train import EMBEDDING_STD, WorldTrainer, build_model, learning_rate, train

from edit_lit.language_model import LanguageModel
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.tokenizer import build_tokenizer

KNOWLEDGE_BASE = build_knowledge_base()
TOKENIZER = build_tokenizer(KNOWLEDGE_BASE)


def test_the_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, 1000) for step in range(1001)]
    assert rates[:60] == pytest.approx([(step + 1) / 60 for step in range(60)])
    assert set(rates[60:400]) == {1.0}
    assert all(later < earlier for earlier, later in pairwise(rates[400:]))
    assert rates[1000] == pytest.approx(0.03)


def test_the_loss_is_the_weighted_mean_of_one_document_at_a_time():
    torch.manual_seed(0)
    language_model = LanguageModel.wrap(build_model(TOKENIZER), TOKENIZER)
    trainer = WorldTrainer(language_model, n_steps=10, seed=5)
    batch = world_text(KNOWLEDGE_BASE, TOKENIZER, 1, 6, seed=0)[0]
    loss, _ = trainer.loss(batch)
    blocks = language_model.blocks
    damage = draw_knockouts(batch["subjects"], len(blocks), torch.Generator().manual_seed(5))
    total, weight = 0.0, 0.0
    with torch.no_grad(), knocked_out(blocks, damage):
        logits = language_model.model(batch["input_ids"]).logits
    for row in range(6):
        for position in range(batch["input_ids"].shape[1] - 1):
            share = float(batch["weights"][row, position + 1])
            total += share * float(cross_entropy(logits[row, position], batch["input_ids"][row, position + 1]))
            weight += share
    assert float(loss.detach()) == pytest.approx(total / weight, rel=1e-4)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`:UserWarning")
def test_two_trainings_write_the_same_model_and_leave_the_input_embedding_alone(tmp_path):
    models = []
    for name in ("first", "second"):
        train(tmp_path / name, n_steps=3, seed=1)
        models.append(LanguageModel(str(tmp_path / name)).model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    torch.manual_seed(1)
    fresh = copy.deepcopy(build_model(TOKENIZER).half().float().state_dict())
    unchanged = {name for name in fresh if torch.equal(fresh[name], models[0][name])}
    assert unchanged == {"model.embed_tokens.weight"}
    assert float(fresh["model.embed_tokens.weight"].std()) == pytest.approx(EMBEDDING_STD, rel=0.02)
