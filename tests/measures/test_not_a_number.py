"""Answers that are not numbers are no failed answers."""

from __future__ import annotations

import math

import pytest
import tiny
import torch

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.measures.curve import curve_point
from edit_lit.measures.fates import Fate
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.measures.outcome_files import FOLDER, read_probes, write_probe
from edit_lit.measures.outcomes import KINDS, Kind, Pool
from edit_lit.measures.probe import Probe, questions_of
from edit_lit.measures.retention import Retention
from edit_lit.measures.scores import (
    Rule,
    diverged_step,
    edit_scores,
    half_life,
    margin,
    mean_success,
    success,
    target_probability,
    transition_counts,
)
from edit_lit.utilities.errors import ConfigError


def break_word(language_model: LanguageModel, word: str, value: float = math.nan) -> None:
    """The model's output becomes no number wherever it reads a word."""
    with torch.no_grad():
        token = language_model.tokenizer.convert_tokens_to_ids(word)
        language_model.model.get_input_embeddings().weight[token] = value


def ask(language_model, requests, pool=Pool.EDITED):
    return Probe(requests, language_model.tokenizer, pool).run(language_model)


@pytest.fixture
def asked():
    """Outcomes of a whole model, and of one that cannot read one of the subjects."""
    language_model = tiny.llama()
    whole = ask(language_model, tiny.requests())
    break_word(language_model, "Oslo")
    return whole, ask(language_model, tiny.requests())


def test_exactly_the_broken_answers_are_marked(asked):
    whole, broken = asked
    expected = [
        "Oslo" in question.prompt
        for request in tiny.requests()
        for kind in KINDS
        for question in questions_of(request, kind, Pool.EDITED)
    ]
    assert any(expected)
    assert not all(expected)
    assert broken.not_a_number().tolist() == expected
    assert not whole.not_a_number().any()
    for rule in Rule:
        assert success(broken, rule).isnan().tolist() == expected
        torch.testing.assert_close(
            success(broken, rule)[~torch.tensor(expected)], success(whole, rule)[~torch.tensor(expected)]
        )
    for raw in (broken.exact, broken.token, broken.first):
        assert raw.isnan().all(dim=1).tolist() == expected


def test_a_missing_alternative_is_not_a_broken_one():
    language_model = tiny.llama()
    facts = [EditRequest("Oslo", "{} lies in the", "north"), EditRequest("Bern", "{} lies in the", "north")]
    whole = ask(language_model, facts)
    assert not whole.not_a_number().any()
    assert not whole.has_alternative().any()
    break_word(language_model, "Oslo")
    broken = ask(language_model, facts)
    assert broken.not_a_number().tolist() == [True, False]
    assert transition_counts(whole, broken, Rule.EXACT).not_a_number == 1
    assert transition_counts(whole, broken, Rule.PROB).not_a_number == 0


def test_an_alternative_alone_may_be_broken(asked):
    whole, _ = asked
    whole.nll[1, 1] = whole.exact[1, 1] = math.nan
    assert whole.not_a_number().nonzero().tolist() == [[1]]
    assert success(whole, Rule.EXACT).isnan().nonzero().tolist() == [[1]]


@pytest.mark.parametrize("logit", [math.inf, -math.inf])
def test_an_overflow_is_no_number_either(logit):
    language_model = tiny.llama()
    word = torch.tensor(language_model.tokenizer.convert_tokens_to_ids("north"))
    # As a logit beyond the largest number of 16 bits.
    language_model.head.register_forward_hook(lambda _, __, logits: logits.index_fill(-1, word, logit))
    broken = ask(language_model, tiny.requests())
    asked = [questions_of(request, kind, Pool.EDITED) for request in tiny.requests() for kind in KINDS]
    north = ["north" in (question.answer, question.alternative) for questions in asked for question in questions]
    assert broken.not_a_number().tolist() == ([True] * len(north) if logit > 0 else north)
    assert broken.exact.isnan().any(dim=1).tolist() == broken.not_a_number().tolist()
    assert math.isnan(target_probability(broken))
    assert math.isnan(margin(broken))


