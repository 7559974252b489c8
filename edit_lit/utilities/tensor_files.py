"""Files of tensors that notice their own damage: safetensors with checksums among the metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edit_lit.utilities.files import write_atomically

_OF_TENSORS, _OF_FIELDS = "tensors_checksum", "fields_checksum"


class DamagedFileError(ValueError):
    """Says why a file cannot be used, without its name."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> None:
    """Write tensors and text as one safetensors file, whole or not at all.

    Args:
        path: The file.
        tensors: Tensors by name.
        fields: What else is to be known of them.

    Raises:
        WriteError: If there is no room for it, or no permission.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    fields = {**fields, _OF_TENSORS: _checksum(stored)}
    metadata = {**fields, _OF_FIELDS: _text_checksum(fields)}

    def write(temporary: Path) -> None:
        try:
            save_file(stored, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomically(path, write)


def read_tensors(path: Path, expected: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and fields of a file, on the CPU; every bit is compared with the checksums.

    Args:
        path: The file.
        expected: Fields that it must have, with their values.

    Raises:
        DamagedFileError: If the file cannot be read, has no checksums, is not as it was written, or is another than
            expected.
        FileNotFoundError: If there is none.
    """
    with _opened(path) as file:
        fields = _checked_fields(file, expected)
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if _checksum(tensors) != fields.pop(_OF_TENSORS):
            raise DamagedFileError("its tensors are not those that were written, by their checksum")
        return tensors, fields


def read_fields(path: Path, expected: Mapping[str, str]) -> dict[str, str]:
    """As :func:`read_tensors`, without reading the tensors, so that damage of theirs goes unnoticed."""
    with _opened(path) as file:
        fields = _checked_fields(file, expected)
        del fields[_OF_TENSORS]
        return fields


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise
    # What a header can say when bits of it have changed, safetensors refuses in many ways.
    except (SafetensorError, OSError, AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise DamagedFileError(f"it cannot be read: {error}") from error


def _checked_fields(file: safe_open, expected: Mapping[str, str]) -> dict[str, str]:
    fields = dict(file.metadata() or {})
    checksum = fields.pop(_OF_FIELDS, None)
    if checksum is None or _OF_TENSORS not in fields:
        raise DamagedFileError("it has no checksums: an earlier version or another program wrote it")
    if _text_checksum(fields) != checksum:
        raise DamagedFileError("its metadata are not those that were written, by their checksum")
    others = [name.replace("_", " ") for name, value in expected.items() if fields.get(name) != value]
    if others:
        raise DamagedFileError(f"it is of another {' and another '.join(others)}")
    return fields


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """XXH3 of names, types, shapes and bits: made for speed, against accidents and not against forgery."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _text_checksum(fields: Mapping[str, str]) -> str:
    return xxhash.xxh3_128(json.dumps(fields, sort_keys=True).encode()).hexdigest()
