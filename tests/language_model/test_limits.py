"""What is too long for a model's positions is refused before anything is computed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import transformers as hf

from edit_lit.activations import Contexts
from edit_lit.data_module import EditDataModule
from edit_lit.editors import FTM, MEMIT
from edit_lit.facts.request import Question
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.generation import continuations
from edit_lit.language_model.limits import check_lengths, positions
from edit_lit.measures.probe import Probe
from edit_lit.tasks import ChoiceLikelihood, FinalNumber, RunningText
from edit_lit.tasks.text import Text
from edit_lit.utilities.errors import ConfigError

LONG = "it is late . " * 20


def untouched(language_model: LanguageModel) -> LanguageModel:
    """A model that must not be run."""

    def run(*arguments: object) -> None:
        raise AssertionError("the model was run")

    language_model.model.register_forward_pre_hook(run)
    return language_model


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_positions(make):
    language_model = make()
    assert positions(language_model) == 64
    check_lengths(language_model, [3, 64], str, "Lower it")
    with pytest.raises(ConfigError, match=r"^1 takes 65 tokens, but \w+ has 64 positions. Lower it, or use"):
        check_lengths(language_model, [3, 65], str, "Lower it")


def test_a_model_without_limit_takes_all():
    config = hf.BloomConfig(vocab_size=len(tiny.word_tokenizer()), hidden_size=16, n_layer=2, n_head=2)
    language_model = LanguageModel.wrap(hf.BloomForCausalLM(config), tiny.word_tokenizer())
    assert positions(language_model) is None
    check_lengths(language_model, [10**6], str, "Lower it")


def long_in(field):
    (request,) = tiny.requests(1)
    changed = {
        "prompt": LONG + "{} lies in the",
        "paraphrases": (LONG + "Oslo is",),
        "neighborhood": (Question(LONG + "Lima is", "north"),),
        "portability": (Question(LONG + "Oslo is", "north"),),
    }
    return replace(request, id="7", **{field: changed[field]})


@pytest.mark.parametrize("field", ["prompt", "paraphrases", "neighborhood", "portability"])
def test_a_fact_with_a_long_prompt_is_named_before_any_editing(field, tmp_path):
    language_model = untouched(tiny.llama())
    probe = Probe([*tiny.requests(2), long_in(field)], language_model.tokenizer)
    with pytest.raises(ConfigError, match=r"edit request 7 \(subject 'Oslo'\): the prompt '.*….*' takes \d+.*64"):
        probe.run(language_model)
    data = EditDataModule(tiny.Sides(), tiny.Given([long_in(field)]))
    trainer = tiny.trainer(str(tmp_path))
    with pytest.raises(ConfigError, match="edit request 7.*64 positions"):
        trainer.fit(tiny.tuner(language_model), datamodule=data)


def test_editors_name_a_long_prompt(corpus, tmp_path):
    language_model = untouched(tiny.llama())
    for editor in (tiny.memit(corpus, str(tmp_path)), FTM([1])):
        with pytest.raises(ConfigError, match="edit request 7.*its prompt.*64 positions. Shorten it"):
            editor.prepare(language_model, [*tiny.requests(2), long_in("prompt")])


def test_a_context_counts_too(corpus, tmp_path):
    language_model = untouched(tiny.llama())
    for contexts in (Contexts(templates=[LONG + "{}"]), Contexts(tokens=(5, 63))):
        editor = tiny.memit(corpus, str(tmp_path), contexts=contexts)
        assert isinstance(editor, MEMIT)
        with pytest.raises(ConfigError, match=r"its prompt with up to \d+ tokens of context takes \d+ tokens"):
            editor.prepare(language_model, tiny.requests(2))


def test_writing_needs_room():
    language_model = untouched(tiny.llama())
    with pytest.raises(ConfigError, match="the prompt 'it rains so' with max_new_tokens 63 behind it takes 66 tokens"):
        continuations(language_model, ["it is", "it rains so"], 63)


def test_scorers_and_examples_need_room(tmp_path):
    language_model = untouched(tiny.llama())
    texts = [Text("it rains", "north", "north", ("north", LONG))]
    with pytest.raises(ConfigError, match="max_new_tokens 256"):
        FinalNumber().check(language_model, texts)
    with pytest.raises(ConfigError, match="the text 'it rains it is late.* takes"):
        ChoiceLikelihood().check(language_model, texts)
    ChoiceLikelihood().check(language_model, [replace(texts[0], choices=("north", "east"))])
    (tmp_path / "text.txt").write_text("it rains\n" + LONG * 3)
    for stream in (False, True):
        task = RunningText(str(tmp_path / "text.txt"), block_tokens=100, val_documents=1, stream=stream, across=True)
        task.setup(language_model.tokenizer, [])
        with pytest.raises(ConfigError, match=r"takes \d+ tokens, but LlamaForCausalLM has 64 positions"):
            task.check(language_model)
