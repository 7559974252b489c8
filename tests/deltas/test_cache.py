from __future__ import annotations

import logging
import warnings

import pytest
import torch

from edit_lit.deltas import Delta, DeltaCache, LowRank, Provenance, WeightPart


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


def test_a_file_that_is_damaged_or_of_something_else_is_passed_over_with_a_warning(tmp_path):
    cache, delta = DeltaCache(tmp_path), made()
    path = cache.path(delta.provenance)
    made("others").save(path)
    with pytest.warns(UserWarning, match=f"^cached edit in {path} belongs to another model or edit; it is made again"):
        assert cache.find(delta.provenance) is None
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match="^cached edit is made again: .*holds no complete Delta"):
        assert cache.find(delta.provenance) is None
    cache.keep(delta)
    with pytest.warns(UserWarning, match="parts of the kind weight"):
        assert cache.find(delta.provenance, kinds=()) is None


def test_without_a_folder_it_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert DeltaCache().folder == tmp_path / "edit_lit" / "deltas"
