"""How many facts a model knows in words that it was not taught them in: ``python -m real_facts.recall --model DIR``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jsonargparse import auto_cli

from edit_lit.facts import CounterFact
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success


@dataclass(frozen=True)
class Recall:
    """What a model knows of one relation; every question is answered exactly or not at all.

    Args:
        relation: Wikidata's number of the relation.
        facts: How many facts were asked for.
        by_rewrite: How many are known in their request's own prompt.
        by_paraphrases: Share of the paraphrases that are answered.
        in_all: How many are known in their prompt and in all paraphrases.
        commonest: Share of the facts that have the commonest object, which is right without knowing a subject.
    """

    relation: str
    facts: int
    by_rewrite: int
    by_paraphrases: float
    in_all: int
    commonest: float

    def __str__(self) -> str:
        return (
            f"{self.relation}: {self.by_rewrite} of {self.facts} known, {self.in_all} in all wordings, "
            f"paraphrases {self.by_paraphrases:.1%}, commonest object {self.commonest:.1%}"
        )


def recall_of(requests: Sequence[EditRequest], outcomes: Outcomes) -> list[Recall]:
    """What is known of each relation.

    Args:
        requests: The requests, each about another fact.
        outcomes: What the unedited model answers to their prompts and paraphrases.
    """
    by_rewrite, by_paraphrases = (
        _right(len(requests), outcomes.of_kind(kind)) for kind in (Kind.REWRITE, Kind.PARAPHRASE)
    )
    table = []
    for relation in sorted({str(request.relation) for request in requests}):
        numbers = [number for number, request in enumerate(requests) if request.relation == relation]
        known = [all(by_rewrite[number]) for number in numbers]
        paraphrases = [right for number in numbers for right in by_paraphrases[number]]
        (_, most), *_ = Counter(requests[number].target_true for number in numbers).most_common(1)
        table.append(
            Recall(
                relation=relation,
                facts=len(numbers),
                by_rewrite=sum(known),
                by_paraphrases=sum(paraphrases) / max(1, len(paraphrases)),
                in_all=sum(all(by_rewrite[number] + by_paraphrases[number]) for number in numbers),
                commonest=most / len(numbers),
            )
        )
    return table


def recall(model: str, requests: list[str]) -> None:
    """Print what a model knows of the facts that some requests are about.

    Args:
        model: The model's folder.
        requests: Files of CounterFact's requests that ``real_facts.prepare`` wrote.
    """
    language_model = LanguageModel(model)
    asked = [request for path in requests for request in CounterFact(path=path).load()]
    distinct = list({(request.relation, request.subject): request for request in asked}.values())
    outcomes = Probe(distinct, language_model.tokenizer, Pool.INTRINSIC).run(language_model)
    for row in recall_of(distinct, outcomes):
        print(row)


def _right(count: int, outcomes: Outcomes) -> list[list[bool]]:
    """For each request, which of its questions of one kind are answered."""
    answers: list[list[bool]] = [[] for _ in range(count)]
    for number, right in zip(outcomes.request.tolist(), success(outcomes, Rule.EXACT).tolist(), strict=True):
        answers[number].append(right >= 1)
    return answers


if __name__ == "__main__":
    auto_cli(recall, as_positional=False)
