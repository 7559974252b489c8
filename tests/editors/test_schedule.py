"""In which portions and how often facts are written."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import small
import torch

from edit_lit.activations.token_rows import prompt_rows
from edit_lit.editors import MEMIT, Schedule
from edit_lit.editors.targets.perplexity import target_perplexity
from edit_lit.utilities.errors import ConfigError


@pytest.fixture
def parts(key_covariance):
    return {"target_values": small.values(), "contexts": small.contexts(), "key_covariance": key_covariance}


def test_batches_that_accumulate_nothing_and_a_second_pass_start_from_the_edited_model(parts):
    """Writing again, and writing the next batch, are what editing the edited model is."""
    language_model, made = small.model("llama"), small.requests()
    options = {"covariance_weight": 0.1, "ridge": 0.1}
    for schedule, first, second in (
        (Schedule(batch_size=2), made[:2], made[2:]),
        (Schedule(passes=2), made, made),
    ):
        spectra = parts["key_covariance"].spectra(language_model, [1, 2])
        whole = MEMIT([1, 2], schedule=schedule, **options, **parts).edit(language_model, made)
        one = MEMIT([1, 2], **options, **parts).edit(language_model, first)
        one.apply(language_model)
        editor = MEMIT([1, 2], **options, **parts)
        given = {"spectra": lambda *_, kept=spectra: kept, "text": parts["key_covariance"].text}
        editor.key_covariance = type("Given", (), given)()
        editor.provenance = lambda *_, delta=one: delta.provenance
        two = editor.edit(language_model, second)
        one.revert(language_model)
        for name, update in whole.updates.items():
            dense = one.updates[name].dense() + two.updates[name].dense()
            assert (update.dense() - dense).norm() < 1e-4 * dense.norm()


def test_a_small_gap_ends_the_passes(parts, caplog):
    caplog.set_level("INFO", logger="edit_lit")
    language_model, made = small.model("llama"), small.requests(2)
    for gap, passes in ((1e9, 1), (0.0, 3)):
        caplog.clear()
        MEMIT([1, 2], 0.1, 0.1, schedule=Schedule(passes=3, stop_gap=gap), **parts).edit(language_model, made)
        assert sum("perplexity of the targets" in record.message for record in caplog.records) == passes


def test_paraphrases_are_written_as_requests_of_their_own():
    made = small.requests(2)
    batches = Schedule(batch_size=1, paraphrases=2).batches(made)
    assert [[request.question for request in batch] for batch in batches] == [
        [request.question, *request.paraphrases] for request in made
    ]
    assert {request.target_new for request in batches[1]} == {made[1].target_new}
    with pytest.raises(ValueError, match=r"request 0 .*schedule.paraphrases is 3, but it has 2"):
        Schedule(paraphrases=3).batches(made)
    with pytest.raises(ValueError, match="does not name the subject"):
        Schedule(paraphrases=1).batches([replace(made[0], paraphrases=("the town is in the",))])


def test_a_paraphrase_is_a_request_with_a_name_of_its_own_and_none_to_write_beside_it():
    (made,) = small.requests(1)
    said = replace(made, subject="Oslo", paraphrases=("near Oslo , Oslo is in the", "Oslo lies"))
    ((_, first, second),) = Schedule(paraphrases=2).batches([said])
    assert (first.prompt, second.prompt) == ("near Oslo , {} is in the", "{} lies")
    assert (first.id, second.id) == ("0, paraphrase 1", "0, paraphrase 2")
    assert first.paraphrases == second.paraphrases == ()
    ((_, unnamed),) = Schedule(paraphrases=1).batches([replace(said, id="")])
    assert unnamed.id == "?, paraphrase 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "schedule.batch_size is 0; it must be at least 1"),
        ({"passes": 0}, "schedule.passes is 0; it must be at least 1"),
        ({"paraphrases": -1}, "schedule.paraphrases is -1; it must be at least 0"),
    ],
)
def test_options_out_of_their_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Schedule(**options)


def test_a_gap_without_a_second_pass_warns():
    with pytest.warns(UserWarning, match="^schedule.stop_gap has no effect with one pass. Raise schedule.passes.$"):
        Schedule(stop_gap=1.0)
    Schedule(passes=2, stop_gap=1.0)


def test_a_warning_is_about_the_line_that_made_the_schedule():
    with pytest.warns(UserWarning, match="stop_gap") as caught:
        Schedule(stop_gap=1.0)
    assert caught[0].filename == __file__


def test_facts_of_one_subject_take_turns():
    made = small.requests(3)
    again = [replace(made[place], target_new="far west", id=f"{place} again") for place in (0, 2)]
    third = replace(made[2], target_new="south", id="2 once more")
    given = [made[0], again[0], made[1], made[2], again[1], third]
    names = [[request.id for request in batch] for batch in Schedule(distinct_subjects=True).batches(given)]
    assert names == [["0", "1", "2"], ["0 again", "2 again"], ["2 once more"]]
    halves = Schedule(batch_size=3, distinct_subjects=True, paraphrases=1).batches(given)
    assert [[request.id.split(",")[0] for request in batch[::2]] for batch in halves] == [
        ["0", "1"],
        ["0 again"],
        ["2"],
        ["2 again"],
        ["2 once more"],
    ]


def test_the_perplexity_of_the_targets_is_that_of_the_whole_model():
    language_model, made = small.model("gpt2"), small.requests()
    rows = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    perplexities = []
    for of_fact in rows:
        losses = []
        for row in of_fact:
            scores = language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
            losses.append(-scores[-len(row.answer) :].gather(1, torch.tensor(row.answer)[:, None]).mean())
        perplexities.append(torch.stack(losses).mean().exp())
    assert target_perplexity(language_model, rows) == pytest.approx(float(torch.stack(perplexities).mean().detach()))


def test_facts_that_share_a_subject_are_noted_and_warned_about(parts):
    language_model, made = small.model(), small.requests(3)
    clash = replace(made[1], target_new="north", id="again")
    editor = MEMIT([1], 0.1, 0.1, **parts)
    with pytest.warns(UserWarning, match=r"2 facts, such as that of edit request 1 .*schedule.distinct_subjects"):
        delta = editor.edit(language_model, [*made, clash])
    assert len(delta.provenance.diagnostics["shared_subjects"]) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        turns = MEMIT([1], 0.1, 0.1, schedule=Schedule(distinct_subjects=True), **parts)
        apart = turns.edit(language_model, [*made, clash])
        assert not apart.provenance.diagnostics["shared_subjects"]
        assert not editor.edit(language_model, made).provenance.diagnostics["shared_subjects"]
