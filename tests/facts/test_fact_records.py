from __future__ import annotations

import csv
import json
from dataclasses import asdict

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fact_samples import OWN, ROME

import edit_lit.records.readers
from edit_lit.facts import CounterFact, JsonFacts
from edit_lit.records.readers import read_records


def expected(write):
    (request,) = JsonFacts(write(OWN)).load()
    assert json.loads(json.dumps(asdict(request))) == {
        **OWN,
        "portability": [{**OWN["portability"][0], "alternative": None, "subject": None}],
    }
    return request


def test_a_request_survives_its_own_record(write):
    request = expected(write)
    assert JsonFacts(write(asdict(request))).load() == [request]


@pytest.mark.parametrize(("subject", "complaint"), [("Bill", "does not name its subject 'Bill'"), (7, "subject is 7")])
def test_a_questions_subject_is_checked(write, subject, complaint):
    neighbor = {**OWN["neighborhood"][0], "subject": subject}
    with pytest.raises(ValueError, match=f"record 0.*{complaint}"):
        JsonFacts(write({**OWN, "neighborhood": [neighbor]})).load()


def test_json_lines(write, tmp_path):
    path = tmp_path / "facts.jsonl"
    text = json.dumps({**OWN, "subject": "Ann\u2028Lee"}, ensure_ascii=False)
    path.write_text(f"{json.dumps(OWN)}\n\n{text}\n", encoding="utf-8")
    requests = JsonFacts(str(path)).load()
    assert requests[0] == expected(write)
    assert requests[1].subject == "Ann\u2028Lee"


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables(write, tmp_path, ending):
    path = tmp_path / f"facts.{ending}"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file) if ending == "csv" else csv.writer(file, csv.excel_tab, quoting=csv.QUOTE_NONE)
        writer.writerow(OWN)
        if ending == "csv":
            writer.writerow([value if isinstance(value, str) else json.dumps(value) for value in OWN.values()])
        else:
            writer = None
            file.write("\t".join(v if isinstance(v, str) else json.dumps(v) for v in OWN.values()) + "\n")
        file.write(("," if ending == "csv" else "\t").join(["Bob", "{} lives in", "Lima", "", "", "", "", "", ""]))
    first, second = JsonFacts(str(path)).load()
    assert first == expected(write)
    assert (second.target_true, second.id, second.paraphrases) == (None, "1", ())


def test_a_row_with_too_many_cells_is_refused(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text("subject,prompt,target_new\nAnn,{} lives in,Rome,Italy\n")
    with pytest.raises(ValueError, match="more cells than the header"):
        JsonFacts(str(path)).load()


def test_parquet(write, tmp_path):
    path = tmp_path / "facts.parquet"
    pq.write_table(pa.Table.from_pylist([OWN, {"subject": "Bob", "prompt": "{} is", "target_new": "x"}]), path)
    first, second = JsonFacts(str(path)).load()
    assert first == expected(write)
    assert second.neighborhood == ()


def test_urls(write):
    with fsspec.open("memory://sets/counterfact.json", "w") as file:
        json.dump([ROME], file)
    assert CounterFact("memory://sets/counterfact.json").load() == CounterFact(write(ROME)).load()


def test_hub_names(monkeypatch):
    asked = []
    monkeypatch.setattr(edit_lit.records.readers, "hub_answers", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: asked.append((args, options)) or [ROME])
    (request,) = CounterFact("owner/counterfact", name="full", split="test").load()
    assert request.subject == "Léon Blum"
    assert asked == [(("owner/counterfact", "full"), {"split": "test", "streaming": False})]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", "[1,", "Expecting value"),
        ("a.json", '{"subject": 1}', "one dict where a list"),
        ("a.jsonl", '{"a": 1}\n{', "line 2 is not valid JSON"),
        ("a.parquet", "no parquet", "a.parquet"),
    ],
)
def test_broken_files(tmp_path, name, content, complaint):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=complaint):
        read_records(str(tmp_path / name))


def test_missing_files_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match=r"'nowhere/facts\.json' is not a file"):
        CounterFact("nowhere/facts.json")


def test_options_are_checked(write):
    with pytest.raises(ValueError, match="on_error is 'ignore'"):
        CounterFact(write(ROME), on_error="ignore")
    with pytest.raises(ValueError, match="name is 'full'"):
        CounterFact(write(ROME), name="full").load()


def test_choice(write):
    path = write(*[{**OWN, "subject": f"S{number}", "id": str(number)} for number in range(10)])
    assert [request.id for request in JsonFacts(path, skip=2, limit=3).load()] == ["2", "3", "4"]
    assert [request.id for request in JsonFacts(path, indices=[4, 1]).load()] == ["4", "1"]
    shuffled = [request.id for request in JsonFacts(path, seed=3).load()]
    assert sorted(shuffled) == sorted(map(str, range(10)))
    assert shuffled == [request.id for request in JsonFacts(path, seed=3).load()] != sorted(shuffled)
    kept = JsonFacts(path, limit=2).load(exclude_subjects={" s0", "S1"})
    assert [request.id for request in kept] == ["2", "3"]


def test_folders_are_read_by_datasets(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text("\n".join(json.dumps({**OWN, "id": str(number)}) for number in range(3)))
    assert [request.id for request in JsonFacts(str(folder)).load()] == ["0", "1", "2"]


def test_a_data_set_that_does_not_come_is_a_mistake_in_the_options(monkeypatch):
    def absent(*arguments, **options):
        raise ConnectionError("offline")

    monkeypatch.setattr(edit_lit.records.readers, "hub_answers", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", absent)
    with pytest.raises(ValueError, match="'owner/absent' is no file here, and no data set came from the hub: offline"):
        CounterFact("owner/absent").load()
