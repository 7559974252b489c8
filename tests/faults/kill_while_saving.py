"""Kills processes in the middle of saving a checkpoint; what stands under the final name must be whole each time.

Usage: python tests/faults/kill_while_saving.py FOLDER [KILLS] [lightning]

With ``lightning`` it saves with Lightning's own plug-in instead, which leaves torn files where FOLDER is on another
file system than the temporary folder.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from edit_lit.checkpoint_io import AtomicCheckpointIO
from edit_lit.utilities.errors import ConfigError

SIZE = 4_000_000


def save_forever(plugin: TorchCheckpointIO, path: Path) -> None:
    number = 0
    while True:
        number += 1
        plugin.save_checkpoint({"weight": torch.full((SIZE,), float(number)), "step": number}, path)


def main(folder: str, kills: str = "20", own: str = "") -> None:
    """Kill as often as asked, and print how often the file was whole and how many kills hit a half-written one."""
    plugin = TorchCheckpointIO() if own else AtomicCheckpointIO()
    path, whole, hit, waits = Path(folder) / "last.ckpt", 0, 0, random.Random(0)
    plugin.save_checkpoint({"weight": torch.zeros(SIZE), "step": 0}, path)
    for _ in range(int(kills)):
        before = set(Path(folder).glob(".partial-*"))
        child = os.fork()
        if child == 0:
            save_forever(plugin, path)
        time.sleep(waits.uniform(0.02, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hit += bool(set(Path(folder).glob(".partial-*")) - before)
        try:
            found = AtomicCheckpointIO().load_checkpoint(path)
            whole += bool((found["weight"] == found["step"]).all())
        except ConfigError as error:
            print(error)
    print(f"{whole} of {kills} whole, {hit} killed half-way")


if __name__ == "__main__":
    main(*sys.argv[1:])
