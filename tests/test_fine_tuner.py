from __future__ import annotations

import math

import pytest
import tiny
import torch
from lightning.pytorch.loggers import CSVLogger
from peft import PeftModel
from transformers import AutoModelForCausalLM

from edit_lit.fine_tuner import FineTuner
from edit_lit.tasks.task import IGNORED
from edit_lit.tuning import FullTuning, LoRA


def batch():
    """Rows of unequal length, labels on some tokens, an answer in two of three rows."""
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0], [11, 12, 13, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    labels = torch.where(mask == 1, ids, IGNORED)
    labels[0, 1] = IGNORED
    answers = torch.zeros_like(ids, dtype=torch.bool)
    answers[0, 2:] = True
    answers[2, 1] = True
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "answer_mask": answers}


@torch.no_grad()
def test_loss_and_accuracy_equal_a_loop_over_tokens():
    module = tiny.tuner()
    made = batch()
    nll, correct = [], []
    for row in range(3):
        length = int(made["attention_mask"][row].sum())
        logits = module.language_model.model(input_ids=made["input_ids"][row : row + 1, :length]).logits[0]
        hits = []
        for place in range(1, length):
            token = made["input_ids"][row, place]
            if made["labels"][row, place] != IGNORED:
                nll.append(-float(logits[place - 1].log_softmax(-1)[token]))
            if made["answer_mask"][row, place]:
                hits.append(bool(logits[place - 1].argmax() == token))
        if hits:
            correct.append(all(hits))
    loss, answered = module.loss(made)
    assert float(loss) == pytest.approx(sum(nll) / len(nll), rel=1e-5)
    assert answered.tolist() == correct


def test_only_what_trains_is_in_the_optimizer_and_learns(tmp_path):
    module = tiny.tuner(tuning=FullTuning([2], "mlp"))
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    trainer = tiny.trainer(str(tmp_path))
    trainer.fit(module, datamodule=tiny.data())
    (optimizer,) = trainer.optimizers
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert len(trained) == 3
    for name, parameter in module.named_parameters():
        assert (id(parameter) in trained) == parameter.requires_grad == ("layers.2.mlp" in name)
        assert torch.equal(before[name], parameter) != parameter.requires_grad


def test_the_model_trains_in_training_mode(tmp_path):
    modes = []

    class Watch(FineTuner):
        def training_step(self, batch, batch_idx):
            modes.append(self.language_model.model.training)
            return super().training_step(batch, batch_idx)

    language_model = tiny.llama()
    assert not language_model.model.training
    tiny.trainer(str(tmp_path), max_steps=1).fit(Watch(language_model), datamodule=tiny.data())
    assert modes == [True]


def test_validation_scores_are_means_over_tokens_and_examples(tmp_path):
    module, data = tiny.tuner(), tiny.data()
    trainer = tiny.trainer(str(tmp_path), logger=CSVLogger(str(tmp_path)))
    trainer.validate(module, datamodule=data, verbose=False)
    losses, correct = [], []
    for example in data.task.val_dataset():
        ids = torch.tensor([example["input_ids"]])
        with torch.no_grad():
            scores = module.language_model.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        losses += (-scores.gather(1, ids[0, 1:, None])[:, 0]).tolist()
        correct.append(bool(scores[-1].argmax() == ids[0, -1]))
    got = trainer.callback_metrics
    assert float(got["downstream/val_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert float(got["downstream/val_perplexity"]) == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)
    assert float(got["downstream/val_accuracy"]) == pytest.approx(sum(correct) / len(correct))


def test_schedules_step_with_the_optimizer(tmp_path):
    schedule = lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4)  # noqa: E731
    trainer = tiny.trainer(str(tmp_path), max_steps=2)
    trainer.fit(tiny.tuner(lr_scheduler=schedule), datamodule=tiny.data())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(3e-3 * 0.55)


# transformers 5.2 calls it activation checkpointing; older versions that we run on know no such name.
@pytest.mark.filterwarnings("ignore:`(gradient_checkpointing_enable|is_gradient_checkpointing)`:FutureWarning")
def test_gradient_checkpointing_changes_no_weight(tmp_path):
    weights = []
    for checkpointing in (False, True):
        module = tiny.tuner(gradient_checkpointing=checkpointing)
        tiny.trainer(str(tmp_path), max_steps=3).fit(module, datamodule=tiny.data())
        assert module.language_model.model.is_gradient_checkpointing == checkpointing
        weights.append(module.language_model.model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor)


@pytest.mark.parametrize("merge", [True, False])
def test_export_is_the_model_in_hugging_faces_format(merge, tmp_path):
    module = tiny.tuner(tuning=LoRA(r=2), export=True, merge_adapter=merge)
    tiny.trainer(str(tmp_path), max_steps=3).fit(module, datamodule=tiny.data())
    folder = tmp_path / "model"
    ids = torch.tensor([[5, 6, 7]])
    if merge:
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    else:
        loaded = PeftModel.from_pretrained(tiny.llama().model, folder)
    with torch.no_grad():
        expected = module.language_model.model(input_ids=ids).logits
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(tiny.llama().model(input_ids=ids).logits, expected)
    assert (folder / "tokenizer.json").exists()


def test_half_precision_that_trains_is_warned_about():
    language_model = tiny.llama()
    language_model.model.bfloat16()
    with pytest.warns(UserWarning, match="kept in 16 bits.*bf16-mixed"):
        FineTuner(language_model).configure_model()
