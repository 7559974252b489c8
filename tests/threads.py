"""How many threads the tests compute on."""

from __future__ import annotations

import os

import torch


def set_threads() -> None:
    """Take the number from ``TEST_THREADS``; one by default, on which tiny matrices are fastest."""
    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))
