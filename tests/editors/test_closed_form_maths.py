"""Each closed-form method against a dense, independent solution of its published objective, in float64."""

from __future__ import annotations

import pytest
import torch

from edit_lit.deltas.updates import Dense, LowRank, added
from edit_lit.editors.base.constraints import PRUNE, RECT, SPHERE
from edit_lit.editors.closed_form.accumulated import Accumulated
from edit_lit.editors.closed_form.key_covariance import Spectrum
from edit_lit.editors.closed_form.null_space import BelowShare, BelowValue, BeyondRank, NullSpace
from edit_lit.editors.closed_form.preconditioners import Identity, InverseCovariance
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.utilities.errors import ConfigError

N, D = 24, 7
EYE = torch.eye(N, dtype=torch.float64)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def moment():
    root = randn(N, 200, seed=1) * torch.logspace(0, -2, N, dtype=torch.float64)[:, None]
    return root @ root.T / 200


def dense(factors):
    left, right = factors
    return left @ right.T


def batches(count, size=5):
    return [(randn(N, size, seed=10 + number), randn(D, size, seed=20 + number)) for number in range(count)]


def close(found, expected, tolerance=1e-9):
    assert (found - expected).norm() <= tolerance * expected.norm()


def test_emmet_with_epsilon_one_is_memit(moment):
    ((keys, residuals),) = batches(1)
    matrix = InverseCovariance(Spectrum.of(moment, 1), 3.0)
    expected = torch.linalg.solve(3.0 * moment + keys @ keys.T, keys @ residuals.T).T
    close(dense(solve_update(matrix, keys, residuals, epsilon=1.0)), expected)


@pytest.mark.parametrize("weight", [1.0, 1e4])
def test_emmet_for_one_fact_without_epsilon_is_rome(moment, weight):
    ((keys, residuals),) = batches(1, size=1)
    direction = torch.linalg.solve(moment, keys)
    expected = residuals @ direction.T / (keys.T @ direction)
    close(
        dense(solve_update(InverseCovariance(Spectrum.of(moment, 1), weight), keys, residuals, epsilon=0.0)), expected
    )


def test_emmet_is_the_constrained_minimum(moment):
    """min tr(ΔCΔᵀ) subject to ΔK = R, by its full Karush-Kuhn-Tucker system."""
    ((keys, residuals),) = batches(1)
    facts = keys.shape[1]
    system = torch.cat([torch.cat([2 * moment, keys], 1), torch.cat([keys.T, torch.zeros(facts, facts)], 1)], 0)
    right = torch.cat([torch.zeros(N, D, dtype=torch.float64), residuals.T], 0)
    expected = torch.linalg.solve(system, right)[:N].T
    close(dense(solve_update(InverseCovariance(Spectrum.of(moment, 1), 5.0), keys, residuals, epsilon=0.0)), expected)


def test_emmet_with_epsilon_minimises_the_softened_objective(moment):
    """λ tr(ΔCΔᵀ) + ‖ΔK − R‖² / ε: the gradient vanishes at the closed form."""
    ((keys, residuals),) = batches(1)
    update = dense(solve_update(InverseCovariance(Spectrum.of(moment, 1), 5.0), keys, residuals, epsilon=0.1))
    update.requires_grad_()
    objective = 5.0 * (update @ moment * update).sum() + (update @ keys - residuals).square().sum() / 0.1
    (gradient,) = torch.autograd.grad(objective, update)
    assert gradient.abs().max() < 1e-9 * objective


def test_equal_keys_without_epsilon_get_the_least_squares_solution():
    keys, residuals = randn(N, 2), randn(D, 3, seed=1)
    update = dense(solve_update(Identity(), keys[:, [0, 0, 1]], residuals, epsilon=0.0))
    close(update @ keys, torch.stack([residuals[:, :2].mean(1), residuals[:, 2]], 1))


@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_accumulated_batches_equal_the_dense_solve_over_all_keys(moment, damping):
    """MEMIT sequential (γ = 0) and ENCORE: (λC + γI + Σ KₚKₚᵀ + KKᵀ) X = K."""
    matrix = Accumulated(InverseCovariance(Spectrum.of(moment, 1), 3.0, damping=damping))
    past = torch.zeros(N, N, dtype=torch.float64)
    for keys, residuals in batches(4):
        system = 3.0 * moment + damping * EYE + past + keys @ keys.T
        close(dense(solve_update(matrix, keys, residuals)), torch.linalg.solve(system, keys @ residuals.T).T)
        matrix.accumulate(keys)
        past += keys @ keys.T


def test_relative_and_absolute_ridge_agree(moment):
    keys = randn(N, 3)
    spectrum = Spectrum.of(moment, 1)
    damping = 3.0 * 0.2 * float(moment.trace()) / N
    close(InverseCovariance(spectrum, 3.0, ridge=0.2) @ keys, InverseCovariance(spectrum, 3.0, damping=damping) @ keys)


