from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from threads import set_threads


def pytest_report_header() -> str:
    """What the numbers are computed with."""
    set_threads()
    path = torch.backends.cpu.get_cpu_capability()
    return f"PyTorch {torch.__version__}, threads: {torch.get_num_threads()}, code path: {path}"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, scope="session")
def _own_cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor does what several tests share, which is made before the cache of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test gets the seed that another left in the environment; what this one leaves is gone at its end."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.delenv("PL_GLOBAL_SEED")


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads pytest's arguments as its own."""
    monkeypatch.setattr(sys, "argv", sys.argv[:1])


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """No result may hang on the number of threads; `make test-plain` takes another one."""
    set_threads()


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A text file with one document a line."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(tiny.TEXT * 3))
    return str(path)
