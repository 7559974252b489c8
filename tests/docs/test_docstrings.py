"""The examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "edit_lit"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_examples(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    failures, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.FAIL_FAST)
    assert tried > 0
    assert failures == 0
