"""Language modelling on running text, cut into blocks."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.limits import check_lengths
from edit_lit.language_model.spans import encode_stream
from edit_lit.records.fields import Fields
from edit_lit.records.malformed import MalformedRecords
from edit_lit.records.readers import is_hub_name, load_data_set, read_lines, read_records
from edit_lit.tasks.data_set_task import DataSetTask
from edit_lit.tasks.edit_filter import EditFilter, edit_filter
from edit_lit.tasks.packing import check_packing, pack
from edit_lit.tasks.stream import ExampleStream
from edit_lit.tasks.task import Example, ExampleList
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shortened

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class RunningText(DataSetTask):
    """Documents cut into blocks; the loss is on every token, and the score is the perplexity.

    A document is a line of a ``.txt`` file that is not blank, or a record's ``column``. ``across`` decides what a block
    holds. With it, documents are joined by the EOS token and cut wherever a block is full, so that attention reads from
    one document into the next, as in common language-modelling scripts. Without it a block holds parts of documents
    that do not see each other; a model that cannot keep them apart is refused.

    Args:
        block_tokens: Most tokens of a block.
        across: Let blocks run across documents.
        val_documents: How many documents to measure on: of the validation part if there is one, else held out of the
            training part. They are drawn at random, or from the front if the training part is streamed.
        stream: Read the training part as it is needed instead of holding it in memory; its order is random within a
            buffer only, and a run that stops in the middle of a pass resumes at the start of one.
        buffer: Blocks in that buffer.
        seed: Seed of the choice of validation documents; the order of training texts is that of ``data.seed``.
        column: The records' column that holds the text.
    """

    block_tokens: int = 128
    across: bool = False
    val_documents: int = 100
    stream: bool = False
    buffer: int = 1000
    column: str = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, least in (("block_tokens", 2), ("val_documents", 1), ("buffer", 1)):
            check_number(f"task {option}", getattr(self, option), least=least)

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Split and filter the documents, and cut them into blocks unless they are streamed.

        Only the training part is filtered, so that all arms of a study are measured on the same documents.

        Raises:
            ConfigError: If nothing is left to train or to measure on.
        """
        filter_ = edit_filter(requests, self.exclude, self.only)
        held_out, val = self._validation()
        blocks = list(self._blocks(tokenizer, val))
        if not blocks:
            raise ConfigError(f"{self.val_path or self.path} has no validation documents. Name a longer text.")
        self._val = ExampleList(blocks)
        if self.stream:
            self._train = ExampleStream(
                partial(self._training, held_out, filter_), partial(self._blocks, tokenizer), self.buffer
            )
            return
        examples = list(self._blocks(tokenizer, self._training(held_out, filter_)))
        if not examples:
            why = filter_.report() if filter_ is not None else f"val_documents is {self.val_documents}"
            raise ConfigError(f"{self.path} leaves nothing to train on: {why}. Loosen that, or name another text.")
        self._train = ExampleList(examples)

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that reads across documents where it must not, or has too few positions for a block."""
        super().check(language_model)
        if self.stream:
            check_lengths(language_model, [self.block_tokens], lambda _: "a block of block_tokens", "Lower it")
        if not self.across:
            check_packing(language_model, "task across: false")

    def _validation(self) -> tuple[frozenset[int], list[str]]:
        """Numbers of the training documents that are held out, and the documents to measure on."""
        rng = random.Random(self.seed)
        if self._val_source is not None:
            apart = list(self._documents(*self._val_source))
            if self.val_documents > len(apart):
                log.info("%s has %d validation documents, fewer than val_documents", self._val_source[0], len(apart))
            return frozenset(), rng.sample(apart, min(self.val_documents, len(apart)))
        documents = self._documents(self.path, self.split)
        if self.stream:
            return frozenset(range(self.val_documents)), list(islice(documents, self.val_documents))
        texts = list(documents)
        if self.val_documents >= len(texts):
            raise ConfigError(
                f"task val_documents is {self.val_documents}, but {self.path} holds {len(texts)} documents. "
                "Hold out fewer, or name a val_path or a val_split."
            )
        held_out = frozenset(rng.sample(range(len(texts)), self.val_documents))
        return held_out, [texts[number] for number in sorted(held_out)]

    def _training(self, held_out: frozenset[int], filter_: EditFilter | None) -> Iterator[str]:
        documents = self._limited(held_out)
        return documents if filter_ is None else filter_.filter(documents, str)

    def _limited(self, held_out: frozenset[int]) -> Iterator[str]:
        numbered = enumerate(self._documents(self.path, self.split))
        count = 0
        for text in islice((text for number, text in numbered if number not in held_out), self.limit):
            count += 1
            yield text
        if self.limit is not None and count < self.limit:
            warnings.warn(
                f"task limit asks for {self.limit} training texts, but {self.path} leaves {count}. Lower it.",
                stacklevel=2,
            )

    def _documents(self, path: str, split: str) -> Iterator[str]:
        if path.endswith(".txt"):
            return read_lines(path)
        lazily = self.stream and is_hub_name(path)
        records = (
            load_data_set(path, self.name, split, streaming=True) if lazily else read_records(path, self.name, split)
        )
        return self._texts_of(records, path)

    def _texts_of(self, records: Iterable[Any], path: str) -> Iterator[str]:
        """The column's texts, those of blank cells and, if asked for, of malformed records left out."""
        malformed, total = MalformedRecords(self.on_error), 0
        for number, record in enumerate(records):
            total += 1
            text = None
            where = f"{path}, record {number}"
            with malformed.within(where):
                fields = Fields(record, where)
                if self.column not in fields.names:
                    has = shortened(", ".join(fields.names), 200)
                    raise ConfigError(f"there is no column {self.column!r}. It has {has}. Name one with task column.")
                text = fields.label(self.column)
            if text is not None:
                yield text
        malformed.warn(total)

    def _blocks(self, tokenizer: PreTrainedTokenizerBase, documents: Iterable[str]) -> Iterator[Example]:
        eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        tokens = ([*encoded.ids, *eos] for encoded in encode_stream(tokenizer, documents))
        if self.across:
            return (_block_example(block) for block in _blocks_of(chain.from_iterable(tokens), self.block_tokens))
        pieces = (_block_example(piece) for document in tokens for piece in _blocks_of(document, self.block_tokens))
        return pack(pieces, self.block_tokens)


def _blocks_of(tokens: Iterable[int], size: int) -> Iterator[list[int]]:
    """Blocks of ``size`` tokens, and what is left; a single token predicts nothing and is dropped."""
    rest = iter(tokens)
    while len(piece := list(islice(rest, size))) > 1:
        yield piece


def _block_example(ids: list[int]) -> Example:
    """A block as an example whose loss is on every token."""
    return Example(input_ids=ids, labels=list(ids), answer_mask=[False] * len(ids))
