"""A short name for a model's exact weights."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

_CHUNK = 1 << 22
_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def model_fingerprint(model: nn.Module) -> str:
    """A hash of every parameter's name, shape, type and bits.

    Two models share it only if they hold the same weights, whatever they are called and wherever they
    were loaded from. It is computed where the weights are, at the speed of their memory.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {_checksum(parameter.detach())}\n".encode())
    return digest.hexdigest()


def _checksum(tensor: Tensor) -> int:
    """A position-weighted sum of a tensor's bits, modulo 2^64.

    Integer arithmetic wraps and does not round, so the order of summation cannot change the result.
    """
    bits = tensor.contiguous().view(-1).view(_INTEGER[tensor.element_size()])
    total = 0
    for start in range(0, bits.numel(), _CHUNK):
        chunk = bits[start : start + _CHUNK].long()
        position = torch.arange(start, start + chunk.numel(), device=chunk.device)
        # An odd multiplier that differs for every position: equal values in other places sum to something else.
        weight = (position * -7046029254386353131) | 1
        mixed = (chunk + 1) * weight
        total += int((mixed ^ (mixed >> 29)).sum())
    return total % (1 << 64)
