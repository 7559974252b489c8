from __future__ import annotations

import warnings

import damage
import pytest
import tiny
import torch

from edit_lit.editors import KeyCovariance
from edit_lit.editors.closed_form.key_covariance import Spectrum
from edit_lit.language_model.hooks import recorded_input
from edit_lit.records import TextLines
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import default_cache_dir
from edit_lit.utilities.tensor_files import read_tensors, write_tensors


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


def measured(corpus, folder, language_model, layers):
    """Spectra, and the warnings on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spectra = key_covariance(corpus, folder).spectra(language_model, layers)
    return spectra, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("way", damage.DAMAGES)
def test_a_damaged_file_is_noticed_in_one_line_and_measured_again(corpus, tmp_path, way):
    language_model = tiny.llama()
    expected = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    (path,) = tmp_path.rglob("layer_1.safetensors")
    damage.DAMAGES[way](path)
    rebuilt, lines = measured(corpus, tmp_path, language_model, [1])
    assert torch.equal(dense(rebuilt[1]), dense(expected))
    assert lines[0].startswith(f"the key covariance in {path} is measured again: it")
    if path.is_dir():
        assert [line.split(":")[0] for line in lines[1:]] == ["this key covariance is not kept for other runs"]
    else:
        assert len(lines) == 1
        assert measured(corpus, tmp_path, language_model, [1])[1] == []


def test_the_file_of_another_layer_or_model_is_noticed(corpus, tmp_path):
    language_model = tiny.llama()
    expected = key_covariance(corpus, tmp_path).spectra(language_model, [1, 2])
    paths = {path.name: path for path in tmp_path.rglob("layer_*.safetensors")}
    first, second = paths["layer_1.safetensors"], paths["layer_2.safetensors"]
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    rebuilt, lines = measured(corpus, tmp_path, language_model, [1, 2])
    told = "the key covariance in {} is measured again: it is of another layer."
    assert lines == [told.format(first), told.format(second)]
    assert all(torch.equal(rebuilt[layer].vectors, expected[layer].vectors) for layer in (1, 2))

    key_covariance(corpus, tmp_path).spectra(tiny.llama(seed=1), [1])
    (other,) = set(tmp_path.rglob("layer_1.safetensors")) - {first}
    first.write_bytes(other.read_bytes())
    rebuilt, lines = measured(corpus, tmp_path, language_model, [1])
    assert lines == [f"the key covariance in {first} is measured again: it is of another model or corpus."]
    assert torch.equal(rebuilt[1].vectors, expected[1].vectors)


def test_a_file_with_nan_is_never_used_whoever_wrote_it(corpus, tmp_path):
    language_model = tiny.llama()
    key_covariance(corpus, tmp_path).spectra(language_model, [1])
    (path,) = tmp_path.rglob("layer_1.safetensors")
    tensors, fields = read_tensors(path, {})
    tensors["vectors"][3, 4] = float("nan")
    write_tensors(path, tensors, fields)
    rebuilt, (line,) = measured(corpus, tmp_path, language_model, [1])
    assert line.endswith("it holds NaN or infinity.")
    assert rebuilt[1].vectors.isfinite().all()


def test_a_folder_that_takes_nothing_costs_a_warning_and_not_the_measurement(corpus, tmp_path):
    (tmp_path / "file").write_text("where a folder should be")
    expected = key_covariance(corpus, tmp_path / "whole").spectra(tiny.llama(), [1])[1]
    found, (line,) = measured(corpus, tmp_path / "file", tiny.llama(), [1])
    assert line.startswith("this key covariance is not kept for other runs: ")
    assert torch.equal(found[1].vectors, expected.vectors)


def test_what_only_another_process_lacks_is_measured_by_all(corpus, tmp_path, monkeypatch):
    language_model = tiny.llama()
    expected = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    monkeypatch.setattr(distributed, "from_all_processes", lambda lacking: [lacking, [1]])
    (path,) = tmp_path.rglob("layer_1.safetensors")
    before = path.stat().st_ino
    found = key_covariance(corpus, tmp_path).spectra(language_model, [1])[1]
    assert path.stat().st_ino != before
    assert torch.equal(found.vectors, expected.vectors)


@torch.no_grad()
def test_a_model_whose_keys_are_nan_is_refused_by_layer(corpus, tmp_path):
    language_model = tiny.llama()
    language_model.parameter("model.layers.2.mlp.up_proj.weight")[0, 0] = float("nan")
    with pytest.raises(ConfigError, match=r"^the key covariance of layer 2 holds NaN.*dtype float32"):
        key_covariance(corpus, tmp_path).spectra(language_model, [1, 2])
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(ConfigError, match="^the second moment of the keys holds NaN"):
        Spectrum.of(torch.full((3, 3), float("inf")), 5)


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
