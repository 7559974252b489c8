"""Prompt templates that word an instruction and its input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from edit_lit.utilities.errors import ConfigError


class PromptTemplate(ABC):
    """A template around an instruction and its input, up to where the model starts to write.

    A template is a dataclass, so that as an option's default it can be written into a run's config.
    """

    @abstractmethod
    def render(self, tokenizer: PreTrainedTokenizerBase, instruction: str, input: str = "") -> str:
        """The text before the answer.

        Where it does not end in white space, the answer begins with a space.

        Args:
            tokenizer: The model's tokenizer, for wordings that it brings itself.
            instruction: What is asked.
            input: What it is asked about; may be empty.
        """


@dataclass(frozen=True)
class Alpaca(PromptTemplate):
    """Stanford Alpaca's wording, with which commonsense_170k is published."""

    def render(self, tokenizer: PreTrainedTokenizerBase, instruction: str, input: str = "") -> str:
        """With or without an input section."""
        if not input:
            return (
                "Below is an instruction that describes a task. Write a response that appropriately completes the "
                f"request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
            )
        return (
            "Below is an instruction that describes a task, paired with an input that provides further context. Write "
            f"a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n"
            f"### Input:\n{input}\n\n### Response:\n"
        )


@dataclass(frozen=True)
class QuestionAnswer(PromptTemplate):
    """``Question: … Answer:``, with which the first study asks GPT models."""

    def render(self, tokenizer: PreTrainedTokenizerBase, instruction: str, input: str = "") -> str:
        """The input stands before the question."""
        return f"{input}\nQuestion: {instruction}\nAnswer:" if input else f"Question: {instruction}\nAnswer:"


@dataclass(frozen=True)
class Plain(PromptTemplate):
    """Instruction and input as they are, a line each."""

    def render(self, tokenizer: PreTrainedTokenizerBase, instruction: str, input: str = "") -> str:
        """Nothing added."""
        return f"{instruction}\n{input}" if input else instruction


@dataclass(frozen=True)
class Chat(PromptTemplate):
    """The chat template of the model's own tokenizer, with the instruction as the user's turn.

    Args:
        system: A system message in front of it, where the template takes one.
    """

    system: str | None = None

    def render(self, tokenizer: PreTrainedTokenizerBase, instruction: str, input: str = "") -> str:
        """The conversation up to the model's turn, without a BOS token that the tokenizer adds anyway.

        Raises:
            ConfigError: If the tokenizer has no chat template.
        """
        if not tokenizer.chat_template:
            raise ConfigError(
                f"task prompt is Chat, but the tokenizer {type(tokenizer).__name__} has no chat template. "
                "Use Alpaca, QuestionAnswer or Plain."
            )
        turns = [{"role": "system", "content": self.system}] if self.system else []
        turns.append({"role": "user", "content": f"{instruction}\n\n{input}" if input else instruction})
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        added = tokenizer("")["input_ids"][:1]
        twice = tokenizer.bos_token is not None and added == [tokenizer.bos_token_id]
        return text.removeprefix(tokenizer.bos_token) if twice else text
