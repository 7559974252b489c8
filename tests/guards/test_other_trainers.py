"""A guard in Hugging Face's Trainer."""

from __future__ import annotations

import pytest
import tiny
import torch
from test_hold import answers, change, edited, keys
from transformers import Trainer, TrainingArguments

from edit_lit.guards import Hold

pytestmark = [
    pytest.mark.filterwarnings("ignore:Hold protects more than a quarter"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


class Texts(torch.utils.data.Dataset):
    def __init__(self, tokenizer):
        self.rows = [tokenizer(f"the bus goes to {subject} . it is late")["input_ids"][:8] for subject in tiny.SUBJECTS]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return {"input_ids": self.rows[place], "labels": self.rows[place]}


@pytest.mark.parametrize("guarded", [True, False])
def test_the_writes_are_kept(tmp_path, guarded):
    model, delta, requests = edited(train="all")
    of = keys(model, requests)
    before = answers(model, of)
    options = TrainingArguments(
        str(tmp_path), max_steps=6, learning_rate=1e-2, weight_decay=0.1, per_device_train_batch_size=1, report_to=[],
        save_strategy="no", use_cpu=True, disable_tqdm=True, max_grad_norm=0.5,
    )  # fmt: skip
    trainer = Trainer(model.model, options, train_dataset=Texts(model.tokenizer))
    guard = Hold()
    if guarded:
        guard.setup(model, delta, requests)
        guard.attach(trainer.create_optimizer())
    trainer.train()
    assert (change(before, answers(model, of)) < 1e-12) == guarded
