"""A task's scores on its validation part, without a Trainer."""

from __future__ import annotations

import math

from torch.utils.data import DataLoader

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.tasks.label_scores import label_scores
from edit_lit.tasks.task import Task


def validation_scores(language_model: LanguageModel, task: Task, batch_size: int = 16) -> dict[str, float]:
    """What a validation of Lightning's measures: mean loss, the share of right answers, and the task's own scores.

    One process asks for all examples.

    Args:
        language_model: The model.
        task: The task, set up.
        batch_size: Examples in a batch.

    Returns:
        ``loss``, in nats per label token; ``accuracy``, if any example has an answer; the task's own by their names.
        NaN, but for the loss, where the loss is no finite number.
    """
    loss, tokens, right, answers = 0.0, 0, 0, 0
    with evaluating(language_model.model):
        for batch in DataLoader(task.val_dataset(), batch_size=batch_size, collate_fn=task.collate):
            nll, correct = label_scores(
                language_model, {name: tensor.to(language_model.device) for name, tensor in batch.items()}
            )
            loss, tokens = loss + float(nll.double().sum()), tokens + len(nll)
            right, answers = right + int(correct.sum()), answers + len(correct)
        scores = {"accuracy": right / answers} if answers else {}
        scores |= task.score(language_model)
    mean = loss / tokens if tokens else math.nan
    return {"loss": mean, **{name: value if math.isfinite(mean) else math.nan for name, value in scores.items()}}
