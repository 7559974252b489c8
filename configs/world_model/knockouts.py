"""Random ablations in training, which decide where the world's model can keep a fact.

Left alone, a small model looks a fact up wherever subject and relation first meet, often at the last
token of the prompt. Editors look for it in the MLPs at the subject's last token. Four kinds of damage,
drawn anew for every document, leave no other place that always works:

- in half of the documents the MLPs are silent at every token but the subjects' last ones;
- in half of the documents the first block's MLP is silent at every token, so that the facts are kept above it
  and there is a block below all edits;
- up to a random block, later tokens cannot attend to a subject at all;
- from that block on, they can attend to its last token only.

Inference is the plain model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

OPENINGS = (0, 3, 4)
"""The blocks from which on a subject may be read from outside; each is as likely as the next."""

MLP_SHARE = 0.5
"""Share of the documents in which MLPs are silent outside subjects' last tokens."""

FIRST_MLP_SHARE = 0.5
"""Share of the documents in which the first block's MLP is silent."""


@dataclass(frozen=True)
class Knockouts:
    """The damage to one batch.

    Args:
        mlps: What the output of each block's MLP is multiplied by [batch, length, 1].
        attention: What is added to the attention scores of each block [batch, 1, length, length].
    """

    mlps: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]


def subject_ends(subjects: Tensor) -> Tensor:
    """Which tokens end a subject [batch, length].

    Args:
        subjects: The number of the subject that each token belongs to, 0 outside [batch, length].
    """
    following = torch.nn.functional.pad(subjects[:, 1:], (0, 1))
    return (subjects > 0) & (following != subjects)


def draw_knockouts(subjects: Tensor, n_blocks: int, generator: torch.Generator) -> Knockouts:
    """Draw the damage for a batch.

    Args:
        subjects: The number of the subject that each token belongs to, 0 outside [batch, length].
        n_blocks: How many blocks the model has.
        generator: Where the draws come from.
    """
    ends = subject_ends(subjects)
    return Knockouts(_draw_mlps(ends, n_blocks, generator), _draw_attention(subjects, ends, n_blocks, generator))


def _draw_mlps(ends: Tensor, n_blocks: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    silent = torch.rand(len(ends), 1, generator=generator) < MLP_SHARE
    first_silent = torch.rand(len(ends), 1, generator=generator) < FIRST_MLP_SHARE
    upper = ends | ~silent
    return ((upper & ~first_silent).float()[..., None], *[upper.float()[..., None]] * (n_blocks - 1))


def _draw_attention(subjects: Tensor, ends: Tensor, n_blocks: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    batch, length = subjects.shape
    opening = torch.tensor(OPENINGS)[torch.randint(len(OPENINGS), (batch, 1, 1), generator=generator)]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    # A token of a subject may always attend within that subject; outside it, seen from a later token, the
    # subject is hidden below the opening block and reduced to its last token from there on.
    outside = (subjects[:, None, :] > 0) & (subjects[:, None, :] != subjects[:, :, None])
    reduced = outside & ~ends[:, None, :]
    masks = []
    for block in range(n_blocks):
        allowed = causal & ~torch.where(block < opening, outside, reduced)
        masks.append(torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None])
    return tuple(masks)


@contextmanager
def knocked_out(blocks: Sequence[nn.Module], knockouts: Knockouts) -> Iterator[None]:
    """Do the damage to every forward pass inside the ``with`` block.

    Args:
        blocks: The model's blocks, with an ``mlp`` each.
        knockouts: What to damage, for the batch that will be passed through.
    """
    handles = []
    for block, mlp, mask in zip(blocks, knockouts.mlps, knockouts.attention, strict=True):
        handles.append(block.register_forward_pre_hook(_with_mask(mask), with_kwargs=True))
        handles.append(block.get_submodule("mlp").register_forward_hook(_scaled_by(mlp)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


BlockInput = tuple[tuple[Any, ...], dict[str, Any]]


def _with_mask(mask: Tensor) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], BlockInput]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BlockInput:
        return args, {**kwargs, "attention_mask": mask}

    return hook


def _scaled_by(scale: Tensor) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * scale

    return hook