def test_alphaedit_equals_its_published_solve_and_the_gram_form(moment):
    """solve(P (KKᵀ + cache) + L2 I, P K Rᵀ), batch by batch, and PG (GᵀPG + L2 I)⁻¹ E Rᵀ with all keys G so far."""
    values, vectors = torch.linalg.eigh(moment)
    free = vectors[:, values < 0.02]
    projector, l2 = free @ free.T, 0.5
    matrix = Accumulated(NullSpace(Spectrum.of(moment, 1), BelowValue(0.02), l2))
    past = torch.zeros(N, N, dtype=torch.float64)
    seen = torch.zeros(N, 0, dtype=torch.float64)
    for keys, residuals in batches(8):
        found = dense(solve_update(matrix, keys, residuals))
        system = projector @ (keys @ keys.T + past) + l2 * EYE
        close(found, torch.linalg.solve(system, projector @ keys @ residuals.T).T, 1e-8)
        seen = torch.cat([seen, keys], 1)
        gram = seen.T @ projector @ seen + l2 * torch.eye(seen.shape[1])
        right = torch.cat([torch.zeros(seen.shape[1] - keys.shape[1], D), residuals.T], 0)
        close(found, (projector @ seen @ torch.linalg.solve(gram, right)).T, 1e-8)
        matrix.accumulate(keys)
        past += keys @ keys.T


def test_alphaedit_minimises_its_objective_and_leaves_preserved_keys_alone(moment):
    """‖ΔPK − R‖² + ‖ΔPKₚ‖² + L2‖ΔP‖², by least squares in the coordinates of the null space."""
    spectrum, l2 = Spectrum.of(moment, 1), 0.5
    base = NullSpace(spectrum, BeyondRank(9), l2)
    assert base.free == N - 9
    free, kept = spectrum.vectors[:, :-9], spectrum.vectors[:, -9:]
    (past, _), (keys, residuals) = batches(2)
    matrix = Accumulated(base)
    matrix.accumulate(past)
    update = dense(solve_update(matrix, keys, residuals))
    rows = torch.cat([free.T @ keys, free.T @ past, l2**0.5 * EYE[9:, 9:]], 1)
    wanted = torch.cat([residuals, torch.zeros(D, past.shape[1] + N - 9)], 1)
    close(update, torch.linalg.lstsq(rows.T, wanted.T).solution.T @ free.T)
    assert (update @ kept).abs().max() < 1e-12


@pytest.mark.parametrize("rank", [3, 21])
def test_either_side_of_the_projector_gives_the_same(moment, rank):
    spectrum, keys = Spectrum.of(moment, 1), randn(N, 2)
    kept = spectrum.vectors[:, -rank:]
    close(NullSpace(spectrum, BeyondRank(rank), 2.0) @ keys, (keys - kept @ (kept.T @ keys)) / 2.0)


def test_thresholds_count_directions():
    values = torch.tensor([0.001, 0.01, 0.02, 0.5, 2.0], dtype=torch.float64)
    assert BelowValue(0.02).free(values) == 2
    assert BelowShare(0.1).free(values) == 3
    assert BelowShare(0.01).free(values) == 2  # a value at the threshold is not below it
    assert BeyondRank(2).free(values) == 3
    assert BeyondRank(9).free(values) == 0


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_relative_thresholds_do_not_depend_on_the_scale_of_the_keys(scale):
    values = scale * torch.tensor([1e-12, 1e-6, 1e-3, 1.0], dtype=torch.float64)
    assert BelowShare(1e-5).free(values) == 2
    assert BeyondRank(9).free(values) == 1
    assert InverseCovariance(Spectrum(values, torch.eye(4, dtype=torch.float64), 1), 3.0).unresolved == 1


@pytest.mark.parametrize("preserved", [3, 12, 21])
def test_the_null_space_keeps_the_smaller_set_of_eigenvectors(moment, preserved):
    matrix = NullSpace(Spectrum.of(moment, 1), BeyondRank(preserved), 2.0)
    assert matrix.free == N - preserved
    kept = [part for part in vars(matrix).values() if isinstance(part, torch.Tensor)]
    assert sum(part.numel() for part in kept) == N * min(preserved, N - preserved)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_equal_keys_are_told_at_any_length(scale):
    """A pivot is rounding against the largest one, whatever the keys' length."""
    keys, residuals = scale * randn(N, 2), randn(D, 3, seed=1)
    for gap, expected in ((1e-9, residuals[:, :2].mean(1)), (1e-3, residuals[:, 1])):
        chosen = keys[:, [0, 0, 1]] + gap * scale * randn(N, 3, seed=2)
        update = dense(solve_update(Identity(), chosen, residuals, epsilon=0.0))
        close(update @ chosen[:, 1], expected, 1e-6)


