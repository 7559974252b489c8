"""What can happen to a file of tensors on a disk, for tests that nothing of it goes unnoticed."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def flip(path: Path, bit: int) -> None:
    """Turn over one bit."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def flip_behind(path: Path, text: bytes) -> None:
    """Turn over the lowest bit of the byte behind a text."""
    flip(path, 8 * (path.read_bytes().index(text) + len(text)))


def truncate(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], None]) -> None:
    """Change tensors or metadata, and leave the rest as it was, checksums included."""
    with safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _first(tensors: dict[str, torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    name = min(tensors)
    tensors[name] = change(tensors[name]).contiguous()


def data_start(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flip in the header's length": lambda path: flip(path, 1),
    "flip in the header's names": lambda path: flip_behind(path, b'"dtyp'),
    "flip in a number of the header": lambda path: flip_behind(path, b'"shape":['),
    "flip in the metadata": lambda path: flip_behind(path, b"__metadata"),
    "flip in a checksum": lambda path: flip_behind(path, b'"tensors_checksum":"'),
    "flip in the first number": lambda path: flip(path, 8 * data_start(path) + 1),
    "flip in the last number": lambda path: flip(path, 8 * len(path.read_bytes()) - 1),
    "half of it": lambda path: truncate(path, len(path.read_bytes()) // 2),
    "all but a byte": lambda path: truncate(path, len(path.read_bytes()) - 1),
    "header alone": lambda path: truncate(path, data_start(path)),
    "empty": lambda path: truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(len(path.read_bytes()))) and None,
    "another type": lambda path: rewrite(path, lambda tensors, _: _first(tensors, lambda tensor: tensor.half())),
    "another shape": lambda path: rewrite(path, lambda tensors, _: _first(tensors, lambda tensor: tensor[None])),
    "other numbers": lambda path: rewrite(path, lambda tensors, _: _first(tensors, lambda tensor: tensor + 1)),
    "another version": lambda path: rewrite(path, lambda _, fields: fields.update(version="0")),
    "a field too many": lambda path: rewrite(path, lambda _, fields: fields.update(new="1")),
    "a field too few": lambda path: rewrite(path, lambda _, fields: fields.pop("version") and None),
    "no checksums": lambda path: rewrite(
        path, lambda _, fields: [fields.pop(name) for name in list(fields) if name.endswith("checksum")] and None
    ),
    "no metadata": lambda path: save_file(load_file(path), path),
    "a text file": lambda path: path.write_text(json.dumps({"a": 1})) and None,
    "a folder": replace_by_folder,
}
"""Ways in which a file may be another than the one that was written."""


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """A disk that takes no file beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
