"""The file of an attribution gives back what was written, and names its damage."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import tiny
from constructed import edited, undo

from edit_lit.attribution.attribute import attribute
from edit_lit.attribution.file import FILE, read_attribution, write_attribution
from edit_lit.tuning import FullTuning
from edit_lit.utilities.errors import ConfigError


@pytest.fixture(scope="module")
def found():
    case = undo(edited(tiny.llama, [1, 2], FullTuning()))
    return attribute(case.states, case.requests, case.recorded(), pairs=2)


def test_what_is_read_is_what_was_written(found, tmp_path):
    assert found.edits
    assert found.layer_shares
    assert read_attribution(tmp_path) is None
    write_attribution(tmp_path, found)
    assert read_attribution(tmp_path) == found
    table = pd.read_parquet(tmp_path / FILE)
    assert table["verdict"].tolist() == [edit.verdict for edit in found.edits]
    assert table["below_margin"].tolist() == [edit.groups["below"].margin for edit in found.edits]
    assert table["activations_key_saves"].tolist() == [edit.activations.key_saves for edit in found.edits]


def test_no_lost_edit_is_a_file_too(found, tmp_path):
    none = replace(found, edits=[], layer_shares=[])
    write_attribution(tmp_path, none)
    assert read_attribution(tmp_path) == none


def test_damage_is_named_in_one_line(found, tmp_path):
    path = write_attribution(tmp_path, found)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"reverted") if b"reverted" in whole else whole.index(b"displaced")] ^= 1
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for broken in (b"", whole[: len(whole) // 2], b"no parquet", flipped, (tmp_path / "other.parquet").read_bytes()):
        path.write_bytes(broken)
        with pytest.raises(ConfigError, match="attribution.parquet is no whole file of causes .* edit_lit explain"):
            read_attribution(tmp_path)
