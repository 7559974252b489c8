from __future__ import annotations

import json

import pytest
import tiny

from edit_lit.records.fields import Fields
from edit_lit.tasks import Columns, Gsm8k, HotpotQa, Instructions, Plain, QuestionAnswer, Sst2
from edit_lit.tasks.record_task import Item
from edit_lit.utilities.errors import ConfigError

TOKENIZER = tiny.byte_tokenizer()


def commonsense(number: int, answer: str = "true") -> dict[str, str]:
    return {
        "instruction": f"Please answer with true or false, question: is {number} even?\n\nAnswer format: true/false",
        "input": "",
        "output": f"the correct answer is {answer}",
        "answer": answer,
    }


@pytest.fixture
def write(tmp_path):
    def written(records, name="records.json"):
        (tmp_path / name).write_text(json.dumps(records))
        return str(tmp_path / name)

    return written


def item(task, record):
    return task.item(Fields(record, "record 0"))


def test_instructions(write):
    task = Instructions(write([commonsense(1)]))
    assert item(task, commonsense(4)) == Item(
        instruction=commonsense(4)["instruction"],
        output="the correct answer is true",
        answer="true",
        choices=("true", "false"),
    )
    bare = item(task, {"instruction": "Say", "input": "hello", "output": "hello"})
    assert (bare.input, bare.answer, bare.choices) == ("hello", "hello", ())
    with pytest.raises(ValueError, match="record 0: answer is 'false', which the output"):
        item(task, {**commonsense(1), "answer": "false"})


def test_gsm8k(write):
    task = Gsm8k(write([]))
    record = {"question": "1+1?", "answer": "1+1 = <<1+1=2>>2\n#### 2"}
    assert item(task, record) == Item("1+1?", record["answer"])
    with pytest.raises(ValueError, match="answer has no '####'"):
        item(task, {**record, "answer": "2"})


@pytest.mark.parametrize("label", [1, "1"])
def test_sst2(write, label):
    task = Sst2(write([]))
    got = item(task, {"sentence": " fine film ", "label": label})
    assert (got.input, got.output, got.answer) == ("fine film", "positive", "positive")
    with pytest.raises(ValueError, match="label is '2'"):
        item(task, {"sentence": "x", "label": 2})


def test_sst2_reads_the_published_table(tmp_path):
    (tmp_path / "train.tsv").write_text('sentence\tlabel\na "fine film \t1\ndull\t0\nbad\t0\n')
    task = Sst2(str(tmp_path / "train.tsv"), val_examples=1)
    task.setup(TOKENIZER, [])
    assert len(task.train_dataset()) == 2


@pytest.mark.parametrize(
    "context",
    [[["Rome", ["It is old. ", "It is big."]], ["Oslo", ["No."]]],
     {"title": ["Rome", "Oslo"], "sentences": [["It is old. ", "It is big."], ["No."]]}],
)  # fmt: skip
def test_hotpot_qa(write, context):
    record = {"question": "Which is big?", "answer": "Rome", "context": context}
    path = write([record])
    assert item(HotpotQa(path), record).input == ""
    assert item(HotpotQa(path, context=True), record).input == "Rome: It is old. It is big.\nOslo: No."
    with pytest.raises(ValueError, match="context is"):
        item(HotpotQa(path, context=True), {**record, "context": ["Rome"]})


def test_columns(write):
    path = write([{"en": "cat", "de": "Katze", "n": 3}])
    task = Columns(path, instruction="{n}: German for {en}?", output="{de}", choices=["Katze", "Hund"])
    assert item(task, {"en": "cat", "de": "Katze", "n": 3}) == Item(
        "3: German for cat?", "Katze", "", "Katze", ("Katze", "Hund")
    )
    with pytest.raises(ValueError, match=r"there is no column 'de' .* It has en, n."):
        item(task, {"en": "cat", "n": 3})


@pytest.mark.parametrize("name", ["my word", "my-word", "word (en)", "Wört", "a.b", "a:b", "a!r", "0", " x "])
def test_a_column_may_have_any_name(write, name):
    record = {name: "cat", "de": "Katze"}
    task = Columns(write([record]), instruction=f"German for {{{name}}}?", output="{de}")
    assert item(task, record).instruction == "German for cat?"


