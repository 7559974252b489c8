from __future__ import annotations

import pytest
import tiny
import torch
from peft import IA3Config, LoraConfig, OFTConfig, OSFConfig, PromptTuningConfig

from edit_lit.tuning import DoRA, FullTuning, LayerSelection, LoRA, PeftTuning
from edit_lit.tuning.tuning import describe_trainable
from edit_lit.utilities.errors import ConfigError

EDITED = (1, 2)


def trainable(language_model):
    return {name for name, parameter in language_model.model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", [0, 1, 2, 3]),
        ("edited", [1, 2]),
        ("unedited", [0, 3]),
        ("through_edited", [0, 1, 2]),
        ("before_edited", [0]),
        ("after_edited", [3]),
        ([3, 1], [1, 3]),
    ],
)
@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_full_tuning_trains_the_named_layers_and_nothing_else(make, layers, expected):
    language_model = make()
    FullTuning(layers).apply(language_model, EDITED)
    names = trainable(language_model)
    for number, block in enumerate(language_model.blocks):
        assert all(parameter.requires_grad == (number in expected) for parameter in block.parameters())
    inside = {id(parameter) for block in language_model.blocks for parameter in block.parameters()}
    outside = {name for name, parameter in language_model.model.named_parameters() if id(parameter) not in inside}
    assert outside & names == (outside if layers == "all" else set())


def test_modules_choose_within_layers():
    for modules, expected in {
        "mlp": {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
        "attention": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
    }.items():
        language_model = tiny.llama()
        FullTuning("edited", modules).apply(language_model, EDITED)
        assert trainable(language_model) == {f"model.layers.{n}.{name}.weight" for n in EDITED for name in expected}
    language_model = tiny.llama()
    FullTuning("edited", ["*.down_proj", "lm_head"]).apply(language_model, EDITED)
    assert trainable(language_model) == {
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.2.mlp.down_proj.weight",
        "lm_head.weight",
    }


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("adapter", [LoRA, DoRA])
def test_adapters_sit_on_the_chosen_matrices(make, adapter):
    language_model = make()
    reference = make().logits_at(*_question())
    adapter(r=2, layers="edited", modules="mlp").apply(language_model, EDITED)
    names = trainable(language_model)
    assert names
    assert all(
        ("layers.1.mlp" in name or "layers.2.mlp" in name or "h.1.mlp" in name or "h.2.mlp" in name) for name in names
    )
    assert any("magnitude" in name for name in names) == (adapter is DoRA)
    # A fresh adapter changes nothing, and the model's parts are still found through it.
    torch.testing.assert_close(language_model.logits_at(*_question()), reference, rtol=1e-5, atol=1e-6)
    assert language_model.output_projection(2).base_layer.weight.shape in ((16, 24), (24, 16))


def _question():
    from edit_lit.language_model.token_batch import TokenBatch

    return TokenBatch.of([[5, 6, 7]]), (torch.tensor([0]), torch.tensor([2]))


def test_any_adapter_of_peft_works():
    language_model = tiny.llama()
    PeftTuning(IA3Config(feedforward_modules=[]), layers="after_edited", modules="attention").apply(
        language_model, EDITED
    )
    assert all("layers.3.self_attn" in name for name in trainable(language_model))
    language_model = tiny.llama()
    PeftTuning(PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")).apply(language_model, EDITED)
    assert len(trainable(language_model)) == 1


@pytest.mark.parametrize(
    ("make", "edited", "message"),
    [
        (lambda: FullTuning("edited"), (), "tuning.layers is 'edited', but this run edits nothing.*numbers"),
        (lambda: FullTuning("before_edited"), (0, 1), "'before_edited'.*selects nothing to train: layers none of 4"),
        (lambda: FullTuning("after_edited"), (3,), "'after_edited'.*selects nothing"),
        (lambda: FullTuning([4]), EDITED, "tuning.layers names layer 4.*0 to 3"),
        (lambda: FullTuning("all", ["*.c_proj"]), EDITED, "selects nothing to train"),
        (lambda: LoRA(modules=["*.norm", "*layernorm"]), EDITED, "selects no matrix for an adapter"),
        (lambda: PeftTuning(LoraConfig(target_modules=["q_proj"])), EDITED, "target_modules.*leave it out"),
        (
            lambda: PeftTuning(PromptTuningConfig(num_virtual_tokens=2), layers="edited"),
            EDITED,
            "PromptTuningConfig adds no weights inside layers",
        ),
    ],
)
def test_a_selection_that_trains_nothing_is_refused(make, edited, message):
    with pytest.raises(ValueError, match=message):
        make().apply(tiny.llama(), edited)


def test_an_adapter_that_passes_over_matrices_is_refused():
    PeftTuning(OSFConfig()).apply(tiny.llama(), EDITED)
    with pytest.raises(ConfigError, match=r"OSFConfig passes over 16 of 16 matrices.*Conv1D"):
        PeftTuning(OSFConfig()).apply(tiny.gpt2(), EDITED)


def test_a_rank_of_zero_is_refused_but_where_another_option_takes_its_place():
    language_model = tiny.llama()
    PeftTuning(OFTConfig(oft_block_size=4), layers="edited").apply(language_model, EDITED)
    assert trainable(language_model)
    with pytest.raises(ConfigError, match=r"tuning\.config\.r is 0"):
        PeftTuning(LoraConfig(r=0))


def test_one_line_says_what_trains():
    language_model = tiny.llama()
    FullTuning("edited", "mlp").apply(language_model, EDITED)
    count = 2 * 3 * 16 * 24
    total = sum(parameter.numel() for parameter in language_model.model.parameters())
    expected = f"trainable: {count:,} of {total:,} parameters ({count / total:.2%}), in layers [1, 2] of 4"
    assert describe_trainable(language_model) == expected
    FullTuning().apply(language_model, EDITED)
    assert describe_trainable(language_model).endswith("in layers [0, 1, 2, 3] of 4 and outside them")


def test_a_selection_can_be_used_alone():
    selected = LayerSelection("edited", ["*.up_proj"]).select(tiny.llama(), EDITED)
    assert list(selected) == ["model.layers.1.mlp.up_proj", "model.layers.2.mlp.up_proj"]