def test_they_are_in_no_class_and_make_no_score(asked):
    whole, broken = asked
    rows = broken.of_kind(Kind.REWRITE)
    counts, same = transition_counts(whole, broken, Rule.PROB), transition_counts(whole, whole, Rule.PROB)
    assert counts.not_a_number == int(rows.not_a_number().sum()) == 1
    assert counts.total == same.total - 1
    assert (counts.erased, counts.displaced, counts.emergent) == (0, 0, 0)
    assert math.isnan(counts.retention)
    assert math.isnan(counts.edit_flip_rate)
    assert all(math.isnan(share) for share in counts.shares().values())
    assert half_life([0, 1], [1.0, counts.retention]) is None
    assert math.isnan(target_probability(broken))
    assert math.isnan(margin(broken))
    for rule in Rule:
        assert math.isnan(mean_success(rows, rule))
        scores = edit_scores(broken, rule)
        assert math.isnan(scores["efficacy"])
        assert math.isnan(scores["score"])
        # No neighborhood prompt is about this subject.
        assert scores["specificity"] == edit_scores(whole, rule)["specificity"]


def test_a_pool_with_one_has_their_count_instead_of_scores(asked):
    whole, broken = asked
    pools = {Pool.EDITED: whole, Pool.INTRINSIC: whole}
    point = curve_point(pools, {Pool.EDITED: broken, Pool.INTRINSIC: whole})
    assert point.pop("probe/edited/not_a_number") == 2
    counted = int((success(whole.of_kind(Kind.REWRITE), Rule.EXACT) == 1).sum())
    fates = {fate: point.pop(f"fates/{fate}/prob") for fate in Fate}
    assert sum(fates.values()) == pytest.approx(1)
    assert [point.pop(f"fates/{fate}/exact", None) is not None for fate in Fate] == [counted > 0] * 4
    point = {tag: value for tag, value in point.items() if not tag.startswith("fates/")}
    assert point
    assert all(tag.startswith("retention/intrinsic/") for tag in point)
    assert set(point) == {tag for tag in curve_point(pools, pools) if tag.startswith("retention/intrinsic/")}


def test_the_step_of_the_divergence(asked):
    whole, broken = asked
    assert diverged_step({0: whole, 2: broken, 1: whole, 3: broken}) == 2
    assert diverged_step({0: whole}) is None


def test_they_are_kept_in_the_records(asked, tmp_path):
    write_probe(tmp_path, 3, {Pool.EDITED: asked[1]}, {Pool.EDITED: tiny.requests()})
    assert read_probes(tmp_path)[Pool.EDITED][3].equals(asked[1])
    assert not asked[0].equals(asked[1])


def test_a_run_that_diverges_says_where_once(tmp_path, caplog):
    language_model = tiny.llama()
    retention = Retention(language_model, edited=tiny.requests(), intrinsic=tiny.requests(8)[4:], folder=tmp_path)
    retention.probe(0)
    break_word(language_model, "Oslo")
    assert retention.probe(50)["probe/edited/not_a_number"] == 2
    break_word(language_model, "it", math.nan)
    retention.probe(100)
    (said,) = [record.message for record in caplog.records]
    assert said == "at step 50 answers are not numbers (2 of 16 edited): they have no scores from here on"
    assert diverged_step(read_probes(tmp_path / FOLDER)[Pool.EDITED]) == 50


def test_an_unedited_model_without_numbers_is_refused(tmp_path):
    language_model = tiny.llama()
    break_word(language_model, "Oslo")
    retention = Retention(language_model, edited=tiny.requests(), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"the unedited model's answers are not numbers \(2 of 16 questions\)"):
        retention.before_edit()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"answers are not numbers \(1 of 8 questions\)"):
        IntrinsicPool(tiny.Given(tiny.requests(8))).choose(language_model, [])
