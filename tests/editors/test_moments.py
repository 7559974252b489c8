from __future__ import annotations

import pytest
import tiny
import torch

from edit_lit.editors import KeyCovariance
from edit_lit.language_model.hooks import recorded_input
from edit_lit.records import TextLines
from edit_lit.utilities.files import default_cache_dir


def key_covariance(corpus, folder, **options):
    return KeyCovariance(corpus=TextLines(corpus), cache_dir=str(folder), **options)


def dense(spectrum):
    return spectrum.vectors @ torch.diag(spectrum.values) @ spectrum.vectors.T


@torch.no_grad()
def one_by_one(language_model, corpus, layer, max_tokens=1024):
    """The mean of k kᵀ over all tokens, a document and a token at a time."""
    total, count = torch.zeros(24, 24, dtype=torch.float64), 0
    for text in TextLines(corpus).documents():
        ids = language_model.tokenizer(text)["input_ids"][:max_tokens]
        with recorded_input(language_model.output_projection(layer)) as record:
            language_model.model(input_ids=torch.tensor([ids]))
        for key in record.take()[0]:
            total += torch.outer(key, key)
            count += 1
    return total / count, count


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_moments_of_several_layers_equal_a_loop_over_tokens(make, corpus, tmp_path):
    language_model = make()
    spectra = key_covariance(corpus, tmp_path, batch_tokens=40, max_tokens=6).spectra(language_model, [0, 2])
    for layer, spectrum in spectra.items():
        expected, count = one_by_one(language_model, corpus, layer, max_tokens=6)
        assert spectrum.tokens == count
        torch.testing.assert_close(dense(spectrum), expected)


def test_they_are_measured_once(corpus, tmp_path, monkeypatch):
    language_model = tiny.llama()
    first = key_covariance(corpus, tmp_path).spectra(language_model, [1])
    monkeypatch.setattr(KeyCovariance, "_measure", lambda *_: 1 / 0)
    again = key_covariance(corpus, tmp_path).spectra(language_model, [1])
    assert torch.equal(first[1].vectors, again[1].vectors)
    assert torch.equal(first[1].values, again[1].values)
    assert first[1].tokens == again[1].tokens > 100
    for other in (
        lambda: key_covariance(corpus, tmp_path).spectra(tiny.llama(seed=1), [1]),
        lambda: key_covariance(corpus, tmp_path).spectra(language_model, [2]),
        lambda: key_covariance(corpus, tmp_path, max_tokens=3).spectra(language_model, [1]),
        lambda: KeyCovariance(TextLines(corpus, limit=4), cache_dir=str(tmp_path)).spectra(language_model, [1]),
    ):
        with pytest.raises(ZeroDivisionError):
            other()


def test_they_belong_to_a_tokenizer_but_not_to_how_it_last_padded(corpus, tmp_path, monkeypatch):
    language_model = tiny.llama()
    first = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    begun = key_covariance(corpus, tmp_path).spectra(tiny.llama(tiny.word_tokenizer(bos=True)), [1])[1]
    assert begun.tokens == first.tokens + len(list(TextLines(corpus).documents()))
    monkeypatch.setattr(KeyCovariance, "_measure", lambda *_: 1 / 0)
    language_model.tokenizer(["New York", "Oslo"], padding=True, truncation=True, max_length=1)
    assert language_model.tokenizer.backend_tokenizer.padding
    assert language_model.tokenizer.backend_tokenizer.truncation
    assert key_covariance(corpus, tmp_path).spectra(language_model, [1])[1].tokens == first.tokens


def test_a_damaged_or_foreign_file_is_replaced_with_a_warning(corpus, tmp_path):
    language_model = tiny.llama()
    expected = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    (path,) = tmp_path.rglob("layer_1.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="measured again: it cannot be read"):
        rebuilt = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    assert torch.equal(rebuilt.vectors, expected.vectors)
    assert len(path.read_bytes()) == len(whole)

    key_covariance(corpus, tmp_path).spectra(tiny.llama(seed=1), [1])
    (other,) = set(tmp_path.rglob("layer_1.safetensors")) - {path}
    path.write_bytes(other.read_bytes())
    with pytest.warns(UserWarning, match="measured on another model"):
        rebuilt = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    assert torch.equal(rebuilt.vectors, expected.vectors)


def test_an_empty_corpus_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"yields no text.*key_covariance.corpus"):
        key_covariance(str(tmp_path / "empty.txt"), tmp_path).spectra(tiny.llama(), [1])
    with pytest.raises(ValueError, match="is not a file"):
        TextLines(str(tmp_path / "absent.txt"))


def test_files_are_kept_in_the_given_folder_or_the_users_cache(corpus, tmp_path):
    language_model, own = tiny.llama(), tmp_path / "own"
    key_covariance(corpus, own).spectra(language_model, [1])
    assert [path.name for path in own.rglob("*.safetensors")] == ["layer_1.safetensors"]
    assert not default_cache_dir().exists()
    KeyCovariance(TextLines(corpus)).spectra(language_model, [1])
    (kept,) = default_cache_dir().rglob("*.safetensors")
    assert kept.parents[1] == default_cache_dir() / "key_covariance"
