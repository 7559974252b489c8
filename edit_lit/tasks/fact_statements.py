"""Facts as training text, from which a small model learns what is edited later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.facts.source import FactSource
from edit_lit.language_model import LanguageModel
from edit_lit.tasks.packing import check_packing, pack
from edit_lit.tasks.task import Example, ExampleList, ExampleSet, Task
from edit_lit.tasks.text import Text, examples_of
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


@dataclass(eq=False)
class FactStatements(Task):
    """Each fact stated with its true object, once in every wording: prompt and paraphrases.

    Prompts that ``held_out`` facts are asked with, in any of their questions, are not trained on. Validation asks the
    held-out rewrite prompts for their true objects, so that its accuracy is the share of these facts that are known in
    words they were not trained in.

    Args:
        facts: The facts to learn, each with a ``target_true``.
        held_out: The facts to measure on, each with a ``target_true``.
        train_on_prompt: Take the loss on all of a statement instead of its object alone.
        pack_tokens: Pack statements into rows of this many tokens, none of which sees another; one a row if not given.
    """

    facts: FactSource
    held_out: FactSource
    train_on_prompt: bool = True
    pack_tokens: int | None = None

    def __post_init__(self) -> None:
        check_number("task pack_tokens", self.pack_tokens, least=2, null="for one statement a row")
        self._train: list[Example] = []
        self._val: list[Example] = []

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Write the statements.

        Raises:
            ConfigError: If a fact has no true object, or every statement is held out.
        """
        held_out = self.held_out.load()
        asked = {prompt for request in held_out for prompt in _prompts(request, with_neighbors=True)}
        texts = [
            Text(prompt, f"{_true(request)}.", _true(request))
            for request in self.facts.load()
            for prompt in _prompts(request)
            if prompt not in asked
        ]
        if not texts:
            raise ConfigError("task held_out asks every prompt that task facts states. Give the facts more wordings.")
        examples = examples_of(tokenizer, texts, self.train_on_prompt)
        self._train = examples if self.pack_tokens is None else list(pack(examples, self.pack_tokens))
        asked_texts = [Text(request.question, f"{_true(request)}.", _true(request)) for request in held_out]
        self._val = examples_of(tokenizer, asked_texts)

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that reads across packed statements, or has too few positions for one."""
        super().check(language_model)
        if self.pack_tokens is not None:
            check_packing(language_model, "task pack_tokens")

    def train_dataset(self) -> ExampleSet:
        """The statements."""
        return ExampleList(self._train)

    def val_dataset(self) -> ExampleSet:
        """The held-out facts' rewrite prompts."""
        return ExampleList(self._val)


def _prompts(request: EditRequest, with_neighbors: bool = False) -> list[str]:
    near = [question.prompt for question in request.neighborhood] if with_neighbors else []
    return [request.question, *request.paraphrases, *near]


def _true(request: EditRequest) -> str:
    if request.target_true is None:
        raise ConfigError(
            f"{request.name} has no target_true, so there is nothing to state. Choose facts that have one."
        )
    return request.target_true
