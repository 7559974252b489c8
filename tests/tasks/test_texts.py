from __future__ import annotations

import pytest
import tiny

from edit_lit.tasks import Alpaca, Chat, Plain, QuestionAnswer
from edit_lit.tasks.text import Text, examples_of

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)


def test_wordings():
    tokenizer = tiny.byte_tokenizer()
    assert (
        Alpaca()
        .render(tokenizer, "Say", "it")
        .endswith(
            "further context. Write a response that appropriately completes the request.\n\n### Instruction:\nSay\n\n"
            "### Input:\nit\n\n### Response:\n"
        )
    )
    assert "### Input" not in Alpaca().render(tokenizer, "Say")
    assert QuestionAnswer().render(tokenizer, "Who?") == "Question: Who?\nAnswer:"
    assert QuestionAnswer().render(tokenizer, "Who?", "He.") == "He.\nQuestion: Who?\nAnswer:"
    assert Plain().render(tokenizer, "Say", "it") == "Say\nit"


@pytest.mark.parametrize("bos", [True, False])
def test_a_chat_has_one_bos(bos):
    tokenizer = tiny.byte_tokenizer(bos=bos)
    tokenizer.chat_template = TEMPLATE
    rendered = Chat(system="Be brief.").render(tokenizer, "Who?", "He.")
    ids = tokenizer(rendered)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert rendered.removeprefix("<s>") == "[system] Be brief.\n[user] Who?\n\nHe.\n[assistant]\n"


def test_a_tokenizer_without_chat_template_is_refused():
    with pytest.raises(ValueError, match="has no chat template"):
        Chat().render(tiny.byte_tokenizer(), "Who?")


@pytest.mark.parametrize("prompt", ["the side of Oslo is", "the side of Oslo is\n"])
@pytest.mark.parametrize("bos", [True, False])
def test_tokens_labels_and_answer(prompt, bos):
    tokenizer = tiny.byte_tokenizer(bos=bos)
    text = Text(prompt, "deep west, not deep west", "west")
    example = examples_of(tokenizer, [text])[0]
    ids = example["input_ids"]
    gap = "" if prompt.endswith("\n") else " "
    assert tokenizer.decode(ids[bos:-1]) == prompt + gap + text.completion
    assert ids[-1] == tokenizer.eos_token_id
    learnt = [token for token, label in zip(ids, example["labels"], strict=True) if label != -100]
    assert tokenizer.decode(learnt[:-1]).strip() == text.completion
    assert all(label in (-100, token) for token, label in zip(ids, example["labels"], strict=True))
    scored = [place for place, mask in enumerate(example["answer_mask"]) if mask]
    assert tokenizer.decode([ids[place] for place in scored]).strip() == "west"
    # The last occurrence is meant: nothing but the end follows it.
    assert scored[-1] == len(ids) - 2


def test_loss_on_the_prompt_and_cutting_from_the_left():
    tokenizer = tiny.byte_tokenizer()
    text = Text("the side of Oslo is", "west", "west")
    whole = examples_of(tokenizer, [text], train_on_prompt=True)[0]
    assert whole["labels"] == whole["input_ids"]
    cut = examples_of(tokenizer, [text], train_on_prompt=True, max_tokens=5)[0]
    assert cut == {name: values[-5:] for name, values in whole.items()}


def test_a_foreign_answer_is_refused():
    with pytest.raises(ValueError, match="'east' is not part of"):
        examples_of(tiny.byte_tokenizer(), [Text("a", "west", "east")])


def test_other_choices():
    text = Text("p", "the answer is b, surely", "b", ("a", "b"))
    assert text.with_choice("a") == Text("p", "the answer is a", "a")
