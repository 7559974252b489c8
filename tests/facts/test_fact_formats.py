from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from fact_samples import EASY_EDIT, KNOW_EDIT, KNOWN, MQUAKE, RIPPLE, ROME, ZSRE

from edit_lit.facts import CounterFact, EditRequest, KnowEdit, Known, MQuAKE, ParaRel, Question, RippleEdits, ZsRE
from edit_lit.facts.record_source import template_of


def test_rome_schema(write):
    (request,) = CounterFact(write(ROME)).load()
    assert request == EditRequest(
        subject="Léon Blum",
        prompt="The mother tongue of {} is",
        target_new="English",
        target_true="French",
        paraphrases=("Léon Blum, a native", "Yes. Léon Blum spoke the language"),
        neighborhood=(
            Question("The native language of Montesquieu is", "French", "English"),
            Question("Michel Rocard is a native speaker of", "French", "English"),
        ),
        id="7",
        relation="P103",
    )


def test_easy_edit_schema_gives_the_same_fact(write):
    rome, easy = CounterFact(write(ROME, EASY_EDIT)).load()
    for field in ("subject", "prompt", "target_new", "target_true"):
        assert getattr(easy, field) == getattr(rome, field)
    assert easy.neighborhood == rome.neighborhood[:1]
    assert easy.portability == (Question("The language that Léon Blum dreams in is", "English"),)


def test_neighbours_keep_an_answer_of_their_own(write):
    record = copy.deepcopy(ROME)
    record["neighborhood_prompts"].append({"prompt": "The language of Dante is", "target": "Italian"})
    (request,) = CounterFact(write(record)).load()
    assert [question.answer for question in request.neighborhood] == ["French", "French", "Italian"]
    assert request.neighborhood[-1].alternative == "English"


def test_counterfact_relations(write):
    other = copy.deepcopy(ROME)
    other["requested_rewrite"]["relation_id"] = "P36"
    path = write(ROME, other)
    assert [request.relation for request in CounterFact(path, relations=["P36"]).load()] == ["P36"]
    with pytest.raises(ValueError, match="relations names P5, of which"):
        CounterFact(path, relations=["P36", "P5"]).load()


def test_zsre_targets(write):
    path = write(ZSRE)
    (true,) = ZsRE(path).load()
    (alt,) = ZsRE(path, target="alt").load()
    assert (true.target_new, true.target_true) == ("Daniel Libeskind", None)
    assert (alt.target_new, alt.target_true) == ("Mitsumasa Anno", "Daniel Libeskind")
    assert true.prompt == "The designer for {} was?"
    assert true.neighborhood == (Question("nq question: most consecutive games with 20+ points?", "126"),)


def test_an_empty_alt_is_malformed_only_where_it_is_needed(write):
    path = write(ZSRE, {**ZSRE, "alt": ""})
    assert len(ZsRE(path).load()) == 2
    with pytest.raises(ValueError, match=r"record 1: alt is ''"):
        ZsRE(path, target="alt").load()
    with pytest.warns(UserWarning, match="1 of 2 records are malformed"):
        assert len(ZsRE(path, target="alt", on_error="skip").load()) == 1


def test_mquake_makes_a_request_of_each_rewrite(write):
    first, second = MQuAKE(write(MQUAKE)).load()
    assert (first.id, second.id) == ("3/0", "3/1")
    assert first.portability == (
        Question("Of which country is the performer of Hey Jude a citizen?", "Australia", "United Kingdom"),
    )
    assert second.portability == ()
    assert first.paraphrases == ("Who performed Hey Jude?",)
    assert second.paraphrases == ()


def test_know_edit_groups(write):
    (request,) = KnowEdit(write(KNOW_EDIT)).load()
    assert request.prompt == "The place of death of {} is"
    assert [question.answer for question in request.portability] == ["Europe", "Berlin"]
    assert [question.answer for question in request.neighborhood] == ["Albert"]
    assert request.target_true is None


def test_ripple_edits_groups(write):
    (request,) = RippleEdits(write(RIPPLE)).load()
    assert request.prompt == "The name of the country of citizenship of {} is"
    assert (request.subject, request.target_new) == ("Leonardo DiCaprio", "Syria")
    assert request.target_true == "United States of America"
    assert [question.answer for question in request.neighborhood] == ["Irmelin DiCaprio", "Florence"]
    # The query without an answer is passed over.
    assert [question.answer for question in request.portability] == ["Syria", "Syria"]


