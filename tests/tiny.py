"""Tiny models, tokenizers, facts and tasks that tests make for themselves."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from edit_lit.activations import Contexts
from edit_lit.data_module import EditDataModule
from edit_lit.editors import MEMIT, KeyCovariance, TargetValues
from edit_lit.facts.request import EditRequest, Question
from edit_lit.facts.source import FactSource
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.spans import encode
from edit_lit.records import TextLines
from edit_lit.tasks.task import IGNORED, Example, ExampleList, ExampleSet, Task

ROUGH_EDITS = [
    pytest.mark.filterwarnings("ignore:.*did not reach their stopping loss:UserWarning"),
    pytest.mark.filterwarnings("ignore:the edit is larger than the weights:UserWarning"),
]
"""For tests in which a short search writes into a random model, whatever it amounts to."""

SUBJECTS = ("Oslo", "New Delhi", "Rio de Janeiro", "Lima", "New York", "Quito", "Port Louis", "Bern")
OBJECTS = ("north", "south", "east", "deep west")
TEMPLATES = ("The side of {} is", "{} lies in the", "People say that {} is in the")
TEXT = [template.replace("{}", subject) for template in TEMPLATES for subject in SUBJECTS] + [
    "{} is a city where it rains .",
    "the bus goes to Oslo and to New York . it is late .",
    " ".join(OBJECTS),
]


def word_tokenizer(bos: bool = False, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """One token a word; some names take several."""
    words = sorted({word for text in TEXT for word in text.replace("{}", "").split()})
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", "<pad>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrapped(inner, bos, padding_side)


def byte_tokenizer(bos: bool = False, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """Byte pairs, with the leading space inside the tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXT, trainer)
    return _wrapped(inner, bos, padding_side)


def _wrapped(inner: Tokenizer, bos: bool, padding_side: str) -> PreTrainedTokenizerFast:
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side=padding_side,
    )


def llama(tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0, layers: int = 4) -> LanguageModel:
    """A random Llama in float64, in which rounding hides nothing."""
    tokenizer = tokenizer or word_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return LanguageModel.wrap(LlamaForCausalLM(config).double().eval(), tokenizer)


def gpt2(tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0) -> LanguageModel:
    """A random GPT-2 in float64: Conv1D weights, learnt positions, a tied head."""
    tokenizer = tokenizer or word_tokenizer()
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=4, n_head=4, n_positions=64, initializer_range=0.3, n_inner=24
    )
    return LanguageModel.wrap(GPT2LMHeadModel(config).double().eval(), tokenizer)


def requests(count: int = 4) -> list[EditRequest]:
    """Facts about the first subjects, with questions about the last ones."""
    return [
        EditRequest(
            subject=subject,
            prompt=TEMPLATES[number % 2],
            target_new=OBJECTS[(number + 1) % 4],
            target_true=OBJECTS[number % 4],
            paraphrases=(TEMPLATES[2].replace("{}", subject),),
            neighborhood=tuple(
                Question(TEMPLATES[0].replace("{}", other), OBJECTS[number % 4], OBJECTS[(number + 1) % 4])
                for other in SUBJECTS[-2:]
            ),
            id=str(number),
        )
        for number, subject in enumerate(SUBJECTS[:count])
    ]


class Given(FactSource):
    """Requests made by the test."""

    def __init__(self, made: Sequence[EditRequest]) -> None:
        super().__init__()
        self.made = list(made)

    def read(self) -> list[EditRequest]:
        return list(self.made)


class Sides(Task):
    """Statements about buses and rain, with their last word as the answer."""

    def setup(self, tokenizer: PreTrainedTokenizerFast, requests: Sequence[EditRequest]) -> None:
        texts = [f"the bus goes to {subject} and it is late" for subject in SUBJECTS]
        texts += [f"it rains where {subject} lies" for subject in SUBJECTS]
        self._examples = []
        for text in texts:
            ids = encode(tokenizer, text).ids
            self._examples.append(
                Example(input_ids=ids, labels=ids, answer_mask=[place == len(ids) - 1 for place in range(len(ids))])
            )

    def train_dataset(self) -> ExampleSet:
        return ExampleList(self._examples[:12])

    def val_dataset(self) -> ExampleSet:
        return ExampleList(self._examples[11:])


class Uneven(Sides):
    """The statements with labels on all, on one or on none of their tokens, and an answer in most."""

    def train_dataset(self) -> ExampleSet:
        examples = []
        for number, example in enumerate(self._examples[:12]):
            first = (1, len(example["labels"]) - 1, len(example["labels"]))[number % 3]
            labels = [IGNORED] * first + example["labels"][first:]
            answered = [number % 4 > 0 and wanted for wanted in example["answer_mask"]]
            examples.append(Example(input_ids=example["input_ids"], labels=labels, answer_mask=answered))
        return ExampleList(examples)


def memit(corpus_path: str, cache_dir: str, **options: object) -> MEMIT:
    """MEMIT on the layers 1 and 2 with a short optimisation."""
    settings: dict[str, object] = {
        "layers": [1, 2],
        "covariance_weight": 2.0,
        "target_values": TargetValues(steps=6, chunk=2),
        "contexts": Contexts(templates=["it is late . {}", "the bus goes to {}"]),
        "key_covariance": KeyCovariance(corpus=TextLines(corpus_path), cache_dir=cache_dir),
    }
    return MEMIT(**{**settings, **options})


def data(made: Sequence[EditRequest] | None = None, batch_size: int = 4) -> EditDataModule:
    """Four edits, four intrinsic facts, and the statements."""
    made = requests() if made is None else made
    return EditDataModule(Sides(), Given(made), Given(requests(8)[4:]), batch_size=batch_size)


def trainer(folder: str, callbacks: Sequence[L.Callback] = (), **options: object) -> L.Trainer:
    """A Trainer that runs on one CPU process and says nothing."""
    settings: dict[str, object] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "log_every_n_steps": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": list(callbacks),
    }
    return L.Trainer(**{**settings, **options})


def tuner(language_model: LanguageModel | None = None, **options: object) -> FineTuner:
    """A FineTuner with a learning rate that moves a tiny model."""
    optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=3e-3)  # noqa: E731
    return FineTuner(language_model or llama(), optimizer=optimizer, **options)
