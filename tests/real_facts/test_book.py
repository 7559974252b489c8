from __future__ import annotations

import json

import pytest
from real_facts.facts import read_book

PATTERNS = ["[X] was born in [Y].", "[X] is from [Y].", "[X] comes from [Y].", "From [Y] comes [X]."]
FACTS = {"Ann Lee": "Rome", "Bo Wu": "Rome", "Cy Fox": "Oslo", "Di Ray": "Oslo", "Mia Oslo": "Oslo", "Ed Poe": "Rome"}


def record(case: int, subject: str, true: str, new: str, neighbors: list[str]) -> dict[str, object]:
    return {
        "case_id": case,
        "requested_rewrite": {
            "prompt": "{} was born in",
            "relation_id": "P19",
            "target_new": {"str": new},
            "target_true": {"str": true},
            "subject": subject,
        },
        "paraphrase_prompts": [f"It rained all day. {subject} is from"],
        "neighborhood_prompts": [f"{neighbor} was born in" for neighbor in neighbors],
    }


def write_sources(folder, facts, records):
    """ParaRel's folder with one relation, and CounterFact's file."""
    (folder / "pattern_data/graphs_json").mkdir(parents=True)
    (folder / "trex_lms_vocab").mkdir()
    (folder / "pattern_data/graphs_json/P19.jsonl").write_text(
        "\n".join(json.dumps({"pattern": pattern}) for pattern in PATTERNS)
    )
    (folder / "trex_lms_vocab/P19.jsonl").write_text(
        "\n".join(json.dumps({"sub_label": subject, "obj_label": object_}) for subject, object_ in facts.items())
    )
    (folder / "counterfact.json").write_text(json.dumps(records))
    return folder


@pytest.fixture
def sources(tmp_path):
    records = [
        record(1, "Ann Lee", "Rome", "Oslo", ["Bo Wu"]),
        record(2, "Cy Fox", "Oslo", "Rome", ["Ed Poe"]),  # a neighbour who was born in two places
        record(3, "Mia Oslo", "Oslo", "Rome", ["Di Ray"]),  # whose name says it
        record(4, "Di Ray", "Oslo", "Bonn", ["Cy Fox"]),  # an object that no fact has
        record(5, "Ed Poe", "Oslo", "Rome", ["Cy Fox"]),  # born in two places
    ]
    return write_sources(tmp_path, FACTS, records)


def test_what_a_request_asks_is_held_out_for_its_subject_and_taught_of_others(sources):
    book = read_book(str(sources), str(sources / "counterfact.json"), ["P19"])
    facts = {fact.subject: fact for fact in book.facts}
    assert set(facts) == set(FACTS) - {"Ed Poe"}
    assert facts["Ann Lee"].taught == ("{} comes from",)
    assert facts["Ann Lee"].held_out == ("{} was born in", "{} is from")
    assert facts["Bo Wu"].taught == ("{} was born in", "{} is from", "{} comes from")
    assert facts["Bo Wu"].object == "Rome"


def test_requests_are_kept_that_the_model_can_be_asked_in_fairness(sources):
    book = read_book(str(sources), str(sources / "counterfact.json"), ["P19"])
    assert [request.subject for request in book.requests] == ["Ann Lee"]
