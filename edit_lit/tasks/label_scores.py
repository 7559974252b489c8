"""Scoring a batch of a task: the NLL of label tokens, and whether answers are predicted exactly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import token_hits, token_nll
from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.tasks.task import IGNORED


def label_scores(language_model: LanguageModel, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """NLL of each label token, and for each example with an answer whether all its tokens are the argmax.

    Logits are computed at these tokens only.

    Args:
        language_model: The model.
        batch: What a task's ``collate`` makes.

    Returns:
        NLL, [label tokens], and whether each answer is right, [examples that have one].
    """
    ids, labels, answers = batch["input_ids"], batch["labels"], batch["answer_mask"]
    has_label, has_answer = labels[:, 1:] != IGNORED, answers[:, 1:]
    row, column = (has_label | has_answer).nonzero(as_tuple=True)
    rows = TokenBatch(ids, batch["attention_mask"], batch.get("position_ids"))
    logits = language_model.logits_at(rows, (row, column))
    labelled, answered = (has[row, column].nonzero()[:, 0] for has in (has_label, has_answer))
    scored = logits if len(labelled) == len(logits) else logits[labelled]
    nll = token_nll(scored, labels[:, 1:][row, column][labelled])
    missed = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    wrong = ~token_hits(logits.detach()[answered], ids[:, 1:][row, column][answered])
    missed.index_add_(0, row[answered], wrong.long())
    return nll, missed[has_answer.any(dim=1)] == 0
