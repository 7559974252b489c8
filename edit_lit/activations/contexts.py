"""Context templates: texts in front of a prompt, so that an edit holds wherever the prompt stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.generation import generated
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class Contexts:
    """Context templates: the bare prompt, and prompts after some text.

    Without ``templates`` the model itself writes one beginning from each of ``words``, by sampling among its
    five likeliest tokens, as MEMIT's public code does; with a seed, so that the same model gives the same texts.

    Args:
        templates: Texts with one ``{}`` where the prompt goes. The bare prompt is always there as well.
        words: First words of sampled contexts; an empty one starts from the beginning of a text.
        tokens: Length of a sampled context, its first word included; with several lengths, each is sampled.
        seed: Seed of the sampling.
        samples: How many contexts each word and length give.
        uniform_weights: Give every context the same weight in a mean key, as ROME does. If not, the bare prompt has
            half of the weight and the others share the rest, as in MEMIT.
    """

    templates: Sequence[str] | None = None
    words: Sequence[str] = ("The", "Therefore", "Because", "I", "You")
    tokens: int | Sequence[int] = 10
    seed: int = 0
    samples: int = 1
    uniform_weights: bool = False

    def __post_init__(self) -> None:
        check_number("contexts.samples", self.samples, least=1)
        for length in self._lengths:
            check_number("contexts.tokens", length, least=2)
        if not self._lengths:
            raise ConfigError("contexts.tokens is empty; name at least one length.")
        for template in self.templates or ():
            if template.count(SUBJECT_SLOT) != 1:
                raise ConfigError(
                    f"contexts.templates holds {template!r}; each needs exactly one '{{}}', where the prompt goes."
                )

    @property
    def _lengths(self) -> Sequence[int]:
        return self.tokens if isinstance(self.tokens, Sequence) else [self.tokens]

    def longest(self, language_model: LanguageModel) -> int:
        """Tokens that a template may add to a prompt, at most."""
        if self.templates is None:
            # The full stop behind a sampled text, and a border where other tokens meet.
            return max(self._lengths) + 2
        texts = [template.replace(SUBJECT_SLOT, " ") for template in self.templates]
        return max((len(language_model.tokenizer(text)["input_ids"]) for text in texts), default=0)

    def load(self, language_model: LanguageModel) -> list[str]:
        """All templates, the bare one first.

        Raises:
            ConfigError: If a sampled context has no room for the word that it begins with.
        """
        if self.templates is not None:
            return [SUBJECT_SLOT, *(template for template in self.templates if template != SUBJECT_SLOT)]
        return [SUBJECT_SLOT, *(f"{text}. {SUBJECT_SLOT}" for text in self._sample(language_model))]

    def _sample(self, language_model: LanguageModel) -> list[str]:
        device = language_model.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            return [
                _continued(language_model, word, length)
                for length in self._lengths
                for word in self.words
                for _ in range(self.samples)
            ]


def _continued(language_model: LanguageModel, word: str, length: int) -> str:
    """A text of some tokens that begins with a word."""
    tokenizer = language_model.tokenizer
    begin = next((token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None), 0)
    ids = torch.tensor([tokenizer(word)["input_ids"] or [begin]], device=language_model.device)
    if ids.shape[1] >= length:
        raise ConfigError(f"contexts.tokens is {length}, but {word!r} alone takes {ids.shape[1]}. Raise it.")
    written = generated(
        language_model, ids, torch.ones_like(ids), max_length=length, do_sample=True, num_beams=1, top_k=5
    )
    text = str(tokenizer.decode(written[0], skip_special_tokens=True))
    return " ".join(text.replace("{", " ").replace("}", " ").split())


def context_weights(count: int, uniform_weights: bool = False) -> Tensor:
    """The weight of each context in a mean over them.

    Args:
        count: How many contexts there are, the bare one first.
        uniform_weights: ROME's mean, in which all weigh the same. If not, MEMIT's two-level mean: half for the bare
            prompt, half shared by the others.

    Returns:
        Weights that sum to 1, [count], float64.

    Examples:
        >>> context_weights(3).tolist()
        [0.5, 0.25, 0.25]
    """
    if uniform_weights or count == 1:
        return torch.full((count,), 1.0 / count, dtype=torch.float64)
    weights = torch.full((count,), 0.5 / (count - 1), dtype=torch.float64)
    weights[0] = 0.5
    return weights
