"""Which group each trained parameter is in, by its name, on several families."""

from __future__ import annotations

import peft
import pytest
import tiny
import torch
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, GPTJConfig, GPTJForCausalLM

from edit_lit.attribution.groups import Group, trained_pieces
from edit_lit.deltas import Delta, Dense, ModelStates, Part, Provenance, WeightPart
from edit_lit.language_model import LanguageModel
from edit_lit.tuning import DoRA, FullTuning, LoRA, PeftTuning
from edit_lit.utilities.errors import ConfigError

SHAPE = {"num_hidden_layers": 4, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24, "head_dim": 4}


def gemma2():
    tokenizer = tiny.word_tokenizer()
    config = Gemma2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **SHAPE)
    return LanguageModel.wrap(Gemma2ForCausalLM(config).eval(), tokenizer)


def gptj():
    tokenizer = tiny.word_tokenizer()
    config = GPTJConfig(
        vocab_size=len(tokenizer),
        n_embd=16,
        n_layer=4,
        n_head=4,
        rotary_dim=4,
        n_inner=24,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LanguageModel.wrap(GPTJForCausalLM(config).eval(), tokenizer)


def delta_of(language_model, names):
    weights = {name: language_model.parameter(name) for name in names}
    updates = {name: Dense(torch.full(tuple(weight.shape), 0.01)) for name, weight in weights.items()}
    layers = tuple(sorted({int(part) for name in names for part in name.split(".") if part.isdigit()}))
    return Delta([WeightPart(updates)], Provenance("test", {}, "", "", "", layers, ""))


def groups(make, names, tuning=None):
    """The names of trained parameters by group; each is in one."""
    language_model = make()
    delta = delta_of(language_model, names)
    delta.apply(language_model)
    (tuning or FullTuning()).apply(language_model, delta.layers)
    called = {parameter: name for name, parameter in language_model.model.named_parameters()}
    found = [(piece.group, called[p]) for piece in trained_pieces(language_model, delta) for p in piece.parameters]
    trained = sorted(name for parameter, name in called.items() if parameter.requires_grad)
    assert sorted(name for _, name in found) == trained
    return {group: {name for of, name in found if of is group} for group in Group}


def of_layers(names, numbers):
    return {name for name in names if any(f".{number}." in name for number in numbers)}


@pytest.mark.parametrize("layers", [[1], [1, 2], [0, 2], [0, 3]])
def test_llama(layers):
    written = {f"model.layers.{layer}.mlp.down_proj.weight" for layer in layers}
    found = groups(tiny.llama, written)
    everything = set().union(*found.values())
    outside = {"model.embed_tokens.weight", "lm_head.weight"}
    below = of_layers(everything, range(layers[-1] + 1)) - written
    assert found[Group.WRITTEN] == written
    assert found[Group.OUTSIDE] == outside
    assert found[Group.BELOW] == below
    assert found[Group.ABOVE] == everything - written - outside - below


@pytest.mark.parametrize("layers", [[1], [0, 2]])
def test_gpt2_with_its_bias_and_its_tied_head(layers):
    names = [f"transformer.h.{layer}.mlp.c_proj.weight" for layer in layers]
    found = groups(tiny.gpt2, names)
    everything = set().union(*found.values())
    written = {name for layer in layers for name in everything if f"h.{layer}.mlp.c_proj." in name}
    assert found[Group.WRITTEN] == written
    assert len(written) == 2 * len(layers)
    assert found[Group.OUTSIDE] == {"transformer.wte.weight", "transformer.wpe.weight"}
    assert found[Group.BELOW] == of_layers(everything, range(layers[-1] + 1)) - written
    assert "transformer.ln_f.weight" in found[Group.ABOVE]


def test_what_comes_behind_the_matrix_in_its_block_does_not_feed_it():
    found = groups(gemma2, ["model.layers.1.mlp.down_proj.weight"])
    assert "model.layers.1.post_feedforward_layernorm.weight" in found[Group.ABOVE]
    assert "model.layers.0.post_feedforward_layernorm.weight" in found[Group.BELOW]
    assert "model.layers.1.pre_feedforward_layernorm.weight" in found[Group.BELOW]
    attention = groups(tiny.llama, ["model.layers.1.self_attn.q_proj.weight"])
    assert of_layers(attention[Group.BELOW], [1]) == {"model.layers.1.input_layernorm.weight"}
    assert "model.layers.1.self_attn.k_proj.weight" in attention[Group.ABOVE]
    parallel = groups(gptj, ["transformer.h.1.mlp.fc_out.weight"])
    assert "transformer.h.1.attn.q_proj.weight" in parallel[Group.ABOVE]
    assert "transformer.h.0.attn.q_proj.weight" in parallel[Group.BELOW]


@pytest.mark.parametrize("tuning", [LoRA(r=2), DoRA(r=2), PeftTuning(peft.IA3Config(feedforward_modules=[]))])
@pytest.mark.parametrize(("make", "matrix"), [(tiny.llama, "mlp.down_proj"), (tiny.gpt2, "mlp.c_proj")])
def test_an_adapter_is_where_its_module_is(make, matrix, tuning):
    blocks = "model.layers" if make is tiny.llama else "transformer.h"
    found = groups(make, [f"{blocks}.{layer}.{matrix}.weight" for layer in (0, 2)], tuning)
    everything = set().union(*found.values())
    assert found[Group.WRITTEN] == {name for layer in (0, 2) for name in everything if f".{layer}.{matrix}." in name}
    assert found[Group.WRITTEN]
    assert found[Group.BELOW] == of_layers(everything, [0, 1, 2]) - found[Group.WRITTEN]
    assert found[Group.ABOVE] == of_layers(everything, [3])
    assert not found[Group.OUTSIDE]


def test_an_adapter_on_the_embeddings_is_outside():
    tuning = LoRA(r=2, modules=["*.wte", "*.c_attn"])
    tuning.config.save_embedding_layers = False
    language_model = tiny.llama()
    config = peft.LoraConfig(
        r=2, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"
    )
    delta = delta_of(language_model, ["model.layers.1.mlp.down_proj.weight"])
    delta.apply(language_model)
    language_model.model = peft.get_peft_model(language_model.model, config)
    called = {parameter: name for name, parameter in language_model.model.named_parameters()}
    pieces = trained_pieces(language_model, delta)
    outside = {called[p] for piece in pieces if piece.group is Group.OUTSIDE for p in piece.parameters}
    assert len(outside) == 3
    assert all("embed_tokens" in name or "lm_head" in name for name in outside)
    states, ids = ModelStates(language_model, delta), torch.tensor([[5, 6, 7]])
    with torch.no_grad(), states.edited():
        edited = language_model.model(input_ids=ids).logits
    with torch.no_grad():
        for parameter in called:
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
        with states.partly_edited([p for piece in pieces for p in piece.parameters]):
            assert torch.equal(language_model.model(input_ids=ids).logits, edited)
        assert not torch.equal(language_model.model(input_ids=ids).logits, edited)


@pytest.mark.parametrize(
    "config",
    [peft.PromptTuningConfig(num_virtual_tokens=2), peft.PrefixTuningConfig(num_virtual_tokens=2)],
    ids=["prompt", "prefix"],
)
def test_prompt_tuning_is_refused(config):
    with pytest.raises(ConfigError, match="belongs to no module of the model, as in prompt tuning"):
        groups(tiny.gpt2, ["transformer.h.1.mlp.c_proj.weight"], PeftTuning(config))


def test_weights_that_several_modules_share_are_refused():
    language_model = tiny.llama()
    language_model.blocks[2].mlp.up_proj.weight = language_model.blocks[0].mlp.up_proj.weight
    delta = delta_of(language_model, ["model.layers.1.mlp.down_proj.weight"])
    with pytest.raises(ConfigError, match="up_proj.weight trains, and several modules share it"):
        trained_pieces(language_model, delta)


def test_a_delta_that_changes_no_matrix_of_a_block_is_refused():
    language_model = tiny.llama()
    with pytest.raises(ConfigError, match="lies in no single block"):
        trained_pieces(language_model, delta_of(language_model, ["lm_head.weight"]))

    class Note(Part):
        kind = "note"
        check = attach = detach = lambda self, language_model: None
        tensors = lambda self: {}  # noqa: E731
        restore = merged = None

    with pytest.raises(ConfigError, match="parts of the kind note"):
        trained_pieces(language_model, Delta([Note()], Provenance("test", {}, "", "", "", (), "")))


def test_nothing_trained_is_refused():
    language_model = tiny.llama()
    language_model.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter trains"):
        trained_pieces(language_model, delta_of(language_model, ["model.layers.1.mlp.down_proj.weight"]))


def test_a_sharded_model_is_refused():
    language_model = tiny.llama()
    nn.Module.get_parameter(language_model.model, "lm_head.weight").ds_id = 3  # as DeepSpeed marks what it shards
    with pytest.raises(ConfigError, match="the model is sharded"):
        trained_pieces(language_model, delta_of(language_model, ["model.layers.1.mlp.down_proj.weight"]))


def test_looking_leaves_gradients_and_marks_alone():
    language_model = tiny.llama()
    FullTuning("before_edited").apply(language_model, [2])
    language_model.train()
    marks = [(p.requires_grad, p.grad) for p in language_model.model.parameters()]
    trained_pieces(language_model, delta_of(language_model, ["model.layers.2.mlp.down_proj.weight"]))
    assert [(p.requires_grad, p.grad) for p in language_model.model.parameters()] == marks
    assert all(module.training for module in language_model.model.modules())
