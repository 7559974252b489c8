"""The table of an erasing against plain loops, and scores of a task against Lightning's definition of them."""

from __future__ import annotations

import math

import pytest
import tiny
import torch

from edit_lit.erasers.table import STAGES, Erasure, lines
from edit_lit.language_model.spans import answer_rows
from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.scores import Rule
from edit_lit.surgery.lines import records, rows, share
from edit_lit.surgery.stages import Questions, Stage, WeightChange
from edit_lit.tasks.validation import validation_scores


def logits(model, prompt, answer):
    """The logits before each token of an answer, a forward pass for each, and the tokens."""
    (row,) = answer_rows(model.tokenizer, [(prompt, answer)], ["test"])
    ids = list(row.ids)
    with torch.no_grad():
        found = [model.model(torch.tensor([ids[: place + 1]])).logits[0, -1] for place in row.positions]
    return list(zip(found, row.answer, strict=True))


def says(model, prompt, answer):
    return all(int(found.argmax()) == token for found, token in logits(model, prompt, answer))


def nll(model, prompt, answer):
    pairs = logits(model, prompt, answer)
    return -sum(float(found.log_softmax(0)[token]) for found, token in pairs) / len(pairs)


def task(model, requests):
    made = tiny.Sides()
    made.setup(model.tokenizer, requests)
    return made


def test_shares_are_those_of_a_plain_loop():
    model, requests = tiny.llama(seed=3), tiny.requests(8)
    stage = Questions(model, requests, [], task(model, requests)).ask()
    for kind, alternative, question in (
        (Kind.REWRITE, False, lambda r: (r.question, r.target_new)),
        (Kind.REWRITE, True, lambda r: (r.question, r.target_true)),
        (Kind.PARAPHRASE, True, lambda r: (r.paraphrases[0], r.target_true)),
    ):
        cell = share(stage.edited.of_kind(kind), Rule.EXACT, alternative)
        assert cell.facts == 8
        assert cell.value == pytest.approx(sum(says(model, *question(r)) for r in requests) / 8)
    assert not len(stage.intrinsic)
    likelier = [nll(model, r.question, r.target_new) < nll(model, r.question, str(r.target_true)) for r in requests]
    assert 0 < sum(likelier) < 8
    rewrites = stage.edited.of_kind(Kind.REWRITE)
    assert share(rewrites, Rule.PROB).value == pytest.approx(sum(likelier) / 8)
    assert share(rewrites, Rule.PROB, alternative=True).value == pytest.approx(1 - sum(likelier) / 8)


def test_task_scores_are_means_over_label_tokens_and_answers():
    model = tiny.llama()
    made = task(model, tiny.requests())
    loss, tokens, right = 0.0, 0, []
    for index in range(len(made.val_dataset())):
        example = made.val_dataset()[index]
        with torch.no_grad():
            given = model.model(torch.tensor([example["input_ids"]])).logits[0]
        for place in range(1, len(example["labels"])):
            loss -= float(given[place - 1].log_softmax(0)[example["labels"][place]])
            tokens += 1
        right.append(int(given[-2].argmax()) == example["input_ids"][-1])
    for batch_size in (1, 3):
        scores = validation_scores(model, made, batch_size)
        assert scores == pytest.approx({"loss": loss / tokens, "accuracy": sum(right) / len(right)}, rel=1e-9)


def outcomes(exact, numbers=True):
    """Rewrite questions with an alternative, of which some are answered."""
    count = torch.arange(len(exact))
    pair = torch.tensor([[float(one), 1.0 - one] for one in exact], dtype=torch.float64)
    nll = 1 - pair if numbers else torch.full_like(pair, math.nan)
    return Outcomes(count, count * 0, count * 0, nll=nll, exact=pair, token=pair, first=pair)


def test_what_is_not_a_number_is_no_share_and_what_nobody_asked_has_no_line():
    good, broken = outcomes([1, 1, 1, 0, 0]), outcomes([1, 1, 1, 0, 0], numbers=False)
    told = ((good, 2.0), (good, 1.0), (broken, math.nan))
    before, tuned, erased = (Stage(of, Outcomes.empty(), {"loss": loss}) for of, loss in told)
    change = WeightChange.between(torch.eye(2), 2 * torch.eye(2), torch.eye(2))
    found = lines(Erasure(before, tuned, erased, {"w": change}, "It did."), Rule.EXACT)
    assert [line.label for line in found] == [
        "efficacy, the new object (exact)",
        "the true object (exact)",
        "downstream loss",
        "‖W − W_0‖/‖W_0‖, w",
        "‖change‖/‖W‖, w",
    ]
    shown = rows(found)
    assert shown[0] == (
        "efficacy, the new object (exact)",
        "60.0% [23.1%, 88.2%] of 5",
        "60.0% [23.1%, 88.2%] of 5",
        "5 answers are not numbers",
    )
    assert shown[1][1].startswith("40.0%")
    assert shown[2][1:] == ("2.000", "1.000", "")
    assert shown[3][1:] == ("0.000", "1.000", "0.000")
    assert shown[4][1:] == ("", "", "0.500")
    assert all(
        value is None or math.isfinite(value) for one in records(found, STAGES) for value in (one["value"], one["low"])
    )
