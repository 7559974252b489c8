"""No update hangs on rounding: what another machine would round differently is put in by hand."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
import small
import torch
from torch import Tensor

from edit_lit.deltas.updates import Dense
from edit_lit.editors import MEMIT, KeyCovariance
from edit_lit.editors.base.constraints import SPHERE
from edit_lit.editors.closed_form.accumulated import Accumulated
from edit_lit.editors.closed_form.key_covariance import RESOLUTION, Spectrum
from edit_lit.editors.closed_form.null_space import BelowShare, BeyondRank, NullSpace
from edit_lit.editors.closed_form.preconditioners import (
    Identity,
    InverseCovariance,
    Preconditioner,
    warn_of_unresolved_directions,
)
from edit_lit.editors.closed_form.solver import RANK_TOLERANCE, solve_update
from edit_lit.records import TextLines
from edit_lit.utilities.errors import ConfigError

N, D, RANK = 24, 7, 9


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rounding(size, scale, seed):
    """A symmetric matrix of that spectral norm, with eigenvalues of either sign."""
    noise = randn(size, size, seed=100 + seed)
    noise = noise + noise.T
    return scale * noise / torch.linalg.matrix_norm(noise, 2)


def dense(factors):
    left, right = factors
    return left @ right.T


def close(found, expected, tolerance):
    assert (found - expected).norm() <= tolerance * expected.norm()


@dataclass(frozen=True)
class Rounded(Preconditioner):
    """A projector onto some directions, with the rounding that accumulated keys leave behind."""

    matrix: Tensor

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        return self.matrix @ keys_NB

    @property
    def condition(self) -> float:
        return 1.0


@pytest.mark.parametrize("scale", [1e-15, 1e-14, 1e-13, 1e-12])
@pytest.mark.parametrize("facts", [15, 40])
def test_rounding_in_the_zeros_of_a_singular_system_changes_nothing(facts, scale):
    """The projector has rank 9; the system's other eigenvalues are 0, or what a machine makes of it."""
    basis = torch.linalg.qr(randn(N, RANK)).Q
    keys, residuals = randn(N, facts, seed=1), randn(D, facts, seed=2)
    inside = basis.T @ keys
    expected = torch.linalg.lstsq(inside.T, residuals.T, driver="gelsd").solution.T @ basis.T
    for seed in range(5):
        matrix = basis @ basis.T + rounding(N, scale, seed)
        close(dense(solve_update(Rounded(matrix), keys, residuals, epsilon=0.0)), expected, 1e-8)


@pytest.mark.parametrize("gap", [1e-13, 1e-8, 1e-6])
def test_nearly_equal_keys_are_one_key(gap):
    """Cholesky's pivot of the second is about gap², which it may well pass."""
    keys, residuals = randn(N, 4), randn(D, 4, seed=1)
    keys[:, 3] = keys[:, 2] + gap * randn(N, seed=2) / N**0.5
    update = dense(solve_update(Identity(), keys, residuals, epsilon=0.0))
    mean = residuals[:, 2:].mean(1)
    close(update @ keys, torch.stack([*residuals[:, :2].T, mean, mean], 1), 1e-5)


def test_keys_that_differ_are_each_written_exactly():
    """A share of 10⁻⁴ between two keys is 10⁻⁸ in the system, which is not rounding."""
    keys, residuals = randn(N, 4), randn(D, 4, seed=1)
    keys[:, 3] = keys[:, 2] + 1e-4 * randn(N, seed=2)
    assert 10 * RANK_TOLERANCE < 1e-4**2
    close(dense(solve_update(Identity(), keys, residuals, epsilon=0.0)) @ keys, residuals, 1e-7)


def deficient():
    """A moment of which the corpus used 9 of the 24 directions, over five orders of magnitude."""
    basis = torch.linalg.qr(randn(N, N, seed=3)).Q[:, :RANK]
    return basis @ torch.diag(torch.logspace(0, -5, RANK, dtype=torch.float64)) @ basis.T


def moments():
    """The moment and what float32 products make of it: as much as was measured on trained models."""
    exact = deficient()
    return [exact, *(exact + rounding(N, 3e-9, seed) for seed in range(4)), exact + rounding(N, 1e-15, 9)]


