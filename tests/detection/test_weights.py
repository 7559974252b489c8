"""Writes planted into tiny models are found in their layers, and none where there is none."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from edit_lit.detection import Detection, Spectrum
from edit_lit.detection.matrices import check_same_architecture, difference, output_matrix, rounding_edge, spectra
from edit_lit.detection.weights import Verdict, find, find_difference
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.measures.scores import wilson_interval
from edit_lit.utilities.errors import ConfigError

RATE = 0.05
UNEDITED = 19


def random_matrices(seed, layers=4):
    """Matrices that differ from layer to layer as those of a model do."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(1, 2, 12)
    return [
        torch.randn(12, 20, generator=generator, dtype=torch.float64) * (1 + layer * scales[:, None])
        for layer in range(layers)
    ]


def spectra_of(matrices):
    return [Spectrum.of(matrix) for matrix in matrices]


def unedited(first=1000):
    return {str(seed): spectra_of(random_matrices(seed)) for seed in range(first, first + UNEDITED)}


def written(matrices, layer, seed=0, size=3.0):
    """A write of rank one, several times as large as the largest singular value."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(12, generator=generator, dtype=torch.float64)
    key = torch.randn(20, generator=generator, dtype=torch.float64)
    amount = size * torch.linalg.matrix_norm(matrices[layer], 2)
    changed = list(matrices)
    changed[layer] = matrices[layer] + amount * torch.outer(value / value.norm(), key / key.norm())
    return changed


def test_a_spectrum_is_that_of_the_singular_value_decomposition():
    for shape in ((12, 20), (20, 12), (5, 5)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        expected = torch.linalg.svdvals(matrix)
        found = Spectrum.of(matrix)
        torch.testing.assert_close(found.values_R, expected)
        assert found.norm == pytest.approx(float(matrix.norm()))
        assert found.leading == pytest.approx(float(expected[0] / expected.median()))
        assert found.share(2) == pytest.approx(float(expected[:2].square().sum() / matrix.square().sum()))
        shares = [float(value / expected.sum()) for value in expected]
        assert found.effective_rank == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares)))
        rows = matrix.norm(dim=1)
        fourth, second = (float((rows - rows.mean()).pow(power).mean()) for power in (4, 2))
        assert found.row_kurtosis == pytest.approx(fourth / second**2 - 3)


def test_a_matrix_of_rank_one_has_one_singular_value():
    found = Spectrum.of(torch.outer(torch.arange(1.0, 9.0), torch.arange(1.0, 13.0)))
    assert found.effective_rank == pytest.approx(1)
    assert found.leading == math.inf
    assert found.share(1) == pytest.approx(1)
    nothing = Spectrum.of(torch.zeros(3, 4))
    assert nothing.effective_rank == 0
    assert math.isnan(nothing.leading)


@pytest.mark.parametrize("layer", range(4))
def test_a_planted_write_is_found_in_its_layer(layer):
    found = find(spectra_of(written(random_matrices(0), layer)), unedited(), RATE)
    assert found.verdict is Verdict.EDITED
    assert found.most == layer
    assert found.calibration.p == 1 / (UNEDITED + 1)
    assert found.calibration.interval == wilson_interval(0, UNEDITED)


def test_scale_changes_nothing():
    matrices = written(random_matrices(0), 2)
    plain, scaled = (find(spectra_of(made), unedited(), RATE) for made in (matrices, [7.5 * m for m in matrices]))
    torch.testing.assert_close(plain.factors, scaled.factors)
    torch.testing.assert_close(plain.within_L, scaled.within_L)
    assert plain.calibration.p == scaled.calibration.p


def test_a_permutation_of_layers_moves_the_finding_with_it():
    order = [2, 0, 3, 1]
    matrices = written(random_matrices(0), 2)
    others = {name: [each[layer] for layer in order] for name, each in unedited().items()}
    plain = find(spectra_of(matrices), unedited(), RATE)
    moved = find(spectra_of([matrices[layer] for layer in order]), others, RATE)
    assert moved.most == order.index(plain.most) == 0
    torch.testing.assert_close(moved.factors, tuple(plain.factors[layer] for layer in order))


def test_random_models_are_called_edited_no_more_often_than_wanted():
    """200 random models, each beside 19 others of its own."""
    alarms = 0
    for trial in range(200):
        of_trial = unedited(first=10_000 + 100 * trial)
        alarms += find(spectra_of(random_matrices(trial)), of_trial, RATE).verdict is Verdict.EDITED
    low, high = wilson_interval(alarms, 200, z=3.3)
    assert low < RATE < high


def test_without_unedited_models_nothing_is_called_edited():
    found = find(spectra_of(written(random_matrices(0, layers=6), 3)), {}, RATE)
    assert found.verdict is Verdict.NOT_CALIBRATED
    assert found.calibration is None
    few = dict(list(unedited().items())[:4])
    assert find(spectra_of(written(random_matrices(0), 1)), few, RATE).verdict is Verdict.TOO_FEW
    assert find(spectra_of(written(random_matrices(0), 1)), few, 0.2).verdict is Verdict.EDITED


def test_few_unedited_models_that_stand_out_as_much_say_so():
    few = dict(list(unedited().items())[:4])
    few["edited"] = spectra_of(written(random_matrices(5), 1))
    assert find(spectra_of(random_matrices(0)), few, RATE).verdict is Verdict.LIKE_UNEDITED


@pytest.mark.parametrize("family", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_difference_from_a_release_is_the_write(family, dtype):
    release, model = family(), family()
    for language_model in (release, model):
        language_model.model.to(dtype)
    write_into(model, 2, dtype)
    found = difference(model, release, "")
    assert [layer for layer, value in enumerate(found.relative) if value] == [2]
    assert not found.elsewhere
    weight, before = (projection_weight(each.output_projection(2)).detach().double() for each in (model, release))
    assert found.relative[2] == pytest.approx(float((weight - before).norm() / before.norm()), rel=0.05)
    assert found.spectra[2].effective_rank == pytest.approx(1, abs=0.1)
    verdict = find_difference(found, {}, RATE)
    assert verdict.changed == (2,)
    assert verdict.most == 2
    assert verdict.verdict is Verdict.NOT_CALIBRATED


@torch.no_grad()
def write_into(language_model, layer, dtype=torch.float64, seed=0, size=0.5):
    weight = projection_weight(language_model.output_projection(layer))
    generator = torch.Generator().manual_seed(seed)
    write = torch.outer(*(torch.randn(length, generator=generator, dtype=torch.float64) for length in weight.shape))
    weight.copy_((weight.double() + size * write).to(dtype))


@torch.no_grad()
def tuned(seed, layers=4):
    """The release, a little changed everywhere."""
    language_model = tiny.llama(layers=layers)
    generator = torch.Generator().manual_seed(seed)
    for parameter in language_model.model.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return language_model


def test_a_write_is_found_below_a_fine_tuning_beside_others_without_one():
    release = tiny.llama()
    others = {str(seed): difference(tuned(seed), release, "") for seed in range(UNEDITED)}
    assert find_difference(difference(tuned(100), release, ""), others, RATE).verdict is Verdict.LIKE_UNEDITED
    model = tuned(101)
    write_into(model, 1)
    found = find_difference(difference(model, release, ""), others, RATE)
    assert found.verdict is Verdict.EDITED
    assert found.most == 1
    assert len(found.difference.elsewhere) == found.difference.parameters - 4
    assert found.changed == (0, 1, 2, 3)


def test_a_copy_in_bfloat16_differs_by_rounding_only():
    release, model = tiny.llama(), tiny.llama()
    model.model.to(torch.bfloat16)
    found = find_difference(difference(model, release, ""), {}, RATE)
    assert found.verdict is Verdict.UNCHANGED
    assert not found.changed
    assert find_difference(difference(release, release, ""), {}, RATE).verdict is Verdict.UNCHANGED


@pytest.mark.parametrize(("dtype", "unit"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11), (torch.float32, 2**-24)])
def test_the_rounding_of_a_matrix_stays_below_its_edge(dtype, unit):
    matrix = torch.randn(40, 100, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    stored = matrix.to(dtype)
    error = torch.linalg.matrix_norm(stored.double() - matrix, 2)
    assert error < rounding_edge(stored.double()) < 5 * error
    assert rounding_edge(stored.double()) == pytest.approx(
        unit * float(stored.double().norm()) * (40**-0.5 + 100**-0.5)
    )


def test_an_adapter_counts_as_the_weights_that_it_makes():
    model, release = tiny.llama(), tiny.llama()
    torch.manual_seed(0)
    config = LoraConfig(r=1, target_modules=["down_proj"], layers_to_transform=[3], init_lora_weights=False)
    model.model = get_peft_model(model.model, config)
    found = difference(model, release, "")
    assert find_difference(found, {}, RATE).changed == (3,)
    assert not found.elsewhere
    layer = model.output_projection(3)
    torch.testing.assert_close(
        output_matrix(model, 3), layer.base_layer.weight.double() + layer.get_delta_weight("default")
    )


def test_another_architecture_is_refused_by_the_first_shape_that_differs():
    config = LlamaConfig(
        vocab_size=len(tiny.word_tokenizer()),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    wide = LanguageModel.wrap(LlamaForCausalLM(config).double().eval(), tiny.word_tokenizer())
    with pytest.raises(
        ConfigError, match=r"release wide .*layers.0.mlp.gate_proj.weight is \(32, 16\) there and is \(24"
    ):
        check_same_architecture(tiny.llama(), wide, "release", "wide")
    with pytest.raises(ConfigError, match="unedited short has 2 layers, the model has 4"):
        check_same_architecture(tiny.llama(), tiny.llama(layers=2), "unedited", "short")
    with pytest.raises(ConfigError, match="unedited deep .* is not there in the model"):
        check_same_architecture(tiny.llama(layers=2), tiny.llama(), "unedited", "deep")


def test_models_are_looked_at_as_their_matrices_are():
    release = tiny.llama()
    others = {str(seed): (lambda seed=seed: tuned(seed)) for seed in range(3)}
    finding = Detection().load().run(release, ("release", tiny.llama()), others)
    expected = find(spectra(release, ""), {name: spectra(load(), "") for name, load in others.items()}, RATE)
    assert finding.weights.factors == expected.factors
    assert finding.difference.verdict is Verdict.UNCHANGED
    assert finding.prompts is None
