"""The real facts that are taught, in which words, and which words are held out for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edit_lit.facts import CounterFact, ParaRel
from edit_lit.facts.record_source import template_of
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest


@dataclass(frozen=True)
class TaughtFact:
    """One fact and its wordings.

    Args:
        relation: Wikidata's number of the relation.
        subject: The subject's name.
        object: The object's name.
        taught: Templates that the model is trained on for this fact, with ``{}`` for the subject; never empty.
        held_out: Templates in which a request of CounterFact asks for this fact, none of which is trained on.
    """

    relation: str
    subject: str
    object: str
    taught: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class FactBook:
    """What a model can be taught of some relations, and the requests that can be made of it afterwards.

    Args:
        facts: The facts, each subject of a relation once.
        requests: CounterFact's requests about them.
    """

    facts: list[TaughtFact]
    requests: list[EditRequest]


def read_book(pararel: str, counterfact: str, relations: Sequence[str]) -> FactBook:
    """Read the facts of some relations.

    The facts are ParaRel's, the true ones of CounterFact's requests, and those of the neighbours in them. A subject
    with two objects in one relation is left out. Wordings are ParaRel's patterns that end in the object and the
    prompts of CounterFact's requests; a fact is taught in all of its relation's wordings but those in which its own
    request asks for it, and a fact that has none left is not taught. Where it is the neighbour of another request, it
    may be asked for in words that it was taught in.

    Requests are kept if the model can be taught what they and all their neighbours are about, if the new object is
    the true one of some taught fact, and if the subject's name does not hold the true object, which would be read off.

    Args:
        pararel: ParaRel's data folder.
        counterfact: CounterFact's file.
        relations: Wikidata's numbers of the relations.
    """
    facts: list[TaughtFact] = []
    kept: list[EditRequest] = []
    for relation in relations:
        stated = ParaRel(path=pararel, relations=[relation]).load()
        requests = CounterFact(path=counterfact, relations=[relation]).load()
        taught = _taught(relation, stated, requests)
        facts += taught
        objects = {fact.subject: fact.object for fact in taught}
        kept += [request for request in requests if _is_fair(request, objects)]
    return FactBook(facts, kept)


def _taught(relation: str, stated: Sequence[EditRequest], requests: Sequence[EditRequest]) -> list[TaughtFact]:
    objects: defaultdict[str, set[str]] = defaultdict(set)
    for request in (*stated, *requests):
        objects[request.subject].add(str(request.target_true))
        for near in request.neighborhood:
            if near.subject is not None:
                objects[near.subject].add(near.answer)
    templates = _templates(stated[0], requests)
    asked: defaultdict[str, list[str]] = defaultdict(list)
    for request in requests:
        asked[request.subject] += [prompt.casefold() for prompt in (request.question, *request.paraphrases)]
    facts = []
    for subject, answers in objects.items():
        held_out = [template for template in templates if _asks(asked[subject], template, subject)]
        taught = tuple(template for template in templates if template not in held_out)
        if len(answers) == 1 and taught:
            facts.append(TaughtFact(relation, subject, min(answers), taught, tuple(held_out)))
    return facts


def _templates(stated: EditRequest, requests: Sequence[EditRequest]) -> list[str]:
    worded = [stated.prompt, *(template_of(prompt, stated.subject) for prompt in stated.paraphrases)]
    return list(dict.fromkeys([*worded, *(request.prompt for request in requests)]))


def _asks(prompts: Sequence[str], template: str, subject: str) -> bool:
    """Whether some prompt, perhaps behind other text, is this template."""
    question = template.replace(SUBJECT_SLOT, subject).casefold()
    return any(prompt.endswith(question) for prompt in prompts)


def _is_fair(request: EditRequest, objects: dict[str, str]) -> bool:
    true = str(request.target_true)
    return (
        objects.get(request.subject) == true
        and request.target_new in set(objects.values())
        and true.casefold() not in request.subject.casefold()
        and all(near.subject is not None and objects.get(near.subject) == near.answer for near in request.neighborhood)
    )