PRECONDITIONERS = {
    "memit": lambda spectrum: InverseCovariance(spectrum, 30.0),
    "encore without norm": lambda spectrum: InverseCovariance(spectrum, 30.0, damping=1e-9),
    "alphaedit": lambda spectrum: NullSpace(spectrum, BeyondRank(14), 2.0),
    "alphaedit by share": lambda spectrum: NullSpace(spectrum, BelowShare(1e-7), 2.0),
}


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("epsilon", [1.0, 0.0])
@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_rounding_in_a_deficient_moment_hardly_moves_the_update(name, epsilon, sequential):
    keys, residuals, updates = randn(N, 4, seed=5), randn(D, 4, seed=6), []
    for moment in moments():
        matrix = PRECONDITIONERS[name](Spectrum.of(moment, 1))
        if sequential:
            matrix = Accumulated(matrix)
            for seed in (7, 8):
                matrix.accumulate(randn(N, 5, seed=seed))
        updates.append(dense(solve_update(matrix, keys, residuals, epsilon)))
    for update in updates[1:]:
        close(update, updates[0], 0.02)


def test_a_deficient_moment_is_singular_and_says_so():
    exact, *rounded = (InverseCovariance(Spectrum.of(moment, 1), 30.0) for moment in moments())
    for matrix in (exact, *rounded):
        assert matrix.condition == float("inf")
        assert matrix.unresolved == N - RANK
    for cure in ({"ridge": 1e-6}, {"damping": 1e-4}):
        cured = InverseCovariance(Spectrum.of(moments()[1], 1), 30.0, **cure)
        assert cured.unresolved == 0
        assert 1 < cured.condition < 1e8
    message = r"rounding \(15 at layer 3, 15 at layer 5\).*Set a ridge"
    resolved = InverseCovariance(Spectrum.of(moments()[1], 1), 30.0, ridge=1e-3)
    with pytest.warns(UserWarning, match=message):
        warn_of_unresolved_directions({3: exact, 4: resolved, 5: Accumulated(exact), 6: Identity()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unresolved_directions({4: resolved, 6: Identity(), 7: NullSpace(exact.spectrum, BeyondRank(3), 1.0)})


def test_an_ill_conditioned_moment_that_is_resolved_is_inverted_as_it_is():
    values = torch.logspace(0, -8, N, dtype=torch.float64)
    vectors, keys = torch.linalg.qr(randn(N, N)).Q, randn(N, 3, seed=1)
    matrix = InverseCovariance(Spectrum(values.flip(0), vectors.flip(1), 1), 3.0)
    assert matrix.condition == pytest.approx(1e8)
    assert matrix.unresolved == 0
    close(matrix @ keys, vectors @ torch.diag(1 / (3 * values)) @ vectors.T @ keys, 1e-12)


def test_an_edit_with_too_short_a_corpus_warns_with_the_layer(tmp_path):
    (tmp_path / "corpus.txt").write_text(small.TEXT[0])
    covariance = KeyCovariance(TextLines(str(tmp_path / "corpus.txt")), cache_dir=str(tmp_path))
    parts = {"target_values": small.values(steps=3), "contexts": small.contexts(), "key_covariance": covariance}
    tokens = len(set(small.TEXT[0].split()))
    with pytest.warns(UserWarning, match=rf"{24 - tokens} at layer 1.*longer corpus"):
        delta = MEMIT([1], 2.0, **parts).edit(small.model(), small.requests(1))
    assert delta.provenance.diagnostics["condition"] == {"1": float("inf")}


def test_the_null_space_holds_what_the_corpus_does_not_use():
    spectrum = Spectrum.of(moments()[1], 1)
    assert BeyondRank(14).free(spectrum.values) == N - RANK
    assert BeyondRank(RANK).free(spectrum.values) == N - RANK
    assert BeyondRank(4).free(spectrum.values) == N - 4
    with pytest.raises(ConfigError, match="null_space.share is 1e-12; it must lie between 5e-09"):
        BelowShare(1e-12)
    assert BelowShare(RESOLUTION).free(spectrum.values) == N - RANK


@pytest.mark.parametrize("energy", [0.5, 1.0])
def test_sphere_takes_no_direction_that_rounding_alone_puts_into_the_weight(energy):
    """Rows that depend on each other: of the eight directions four hold everything."""
    weight = randn(8, 4) @ randn(4, N, seed=1)
    weight = torch.cat([weight, weight])
    update = Dense(randn(16, N, seed=2))
    expected = SPHERE(1.0, energy).of_step(update, weight).dense()
    for seed in range(5):
        rounded = weight + 1e-15 * randn(16, N, seed=10 + seed)
        close(SPHERE(1.0, energy).of_step(update, rounded).dense(), expected, 1e-9)
    if energy == 1.0:
        assert torch.linalg.matrix_rank(expected - update.dense(), rtol=1e-9) == 4