def test_braces_written_twice_are_text_and_values_may_hold_any(write):
    record = {"a": "{b} {{x}}", "b": "no"}
    task = Columns(write([record]), instruction='{{"a": {a}}}', output="{{{b}}}")
    assert item(task, record) == Item('{"a": {b} {{x}}}', "{no}", "", "{no}")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"instruction": "Say {", "output": "{de}"}, "instruction is .* in which a brace stands alone at character 5"),
        ({"instruction": "{en}", "output": '{"a": {de}}'}, "output is .* a brace stands alone at character 1"),
        ({"instruction": "Say it", "output": "{de}"}, "instruction is 'Say it', which names no column"),
        ({"instruction": "{en}", "output": "yes"}, "output is 'yes', which names no column"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(write, options, complaint):
    with pytest.raises(ConfigError, match=f"task {complaint}"):
        Columns(write([]), **options)
    assert Columns(write([]), instruction="Say", input="{en}", output="{de}").input == "{en}"


@pytest.mark.parametrize("template", ["{my col}", "{}", "{ en}", "{en }"])
def test_a_placeholder_that_names_no_column_is_refused_with_the_columns_there_are(write, template):
    path = write([{"en": "cat", "de": "Katze"}] * 3)
    with pytest.raises(ConfigError, match=rf"record 0: there is no column '{template[1:-1]}' .* It has en, de"):
        Columns(path, instruction=template, output="{de}", val_examples=1).setup(TOKENIZER, [])


def test_an_empty_cell_is_refused_where_it_is_needed_only(tmp_path):
    (tmp_path / "table.csv").write_text("q,more,a\nWho?,,he\nWhat?,now,\n")
    task = Columns(str(tmp_path / "table.csv"), instruction="{q}", input="{more}", output="{a}", val_examples=1)
    assert item(task, {"q": "Who?", "more": None, "a": "he"}).input == ""
    with pytest.raises(ConfigError, match="record 1: the column 'a' is empty, which '{a}' needs"):
        task.setup(TOKENIZER, [])


def test_malformed_records_can_be_left_out_with_a_count(write):
    bad = [
        {**commonsense(90), "output": ""},
        {"instruction": "x"},
        "no record",
        {**commonsense(91), "output": "\u200b"},
    ]
    path = write([*(commonsense(number) for number in range(8)), *bad])
    task = Instructions(path, val_examples=4, on_error="skip", seed=3)
    with pytest.warns(
        UserWarning, match=r"4 of 12 records are malformed and left out, the first because: .*record \d+"
    ):
        task.setup(TOKENIZER, [])
    assert len(task.train_dataset()) + len(task.val_dataset()) == 8
    with pytest.raises(ConfigError, match=r"records.json, record \d+"):
        Instructions(path, val_examples=4, seed=3).setup(TOKENIZER, [])
    with pytest.raises(ConfigError, match="leaves nothing to train on. .*record"):
        Instructions(write(bad), val_examples=1, on_error="skip").setup(TOKENIZER, [])
    with pytest.raises(ConfigError, match="on_error is 'ignore'"):
        Instructions(path, on_error="ignore")


def test_an_output_that_max_tokens_cuts_is_named(write):
    path = write([commonsense(0), commonsense(1), {**commonsense(2), "output": "true " * 60}])
    with pytest.raises(ConfigError, match=r"record 2: the output .* for which max_tokens 30 leaves no room.*Raise"):
        Instructions(path, val_examples=1, max_tokens=30).setup(TOKENIZER, [])


def test_fewer_texts_than_the_limit_asks_for_are_told(write):
    path = write([commonsense(number) for number in range(6)])
    with pytest.warns(UserWarning, match="task limit asks for 100 training texts, but .*records.json leaves 4"):
        Instructions(path, val_examples=2, limit=100).setup(TOKENIZER, [])


def prompts_of(examples):
    return {TOKENIZER.decode(row["input_ids"]) for row in examples}


def test_parts_do_not_overlap_and_depend_on_the_seed(write):
    path = write([commonsense(number) for number in range(20)])

    def parts(seed):
        task = Instructions(path, val_examples=5, seed=seed)
        task.setup(TOKENIZER, [])
        return prompts_of(task.train_dataset()), prompts_of(task.val_dataset())

    train, val = parts(0)
    assert (len(train), len(val)) == (15, 5)
    assert not train & val
    assert parts(0) == (train, val)
    assert parts(1) != (train, val)


def test_validation_part(write):
    path = write([commonsense(number) for number in range(6)])
    val = write([commonsense(number) for number in range(10, 14)], "val.json")
    task = Instructions(path, val_path=val, val_examples=None, limit=3)
    task.setup(TOKENIZER, [])
    assert (len(task.train_dataset()), len(task.val_dataset())) == (3, 4)
    with pytest.raises(ValueError, match=r"val_examples is None.*Hold out fewer"):
        Instructions(path, val_examples=None).setup(TOKENIZER, [])


def test_filtering_touches_the_training_part_only_and_no_wording(write, caplog):
    # The wording of Alpaca says "is an instruction", as the relation of the edit does.
    requests = tiny.requests(1)
    records = [{"instruction": f"Where is {name}?", "output": "there"} for name in ("Oslo", "Lima", "Bern", "Rome")]
    path = write(records)
    with caplog.at_level("INFO"):
        task = Instructions(path, val_path=path, val_examples=None, exclude="edits")
        task.setup(TOKENIZER, requests)
    assert (len(task.train_dataset()), len(task.val_dataset())) == (3, 4)
    assert "1 of 4 training texts dropped" in caplog.text
    mentioning = Instructions(path, val_path=path, only="edits", prompt=Plain())
    mentioning.setup(TOKENIZER, requests)
    assert [text.split("?")[0] for text in prompts_of(mentioning.train_dataset())] == ["Where is Oslo"]
    with pytest.raises(ValueError, match="leaves nothing to train on: 4 of 4 training texts dropped"):
        Instructions(path, val_path=path, only="edits").setup(TOKENIZER, tiny.requests(8)[6:7])


def test_packing_keeps_every_token(write):
    path = write([commonsense(number) for number in range(12)])
    options = {"prompt": QuestionAnswer(), "val_examples": 2, "max_tokens": 80}
    plain, packed = Instructions(path, **options), Instructions(path, **options, pack_tokens=200)
    plain.setup(TOKENIZER, [])
    packed.setup(TOKENIZER, [])
    count = [sum(len(row["input_ids"]) for row in task.train_dataset()) for task in (plain, packed)]
    assert count[0] == count[1]
    assert len(packed.train_dataset()) < len(plain.train_dataset())
    assert all("position_ids" not in row for row in packed.val_dataset())
    with pytest.raises(ValueError, match="pack_tokens is 50, below max_tokens 80"):
        Instructions(path, max_tokens=80, pack_tokens=50)


def test_a_malformed_record_is_named(write):
    path = write([commonsense(0), {"instruction": "x"}])
    with pytest.raises(ValueError, match="record 1: output is missing"):
        Instructions(path, val_examples=1).setup(TOKENIZER, [])
