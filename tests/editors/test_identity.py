"""A Delta is used again only where everything that it depends on agrees, by content."""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path

import pytest
import tiny
from tokenizers import processors

import edit_lit.deltas.provenance as provenance_module
from edit_lit.activations import Contexts
from edit_lit.deltas import DeltaCache
from edit_lit.deltas.provenance import code_hash
from edit_lit.editors import MEMIT, ROME, KeyCovariance, Schedule, TargetValues
from edit_lit.editors.base import editor as editor_module
from edit_lit.editors.closed_form import key_covariance as key_covariance_module
from edit_lit.records import Corpus, TextLines
from edit_lit.utilities.identity import Identified, content_hash, identity_of


@pytest.fixture
def key_of(corpus, tmp_path):
    """The key of an edit under changed conditions."""

    def key(editor=None, language_model=None, requests=None, path=corpus):
        editor = editor or tiny.memit(path, str(tmp_path / "cache"))
        return editor.provenance(language_model or tiny.llama(), requests or tiny.requests()).key

    return key


def test_equal_content_has_an_equal_key(key_of, corpus, tmp_path):
    moved = shutil.copy(corpus, tmp_path / "moved.txt")
    assert key_of() == key_of() == key_of(path=str(moved))
    elsewhere = KeyCovariance(TextLines(corpus), batch_tokens=30, cache_dir=str(tmp_path / "elsewhere"))
    assert key_of(tiny.memit(corpus, "", key_covariance=elsewhere)) == key_of()


def test_a_rewritten_corpus_file_is_another_corpus(key_of, corpus):
    before = key_of()
    Path(corpus).write_text(Path(corpus).read_text().replace("rains", "bus"))
    assert key_of() != before


def test_another_tokenizer_is_another_edit(key_of):
    bos = tiny.llama(tiny.word_tokenizer(bos=True))
    assert key_of(language_model=bos) != key_of()
    added = tiny.llama()
    added.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    assert key_of(language_model=added) == key_of(language_model=bos)
    other_end = tiny.llama()
    other_end.tokenizer.eos_token = "<pad>"
    assert key_of(language_model=other_end) != key_of()


def test_what_the_last_call_of_a_tokenizer_left_behind_is_not(key_of):
    used = tiny.llama()
    used.tokenizer(["Oslo", "New York"], padding=True, truncation=True, max_length=1)
    assert key_of(language_model=used) == key_of()


def test_other_options_requests_and_weights_are_other_edits(key_of, corpus):
    others = [
        key_of(tiny.memit(corpus, "", covariance_weight=3.0)),
        key_of(tiny.memit(corpus, "", schedule=Schedule(batch_size=2))),
        key_of(tiny.memit(corpus, "", layers=[1])),
        key_of(tiny.memit(corpus, "", key_covariance=KeyCovariance(TextLines(corpus), max_tokens=5))),
        key_of(requests=tiny.requests(3)),
        key_of(language_model=tiny.llama(seed=1)),
        key_of(),
    ]
    assert len(set(others)) == len(others)


def test_changed_code_makes_edits_anew(key_of, tmp_path, monkeypatch):
    before = key_of()
    package = tmp_path / "edit_lit"
    shutil.copytree(Path(provenance_module.__file__).parent.parent, package, ignore=shutil.ignore_patterns("model"))
    monkeypatch.setattr(provenance_module, "_PACKAGE", package)
    assert key_of() == before
    solver = package / "editors" / "closed_form" / "solver.py"
    solver.write_text(solver.read_text().replace("epsilon", "ridge"))
    assert key_of() != before


def test_an_editor_of_ones_own_counts_with_its_own_code():
    class Own(MEMIT):
        """Lives in this file."""

    assert code_hash(Own) != code_hash(MEMIT)
    assert inspect.getsource(inspect.getmodule(Own)) == Path(__file__).read_text()


def test_an_editors_file_counts_whole(tmp_path, monkeypatch):
    def in_file(name, constant):
        text = f"from edit_lit.editors import MEMIT\n\nLEFT = {constant}\n\n\nclass Own(MEMIT):\n    pass\n"
        (tmp_path / f"{name}.py").write_text(text)
        return importlib.import_module(name).Own

    monkeypatch.syspath_prepend(str(tmp_path))
    assert code_hash(in_file("own_a", 1)) == code_hash(in_file("own_b", 1)) != code_hash(in_file("own_c", 2))


def test_an_editor_typed_into_a_session_counts_with_its_methods():
    def typed(layer):
        session = {"MEMIT": MEMIT, "__name__": "session"}
        exec(f"class Own(MEMIT):\n    def default_layers(self, depth):\n        return [{layer}]", session)
        return session["Own"]

    assert code_hash(typed(1)) == code_hash(typed(1)) != code_hash(typed(2))


def test_the_model_and_the_corpus_are_read_once_for_an_edit(corpus, tmp_path, monkeypatch):
    calls = []
    for module in (editor_module, key_covariance_module):
        whole = module.model_fingerprint
        monkeypatch.setattr(
            module, "model_fingerprint", lambda model, whole=whole: calls.append("model") or whole(model)
        )
    read = TextLines.documents
    monkeypatch.setattr(TextLines, "documents", lambda self: calls.append("corpus") or read(self))
    editor, cache = tiny.memit(corpus, str(tmp_path / "moments")), DeltaCache(tmp_path / "deltas")
    first = editor.edit(tiny.llama(), tiny.requests(), cache)
    # Once to know the corpus, once to measure its keys.
    assert sorted(calls) == ["corpus", "corpus", "model"]
    calls.clear()
    second = editor.edit(tiny.llama(), tiny.requests(), cache)
    assert sorted(calls) == ["corpus", "model"]
    assert first.hash() == second.hash()


def test_a_corpus_that_makes_no_difference_is_not_read():
    class Unread(Corpus):
        def documents(self):
            raise AssertionError("the corpus is read")

    options = {"target_values": TargetValues(steps=3), "contexts": Contexts(templates=[])}
    editor = ROME([1], use_moments=False, key_covariance=KeyCovariance(Unread()), **options)
    other = ROME([1], use_moments=False, key_covariance=KeyCovariance(Unread(), max_tokens=5), **options)
    delta = editor.edit(tiny.llama(), tiny.requests(1))
    assert other.provenance(tiny.llama(), tiny.requests(1)).key == delta.provenance.key
    with pytest.raises(AssertionError, match="the corpus is read"):
        ROME([1], key_covariance=KeyCovariance(Unread()), **options).provenance(tiny.llama(), tiny.requests(1))


def test_key_covariances_are_found_by_either_way_to_their_key(corpus, tmp_path, monkeypatch):
    editor, language_model = tiny.memit(corpus, str(tmp_path)), tiny.llama()
    editor.edit(language_model, tiny.requests())
    monkeypatch.setattr(KeyCovariance, "_measure", lambda *_: 1 / 0)
    editor.key_covariance.spectra(language_model, [1, 2])


def test_identities_are_plain_values():
    class Stated(Identified):
        def __init__(self, path):
            self.path = path

        def identity(self):
            return [1, "a"]

    class Given:
        def __init__(self, stated, numbers):
            self.stated, self.numbers = stated, numbers

    described = identity_of(Given(Stated("x"), (1, 2.5, None)))
    assert described["numbers"] == [1, 2.5, None]
    assert described["stated"]["identity"] == [1, "a"]
    assert content_hash(described) == content_hash(identity_of(Given(Stated("y"), [1, 2.5, None])))
