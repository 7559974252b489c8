"""Greedy generation for many prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edit_lit.language_model.model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.spans import encode_many
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.utilities import distributed


def continuations(
    language_model: LanguageModel, prompts: Sequence[str], max_new_tokens: int, batch_tokens: int = 8192
) -> list[str]:
    """Greedy continuations of prompts, up to the end-of-sequence token, without special tokens.

    With several processes each generates for a share of the prompts and all get all texts.

    Args:
        language_model: The model.
        prompts: The prompts.
        max_new_tokens: Most tokens to write.
        batch_tokens: Tokens in a batch, padding and written tokens included.
    """
    ids = [encoded.ids for encoded in encode_many(language_model.tokenizer, list(prompts))]
    batches = length_batches([len(row) + max_new_tokens for row in ids], batch_tokens)
    mine: dict[int, str] = {}
    with evaluating(language_model.model):
        for batch in distributed.shard(batches):
            mine |= zip(batch, _write(language_model, [ids[index] for index in batch], max_new_tokens), strict=True)
    written = {index: text for share in distributed.from_all_processes(mine) for index, text in share.items()}
    return [written[index] for index in range(len(prompts))]


def _write(language_model: LanguageModel, ids: list[list[int]], max_new_tokens: int) -> list[str]:
    tokenizer = language_model.tokenizer
    # Turned around, padding on the right is the padding on the left that writing needs.
    turned = TokenBatch.of([row[::-1] for row in ids], language_model.device)
    output = language_model.model.generate(  # type: ignore[operator] # an adapter's wrapper hides what it is
        input_ids=turned.ids.flip(1),
        attention_mask=turned.mask.flip(1),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    assert isinstance(output, torch.Tensor)
    return tokenizer.batch_decode(output[:, turned.ids.shape[1] :], skip_special_tokens=True)
