"""Entropy and disagreement against plain loops; moved facts are flagged, others at the wanted rate."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tiny
import torch

from edit_lit.detection import Detection
from edit_lit.detection.flags import judge, parts_by_subject
from edit_lit.detection.prompts import Behavior, PromptRows, read_behavior
from edit_lit.facts.request import EditRequest
from edit_lit.measures.scores import wilson_interval
from edit_lit.utilities.errors import ConfigError


def fact(subject, number=0):
    return EditRequest(subject, f"{{}} is number {number}", target_new="x", target_true="y", id=f"{subject} {number}")


def facts(subjects, each=3, prefix="s"):
    return [fact(f"{prefix}{subject}", number) for subject in range(subjects) for number in range(each)]


def behavior(log_entropies):
    """Facts of these mixture entropies, half of it disagreement."""
    values = torch.as_tensor(log_entropies, dtype=torch.float64).exp()
    return Behavior(values / 2, values / 2, ("x",) * len(values))


@pytest.mark.parametrize("batch_tokens", [1, 64, 8192])
@pytest.mark.parametrize("family", [tiny.llama, tiny.gpt2])
def test_entropy_and_disagreement_are_those_of_plain_forward_passes(family, batch_tokens):
    language_model = family()
    asked = [*tiny.requests(3), replace(tiny.requests(4)[3], paraphrases=())]
    found = read_behavior(language_model, PromptRows.of(language_model, asked), batch_tokens, "")
    for place, request in enumerate(asked):
        each = []
        for prompt in (request.question, *request.paraphrases):
            ids = torch.tensor([language_model.tokenizer(prompt)["input_ids"]])
            with torch.no_grad():
                each.append(language_model.model(input_ids=ids).logits[0, -1].softmax(-1))
        entropies = [-math.fsum(p * math.log(p) for p in one.tolist()) for one in each]
        mean = sum(each) / len(each)
        mixture = -math.fsum(p * math.log(p) for p in mean.tolist())
        assert float(found.entropy_F[place]) == pytest.approx(sum(entropies) / len(each))
        assert float(found.mixture_entropy_F[place]) == pytest.approx(mixture)
        assert found.says[place] == language_model.tokenizer.decode([int(each[0].argmax())])
    assert float(found.disagreement_F[3]) == pytest.approx(0, abs=1e-12)
    assert (found.disagreement_F[:3] > 0).all()


def test_a_model_without_numbers_is_refused():
    language_model = tiny.llama()
    torch.nn.init.constant_(language_model.model.model.norm.weight, math.nan)
    rows = PromptRows.of(language_model, tiny.requests(1))
    with pytest.raises(ConfigError, match="not numbers"):
        read_behavior(language_model, rows, 64, "")


def test_parts_share_no_subject():
    requests = facts(31)
    parts = parts_by_subject(requests, seed=0)
    subjects = [{requests[place].subject for place in part} for part in parts]
    assert sorted(place for part in parts for place in part) == list(range(len(requests)))
    assert len(set.union(*subjects)) == sum(map(len, subjects))
    assert sorted(map(len, subjects)) == [10, 10, 11]


@pytest.mark.parametrize("shift", [8.0, -8.0])
def test_what_is_held_more_or_less_surely_than_usual_is_flagged(shift):
    generator = torch.Generator().manual_seed(0)
    reference = facts(60)
    usual = torch.randn(len(reference), generator=generator) - 6
    moved = torch.randn(20, generator=generator) - 6
    moved[:10] += shift
    questioned = facts(20, each=1, prefix="q")
    found = judge(
        (reference, behavior(usual)), (questioned, behavior(moved)), (questioned[:10], behavior(moved[:10])), 0.05, 0
    )
    assert found.questioned.flagged[:10] == (True,) * 10
    assert sum(found.questioned.flagged[10:]) <= 3
    assert found.edited.share == 1
    assert found.auc == 1
    assert found.p < 1e-4
    low, high = found.usual.bounds(found.threshold)
    values = found.questioned.behavior.mixture_entropy_F
    assert found.questioned.flagged == tuple(((values < low) | (values > high)).tolist())
    assert found.questioned.interval == wilson_interval(found.questioned.count, 20)
    assert all((p <= 0.05) == flag for p, flag in zip(found.questioned.p, found.questioned.flagged, strict=True))


def test_unedited_facts_are_flagged_at_the_wanted_rate():
    """300 draws of 60 reference facts, about a subject each: the mean share of held-out facts flagged."""
    generator = torch.Generator().manual_seed(1)
    reference = facts(60, each=1)
    shares = [
        judge((reference, behavior(torch.randn(60, generator=generator))), None, None, 0.1, 0).held_out.share
        for _ in range(300)
    ]
    mean, spread = torch.tensor(shares).mean(), torch.tensor(shares).std() / math.sqrt(300)
    assert mean == pytest.approx(2 / 21, abs=float(3.3 * spread)), "2 of the 20 that set the threshold are not below it"


def test_too_few_reference_facts_are_refused_with_the_number_that_is_needed():
    detection = Detection(facts=tiny.Given(facts(1)), reference=tiny.Given(facts(18, each=1, prefix="r")))
    with pytest.raises(ConfigError, match=r"18 unedited facts.* has 6; .*0\.05 takes 19 in each\. Name about 57"):
        detection.load()
    Detection(facts=tiny.Given(facts(1)), reference=tiny.Given(facts(57, each=1, prefix="r")), alarm_rate=0.05).load()


def test_reference_facts_about_questioned_subjects_are_passed_over():
    reference = [*facts(60, each=1, prefix="r"), fact("s0", 7)]
    loaded = Detection(facts=tiny.Given(facts(1)), reference=tiny.Given(reference)).load()
    assert [request.subject for request in loaded.reference] == [f"r{number}" for number in range(60)]


def test_facts_and_reference_go_together():
    with pytest.raises(ConfigError, match="facts is given, but reference names no facts"):
        Detection(facts=tiny.Given(facts(1)))
    with pytest.raises(ConfigError, match="reference is given, but facts names none"):
        Detection(reference=tiny.Given(facts(1)))
    with pytest.raises(ConfigError, match="alarm_rate is 0"):
        Detection(alarm_rate=0)
