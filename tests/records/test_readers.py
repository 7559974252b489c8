"""Files that are not what their ending says, and corpora that cannot be had."""

from __future__ import annotations

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

import edit_lit.records.readers as readers
from edit_lit.editors import KeyCovariance
from edit_lit.records import HubText, TextLines
from edit_lit.records.readers import read_lines, read_records
from edit_lit.tasks import RunningText
from edit_lit.utilities.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", '[{"a": 1}]'.encode("utf-16"), "not UTF-8 text .it looks like UTF-16"),
        ("a.json", b'[{"a": "\xff"}]', "not UTF-8 text .invalid start byte at byte 8"),
        ("a.json", b"[" * 100_000, "a.json: "),
        ("a.jsonl", b'{"a": 1}\n{"a": 2', "line 2 is not valid JSON"),
        ("a.csv", b'a,b\n1,"2\n3,4\n', "line 3 cannot be read .unexpected end of data"),
        ("a.csv", b"a,b\n1,2\n3", "row of '3' in line 3 has fewer cells than the header"),
        ("a.csv", b"a,b\n1,2,3\n", "row of '1' in line 2 has more cells than the header"),
        ("a.csv", b"a,b,a\n1,2,3\n", "header names 'a' more than once"),
        ("a.tsv", b"a\tb\n1\n", "fewer cells than the header"),
        ("a.parquet", b"PAR1" + b"\x00" * 60 + b"PAR1", "a.parquet: "),
        ("a.parquet", b"", "a.parquet: "),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name}: .*{complaint}|{complaint}") as refusal:
        read_records(str(tmp_path / name))
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_flipped_byte_in_a_page_is_noticed_where_the_file_has_checksums(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"a": [f"word {number}" for number in range(100)]})
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[content.index(b"word 50") + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="a.parquet: .*CRC"):
        read_records(str(path))


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffa,b\n1,2\n".encode())
    assert read_records(str(tmp_path / "a.csv")) == [{"a": "1", "b": "2"}]
    (tmp_path / "a.txt").write_bytes("\ufeffone\n\ntwo \n".encode())
    assert list(read_lines(str(tmp_path / "a.txt"))) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("one\ntwo\n".encode("utf-16"), "not UTF-8 text"),
        ("one\ntwo\n".encode("utf-16-le"), r"line 1 holds the character U\+0000"),
        (b"one\n\xff\n", "not UTF-8 text"),
    ],
)
def test_text_of_another_encoding_is_named(tmp_path, content, complaint):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"a.txt: .*{complaint}"):
        list(TextLines(str(path)).documents())
    with pytest.raises(ConfigError, match=rf"a.txt: .*{complaint}"):
        RunningText(str(path), val_documents=1).setup(tiny.byte_tokenizer(), [])


def test_fewer_documents_than_the_limit_asks_for_are_told(corpus, tmp_path):
    with pytest.warns(UserWarning, match="corpus limit asks for 1000 documents, but .*corpus.txt has 81"):
        assert len(list(TextLines(corpus, limit=1000).documents())) == 81
    assert len(list(TextLines(corpus, limit=81).documents())) == 81
    with pytest.warns(UserWarning, match="task limit asks for 1000 training texts, but .*corpus.txt leaves 77"):
        RunningText(corpus, limit=1000, val_documents=4).setup(tiny.byte_tokenizer(), [])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text('text\none\n""\ntwo\n')
    data = HubText(str(tmp_path / "set"), None, limit=7)
    data.check()
    with pytest.warns(UserWarning, match="corpus limit asks for 7 documents"):
        assert sorted(data.documents()) == ["one", "two"]
    assert sorted(HubText(str(tmp_path / "set"), None, limit=None).documents()) == ["one", "two"]
    with pytest.raises(ConfigError, match="corpus column is 'body'"):
        next(HubText(str(tmp_path / "set"), None, column="body").documents())


def test_a_corpus_that_cannot_be_had_is_refused_before_the_model_is_run(monkeypatch, corpus, tmp_path):
    monkeypatch.setattr(readers, "hub_answers", lambda: False)
    language_model = tiny.llama()
    language_model.model.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    editor = tiny.memit(corpus, str(tmp_path), key_covariance=KeyCovariance(HubText("owner/absent")))
    started = time.perf_counter()
    for attempt in (
        HubText("owner/absent").check,
        lambda: list(HubText("owner/absent").documents()),
        lambda: editor.edit(language_model, tiny.requests(2)),
    ):
        with pytest.raises(ConfigError, match="path 'owner/absent' is no file here.*it does not answer. Name a local"):
            attempt()
    assert time.perf_counter() - started < 10


def test_a_column_that_is_not_there_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n' * 5)
    with pytest.raises(ConfigError, match="record 0: there is no column 'text'. It has body. Name one"):
        RunningText(str(tmp_path / "a.jsonl"), val_documents=1).setup(tiny.byte_tokenizer(), [])
