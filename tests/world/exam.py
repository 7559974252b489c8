"""Questions that tell what the world's model knows and where it keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edit_lit.language_model import LanguageModel
from edit_lit.world.knowledge_base import Fact
from edit_lit.world.tokenizer import words

BATCH = 512


def ask(language_model: LanguageModel, prompts: Sequence[str]) -> list[str]:
    """The word that the model finds most likely after each prompt.

    Args:
        language_model: The world's model.
        prompts: Texts that stop before their answer.
    """
    answers = [""] * len(prompts)
    for batch in _by_length(language_model, prompts):
        with torch.inference_mode():
            best = language_model.model(input_ids=batch[1], use_cache=False, logits_to_keep=1).logits[:, -1].argmax(-1)
        for position, token in zip(batch[0], best.tolist(), strict=True):
            answers[position] = _word(language_model, token)
    return answers


def _word(language_model: LanguageModel, token: int) -> str:
    return str(language_model.tokenizer.decode([token])).strip()


def recall(language_model: LanguageModel, facts: Sequence[tuple[Fact, str]]) -> float:
    """Share of facts whose object is the most likely answer.

    Args:
        language_model: The world's model.
        facts: Facts, each with the template to ask in.
    """
    answers = ask(language_model, [template.replace("{}", fact.subject) for fact, template in facts])
    return sum(answer == fact.object for answer, (fact, _) in zip(answers, facts, strict=True)) / len(facts)


def swapped_recall(language_model: LanguageModel, pairs: Sequence[tuple[Fact, Fact, str]], layer: int) -> float:
    """Share of prompts that answer for another subject once its hidden state is put in.

    The output of one block at the subject's last token is replaced by what the same template gives there
    for the other subject. If the fact is read from the subject at this depth, the answer follows.

    Args:
        language_model: The world's model.
        pairs: A fact, another fact of the same relation, and the template to ask both in.
        layer: The block whose output is replaced.
    """
    own = [template.replace("{}", fact.subject) for fact, _, template in pairs]
    other = [template.replace("{}", fact.subject) for _, fact, template in pairs]
    states = _states(language_model, other, [_end(fact, template) for _, fact, template in pairs], layer)
    ends = torch.tensor([_end(fact, template) for fact, _, template in pairs])
    right = 0
    for positions, ids in _by_length(language_model, own):

        def put_in(module: nn.Module, args: Any, output: Any, positions: list[int] = positions) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden[torch.arange(len(positions)), ends[positions]] = states[positions]
            return output

        handle = language_model.blocks[layer].register_forward_hook(put_in)
        with torch.inference_mode():
            best = language_model.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1].argmax(-1)
        handle.remove()
        wanted = [pairs[position][1].object for position in positions]
        right += sum(_word(language_model, token) == word for token, word in zip(best.tolist(), wanted, strict=True))
    return right / len(pairs)


def _end(fact: Fact, template: str) -> int:
    return len(words(template.split("{}")[0])) + len(words(fact.subject)) - 1


def _states(language_model: LanguageModel, prompts: Sequence[str], ends: Sequence[int], layer: int) -> Tensor:
    states = torch.empty(len(prompts), language_model.hidden_size)
    where = torch.tensor(ends)
    for positions, ids in _by_length(language_model, prompts):
        with torch.inference_mode():
            output = language_model.model(input_ids=ids, use_cache=False, output_hidden_states=True)
        states[positions] = output.hidden_states[layer + 1][torch.arange(len(positions)), where[positions]]
    return states


def _by_length(language_model: LanguageModel, prompts: Sequence[str]) -> list[tuple[list[int], Tensor]]:
    """Batches of prompts of one length: their positions in the list, and their token ids [batch, length]."""
    ids: list[list[int]] = language_model.tokenizer(list(prompts))["input_ids"]
    groups: dict[int, list[int]] = {}
    for position, row in enumerate(ids):
        groups.setdefault(len(row), []).append(position)
    cut = [group[start : start + BATCH] for group in groups.values() for start in range(0, len(group), BATCH)]
    return [(positions, torch.tensor([ids[position] for position in positions])) for positions in cut]
