"""Which parameters the input of a module hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import nn

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.hooks import recorded_input
from edit_lit.language_model.modes import frozen
from edit_lit.language_model.token_batch import TokenBatch


def parameters_that_feed(
    language_model: LanguageModel, readers: Sequence[nn.Module], parameters: Sequence[nn.Parameter]
) -> set[nn.Parameter]:
    """The parameters from which the input of a module is computed, found by following a forward pass of two tokens.

    Nothing about the model is changed, gradients included.

    Args:
        language_model: The model.
        readers: The modules; at least one.
        parameters: The parameters in question.
    """
    if not parameters:
        return set()
    rows = TokenBatch.of([[0, 0]], language_model.device)
    with ExitStack() as stack:
        stack.enter_context(frozen(language_model.model))
        for parameter in parameters:
            parameter.requires_grad_(True)
        records = [stack.enter_context(recorded_input(module)) for module in readers]
        language_model.model(input_ids=rows.ids, use_cache=False)
        inputs = [record.take().float().sum() for record in records]
        reached = [value for value in inputs if value.requires_grad]
        if not reached:
            return set()
        gradients = torch.autograd.grad(reached, list(parameters), allow_unused=True)
    return {parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
