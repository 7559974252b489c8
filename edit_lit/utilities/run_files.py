"""Names of runs' folders and of the files in them, for those who write them and those who read them."""

from __future__ import annotations

import re
from pathlib import Path

CONFIG = "config.yaml"
LAST = Path("checkpoints", "last.ckpt")
DELTA = Path("edits", "delta.safetensors")
METRICS = "metrics.csv"
LOCK = ".lock"
FINISHED = Path("checkpoints", "finished.json")
VERSION = re.compile(r"version_(\d+)")


def newest_run(folder: Path, prefix: str = "") -> Path | None:
    """The folder of the newest run of a name.

    Args:
        folder: Where runs of that name are.
        prefix: What the run's own folder must begin with.
    """
    return max((path.parent for path in folder.glob(f"{prefix}*/{CONFIG}")), key=_age, default=None)


def _age(run: Path) -> tuple[int, int]:
    number = VERSION.fullmatch(run.name)
    return int(number[1]) if number else -1, (run / CONFIG).stat().st_mtime_ns
