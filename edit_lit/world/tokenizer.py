"""The world's tokenizer: one token a word."""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from edit_lit.world.knowledge_base import KnowledgeBase
from edit_lit.world.relations import RELATIONS
from edit_lit.world.reviews import REVIEW, THINGS, VERDICTS
from edit_lit.world.sentences import FILLERS, MENTION

SPECIAL = ("<unk>", "<pad>", "</s>")
WORD = r"'s|\w+|[^\w\s]"


def words(text: str) -> list[str]:
    """Split a text into the words that the tokenizer takes for tokens."""
    return re.findall(WORD, text)


def vocabulary(knowledge_base: KnowledgeBase) -> list[str]:
    """Every word that the world and its downstream task use, in alphabetical order."""
    texts = [*FILLERS, MENTION.format(word=""), *knowledge_base.kinds, *knowledge_base.kinds.values(), "is a"]
    texts += [template.replace("{}", " ") for relation in RELATIONS for template in relation.templates]
    texts += [object_ for relation in RELATIONS for object_ in relation.objects]
    texts += [re.sub(r"{\w+}", " ", REVIEW), *THINGS, *VERDICTS, *(w for signs in VERDICTS.values() for w in signs)]
    return sorted({word for text in texts for word in words(text)})


def build_tokenizer(knowledge_base: KnowledgeBase) -> PreTrainedTokenizerFast:
    """Build the tokenizer of the world.

    A token decodes to its word with a space before it, as in the tokenizers of larger models.
    """
    tokens = [*SPECIAL, *vocabulary(knowledge_base)]
    core = Tokenizer(WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    core.decoder = decoders.Sequence([decoders.Replace(Regex("^"), " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token="</s>", model_max_length=128
    )
