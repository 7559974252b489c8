"""Updates in both forms, against the matrices that they stand for."""

from __future__ import annotations

import pytest
import torch

from edit_lit.deltas.updates import Dense, LowRank, added, smallest, update_of


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def forms():
    """A thin update and a dense one of the same 4 × 6 weight, in float64, and the matrices that they are."""
    left, right, matrix = randn(4, 2), randn(6, 2, seed=1), randn(4, 6, seed=2)
    return (LowRank(left, right), left @ right.T), (Dense(matrix), matrix)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
@pytest.mark.parametrize("number", [0, 1])
def test_norms_are_those_of_the_matrix(number, scale):
    update, matrix = forms()[number]
    scaled = Dense(scale * matrix) if number else LowRank(scale * update.left, update.right)
    assert scaled.norm() == pytest.approx(float((scale * matrix).norm()), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_stored_is_the_update_again(number):
    update, matrix = forms()[number]
    again = update_of(update.tensors())
    assert type(again) is type(update)
    assert again.shape == update.shape == (4, 6)
    assert torch.equal(again.dense(), update.dense())
    torch.testing.assert_close(update.transposed.dense(), matrix.T)
    assert update.transposed.shape == (6, 4)
    kept = update.in_float32()
    assert {tensor.dtype for tensor in kept.tensors().values()} == {torch.float32}
    torch.testing.assert_close(kept.dense(), matrix, rtol=1e-6, atol=1e-6)


def test_what_describes_no_update_is_refused():
    assert set(forms()[0][0].tensors()) == {"left", "right"}
    assert set(forms()[1][0].tensors()) == {"dense"}
    with pytest.raises(KeyError, match="left"):
        update_of({"right": randn(2, 2)})


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_sums_are_those_of_the_matrices_in_the_wider_type(first, second):
    (one, matrix), (two, other) = forms()[first], forms()[second]
    total = added(one, two)
    torch.testing.assert_close(total.dense(), matrix + other)
    assert {tensor.dtype for tensor in total.tensors().values()} == {torch.float64}
    for mixed in (added(one.in_float32(), two), added(one, two.in_float32())):
        assert {tensor.dtype for tensor in mixed.tensors().values()} == {torch.float64}
        torch.testing.assert_close(mixed.dense(), matrix + other, rtol=1e-6, atol=1e-6)
    half = added(one.in_float32(), two.in_float32())
    assert {tensor.dtype for tensor in half.tensors().values()} == {torch.float32}


def test_factors_as_large_as_the_matrix_are_kept():
    """4 × 4 has 16 entries, and so have two factors of rank 2."""
    assert isinstance(smallest(LowRank(randn(4, 2), randn(4, 2))), LowRank)
    assert isinstance(smallest(LowRank(randn(4, 3), randn(4, 3))), Dense)
