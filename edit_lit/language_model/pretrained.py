"""Loads a causal language model and its tokenizer, and refuses what cannot be worked with in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from edit_lit.language_model.modes import evaluating
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.hub import hub_answers
from edit_lit.utilities.text import first_line


def load_pretrained(
    path: str, dtype: torch.dtype | str, revision: str | None, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer, from a local folder without any look at the hub, or from the hub.

    Args:
        path: A local folder or a Hugging Face name.
        dtype: Weights' type.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model.

    Raises:
        ConfigError: If the folder or its files are missing or damaged, the hub cannot be reached, or the model is no
            causal language model.
    """
    options: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "local_files_only": _is_local(path) or not hub_answers(),
    }
    if options["local_files_only"] and not _is_local(path):
        remedy = "The hub does not answer: name a local folder, or load the model once where there is a network"
    else:
        remedy = "Name a folder or a Hugging Face name that holds a model of transformers with its tokenizer"
    with _refusing(path, "config", remedy):
        config = AutoConfig.from_pretrained(path, **options)
    _check_kind(config)
    with _refusing(path, "tokenizer", remedy):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    with _refusing(path, "weights", remedy):
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True, **options)
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConfigError(
            f"language_model.path {path!r}: the checkpoint lacks {len(missing)} weights of {type(model).__name__}, "
            f"such as {missing[0]}, which would be random. Name a whole checkpoint of a causal language model."
        )
    return model, tokenizer


def check_usable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that reads ahead or gives no numbers, and a tokenizer that does not fit it.

    Raises:
        ConfigError: Naming what is wrong and the remedy.
    """
    if not tokenizer.is_fast:
        raise ConfigError(
            f"the tokenizer {type(tokenizer).__name__} gives no character offsets, by which subjects are located. "
            "Use a fast tokenizer (a folder with tokenizer.json)."
        )
    rows = len(_embeddings(model))
    if not len(tokenizer):
        raise ConfigError("the tokenizer has no tokens. Name a folder that holds the model's own tokenizer.")
    if len(tokenizer) > rows:
        raise ConfigError(
            f"the tokenizer has {len(tokenizer)} tokens, but {type(model).__name__} has embeddings for {rows}. "
            "Use the model's own tokenizer, or resize the embeddings and save both."
        )
    _check_kind(model.config)
    _check_causal(model, rows)


def _check_kind(config: Any) -> None:
    masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING and getattr(config, "is_decoder", None) is False
    if config.is_encoder_decoder or masked:
        kind = "an encoder-decoder" if config.is_encoder_decoder else "bidirectional: its is_decoder is false"
        raise ConfigError(
            f"the model's type is {config.model_type}, which is {kind}. Use a causal language model, which reads from "
            "left to right only."
        )


@torch.no_grad()
def _check_causal(model: PreTrainedModel, vocabulary: int) -> None:
    """Refuse a model in which a token changes the logits before it, or whose logits are no numbers."""
    device = _embeddings(model).device
    if device.type == "meta" or vocabulary < 2:
        return
    first = [place % vocabulary for place in range(4)]
    ids = torch.tensor([first, [*first[:-1], (first[-1] + 1) % vocabulary]], device=device)
    with evaluating(model):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, :-1]
    if not logits.isfinite().all():
        raise ConfigError(
            f"{type(model).__name__} gives logits that are not finite in {str(logits.dtype).removeprefix('torch.')}. "
            "Load it with language_model.dtype float32 or bfloat16; if that is no help, its weights are damaged."
        )
    alone, other = logits.double()
    tolerance = torch.finfo(logits.dtype).eps ** 0.5 * float(alone.std())
    if float((alone - other).abs().max()) > tolerance:
        raise ConfigError(
            f"{type(model).__name__} is no causal language model: a token changes the logits before it. Use a model "
            "that reads from left to right only."
        )


def _embeddings(model: PreTrainedModel) -> Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


def _is_local(path: str) -> bool:
    return Path(path).exists() or path.startswith((".", "/", "~"))


@contextmanager
def _refusing(path: str, what: str, remedy: str) -> Iterator[None]:
    """Turn whatever the loader of one part raises into one line."""
    try:
        yield
    except ConfigError:
        raise
    # Damaged files come out as errors of any type, bare exceptions of the Rust libraries among them.
    except Exception as error:
        raise ConfigError(
            f"language_model.path {path!r}: its {what} cannot be loaded: {first_line(error)}. {remedy}."
        ) from error
