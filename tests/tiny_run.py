"""A whole run of the command line on files: a saved model, facts, a task, a corpus and their configuration."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tiny
import yaml


def write_run(folder: Path, corpus: str) -> Path:
    """Write everything into a folder; the path of the configuration."""
    language_model = tiny.llama()
    language_model.model.save_pretrained(folder / "model")
    language_model.tokenizer.save_pretrained(folder / "model")
    for name, made in (("edits", tiny.requests(4)), ("intrinsic", tiny.requests(8))):
        (folder / f"{name}.json").write_text(json.dumps([_without_nulls(asdict(request)) for request in made]))
    lines = [
        json.dumps({"prompt": f"the bus goes to {subject} and it is", "completion": "late"})
        for subject in tiny.SUBJECTS
    ]
    (folder / "task.jsonl").write_text("\n".join(lines))
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(_content(folder, corpus)))
    return path


def _content(folder: Path, corpus: str) -> dict[str, Any]:
    memit = {
        "layers": [1, 2],
        "covariance_weight": 2,
        "target_values": {"steps": 3},
        "contexts": {"templates": ["it is late . {}"]},
        "key_covariance": {"corpus": {"class_path": "TextLines", "init_args": {"path": corpus}}},
    }
    columns = {
        "path": str(folder / "task.jsonl"),
        "instruction": "{prompt}",
        "output": "{completion}",
        "val_examples": 2,
    }
    return {
        "name": "tiny",
        "model": {"language_model": {"path": str(folder / "model"), "dtype": "float64"}, "tuning": "LoRA"},
        "data": {
            "task": {"class_path": "Columns", "init_args": columns},
            "edits": {"class_path": "JsonFacts", "init_args": {"path": str(folder / "edits.json")}},
            "intrinsic": {"class_path": "JsonFacts", "init_args": {"path": str(folder / "intrinsic.json")}},
            "batch_size": 2,
        },
        "edit": {"editor": {"class_path": "MEMIT", "init_args": memit}},
        "retention": {"every_n_steps": 2},
        "trainer": {
            "max_steps": 4,
            "accelerator": "cpu",
            "default_root_dir": str(folder / "runs"),
            "enable_progress_bar": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 2,
        },
    }


def _without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}
