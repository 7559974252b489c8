"""What a model writes depends on its weights, not on settings that its checkpoint brings."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import GenerationConfig

from edit_lit.activations import Contexts
from edit_lit.language_model.generation import continuations
from edit_lit.utilities.errors import ConfigError

PROMPTS = ["The side of Oslo is", "it rains", "People say that New York is in the"]
SETTINGS = {
    "repetition_penalty": {"repetition_penalty": 5.0},
    "sampling": {"do_sample": True, "temperature": 3.0, "top_p": 0.2, "top_k": 2},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "suppress_tokens": {"suppress_tokens": list(range(5, 200)), "begin_suppress_tokens": list(range(5, 200))},
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 2},
    "min_new_tokens": {"min_new_tokens": 6},
    "bad_words_ids": {"bad_words_ids": [[token] for token in range(5, 200)]},
    "beams": {"num_beams": 3, "length_penalty": 5.0, "early_stopping": True},
    "length": {"max_length": 3, "max_new_tokens": 2},
    "min_p": {"min_p": 0.9, "typical_p": 0.1, "epsilon_cutoff": 0.5, "do_sample": True},
    "sequences": {"num_return_sequences": 2, "num_beams": 2},
    "guidance": {"guidance_scale": 3.0},
    "dictionary": {"return_dict_in_generate": True, "output_scores": True},
}


def with_settings(language_model, settings):
    language_model.model.generation_config = GenerationConfig(**settings)
    return language_model


def greedy_by_hand(language_model, prompt, tokens):
    tokenizer, new = language_model.tokenizer, []
    ids = tokenizer(prompt)["input_ids"]
    for _ in range(tokens):
        with torch.no_grad():
            new.append(int(language_model.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
        if new[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("settings", SETTINGS)
def test_greedy_means_argmax_whatever_the_checkpoint_says(settings):
    language_model = with_settings(tiny.llama(tiny.byte_tokenizer()), SETTINGS[settings])
    own = language_model.model.generation_config
    expected = [greedy_by_hand(language_model, prompt, 6) for prompt in PROMPTS]
    assert continuations(language_model, PROMPTS, 6) == expected
    assert language_model.model.generation_config is own


def test_behind_a_learned_prompt_rows_of_other_lengths_change_nothing():
    language_model = tiny.llama(tiny.byte_tokenizer())
    torch.manual_seed(0)
    wrapped = get_peft_model(language_model.model, PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for parameter in wrapped.prompt_encoder.parameters():
            parameter.normal_()
    language_model.model = wrapped.eval()
    prompts = [*PROMPTS, PROMPTS[0]]
    expected = [greedy_by_hand(language_model, prompt, 6) for prompt in prompts]
    assert len(set(expected)) > 1
    assert continuations(language_model, prompts, 6) == expected


def test_an_adapter_around_the_model_changes_nothing_of_that():
    language_model = with_settings(tiny.llama(tiny.byte_tokenizer()), SETTINGS["repetition_penalty"])
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    language_model.model = get_peft_model(language_model.model, config)
    assert isinstance(language_model.model, PeftModel)
    expected = [greedy_by_hand(language_model, prompt, 6) for prompt in PROMPTS]
    assert continuations(language_model, PROMPTS, 6) == expected
    assert language_model.model.generation_config.repetition_penalty == 5.0


@pytest.mark.parametrize("settings", SETTINGS)
def test_sampled_contexts_depend_on_the_weights_alone(settings):
    contexts = Contexts(words=("it", ""), tokens=8, samples=2)
    plain = contexts.load(tiny.llama(tiny.byte_tokenizer()))
    assert contexts.load(with_settings(tiny.llama(tiny.byte_tokenizer()), SETTINGS[settings])) == plain
    assert len(set(plain)) > 2


def test_a_context_needs_room_for_its_first_word():
    with pytest.raises(ConfigError, match=r"contexts.tokens is 3, but 'it is late' alone takes \d+. Raise it"):
        Contexts(words=("it is late",), tokens=3).load(tiny.llama(tiny.byte_tokenizer()))
