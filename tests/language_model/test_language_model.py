from __future__ import annotations

import pytest
import tiny
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from edit_lit.language_model import LanguageModel, PartNames
from edit_lit.language_model.fingerprint import model_fingerprint
from edit_lit.language_model.hooks import recorded_input, recorded_output
from edit_lit.language_model.modes import evaluating, frozen
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches


def test_parts_are_found_by_structure():
    llama, gpt2 = tiny.llama(), tiny.gpt2()
    assert llama.blocks == list(llama.model.model.layers)
    assert llama.output_projection(2) is llama.model.model.layers[2].mlp.down_proj
    assert llama.head is llama.model.lm_head
    assert gpt2.output_projection(1) is gpt2.model.transformer.h[1].mlp.c_proj
    assert isinstance(gpt2.output_projection(1), Conv1D)


def test_a_saved_model_loads_from_its_folder(tmp_path):
    made = tiny.llama()
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    loaded = LanguageModel(str(tmp_path), dtype="float64")
    assert model_fingerprint(loaded.model) == model_fingerprint(made.model)
    assert next(LanguageModel(str(tmp_path), dtype="bfloat16").model.parameters()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="dtype is 'float31'.*bfloat16"):
        LanguageModel(str(tmp_path), dtype="float31")


def test_blocks_that_cannot_be_found_can_be_named():
    made = tiny.llama()
    model = made.model
    model.model.layers = nn.Sequential(*model.model.layers)
    with pytest.raises(ValueError, match=r"no list of 4 transformer blocks.*language_model.parts.blocks"):
        LanguageModel.wrap(model, made.tokenizer)
    with pytest.raises(ValueError, match=r"parts.blocks is 'model.layers', a Sequential.*language_model.parts.blocks"):
        LanguageModel.wrap(model, made.tokenizer, PartNames(blocks="model.layers"))
    with pytest.raises(ValueError, match=r"parts.blocks is 'model.blocks'"):
        LanguageModel.wrap(model, made.tokenizer, PartNames(blocks="model.blocks"))
    model.model.layers = nn.ModuleList(model.model.layers)
    named = LanguageModel.wrap(model, made.tokenizer, PartNames("model.layers", "self_attn.o_proj"))
    assert named.output_projection(0) is model.model.layers[0].self_attn.o_proj


def test_several_expert_mlps_are_refused():
    made = tiny.llama()
    mlp = made.blocks[1].mlp
    mlp.experts = nn.ModuleList([nn.Linear(24, 16), nn.Linear(24, 16)])
    with pytest.raises(ValueError, match="block 1.*several expert MLPs.*output_projection"):
        made.output_projection(1)


def test_layers_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="layers names layer 4, but the model has 4 layers, numbered 0 to 3"):
        tiny.llama().check_layers([0, 4], "layers")


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_logits_at_positions_equal_the_full_forward_pass(make):
    language_model = make()
    rows = TokenBatch.of([[5, 6, 7, 8], [9, 10]])
    where = (torch.tensor([0, 0, 1]), torch.tensor([1, 3, 1]))
    with torch.no_grad():
        full = torch.stack(
            [
                language_model.model(input_ids=torch.tensor([ids])).logits[0, -1]
                for ids in ([5, 6], [5, 6, 7, 8], [9, 10])
            ]
        )
        torch.testing.assert_close(language_model.logits_at(rows, where), full)
        assert language_model.logits_at(rows, (where[0][:0], where[1][:0])).shape[0] == 0


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_resumed_blocks_compute_what_the_whole_model_does(make, layer):
    language_model = make()
    rows, where = TokenBatch.of([[5, 6, 7, 8], [9, 10, 11]]), (torch.tensor([0, 1]), torch.tensor([3, 2]))
    with torch.no_grad():
        expected = language_model.logits_at(rows, where)
        with recorded_output(language_model.blocks[layer]) as record:
            run_blocks(language_model, rows, stop_after=layer)
        hidden = record.take()
        torch.testing.assert_close(run_blocks(language_model, rows, where, resume=(layer, hidden)), expected)
        moved = run_blocks(language_model, rows, where, resume=(layer, hidden + torch.arange(16)))
        assert not torch.allclose(moved, expected)
    assert all("forward" not in vars(block) for block in language_model.blocks)


def test_blocks_outside_the_range_do_not_run():
    language_model = tiny.llama()
    assert not language_model.blocks_return_tuples
    ran = []
    for number in range(4):
        language_model.blocks[number].mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    rows = TokenBatch.of([[5, 6]])
    with torch.no_grad(), recorded_output(language_model.blocks[1]) as record:
        run_blocks(language_model, rows, stop_after=1)
        assert ran == [0, 1]
        ran.clear()
        with recorded_input(language_model.output_projection(2)):
            run_blocks(language_model, rows, resume=(1, record.take()), stop_after=2)
        assert ran == [2]


def test_frozen_and_evaluating_put_modes_and_flags_back():
    model = tiny.llama().model
    model.train()
    model.model.norm.eval()
    model.lm_head.weight.requires_grad_(False)
    with frozen(model):
        assert not model.training
        assert torch.is_grad_enabled()
        assert not any(parameter.requires_grad for parameter in model.parameters())
    with evaluating(model):
        assert not torch.is_grad_enabled()
    assert model.training
    assert not model.model.norm.training
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["lm_head.weight"]


def test_the_fingerprint_sees_every_bit_and_every_place():
    model = tiny.llama().model
    first = model_fingerprint(model)
    assert first == model_fingerprint(tiny.llama().model) != model_fingerprint(tiny.llama(seed=1).model)
    weight = model.lm_head.weight
    with torch.no_grad():
        weight[[3, 4]] = weight[[4, 3]]
        swapped = model_fingerprint(model)
        weight[[3, 4]] = weight[[4, 3]]
        assert model_fingerprint(model) == first != swapped
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0, dtype=weight.dtype))
    assert model_fingerprint(model) != first


def test_length_batches_hold_every_row_once_within_their_bounds():
    lengths = [7, 2, 9, 4, 4, 30, 1]
    batches = length_batches(lengths, max_tokens=16, max_rows=3)
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert len(batch) == 1 or (len(batch) <= 3 and padded <= 16)
        assert sum(lengths[row] for row in batch) >= 0.8 * padded
