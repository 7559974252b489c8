from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonargparse import auto_cli
from real_facts.facts import read_book
from real_facts.prepare import Prepared, prepare
from real_facts.train import train
from test_book import FACTS, record, write_sources

RECIPE = Path(__file__).parents[2] / "configs" / "real_facts"


@pytest.mark.parametrize(("function", "name"), [(prepare, "prepare"), (train, "train")])
def test_the_recipe_is_understood(function, name, capsys):
    with pytest.raises(SystemExit) as exit_:
        auto_cli(function, args=["--config", str(RECIPE / f"{name}.yaml"), "--print_config"], as_positional=False)
    assert not exit_.value.code
    assert "data/real_facts" in capsys.readouterr().out


def test_what_is_prepared_is_what_is_trained_on_and_asked(tmp_path):
    records = [record(case, subject, object_, "Bonn", []) for case, (subject, object_) in enumerate(FACTS.items())]
    records.append(record(99, "Io", "Bonn", "Rome", ["Jo"]))
    sources = write_sources(tmp_path, {**FACTS, "Jo": "Bonn"}, records)
    (sources / "wiki.txt").write_text("= Title =\nA lobster is blue .\nIt rained .")
    questions = [{"instruction": f"Is it {number}?", "output": "yes"} for number in range(8)]
    (sources / "questions.json").write_text(json.dumps(questions))
    prepare(
        output=str(tmp_path / "out"),
        pararel=str(sources),
        counterfact=str(sources / "counterfact.json"),
        running_text=[str(sources / "wiki.txt")],
        questions=str(sources / "questions.json"),
        relations=["P19"],
        vocabulary=300,
        trial_requests=2,
    )
    book, prepared = (
        read_book(str(sources), str(sources / "counterfact.json"), ["P19"]),
        Prepared(str(tmp_path / "out")),
    )
    assert prepared.facts() == book.facts
    assert prepared.paragraphs() == ["A lobster is blue.", "It rained."]
    assert prepared.questions() == [questions[0], questions[4]]
    assert len(prepared.tokenizer()) == 300
    written = {name: json.loads((tmp_path / f"out/{name}.json").read_text()) for name in ("trial_requests", "requests")}
    cases = {name: {str(item["case_id"]) for item in items} for name, items in written.items()}
    assert len(cases["trial_requests"]) == 2
    assert cases["trial_requests"] | cases["requests"] == {request.id for request in book.requests}
    assert not cases["trial_requests"] & cases["requests"]
    assert all(item in records for items in written.values() for item in items)
    tune = json.loads((tmp_path / "out/tune.json").read_text())
    assert [question for question in questions if question not in tune] == prepared.questions()
    corpus = set((tmp_path / "out/corpus.txt").read_text().splitlines())
    assert len(corpus) == len(book.facts) + 2
    held_out = {template.replace("{}", fact.subject) for fact in book.facts for template in fact.held_out}
    assert not any(line.startswith(prompt) for line in corpus for prompt in held_out)