def test_prune_replaces_the_large_singular_values_by_their_logarithm():
    weight, factors = randn(D, N), LowRank(3 * randn(D, 4, seed=1), randn(N, 4, seed=2))
    left, values, right = torch.linalg.svd(factors.dense(), full_matrices=False)
    largest = torch.linalg.svdvals(weight)[0]
    assert (values > largest).sum() >= 2
    expected = left @ torch.diag(torch.where(values > largest, values.log() - largest.log() + largest, values)) @ right
    for update in (factors, Dense(factors.dense())):
        close(PRUNE().of_sum(update, weight).dense(), expected)
    assert PRUNE().of_step(factors, weight) is factors
    halved = PRUNE(base=2.0).of_sum(factors, weight).dense()
    close(torch.linalg.svdvals(halved)[0], largest + (values[0] / largest).log2())


def test_rect_keeps_the_entries_that_change_most():
    weight, update = randn(D, N), LowRank(randn(D, 2, seed=1), randn(N, 2, seed=2))
    kept = RECT(keep=0.25).of_step(update, weight).dense()
    assert (kept != 0).sum() == D * N // 4
    change = (update.dense() / weight).abs()
    assert change[kept != 0].min() > change[kept == 0].max()
    assert torch.equal(kept[kept != 0], update.dense()[kept != 0])
    assert RECT(keep=1.0).of_step(update, weight) is update


def test_rect_counts_a_change_of_a_zero_weight_against_a_small_constant():
    """1e-7 on a weight of 0 is ten times the public code's 1e-8; with it the entry ranks between 4 and 12 times."""
    weight = torch.tensor([[0.0, 1.0, 1.0, 1e-8]], dtype=torch.float64)
    update = Dense(torch.tensor([[1e-7, 12.0, 4.0, 1e-7]], dtype=torch.float64))
    kept = [RECT(share).of_step(update, weight).dense()[0].ne(0).tolist() for share in (0.25, 0.5, 0.75)]
    assert kept == [[False, True, False, False], [True, True, False, False], [True, True, False, True]]


def test_sphere_leaves_a_neuron_without_weights_out():
    weight, update = randn(D, N), Dense(randn(D, N, seed=1))
    more = torch.cat([weight, torch.zeros(2, N, dtype=torch.float64)])
    wide = Dense(torch.cat([update.matrix, randn(2, N, seed=2)]))
    found = SPHERE(0.8, 0.6).of_step(wide, more).dense()
    assert found.isfinite().all()
    close(found[:D], SPHERE(0.8, 0.6).of_step(update, weight).dense())
    short = SPHERE(0.8, 0.6).of_step(update, 1e-3 * weight).dense()
    close(short, SPHERE(0.8, 0.6).of_step(update, weight).dense())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RECT(keep=0.0), "constraint.keep is 0.0"),
        (lambda: RECT(keep=1.5), "constraint.keep is 1.5"),
        (lambda: PRUNE(base=1.0), "constraint.base is 1.0"),
        (lambda: SPHERE(alpha=0.0), "constraint.alpha is 0.0"),
        (lambda: SPHERE(alpha=1.5), "constraint.alpha is 1.5"),
        (lambda: SPHERE(energy=0.0), "constraint.energy is 0.0"),
        (lambda: SPHERE(energy=1.5), "constraint.energy is 1.5"),
        (lambda: BelowShare(1.0), "null_space.share is 1.0; it must lie between 5e-09.*and 1"),
        (lambda: BelowShare(1.5), "null_space.share is 1.5"),
        (lambda: BeyondRank(0), "null_space.rank is 0"),
    ],
)
def test_options_out_of_their_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_options_at_the_end_of_their_range_are_taken():
    assert (RECT(keep=1.0).keep, SPHERE(1.0, 1.0).alpha, BeyondRank(1).rank) == (1.0, 1.0, 1)


def test_sphere_takes_the_leading_directions_out():
    weight, update = randn(D, N), LowRank(randn(D, 2, seed=1), randn(N, 2, seed=2))
    neurons = weight / weight.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(neurons.T @ neurons / D)
    values, vectors = values.flip(0), vectors.flip(1)
    count = int((values.cumsum(0) / values.sum() < 0.6).sum()) + 1
    leading = vectors[:, :count]
    expected = update.dense() @ (EYE - 0.8 * leading @ leading.T)
    for form in (update, Dense(update.dense())):
        close(SPHERE(alpha=0.8, energy=0.6).of_step(form, weight).dense(), expected)


def test_sums_of_updates_stay_thin_only_while_that_is_smaller():
    one, two = LowRank(randn(D, 2), randn(N, 2)), LowRank(randn(D, 2, seed=3), randn(N, 2, seed=4))
    assert isinstance(added(one, two), LowRank)
    assert isinstance(added(added(one, two), two), Dense)
    close(added(added(one, two), two).dense(), one.dense() + 2 * two.dense())
    assert added(one, two).norm() == pytest.approx(float((one.dense() + two.dense()).norm()), rel=1e-12)
