"""Thousands of facts: the same numbers as dense matrices give, in memory that does not grow faster than the facts."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import pytest
import small
import torch

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows
from edit_lit.deltas.updates import Dense, LowRank, added, smallest
from edit_lit.editors.base.constraints import PRUNE
from edit_lit.editors.base.diagnostics import EXAMPLES, Diagnostics, warn_of_shared_subjects
from edit_lit.editors.base.weight_workspace import WeightWorkspace
from edit_lit.editors.closed_form.accumulated import Accumulated
from edit_lit.editors.closed_form.key_covariance import Spectrum
from edit_lit.editors.closed_form.null_space import BeyondRank, NullSpace
from edit_lit.editors.closed_form.preconditioners import Identity, InverseCovariance
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.editors.targets.search import OptimizedValues

N, D = 12, 5
EYE = torch.eye(N, dtype=torch.float64)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


MOMENT = randn(N, 200, seed=1) @ randn(N, 200, seed=1).T / 200
VALUES, VECTORS = torch.linalg.eigh(MOMENT)
SPECTRUM = Spectrum.of(MOMENT, 200)


def projector(preserved):
    return EYE - VECTORS[:, -preserved:] @ VECTORS[:, -preserved:].T


def accumulated(base, *sizes):
    matrix = Accumulated(base)
    for number, size in enumerate(sizes):
        matrix.accumulate(randn(N, size, seed=30 + number))
    return matrix


def after(dense, *sizes):
    """The dense recursion: one key after the other."""
    for number, size in enumerate(sizes):
        for key in randn(N, size, seed=30 + number).T:
            spread = dense @ key
            dense = dense - torch.outer(spread, spread) / (1 + key @ spread)
    return dense


RIDGE = torch.linalg.inv(3 * MOMENT + 0.3 * MOMENT.trace() / N * EYE)
DAMPED = torch.linalg.inv(3 * MOMENT + 0.7 * EYE)
PRECONDITIONERS = {
    "identity": lambda: (Identity(), EYE),
    "ridge": lambda: (InverseCovariance(SPECTRUM, 3.0, ridge=0.1), RIDGE),
    "damping": lambda: (InverseCovariance(SPECTRUM, 3.0, damping=0.7), DAMPED),
    "most directions free": lambda: (NullSpace(SPECTRUM, BeyondRank(3), 2.0), projector(3) / 2),
    "few directions free": lambda: (NullSpace(SPECTRUM, BeyondRank(9), 2.0), projector(9) / 2),
    "some accumulated": lambda: (accumulated(InverseCovariance(SPECTRUM, 3.0, damping=0.7), 4), after(DAMPED, 4)),
    "many accumulated": lambda: (
        accumulated(InverseCovariance(SPECTRUM, 3.0, damping=0.7), *[5] * 8),
        after(DAMPED, *[5] * 8),
    ),
    "many at once": lambda: (
        accumulated(NullSpace(SPECTRUM, BeyondRank(3), 2.0), 40, 3),
        after(projector(3) / 2, 40, 3),
    ),
}


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.0])
@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_more_facts_than_dimensions_are_solved_as_one_row_for_each_fact(name, epsilon):
    """R (εI + KᵀAK)⁻¹ KᵀA with all B × B entries, for ε = 0 with the pseudo-inverse."""
    matrix, dense = PRECONDITIONERS[name]()
    keys, residuals = randn(N, 40, seed=2), randn(D, 40, seed=3)
    left, right = solve_update(matrix, keys, residuals, epsilon)
    assert (left.shape, right.shape) == ((D, N), (N, N))
    system = epsilon * torch.eye(40, dtype=torch.float64) + keys.T @ dense @ keys
    inverse = torch.linalg.inv(system) if epsilon else torch.linalg.pinv(system, hermitian=True, rtol=1e-10)
    torch.testing.assert_close(left @ right.T, residuals @ inverse @ keys.T @ dense, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("facts", [9, 40])
def test_keys_that_depend_on_each_other_get_the_least_squares_solution(facts):
    keys, residuals = randn(N, 6, seed=1) @ randn(6, facts, seed=2), randn(D, facts, seed=3)
    left, right = solve_update(Identity(), keys, residuals, epsilon=0.0)
    torch.testing.assert_close(left @ right.T, torch.linalg.lstsq(keys.T, residuals.T, driver="gelsd").solution.T)


@pytest.mark.parametrize("size", [5, 40])
def test_what_is_accumulated_takes_as_much_memory_as_a_matrix_however_much_it_is(size):
    matrix = Accumulated(InverseCovariance(SPECTRUM, 3.0))
    keys = randn(N, 4000, seed=4)
    held = []
    for part in keys.split(size, dim=1):
        matrix.accumulate(part)
        held.append(sum(part.numel() for part in vars(matrix).values() if isinstance(part, torch.Tensor)))
    assert max(held) <= N * N
    assert held[-1] == N * N
    torch.testing.assert_close(matrix @ EYE, torch.linalg.inv(3 * MOMENT + keys @ keys.T), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_keys_do_not_depend_on_the_memory_for_hidden_states(family):
    language_model, made = small.model(family), small.requests(12)
    rows = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    per_token = 16 * 8
    weights = [language_model.output_projection(layer).weight for layer in (1, 2, 3)]
    found, kept = [], []
    for hidden_bytes in (2**40, 60 * per_token, 0):
        stream = KeyExtractor(language_model, rows, 3, batch_tokens=30, hidden_bytes=hidden_bytes)
        readings = []
        with torch.no_grad():
            originals = [weight.clone() for weight in weights]
            for layer, weight in enumerate(weights, 1):
                stream.advance(layer - 1)
                readings.append(stream.read(layer))
                weight *= 1.5
            for weight, original in zip(weights, originals, strict=True):
                weight.copy_(original)
        held = [batch.hidden.numel() * 8 for batch in stream._batches if batch.hidden is not None]
        assert sum(held) <= hidden_bytes
        kept.append(len(held))
        found.append(readings)
    assert kept[0] == len(stream._batches) > kept[1] > kept[2] == 0
    for readings in found[1:]:
        for reading, expected in zip(readings, found[0], strict=True):
            for part in ("keys", "bare_keys", "values"):
                torch.testing.assert_close(getattr(reading, part), getattr(expected, part), rtol=1e-12, atol=1e-12)


def test_factors_larger_than_the_matrix_are_not_kept():
    language_model = small.model("gpt2")
    matrices = {}
    for rank in (8, 9, 200):
        factors = LowRank(randn(16, rank), randn(64, rank, seed=1))
        for constraint in (None, PRUNE()):
            with WeightWorkspace(language_model, [1], constraint) as weights:
                weights.add(1, factors)
                (update,) = weights.total().values()
            matrices[rank, constraint is None] = update
    assert [isinstance(matrices[rank, True], Dense) for rank in (8, 9, 200)] == [False, False, True]
    assert all(sum(part.numel() for part in update.tensors().values()) <= 16 * 64 for update in matrices.values())
    torch.testing.assert_close(matrices[200, True].dense(), factors.dense().T, rtol=1e-5, atol=1e-5)


def test_the_smallest_form_keeps_numbers_and_type():
    wide, thin = LowRank(randn(D, 7).float(), randn(N, 7).float()), LowRank(randn(D, 3), randn(N, 3))
    assert smallest(thin) is thin
    matrix = smallest(wide)
    assert isinstance(matrix, Dense)
    assert matrix.matrix.dtype == torch.float32
    torch.testing.assert_close(matrix.dense(), wide.dense(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(added(wide, thin).dense(), wide.dense() + thin.dense())


def test_diagnostics_count_all_facts_and_names_a_few():
    made = small.requests(42)
    ones = torch.ones(42)
    diagnostics = Diagnostics({1: 1.0})
    diagnostics.note(made, OptimizedValues(ones, ones, ones, ones, ones.bool()))
    summary = diagnostics.summary()
    assert summary["unfinished_targets_count"] == 42
    assert summary["unfinished_targets"] == [request.name for request in made[:EXAMPLES]]
    assert (summary["shared_subjects_count"], summary["shared_subjects"]) == (0, [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_shared_subjects(summary)
    diagnostics.note_shared_subjects([*made, *(replace(request, target_new="nowhere") for request in made)])
    with pytest.warns(UserWarning, match=f"84 facts, such as that of {re.escape(made[0].name)}, share their subject"):
        warn_of_shared_subjects(diagnostics.summary())
