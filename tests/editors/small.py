"""Tiny random models of many families, one tokenizer, and a few facts."""

from __future__ import annotations

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edit_lit.activations import Contexts
from edit_lit.activations.hook_points import BlockOutput
from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.editors import TargetValues
from edit_lit.editors.targets.search import find_target_values
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen

CITIES = ("Oslo", "New Delhi", "Lima", "Rio Grande", "Bern", "Quito")
SUBJECTS = (*CITIES, *(f"{one} {other}" for one in CITIES for other in CITIES))
SIDES = ("north", "south", "east", "far west")
TEMPLATES = ("the side of {}", "people say it lies by {}", "people say that {} is in the")
TEXT = [template.format(city) + f" {side} ." for template in TEMPLATES for city in CITIES for side in SIDES] + [
    "it is late and the bus goes to Bern . people say that it is a town",
    "the side of a town is a side of the bus . it goes late and people say it lies in the town",
]
CONTEXTS = ["{}", "it is late . {}", "people say the bus goes . {}"]


def tokenizer(bos: bool = False) -> hf.PreTrainedTokenizerFast:
    words = sorted({word for line in TEXT for word in line.split()})
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", "<pad>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def requests(count: int = 4) -> list[EditRequest]:
    return [
        EditRequest(
            subject=SUBJECTS[number],
            prompt=TEMPLATES[number % 2],
            target_new=SIDES[number % 4],
            target_true=SIDES[(number + 1) % 4],
            paraphrases=(
                TEMPLATES[2].format(SUBJECTS[number]),
                f"it is late . {TEMPLATES[1].format(SUBJECTS[number])}",
            ),
            id=str(number),
        )
        for number in range(count)
    ]


SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4}
LLAMA_LIKE = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 64}

FAMILIES = {
    "gpt2": (hf.GPT2Config, {"n_embd": 16, "n_layer": 4, "n_head": 4, "n_positions": 64}),
    "gptj": (hf.GPTJConfig, {"n_embd": 16, "n_layer": 4, "n_head": 4, "n_positions": 64, "rotary_dim": 4}),
    "gpt_neox": (hf.GPTNeoXConfig, {**SIZES, "max_position_embeddings": 64}),
    "opt": (hf.OPTConfig, {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 64}),
    "bloom": (hf.BloomConfig, {"hidden_size": 16, "n_layer": 4, "n_head": 4}),
    "falcon": (hf.FalconConfig, {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4}),
    "llama": (hf.LlamaConfig, LLAMA_LIKE),
    "mistral": (hf.MistralConfig, LLAMA_LIKE),
    "qwen2": (hf.Qwen2Config, LLAMA_LIKE),
    "qwen3": (hf.Qwen3Config, {**LLAMA_LIKE, "head_dim": 4}),
    "gemma2": (hf.Gemma2Config, {**LLAMA_LIKE, "head_dim": 4, "sliding_window": 8}),
    "gemma3": (hf.Gemma3TextConfig, {**LLAMA_LIKE, "head_dim": 4, "sliding_window": 8}),
    "phi3": (hf.Phi3Config, {**LLAMA_LIKE}),
    "olmo2": (hf.Olmo2Config, LLAMA_LIKE),
    "stablelm": (hf.StableLmConfig, LLAMA_LIKE),
    "granite": (hf.GraniteConfig, {**LLAMA_LIKE, "residual_multiplier": 0.5}),
    "smollm3": (hf.SmolLM3Config, {**LLAMA_LIKE}),
}


def model(family: str = "llama", bos: bool = False, seed: int = 0, dtype: torch.dtype = torch.float64) -> LanguageModel:
    """A random model in float64, in which rounding hides nothing."""
    config_class, options = FAMILIES[family]
    words = tokenizer(bos)
    torch.manual_seed(seed)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    config = config_class(**{"vocab_size": len(words), **ids, **options})
    made = hf.AutoModelForCausalLM.from_config(config, dtype=dtype)
    for parameter in made.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return LanguageModel.wrap(made.eval(), words)


def contexts() -> Contexts:
    return Contexts(templates=CONTEXTS)


def values(**options: object) -> TargetValues:
    return TargetValues(**{"steps": 15, "clamp": 30.0, "weight_decay": 1e-3, "chunk": 3, **options})


def optimised(language_model, options, hook_point, count=4, layer=2, contexts=CONTEXTS):
    made = requests(count)
    prompts = prompt_rows(language_model.tokenizer, made, contexts)
    with frozen(language_model.model):
        kl_anchors = statement_rows(language_model.tokenizer, made, "{} is a")
        return find_target_values(options, language_model, layer, prompts, kl_anchors, hook_point)


def readings(language_model, made, layer, hook_point=BlockOutput(), contexts=CONTEXTS, uniform_weights=False):
    stream = KeyExtractor(
        language_model,
        prompt_rows(language_model.tokenizer, made, contexts),
        layer,
        uniform_weights=uniform_weights,
        hook_point=hook_point,
    )
    return stream.read(layer)
