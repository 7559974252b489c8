"""Sweep files and their trials, made up."""

from __future__ import annotations

from pathlib import Path

import yaml

from edit_lit.sweeps.sweep_file import SweepFile

AXES = [{"model.tuning": ["FullTuning", "LoRA"]}, {"data.edits.seed": [0, 1, 2]}]


def sweep_file(folder: Path, **content: object) -> SweepFile:
    return SweepFile.read(write_sweep(folder, **content))


def write_sweep(folder: Path, **content: object) -> Path:
    (folder / "base.yaml").write_text("name: base\n")
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": "base.yaml", "axes": AXES, **content}, sort_keys=False))
    return path
