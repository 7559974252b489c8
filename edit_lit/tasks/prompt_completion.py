"""Any task that can be written as prompts with their completions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.spans import answer_span, encode, joined
from edit_lit.tasks.task import IGNORED, Example, ExampleList, ExampleSet, Task


class PromptCompletion(Task):
    """Texts from a JSON Lines file, each with a ``prompt`` and the ``completion`` to learn.

    The downstream score is the share of held-out prompts whose completion is the argmax throughout.

    Args:
        path: The file.
        val_path: A file of the same form to measure on. If not given, ``val_examples`` are held out of ``path``.
        val_examples: How many of the last records to hold out where there is no ``val_path``.
        train_on_prompt: Take the loss on the prompt as well.
        max_tokens: A longer text loses tokens of its prompt, from the left.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        val_examples: int = 100,
        train_on_prompt: bool = False,
        max_tokens: int = 512,
    ) -> None:
        for option, value in (("path", path), ("val_path", val_path)):
            if value is not None and not Path(value).is_file():
                raise ValueError(f"task {option} {value!r} is not a file. Name a JSON Lines file.")
        self.path = path
        self.val_path = val_path
        self.val_examples = val_examples
        self.train_on_prompt = train_on_prompt
        self.max_tokens = max_tokens
        self._train: list[Example] = []
        self._val: list[Example] = []

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Read and tokenise both parts."""
        examples = self._read(self.path, tokenizer)
        if self.val_path is not None:
            self._train, self._val = examples, self._read(self.val_path, tokenizer)
        elif 0 < self.val_examples < len(examples):
            self._train, self._val = examples[: -self.val_examples], examples[-self.val_examples :]
        else:
            raise ValueError(
                f"task val_examples is {self.val_examples}, but {self.path} holds {len(examples)} records. "
                "Hold out fewer, at least 1, or name a val_path."
            )

    def train_dataset(self) -> ExampleSet:
        """The records to learn from."""
        return ExampleList(self._train)

    def val_dataset(self) -> ExampleSet:
        """The records held out."""
        return ExampleList(self._val)

    def _read(self, path: str, tokenizer: PreTrainedTokenizerBase) -> list[Example]:
        examples = []
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines()):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number + 1}: not valid JSON: {error}.") from error
            fields = record if isinstance(record, Mapping) else {}
            for field in ("prompt", "completion"):
                if not isinstance(fields.get(field), str) or not fields[field].strip():
                    raise ValueError(f"{path}, line {number + 1}: {field} is missing or empty. Write a text.")
            examples.append(self._example(tokenizer, record["prompt"], record["completion"]))
        return examples

    def _example(self, tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> Example:
        text = joined(prompt, completion)
        encoded = encode(tokenizer, text)
        span = answer_span(encoded, text, completion)
        ids, answer = encoded.ids[: span.stop], [position in span for position in range(span.stop)]
        if tokenizer.eos_token_id is not None:
            # The end belongs to what is learnt but not to what is scored.
            ids, answer = [*ids, tokenizer.eos_token_id], [*answer, False]
        labels = [
            token if self.train_on_prompt or position >= span.start else IGNORED for position, token in enumerate(ids)
        ]
        cut = slice(-self.max_tokens, None)
        return Example(input_ids=ids[cut], labels=labels[cut], answer_mask=answer[cut])
