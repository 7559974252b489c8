from __future__ import annotations

import random
import warnings

import damage
import pytest
import torch

from edit_lit.utilities.finite import is_finite
from edit_lit.utilities.tensor_files import DamagedFileError, read_fields, read_tensors, write_tensors

FIELDS = {"kind": "some", "version": "1", "note": "ﬁve\n"}
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool)


def made():
    generator = torch.Generator().manual_seed(0)
    tensors = {f"of {kind}": (100 * torch.randn(2, 3, generator=generator)).to(kind) for kind in TYPES}
    return {**tensors, "a number": torch.tensor(3.0), "none": torch.zeros(0, 2)}


def bits(tensors):
    return {name: (t.dtype, tuple(t.shape), t.reshape(-1).view(torch.uint8).tolist()) for name, t in tensors.items()}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "folder" / "file.safetensors"
    write_tensors(path, {**made(), "turned": torch.arange(6.0).reshape(2, 3).T}, FIELDS)
    tensors, fields = read_tensors(path, {"kind": "some"})
    assert fields == read_fields(path, {}) == FIELDS
    assert bits(tensors) == bits({**made(), "turned": torch.tensor([[0.0, 3], [1, 4], [2, 5]])})
    with pytest.raises(DamagedFileError, match="^it is of another kind and another model or corpus$"):
        read_tensors(path, {"kind": "other", "version": "1", "model_or_corpus": "x"})
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "absent", {})


@pytest.mark.parametrize("way", damage.DAMAGES)
def test_every_damage_is_noticed(tmp_path, way):
    path = tmp_path / "file.safetensors"
    write_tensors(path, made(), FIELDS)
    damage.DAMAGES[way](path)
    with pytest.raises(DamagedFileError, match="^it"):
        read_tensors(path, {})


def test_no_flipped_bit_and_no_length_gives_other_content(tmp_path):
    """A flip in what fills the header up may go unnoticed, but then nothing is other than it was."""
    path = tmp_path / "file.safetensors"
    write_tensors(path, made(), FIELDS)
    whole, expected, noticed = path.read_bytes(), bits(made()), 0
    sample = random.Random(0).sample(range(8 * len(whole)), 300)
    for bit in sample:
        damage.flip(path, bit)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # A flipped bit may make any type of any other, such as quantized ones.
                tensors, fields = read_tensors(path, {})
            assert (bits(tensors), fields) == (expected, FIELDS)
        except DamagedFileError:
            noticed += 1
        path.write_bytes(whole)
    assert noticed > 0.97 * len(sample)
    for length in random.Random(1).sample(range(len(whole)), 50):
        damage.truncate(path, length)
        with pytest.raises(DamagedFileError):
            read_tensors(path, {})
        path.write_bytes(whole)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_nan_and_infinity_are_told_from_numbers(dtype):
    numbers = torch.full((3, 4), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(numbers)
    assert is_finite(torch.arange(3))
    assert is_finite(torch.zeros(0))
    for value in ("nan", "inf", "-inf"):
        numbers[1, 2] = float(value)
        assert not is_finite(numbers)
        assert not is_finite(numbers.T)
