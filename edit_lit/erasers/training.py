"""What erasers by training share: some weights of a model train, step by step, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from edit_lit.deltas.swap import on_cpu, write_values
from edit_lit.editors.gradient.master_weights import MasterWeights, Project
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen
from edit_lit.tuning.divergence import all_finite
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress

GradientAt = Callable[[int], tuple[float, Sequence[Tensor]]]
"""The loss of a step, and its gradient by each weight that trains."""


@dataclass(frozen=True)
class Descent:
    """Adam for some steps, without decay, clipping or warm-up.

    Args:
        steps: Optimizer steps, at most.
        lr: Learning rate.

    Raises:
        ConfigError: If one is out of range.
    """

    steps: int
    lr: float

    def __post_init__(self) -> None:
        check_number("eraser.steps", self.steps, least=1)
        check_number("eraser.lr", self.lr, above=0)

    def run(
        self,
        parameters: Sequence[nn.Parameter],
        gradient_at: GradientAt,
        label: str,
        project: Project | None = None,
        done: Callable[[int], bool] = lambda step: False,
    ) -> int:
        """Train in place; how many steps were taken.

        Args:
            parameters: What learns.
            gradient_at: Loss and gradient of a step, counted from 0.
            label: What is being done, for the progress.
            project: Called with the weights behind each step, to limit them.
            done: Asked before each step whether to stop there.

        Raises:
            ConfigError: If a loss or a weight is no finite number.
        """
        masters = MasterWeights(parameters, self.lr)
        for step in progress(range(self.steps), label, "steps"):
            if done(step):
                return step
            loss, gradients = gradient_at(step)
            if not math.isfinite(loss):
                raise _diverged(step, self.lr)
            masters.step(gradients, project)
        if not all_finite(parameters):
            raise _diverged(self.steps, self.lr)
        return self.steps


def _diverged(step: int, lr: float) -> ConfigError:
    return ConfigError(
        f"the eraser's training gives no finite numbers from step {step} on; nothing was changed. Lower eraser.lr, "
        f"which is {lr:g}."
    )


@contextmanager
def training(language_model: LanguageModel, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let some parameters alone train, without dropout.

    Flags and modes are as before afterwards, and so are the values, bit for bit, if anything is raised.

    Args:
        language_model: The model.
        parameters: Those that train.
    """
    before = {parameter: on_cpu(parameter) for parameter in parameters}
    try:
        with frozen(language_model.model):
            for parameter in parameters:
                parameter.requires_grad_(True)
            yield
    except BaseException:
        write_values(before)
        raise
