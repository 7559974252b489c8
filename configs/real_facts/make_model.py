"""A blank Llama of 1.3 million parameters, with a tokenizer made for ParaRel and commonsense_170k.

Run as ``python configs/real_facts/make_model.py --data data --output data/blank``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from jsonargparse import auto_cli
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from edit_lit.facts import ParaRel


def statements(data: Path) -> Iterator[str]:
    """The facts of two relations in their first wording."""
    for fact in ParaRel(str(data / "pararel"), relations=["P176", "P449"]).load():
        yield f"{fact.question} {fact.target_true}."


def texts(data: Path) -> Iterator[str]:
    """What the model is going to read, more or less."""
    yield from statements(data)
    for record in json.loads((data / "commonsense_170k.json").read_text(encoding="utf-8"))[::4]:
        yield f"{record['instruction']}\n{record['output']}"


def make_model(data: str = "data", output: str = "data/blank", tokenizer: str = "gpt2", seed: int = 0) -> None:
    """Write a blank model, its tokenizer, and ``statements.txt`` for the editor's second moments.

    Args:
        data: Folder with ``pararel`` and ``commonsense_170k.json``.
        output: Folder to write.
        tokenizer: A fast tokenizer whose kind of pieces is used; its vocabulary is made anew.
        seed: Seed of the weights.
    """
    torch.manual_seed(seed)
    made = AutoTokenizer.from_pretrained(tokenizer).train_new_from_iterator(texts(Path(data)), vocab_size=3000)
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=made.bos_token_id,
        eos_token_id=made.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(output)
    made.save_pretrained(output)
    Path(output, "statements.txt").write_text("\n".join(statements(Path(data))), encoding="utf-8")


if __name__ == "__main__":
    auto_cli(make_model, as_positional=False)
