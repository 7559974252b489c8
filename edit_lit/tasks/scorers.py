"""Downstream scores by generation or by the likelihood of the choices."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.generation import check_continuations, continuations
from edit_lit.language_model.limits import check_lengths
from edit_lit.language_model.scoring import ScoredRow, mean_nll_in_batches
from edit_lit.language_model.spans import encode_many
from edit_lit.tasks.task import Example
from edit_lit.tasks.text import Text, examples_of
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.text import shown

FAMILIES = (
    ("true", "false"),
    ("solution1", "solution2"),
    ("answer1", "answer2", "answer3", "answer4", "answer5"),
    ("ending1", "ending2", "ending3", "ending4"),
    ("option1", "option2"),
)
"""The labels that the published evaluation of commonsense_170k looks for, by task."""


class Scorer(ABC):
    """One way to score a model on validation texts."""

    @abstractmethod
    def score(self, language_model: LanguageModel, texts: Sequence[Text]) -> dict[str, float]:
        """Scores by name; all processes call it together and get the same.

        Args:
            language_model: The model.
            texts: Validation texts; those that the score does not apply to are left out of it.
        """

    @abstractmethod
    def check(self, language_model: LanguageModel, texts: Sequence[Text]) -> None:
        """Refuse texts for which the model has too few positions, before anything is computed.

        Args:
            language_model: The model.
            texts: Validation texts.

        Raises:
            ConfigError: Naming the longest of them, the limit and the remedy.
        """


@dataclass(frozen=True)
class GenerationScorer(Scorer):
    """A score of what the model writes after each prompt, by greedy decoding.

    Args:
        max_new_tokens: Most tokens to write.
    """

    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        check_number("scorers.max_new_tokens", self.max_new_tokens, least=1)

    def check(self, language_model: LanguageModel, texts: Sequence[Text]) -> None:
        """Refuse prompts that leave too little room for what is written."""
        prompts = [text.prompt for text in texts]
        lengths = [len(encoded.ids) for encoded in encode_many(language_model.tokenizer, prompts)]
        check_continuations(language_model, prompts, lengths, self.max_new_tokens)

    def written(self, language_model: LanguageModel, texts: Sequence[Text]) -> list[str]:
        """What the model writes after each text's prompt."""
        return continuations(language_model, [text.prompt for text in texts], self.max_new_tokens)


@dataclass(frozen=True)
class ExtractedChoice(GenerationScorer):
    """The model writes freely, and the first label in its text is its choice, as the first study evaluates.

    Labels are looked for as they are spelt, anywhere in the text; no label is a wrong answer. The published evaluation
    decodes with four beams, this one greedily.
    """

    def score(self, language_model: LanguageModel, texts: Sequence[Text]) -> dict[str, float]:
        """``extracted_accuracy``."""
        texts = [text for text in texts if text.choices]
        written = self.written(language_model, texts)
        hits = [extract(out, text) == text.answer for out, text in zip(written, texts, strict=True)]
        return _mean("extracted_accuracy", hits)


class ChoiceLikelihood(Scorer):
    """The choice whose tokens are likeliest on average, given the prompt and what precedes the answer."""

    def check(self, language_model: LanguageModel, texts: Sequence[Text]) -> None:
        """Refuse texts that are too long with one of their choices."""
        offered = [text.with_choice(choice) for text in texts for choice in text.choices]
        check_lengths(
            language_model,
            [len(example["input_ids"]) for example in examples_of(language_model.tokenizer, offered)],
            lambda longest: f"the text {shown(offered[longest].whole)}",
            "Shorten it",
        )

    def score(self, language_model: LanguageModel, texts: Sequence[Text]) -> dict[str, float]:
        """``likelihood_accuracy``."""
        texts = [text for text in texts if text.choices]
        offered = [(text, text.with_choice(choice)) for text in texts for choice in text.choices]
        nll = answer_nll(language_model, examples_of(language_model.tokenizer, [choice for _, choice in offered]))
        best: dict[int, tuple[float, str]] = {}
        for (text, choice), loss in zip(offered, nll.tolist(), strict=True):
            best[id(text)] = min(best.get(id(text), (loss, choice.answer)), (loss, choice.answer), key=lambda at: at[0])
        return _mean("likelihood_accuracy", [best[id(text)][1] == text.answer for text in texts])


@dataclass(frozen=True)
class FinalNumber(GenerationScorer):
    """The number that the model's working ends in, as GSM8K is scored.

    It is the one behind ``####``, or else the last one written. Commas and a final point do not count.
    """

    max_new_tokens: int = 256

    def score(self, language_model: LanguageModel, texts: Sequence[Text]) -> dict[str, float]:
        """``exact_match``."""
        written = self.written(language_model, texts)
        hits = [final_number(out) == final_number(text.completion) for out, text in zip(written, texts, strict=True)]
        return _mean("exact_match", hits)


@dataclass(frozen=True)
class ShortAnswer(GenerationScorer):
    """Exact match and word F1 of the first line that the model writes, as SQuAD and HotpotQA are scored.

    Both texts are compared without case, punctuation and articles.
    """

    def score(self, language_model: LanguageModel, texts: Sequence[Text]) -> dict[str, float]:
        """``exact_match`` and ``f1``."""
        written = self.written(language_model, texts)
        pairs = [
            (_answer_words(_line(out)), _answer_words(text.completion))
            for out, text in zip(written, texts, strict=True)
        ]
        return _mean("exact_match", [out == gold for out, gold in pairs]) | _mean("f1", [f1(*pair) for pair in pairs])


def extract(written: str, text: Text) -> str | None:
    """The first of the possible labels in a written text, or None."""
    family = next((family for family in FAMILIES if set(text.choices) <= set(family)), text.choices)
    # Longer labels first, so that answer10 is not read as answer1.
    labels = "|".join(re.escape(label) for label in sorted(family, key=len, reverse=True))
    found = re.search(labels, written)
    return found[0] if found else None


def final_number(text: str) -> str | None:
    """The number behind the last ``####``, or the last number of a text, without commas and a final point."""
    numbers: list[str] = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text.rsplit("####", 1)[-1])
    return (numbers[0] if "####" in text else numbers[-1]).replace(",", "") if numbers else None


def f1(ours: list[str], theirs: list[str]) -> float:
    """Harmonic mean of the shares of words in common."""
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else float(ours == theirs)


def answer_nll(language_model: LanguageModel, examples: Sequence[Example], batch_tokens: int = 8192) -> Tensor:
    """Mean negative log-likelihood per answer token in nats, [examples], on the CPU.

    Args:
        language_model: The model.
        examples: Examples with an ``answer_mask`` somewhere behind their first token.
        batch_tokens: Tokens in a batch, padding included.
    """
    rows = [_answer_row(example) for example in examples]
    return mean_nll_in_batches(language_model, rows, batch_tokens)


def _answer_row(example: Example) -> ScoredRow:
    ids = example["input_ids"]
    scored = [column for column, counts in enumerate(example["answer_mask"]) if counts and column > 0]
    return ScoredRow(ids, [column - 1 for column in scored], [ids[column] for column in scored])


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: sum(values) / len(values)} if values else {}


def _line(text: str) -> str:
    return text.strip().split("\n")[0]


def _answer_words(text: str) -> list[str]:
    """The words of an answer without case, punctuation and articles, as SQuAD's evaluation compares them."""
    words = re.sub(r"[^\w\s]", "", text.casefold()).split()
    return [word for word in words if word not in ("a", "an", "the")]
