"""The model's tokenizer: byte-level BPE in which a word is the same token wherever it stands."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "</s>")


def build_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer.

    A space is put in front of each text, so that a name has the same tokens at the beginning of a prompt and inside it.

    Args:
        texts: What the model will read, more or less.
        size: Number of tokens.
    """
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", clean_up_tokenization_spaces=False
    )
