"""Folders and models that cannot be worked with are refused in one line, without any look at the hub."""

from __future__ import annotations

import socket
import time

import pytest
import tiny
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from transformers import AddedToken

import edit_lit.language_model.pretrained as pretrained
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A saved model, on a machine whose network nobody may touch."""

    def touched(*arguments, **options):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", touched)
    monkeypatch.setattr(socket, "getaddrinfo", touched)
    monkeypatch.setattr(pretrained, "hub_answers", touched)
    made = tiny.llama()
    made.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refusal(path, **options):
    with pytest.raises(ConfigError) as error:
        LanguageModel(str(path), **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_local_folder_needs_no_network(folder):
    assert len(LanguageModel(str(folder)).blocks) == 4


def cut(name):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def overwritten(name):
    return lambda folder: (folder / name).write_bytes(b"\xff" * 100 + (folder / name).read_bytes()[100:])


def gone(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def without_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.2.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def of_another_shape(folder):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:5].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (gone("model.safetensors"), "its weights cannot be loaded: Error no file named model.safetensors"),
        (cut("model.safetensors"), "its weights cannot be loaded: Error while deserializing header"),
        (overwritten("model.safetensors"), "its weights cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "its weights cannot be loaded"),
        (without_a_weight, "lacks 1 weights of LlamaForCausalLM, such as model.layers.2.mlp.down_proj.weight"),
        (of_another_shape, "its weights cannot be loaded"),
        (gone("config.json"), "its config cannot be loaded"),
        (cut("config.json"), "its config cannot be loaded"),
        (gone("tokenizer.json", "tokenizer_config.json"), "its tokenizer cannot be loaded"),
        (gone("tokenizer.json"), "its tokenizer cannot be loaded"),
        (cut("tokenizer.json"), "its tokenizer cannot be loaded"),
        (overwritten("tokenizer.json"), "its tokenizer cannot be loaded"),
    ],
)
def test_damaged_folders(folder, damage, complaint):
    damage(folder)
    message = refusal(folder)
    assert complaint in message
    assert f"language_model.path '{folder}'" in message


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "../nowhere/model"])
def test_a_folder_that_does_not_exist(folder, path):
    assert f"language_model.path '{path}': its config cannot be loaded" in refusal(path)


def test_a_hub_model_without_a_network_is_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "hub_answers", lambda: False)
    started = time.perf_counter()
    message = refusal("owner/a-model-that-nobody-has")
    assert "The hub does not answer: name a local folder, or load the model once where there is a network." in message
    # The libraries alone would try for three quarters of a minute.
    assert time.perf_counter() - started < 10


def saved(model, folder):
    model.save_pretrained(folder)
    tiny.word_tokenizer().save_pretrained(folder)
    return folder


def vocabulary():
    return len(tiny.word_tokenizer())


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Electra"])
def test_bidirectional_checkpoints_are_refused(kind, tmp_path):
    config = getattr(hf, f"{kind}Config")(vocab_size=vocabulary(), **SMALL)
    model = getattr(hf, f"{kind}ForMaskedLM")(config)
    message = refusal(saved(model, tmp_path))
    assert f"type is {kind.lower()}, which is bidirectional: its is_decoder is false" in message
    assert "reads from left to right" in message


@pytest.mark.parametrize(
    "model",
    [
        lambda: hf.BartForConditionalGeneration(
            hf.BartConfig(vocab_size=vocabulary(), d_model=16, encoder_layers=1, decoder_layers=1)
        ),
        lambda: hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=vocabulary(), d_model=16, d_ff=16, num_layers=1)),
    ],
)
def test_encoder_decoders_are_refused(model, tmp_path):
    assert "which is an encoder-decoder. Use a causal language model" in refusal(saved(model(), tmp_path))


class ReadsAhead(torch.nn.Module):
    """Adds to each position something of the one after it."""

    def forward(self, inputs):
        return inputs + 0.1 * inputs.roll(-1, dims=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_whatever_reads_ahead_is_refused_by_what_it_does(dtype):
    made = tiny.gpt2()
    made.model.to(dtype)
    LanguageModel.wrap(made.model, made.tokenizer)
    made.model.transformer.ln_f = torch.nn.Sequential(made.model.transformer.ln_f, ReadsAhead())
    with pytest.raises(ConfigError, match="GPT2LMHeadModel is no causal language model: a token changes the logits"):
        LanguageModel.wrap(made.model, made.tokenizer)


def test_a_bidirectional_model_that_claims_to_be_a_decoder_is_refused(monkeypatch):
    monkeypatch.setattr(pretrained, "_check_kind", lambda config: None)
    bert = hf.BertLMHeadModel(hf.BertConfig(vocab_size=vocabulary(), **SMALL))
    with pytest.raises(ConfigError, match="BertLMHeadModel is no causal language model"):
        LanguageModel.wrap(bert, tiny.word_tokenizer())
    decoder = hf.BertLMHeadModel(hf.BertConfig(vocab_size=vocabulary(), is_decoder=True, **SMALL))
    assert len(LanguageModel.wrap(decoder, tiny.word_tokenizer()).blocks) == 2


def test_the_check_leaves_the_model_as_it_was():
    made = tiny.llama()
    made.model.train()
    made.model.lm_head.weight.requires_grad_(False)
    LanguageModel.wrap(made.model, made.tokenizer)
    assert made.model.training
    assert [name for name, weight in made.model.named_parameters() if not weight.requires_grad] == ["lm_head.weight"]
    assert all(weight.grad is None for weight in made.model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value):
    made = tiny.llama()
    with torch.no_grad():
        made.model.lm_head.weight[3, 2] = value
    with pytest.raises(ConfigError, match="LlamaForCausalLM gives logits that are not finite in float64"):
        LanguageModel.wrap(made.model, made.tokenizer)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused():
    made, tokenizer = tiny.llama(), tiny.word_tokenizer()
    tokenizer.add_tokens([AddedToken("<extra>")])
    with pytest.raises(ConfigError, match=r"tokenizer has \d+ tokens, but LlamaForCausalLM has embeddings for \d+"):
        LanguageModel.wrap(made.model, tokenizer)
