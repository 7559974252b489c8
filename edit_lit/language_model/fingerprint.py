"""Hashes that tell exact weights and tokenizers apart."""

from __future__ import annotations

import hashlib
import json

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from edit_lit.utilities.finite import check_finite
from edit_lit.utilities.progress import progress

# Words at a time: few enough to stay in a processor's cache.
_CHUNK = 1 << 18
_STRIDE = -7046029254386353131


def model_fingerprint(model: nn.Module) -> str:
    """A hash of every parameter's name, shape, type and bits.

    Two models share it only if they hold the same weights, whatever they are called and wherever they
    were loaded from. It is computed where the weights are, in one pass over them.
    """
    digest = hashlib.sha256()
    named = list(model.named_parameters())
    for name, parameter in progress(named, "fingerprint of the model", "tensors"):
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {tensor_checksum(parameter)}\n".encode())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of everything that a fast tokenizer does to a text, and of its special tokens.

    Padding and truncation are left out: they are left over from its last call.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {name: part for name, part in state.items() if name not in ("padding", "truncation")}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps([kept, special], sort_keys=True).encode()).hexdigest()


def check_finite_weights(model: nn.Module) -> None:
    """Refuse a model whose weights hold NaN or infinity, in one fast pass.

    Raises:
        ConfigError: Naming the first such weight.
    """
    remedy = "Such a model answers nothing: load one that is whole, from a run that did not diverge."
    for name, parameter in model.named_parameters():
        check_finite(parameter, f"the model's weight {name}", remedy)


def tensor_checksum(tensor: Tensor) -> int:
    """A position-weighted sum of a tensor's bits as 64-bit words, modulo 2^64.

    Integer arithmetic wraps and does not round, so the order of summation cannot change the result.
    """
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    words = F.pad(data, (0, -data.numel() % 8)).view(torch.int64)
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for start in range(0, words.numel(), _CHUNK):
        chunk = words[start : start + _CHUNK]
        # An odd multiplier that differs for every position: equal values in other places sum to something else.
        weight = torch.arange(start, start + chunk.numel(), device=chunk.device).mul_(_STRIDE).bitwise_or_(1)
        mixed = weight.mul_(chunk + 1)
        total += mixed.bitwise_xor_(mixed >> 29).sum()
    return int(total) % (1 << 64)
