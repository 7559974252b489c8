"""What a model answers at one time and another, and how far its weights are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import plain_parameters
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.probe import Probe
from edit_lit.tasks.task import Task
from edit_lit.tasks.validation import validation_scores
from edit_lit.tuning.merging import of_adapters


@dataclass(frozen=True)
class Stage:
    """What a model answers at one time.

    Args:
        edited: Outcomes of the edited facts.
        intrinsic: Outcomes of the intrinsic facts; empty if there are none.
        downstream: The task's scores on its validation part.
    """

    edited: Outcomes
    intrinsic: Outcomes
    downstream: Mapping[str, float]


class Questions:
    """What a model is asked at each stage.

    Args:
        language_model: The model, in whichever state.
        edited: The edited facts.
        intrinsic: Facts that nobody edited and that the unedited model knows.
        task: The downstream task, set up.
        batch_size: Examples of the task in a batch.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        edited: Sequence[EditRequest],
        intrinsic: Sequence[EditRequest],
        task: Task,
        batch_size: int = 16,
    ) -> None:
        self.language_model = language_model
        self.task = task
        self.batch_size = batch_size
        self._edited = Probe(edited, language_model.tokenizer)
        self._intrinsic = Probe(intrinsic, language_model.tokenizer, Pool.INTRINSIC)

    def ask(self) -> Stage:
        """Ask the model as it is now."""
        return Stage(
            self._edited.run(self.language_model),
            self._intrinsic.run(self.language_model),
            validation_scores(self.language_model, self.task, self.batch_size),
        )


@dataclass(frozen=True)
class WeightChange:
    """How far apart a parameter is at two of three times, in relation to its norm at the first of the two.

    Args:
        tuned: ‖W_t − W_0‖ / ‖W_0‖ after fine-tuning, the edit included.
        changed: ‖W_x − W_0‖ / ‖W_0‖ after the surgery.
        by_surgery: ‖W_x − W_t‖ / ‖W_t‖, what the surgery changed.
    """

    tuned: float
    changed: float
    by_surgery: float

    @classmethod
    def between(cls, unedited: Tensor, tuned: Tensor, changed: Tensor) -> WeightChange:
        """The change of one parameter, in float64.

        Args:
            unedited: Its values before the edit, W_0.
            tuned: After fine-tuning, W_t.
            changed: After the surgery, W_x.
        """
        return cls(
            relative_change(unedited, tuned), relative_change(unedited, changed), relative_change(tuned, changed)
        )


def copies(language_model: LanguageModel, names: Sequence[str]) -> dict[nn.Parameter, Tensor]:
    """Copies of parameters of the plain model, on the CPU."""
    parameters = [language_model.parameter(name) for name in names]
    return {one: one.detach().to("cpu", copy=True) for one in parameters if one is not None}


def own_weights(language_model: LanguageModel) -> dict[nn.Parameter, Tensor]:
    """Copies of all parameters but those of adapters, on the CPU."""
    added = {id(parameter) for parameter in of_adapters(language_model.model)}
    own = [name for name, parameter in plain_parameters(language_model.model) if id(parameter) not in added]
    return copies(language_model, own)


def relative_change(before: Tensor, now: Tensor) -> float:
    """‖W_now − W_before‖ / ‖W_before‖ of one parameter, in float64; NaN if it was all zeros."""
    return relative_change_together([(before, now)])


def relative_change_together(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """‖W_now − W_before‖ / ‖W_before‖ of several parameters taken as one, in float64; NaN if all were zeros.

    Args:
        pairs: Each before and now.
    """
    changes, sizes = [0.0], [0.0]
    for before, now in pairs:
        then, changed = (values.detach().double().cpu() for values in (before, now))
        changes.append(float(torch.linalg.vector_norm(changed - then)))
        sizes.append(float(torch.linalg.vector_norm(then)))
    size = math.hypot(*sizes)
    return math.hypot(*changes) / size if size else math.nan
