"""Reading hidden states and keys of chosen prompts in one state of a model.

Shape legend: P positions, L layers, F prompts, D hidden size, E edited prompts, N size of the MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from edit_lit.activations.token_rows import prompt_rows
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.model import working_type
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import projection_shape
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError


class Position(StrEnum):
    """The token at which a prompt is read: its subject's last one, or its own last one, which predicts the answer."""

    SUBJECT = "subject"
    LAST = "last"


POSITIONS = tuple(Position)


@dataclass(frozen=True)
class Prompt:
    """A prompt as model input.

    Args:
        ids: Its tokens, without the answer; it is read at the last one.
        subject: Position of its subject's last token, if it has a subject.
    """

    ids: Sequence[int]
    subject: int | None = None


def prompts_of(language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[Prompt]:
    """The bare prompt of each request, up to the token that predicts the answer.

    Raises:
        ConfigError: If a subject or target has no tokens; the message names the request.
    """
    return [
        Prompt(row.ids[: len(row.ids) - len(row.answer) + 1], row.subject_last)
        for (row,) in prompt_rows(language_model.tokenizer, requests, [SUBJECT_SLOT])
    ]


@dataclass(frozen=True)
class Reading:
    """What a model computes on some prompts, on the CPU, in float32 or, of a model in float64, in that.

    Args:
        hidden: Output of each block at each position, [P, L, F, D]; NaN at the subject of a prompt without one.
        keys: Input of the output projection of each edited layer at the subject of the first prompts, [E, N].
    """

    hidden: Tensor
    keys: dict[int, Tensor]


class Reader:
    """Reads the same prompts in any state of a model.

    Args:
        language_model: The model.
        prompts: The prompts.
        keyed: How many of them, from the first on, are read for their keys; they have a subject.
        key_layers: The layers whose keys are read.
        batch_tokens: Tokens in a batch, padding included.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        prompts: Sequence[Prompt],
        keyed: int,
        key_layers: Sequence[int],
        batch_tokens: int = 8192,
    ) -> None:
        self.language_model = language_model
        self.prompts = list(prompts)
        self.keyed = keyed
        self.key_layers = list(key_layers)
        self._batches = length_batches([len(prompt.ids) for prompt in prompts], batch_tokens)

    def read(self) -> Reading:
        """Read the model as it is now, in evaluation mode; all processes share the work and get the same."""
        model, layers = self.language_model, range(len(self.language_model.blocks))
        like = torch.zeros((), dtype=working_type(next(model.model.parameters())), device=model.device)
        hidden = like.new_zeros(len(POSITIONS), len(layers), len(self.prompts), model.hidden_size)
        keys = {
            layer: like.new_zeros(self.keyed, projection_shape(model.output_projection(layer))[1])
            for layer in self.key_layers
        }
        with evaluating(model.model):
            for numbers in distributed.shard(self._batches):
                self._read_batch(numbers, hidden, keys)
        for tensor in (hidden, *keys.values()):
            distributed.sum_over_processes(tensor)
        without = [number for number, prompt in enumerate(self.prompts) if prompt.subject is None]
        hidden[POSITIONS.index(Position.SUBJECT), :, without] = torch.nan
        return Reading(hidden.cpu(), {layer: tensor.cpu() for layer, tensor in keys.items()})

    def _read_batch(self, numbers: list[int], hidden: Tensor, keys: dict[int, Tensor]) -> None:
        model, device = self.language_model, hidden.device
        prompts = [self.prompts[number] for number in numbers]
        batch = TokenBatch.of([prompt.ids for prompt in prompts], device)
        last = [len(prompt.ids) - 1 for prompt in prompts]
        subject = [end if prompt.subject is None else prompt.subject for end, prompt in zip(last, prompts, strict=True)]
        # Counted from the end: a prompt that was learnt may stand before the tokens.
        columns_PB = torch.tensor([subject, last], device=device) - batch.ids.shape[1]
        rows_B = torch.arange(len(prompts), device=device)
        place_B = torch.tensor(numbers, device=device)
        keyed_B = place_B < self.keyed

        def keep_hidden(layer: int) -> Callable[[Tensor], None]:
            def keep(value: Tensor) -> None:
                whole = value.view(len(prompts), -1, value.shape[-1])
                hidden[:, layer, place_B] = whole[rows_B, columns_PB].to(hidden.dtype)

            return keep

        def keep_key(layer: int) -> Callable[[Tensor], None]:
            def keep(value: Tensor) -> None:
                at_subject = value.view(len(prompts), -1, value.shape[-1])[rows_B, columns_PB[0]]
                keys[layer][place_B[keyed_B]] = at_subject[keyed_B].to(hidden.dtype)

            return keep

        with ExitStack() as stack:
            for layer, block in enumerate(model.blocks):
                stack.enter_context(seen(block, keep_hidden(layer), output=True))
            for layer in self.key_layers:
                stack.enter_context(seen(model.output_projection(layer), keep_key(layer), output=False))
            run_blocks(model, batch)


@contextmanager
def seen(module: nn.Module, keep: Callable[[Tensor], None], output: bool) -> Iterator[None]:
    """Let a function see a module's first input or output as soon as there is one, so that nothing else is kept.

    Args:
        module: The module.
        keep: What is called with it.
        output: Whether it is the output, or the first part of it, instead of the input.
    """

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        keep(inputs[0])

    def behind(_: nn.Module, __: tuple[Any, ...], result: Tensor | tuple[Tensor, ...]) -> None:
        keep(result[0] if isinstance(result, tuple) else result)

    handle = module.register_forward_hook(behind) if output else module.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


def check_whole(language_model: LanguageModel) -> None:
    """Refuse a model of whose weights a process holds a part only.

    Raises:
        ConfigError: Naming the remedy.
    """
    for layer, block in enumerate(language_model.blocks):
        if any(hasattr(parameter, "device_mesh") or not parameter.numel() for parameter in block.parameters()):
            raise ConfigError(
                f"the weights of layer {layer} are split over processes, so that drift cannot be measured. "
                "Set trainer.strategy to auto or ddp."
            )
