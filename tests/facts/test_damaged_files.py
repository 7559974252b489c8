"""Whatever befalls a file, it loads to valid requests or examples, or is refused by name: never anything else."""

from __future__ import annotations

import os
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tiny
from damaged_records import WRITERS, damaged_bytes, damaged_record
from fact_samples import EASY_EDIT, KNOW_EDIT, KNOWN, MQUAKE, OWN, RIPPLE, ROME, ZSRE

from edit_lit.facts import CounterFact, EditRequest, JsonFacts, KnowEdit, Known, MQuAKE, RippleEdits, ZsRE
from edit_lit.measures.probe import Probe
from edit_lit.records import TextLines
from edit_lit.tasks import Columns, Gsm8k, HotpotQa, Instructions, QuestionAnswer, RunningText, Sst2
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import is_blank

TIMES = int(os.environ.get("EDIT_LIT_DAMAGE", "1"))
"""How many times as many files are damaged as in the default run."""

TOKENIZER = tiny.byte_tokenizer(bos=True)
FACTS = {
    "CounterFact": (CounterFact, ROME, {}),
    "CounterFact, EasyEdit": (CounterFact, EASY_EDIT, {}),
    "ZsRE": (ZsRE, ZSRE, {"target": "alt"}),
    "MQuAKE": (MQuAKE, MQUAKE, {}),
    "KnowEdit": (KnowEdit, KNOW_EDIT, {}),
    "RippleEdits": (RippleEdits, RIPPLE, {}),
    "Known": (Known, KNOWN, {}),
    "JsonFacts": (JsonFacts, OWN, {}),
}
HOTPOT = {"question": "Which is big?", "answer": "Rome", "context": [["Rome", ["It is old. ", "It is big."]]]}
COLUMNS = {"instruction": "German for {my word}", "output": "{de}"}
TASKS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "Instructions": (Instructions, {"instruction": "Say it", "input": "now", "output": "so it is", "answer": "it"}, {}),
    "Columns": (Columns, {"my word": "cat", "de": "Katze", "n": 3}, COLUMNS),
    "Gsm8k": (Gsm8k, {"question": "1+1?", "answer": "1+1 = 2\n#### 2"}, {}),
    "Sst2": (Sst2, {"sentence": "a fine film", "label": 1}, {}),
    "HotpotQa": (HotpotQa, HOTPOT, {"context": True}),
}


def damaged_files(sample: dict[str, Any], folder: Path, count: int, rng: random.Random):
    """Files of three records each, of which records or bytes are damaged."""
    for number in range(count * TIMES):
        ending = rng.choice(sorted(WRITERS))
        # Known draws new objects among those of the other facts.
        other = {"attribute": "Asia"} if "attribute" in sample else {}
        records: list[Any] = [sample, dict(sample), sample | other]
        in_records = rng.random() < 0.6
        if in_records:
            records[rng.randrange(3)] = damaged_record(sample, rng)
        try:
            content = WRITERS[ending](records)
        except (pa.ArrowException, TypeError, ValueError):
            # Arrow holds no such record, so no Parquet file does.
            continue
        path = folder / f"{number}.{ending}"
        path.write_bytes(content if in_records else damaged_bytes(content, rng))
        yield path


def outcome(path: Path, load: Any, counts: Counter[str]) -> Any:
    """What a file loads to; nothing if it is refused."""
    refusal, loaded = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = load()
        except ConfigError as error:
            refusal = str(error)
    if refusal is not None:
        assert str(path) in refusal
        assert "\n" not in refusal
        assert len(refusal) < 1000
        counts["refused"] += 1
        return None
    skipped = [str(warning.message) for warning in caught if "malformed" in str(warning.message)]
    assert all(str(path) in message for message in skipped)
    counts["skipped" if skipped else "loaded"] += 1
    return loaded


def assert_valid(request: EditRequest) -> None:
    questions = [*request.neighborhood, *request.portability]
    asked = [request.question, *request.paraphrases, *(question.prompt for question in questions)]
    answers = [request.target_new, *(question.answer for question in questions)]
    answers += [text for question in questions if (text := question.alternative) is not None]
    answers += [] if request.target_true is None else [request.target_true]
    for text in [*asked, *answers, request.subject]:
        assert isinstance(text, str)
        assert not is_blank(text)
        assert "{}" not in text
        assert "\x00" not in text
        text.encode()
    assert request.subject in request.question
    # And it can be asked.
    Probe([request], TOKENIZER)


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_damaged_facts(name, on_error, tmp_path):
    source, sample, options = FACTS[name]
    counts: Counter[str] = Counter()
    for path in damaged_files(sample, tmp_path, 40, random.Random(f"{name} {on_error}")):
        make = source(str(path), on_error=on_error, **options)
        for request in outcome(path, make.load, counts) or ():
            assert_valid(request)
    print(f"{name}, {on_error}: {dict(counts)}")
    assert min(counts["refused"], counts["loaded"]) > 0
    assert bool(counts["skipped"]) == (on_error == "skip")


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_damaged_tasks(name, on_error, tmp_path):
    cls, sample, options = TASKS[name]
    counts: Counter[str] = Counter()
    for path in damaged_files(sample, tmp_path, 40, random.Random(f"{name} {on_error}")):
        made = cls(str(path), val_examples=1, prompt=QuestionAnswer(), on_error=on_error, **options)
        if outcome(path, lambda made=made: made.setup(TOKENIZER, []) or made, counts) is not None:
            for example in [*made.train_dataset(), *made.val_dataset()]:
                assert any(label != -100 for label in example["labels"][1:])
                assert len(example["input_ids"]) == len(example["labels"]) == len(example["answer_mask"])
    print(f"{name}, {on_error}: {dict(counts)}")
    assert min(counts["refused"], counts["loaded"]) > 0
    assert bool(counts["skipped"]) == (on_error == "skip")


@pytest.mark.parametrize("kind", ["TextLines", "RunningText", "RunningText, records"])
def test_damaged_text(kind, tmp_path):
    rng, counts = random.Random(kind), Counter()
    for number in range(60 * TIMES):
        path = tmp_path / f"{number}.{'jsonl' if 'records' in kind else 'txt'}"
        lines = [f'{{"text": "the side of Oslo {n}"}}' if "records" in kind else f"Oslo is {n}" for n in range(5)]
        path.write_bytes(damaged_bytes("\n".join(lines).encode(), rng))
        if kind == "TextLines":
            found = outcome(path, lambda path=path: list(TextLines(str(path)).documents()), counts)
            assert all(line.strip() and "\x00" not in line for line in found or ())
        else:
            task = RunningText(str(path), val_documents=1)
            outcome(path, lambda task=task: task.setup(TOKENIZER, []), counts)
    print(f"{kind}: {dict(counts)}")
    assert min(counts["refused"], counts["loaded"]) > 0