@pytest.mark.parametrize(
    ("sentence", "subject", "target"),
    [
        ("The name of the mother of Ann is Eve.", "Ann", "Eve"),
        ("The names of the siblings of Ann are Bob.", "Ann", "Bob"),
        ("The number of children Ann has is 3.", "Ann", "3"),
        ("The name of the position held by Ann is mayor of Rome.", "Ann", "mayor of Rome"),
        ("The name of the country which Ann of Cleves is associated with is Peru.", "Ann of Cleves", "Peru"),
        ("The name of the sports team which Ann is a member of is FC.", "Ann", "FC"),
        ("The name of the league which Ann plays in is NBA.", "Ann", "NBA"),
        ("The name of the award Ann won is Oscar.", "Ann", "Oscar"),
        ("The name of the currency in Peru is sol.", "Peru", "sol"),
        ("The name of the capital city of Peru is Lima.", "Peru", "Lima"),
        ("The place of birth of Joan of Arc is Domrémy.", "Joan of Arc", "Domrémy"),
        ("The gender of Ann is female.", "Ann", "female"),
        ("Super Bowl LV is followed by Super Bowl LVI.", "Super Bowl LV", "Super Bowl LVI"),
        ("Super Bowl LV follows Super Bowl LIV.", "Super Bowl LV", "Super Bowl LIV"),
    ],
)
def test_ripple_edits_wordings(write, sentence, subject, target):
    (request,) = RippleEdits(write({"edit": {"prompt": sentence}})).load()
    assert (request.subject, request.target_new) == (subject, target)
    assert f"{request.question} {target}." == sentence


def test_known_draws_another_object_of_the_relation(write):
    other = {**KNOWN, "known_id": 1, "subject": "Peru", "prompt": "Peru is located in", "attribute": "South America"}
    alien = {**KNOWN, "known_id": 2, "subject": "Ann", "prompt": "Ann speaks", "attribute": "Thai", "relation_id": "P1"}
    first, second, third = Known(write(KNOWN, other, alien)).load()
    assert (first.target_true, first.target_new) == ("Antarctica", "South America")
    assert second.target_new == "Antarctica"
    assert third.target_new in ("Antarctica", "South America")


@pytest.fixture
def pararel(tmp_path: Path) -> str:
    (tmp_path / "trex_lms_vocab").mkdir()
    (tmp_path / "pattern_data/graphs_json").mkdir(parents=True)
    facts = [("Rome", "Italy"), ("Pisa", "Italy"), ("Lima", "Peru"), ("Como", "Italy")]
    lines = [json.dumps({"sub_label": subject, "obj_label": object_}) for subject, object_ in facts]
    patterns = ["[X] is located in [Y] .", "[Y] is where [X] lies .", "[X] lies in [Y]."]
    for relation in ("P17", "P9"):
        (tmp_path / f"trex_lms_vocab/{relation}.jsonl").write_text("\n".join(lines))
    (tmp_path / "pattern_data/graphs_json/P17.jsonl").write_text(
        "\n".join(json.dumps({"pattern": pattern}) for pattern in patterns)
    )
    return str(tmp_path)


def test_pararel(pararel, caplog):
    with caplog.at_level("INFO"):
        requests = ParaRel(pararel, neighbors=1).load()
    assert "P9; left out" in caplog.text
    assert [request.subject for request in requests] == ["Rome", "Pisa", "Lima", "Como"]
    rome = requests[0]
    assert (rome.prompt, rome.paraphrases) == ("{} is located in", ("Rome lies in",))
    assert (rome.target_true, rome.target_new) == ("Italy", "Peru")
    (neighbor,) = rome.neighborhood
    assert (neighbor.subject, neighbor.prompt) in (("Pisa", "Pisa is located in"), ("Como", "Como is located in"))
    assert requests[2].neighborhood == ()


def test_a_malformed_pararel_record_spoils_no_other(pararel):
    with open(f"{pararel}/trex_lms_vocab/P17.jsonl", "a") as file:
        file.write("\n" + json.dumps({"sub_label": " ", "obj_label": "Italy"}))
    with pytest.warns(UserWarning, match="1 of 5 records are malformed"):
        requests = ParaRel(pararel, on_error="skip").load()
    assert [request.subject for request in requests] == ["Rome", "Pisa", "Lima", "Como"]
    assert {question.subject for question in requests[0].neighborhood} == {"Pisa", "Como"}


def test_pararel_refuses_unknown_relations(pararel):
    with pytest.raises(ValueError, match=r"relations names P5; .* has P9, P17"):
        ParaRel(pararel, relations=["P5"]).load()


@pytest.mark.parametrize(
    ("prompt", "subject", "template"),
    [
        ("Ann lives in", "Ann", "{} lives in"),
        ("Ann, that is Ann, lives in", "Ann", "Ann, that is {}, lives in"),
        ("Annual talks of Ann in Annaba are on", "Ann", "Annual talks of {} in Annaba are on"),
        ("Who built Tatra K5AR?", "Tatra K5", "Who built {}AR?"),
        ("The author of Yes? is", "Yes?", "The author of {} is"),
    ],
)
def test_template_of(prompt, subject, template):
    assert template_of(prompt, subject) == template
    assert template.replace("{}", subject) == prompt


def test_template_of_refuses():
    with pytest.raises(ValueError, match="does not occur"):
        template_of("Bob lives in", "Ann")
    with pytest.raises(ValueError, match=r"holds '\{\}'"):
        template_of("Ann and {} live in", "Ann")
