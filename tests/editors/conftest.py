from __future__ import annotations

import pytest
import small

from edit_lit.editors import KeyCovariance
from edit_lit.records import TextLines


@pytest.fixture(scope="session")
def key_covariance(tmp_path_factory):
    """Second moments over a tiny corpus, measured once a session for each model."""
    folder = tmp_path_factory.mktemp("moments")
    (folder / "corpus.txt").write_text("\n".join(small.TEXT))
    return KeyCovariance(corpus=TextLines(str(folder / "corpus.txt")), cache_dir=str(folder / "cache"))
