from __future__ import annotations

import logging
import re
import warnings

import damage
import pytest
import tiny
import torch

from edit_lit.deltas import Delta, DeltaCache, LowRank, Provenance, WeightPart
from edit_lit.editors import FTM, TargetTraining
from edit_lit.utilities.tensor_files import read_tensors, write_tensors


def made(requests="r"):
    part = WeightPart({"weight": LowRank(torch.ones(3, 1), torch.ones(2, 1))})
    return Delta([part], Provenance("Editor", {}, "m", "t", requests, (1,)))


def test_what_is_kept_is_found_by_its_provenance_alone(tmp_path, caplog):
    cache, delta = DeltaCache(tmp_path / "deltas"), made()
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        assert cache.find(delta.provenance) is None
        cache.keep(delta)
        assert [path.name for path in (tmp_path / "deltas").iterdir()] == [cache.path(delta.provenance).name]
        found = DeltaCache(str(tmp_path / "deltas")).find(delta.provenance)
        assert found is not None
        assert found.hash() == delta.hash()
        assert cache.find(made("others").provenance) is None
    assert caplog.messages == [f"edit taken from {cache.path(delta.provenance)}"]


def test_what_is_kept_is_linked_and_not_copied(tmp_path):
    cache, delta = DeltaCache(tmp_path / "deltas"), made()
    cache.save(delta, tmp_path / "before.safetensors")
    assert (tmp_path / "before.safetensors").stat().st_nlink == 1
    cache.keep(delta)
    kept = cache.path(delta.provenance)
    found = DeltaCache(tmp_path / "deltas")
    assert found.find(delta.provenance) is not None
    for number, one in enumerate((cache, found)):
        linked = tmp_path / "runs" / str(number) / "delta.safetensors"
        one.save(delta, linked)
        assert linked.samefile(kept)
    kept.unlink()
    assert Delta.load(linked).hash() == delta.hash()
    cache.save(delta, tmp_path / "after.safetensors")
    assert Delta.load(tmp_path / "after.safetensors").hash() == delta.hash()


def test_a_damaged_file_of_the_cache_is_not_linked(tmp_path):
    cache, delta = DeltaCache(tmp_path / "deltas"), made()
    cache.keep(delta)
    cache.path(delta.provenance).write_bytes(b"damaged")
    other = DeltaCache(tmp_path / "deltas")
    with pytest.warns(UserWarning, match="is made again"):
        assert other.find(delta.provenance) is None
    other.save(delta, tmp_path / "delta.safetensors")
    assert Delta.load(tmp_path / "delta.safetensors").hash() == delta.hash()


def looked_up(cache, delta):
    """What is found, and the warnings on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = cache.find(delta.provenance)
    return found, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("way", damage.DAMAGES)
def test_a_damaged_file_is_noticed_in_one_line_and_made_again(tmp_path, way):
    cache, delta = DeltaCache(tmp_path), made()
    cache.keep(delta)
    path = cache.path(delta.provenance)
    damage.DAMAGES[way](path)
    found, (line,) = looked_up(cache, delta)
    assert found is None
    assert re.fullmatch(rf"cached edit is made again: {path} holds no complete Delta \(its? .*\).*", line)
    if not path.is_dir():
        cache.keep(delta)
        found, lines = looked_up(cache, delta)
        assert (found.hash(), lines) == (delta.hash(), [])


def test_another_edits_file_is_noticed_and_another_kinds(tmp_path):
    cache, delta = DeltaCache(tmp_path), made()
    path = cache.path(delta.provenance)
    made("others").save(path)
    found, (line,) = looked_up(cache, delta)
    assert found is None
    assert line == f"cached edit in {path} belongs to another model or edit; it is made again."
    cache.keep(delta)
    with pytest.warns(UserWarning, match="parts of the kind weight"):
        assert cache.find(delta.provenance, kinds=()) is None


def test_a_cached_nan_is_never_used(tmp_path):
    """Whoever wrote it: its checksums fit."""
    cache, delta = DeltaCache(tmp_path), made()
    cache.keep(delta)
    path = cache.path(delta.provenance)
    tensors, fields = read_tensors(path, {})
    min(tensors.items())[1].view(-1)[0] = float("nan")
    write_tensors(path, tensors, fields)
    found, (line,) = looked_up(cache, delta)
    assert found is None
    assert "NaN" in line


def test_a_folder_that_takes_nothing_costs_a_warning_and_not_the_edit(tmp_path, corpus):
    (tmp_path / "file").write_text("where a folder should be")
    for folder in (tmp_path / "file", tmp_path / "file" / "deltas"):
        editor, cache = FTM([2], TargetTraining(epochs=1)), DeltaCache(folder)
        with pytest.warns(UserWarning, match=r"^this edit is not kept for other runs: .* cannot be written") as caught:
            delta = editor.edit(tiny.llama(), tiny.requests(1), cache)
        assert len(caught) == 1
        assert delta.hash() == editor.edit(tiny.llama(), tiny.requests(1)).hash()
    cache = DeltaCache(tmp_path / "full")
    with damage.room_for(100), pytest.warns(UserWarning, match="not kept for other runs: .*too large"):
        cache.keep(made())
    assert list(cache.folder.iterdir()) == []


def test_without_a_folder_it_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert DeltaCache().folder == tmp_path / "edit_lit" / "deltas"
