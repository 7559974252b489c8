"""The embedded world as a source of edit requests."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from edit_lit.facts.request import EditRequest, Question
from edit_lit.facts.source import FactSource
from edit_lit.world.knowledge_base import SEED, Fact, KnowledgeBase, build_knowledge_base
from edit_lit.world.sentences import FILLERS, N_REMARKS

N_PARAPHRASES = 3
N_NEIGHBORS = 5


class World(FactSource):
    """Facts of the embedded world, each to be replaced by another object of its relation.

    Half of the world's subjects can be edited. The others are held out: they answer the questions about
    neighbours and the second half of two-hop questions, so that no choice of edits ever makes such a
    question change its answer. A fact's own wording, new object and questions are fixed; options choose
    facts, never what is asked about them.

    The source has rounds: the first holds one fact of every editable subject, the next a second one of
    each, and so on. A shuffle keeps the rounds, so that the first facts, up to the number of editable
    subjects, are always about different subjects.
    """

    def read(self) -> list[EditRequest]:
        """Every request of the world, round by round."""
        knowledge_base = build_knowledge_base()
        held_out = _by_answer(knowledge_base)
        requests = [_request(fact, knowledge_base, held_out) for fact in knowledge_base.facts if fact.editable]
        return _in_rounds(requests, random.Random(f"{SEED} requests"))

    def _order(self, requests: list[EditRequest]) -> list[EditRequest]:
        if self.seed_in_force is None:
            return super()._order(requests)
        return _in_rounds(requests, random.Random(self.seed_in_force))


def _in_rounds(requests: Sequence[EditRequest], rng: random.Random) -> list[EditRequest]:
    """Shuffle requests so that no subject comes up a second time before all others have come up once."""
    by_subject: defaultdict[str, list[EditRequest]] = defaultdict(list)
    for request in rng.sample(requests, len(requests)):
        by_subject[request.subject].append(request)
    longest = max(len(facts) for facts in by_subject.values())
    return [facts[turn] for turn in range(longest) for facts in by_subject.values() if turn < len(facts)]


def _by_answer(knowledge_base: KnowledgeBase) -> dict[tuple[str, str], list[Fact]]:
    """The facts about held-out subjects, by relation and object."""
    grouped: defaultdict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in knowledge_base.facts:
        if not fact.editable:
            grouped[fact.relation.name, fact.object].append(fact)
    return dict(grouped)


def _request(fact: Fact, knowledge_base: KnowledgeBase, held_out: dict[tuple[str, str], list[Fact]]) -> EditRequest:
    rng = random.Random(f"{SEED} {fact.subject} {fact.relation.name}")
    target_new = rng.choice([object_ for object_ in knowledge_base.objects(fact.relation) if object_ != fact.object])
    prompt = rng.choice(fact.trained)
    unseen = rng.sample(fact.held_out, N_PARAPHRASES)
    remarks = [f"{rng.choice(FILLERS[:N_REMARKS])} ", *([""] * (N_PARAPHRASES - 1))]
    sharing = held_out[fact.relation.name, fact.object]
    neighbors = rng.sample(sharing, min(N_NEIGHBORS, len(sharing)))
    return EditRequest(
        subject=fact.subject,
        prompt=prompt,
        target_new=target_new,
        target_true=fact.object,
        paraphrases=tuple(
            remark + template.replace("{}", fact.subject) for remark, template in zip(remarks, unseen, strict=True)
        ),
        neighborhood=tuple(
            Question(
                rng.choice(neighbor.trained).replace("{}", neighbor.subject), fact.object, target_new, neighbor.subject
            )
            for neighbor in neighbors
        ),
        portability=_two_hops(fact, target_new, knowledge_base),
        id=f"{fact.subject}: {fact.relation.name}",
        relation=fact.relation.name,
    )


def _two_hops(fact: Fact, target_new: str, knowledge_base: KnowledgeBase) -> tuple[Question, ...]:
    """Questions about the new object, asked by way of the subject; only objects that are subjects have any.

    The model was never trained on two hops, so that it may fail them even where the edit took.
    """
    if fact.relation.object_kind is None:
        return ()
    before = {second.relation.name: second.object for second in knowledge_base.of(fact.object)}
    return tuple(
        Question(
            f"The {second.relation.nouns[0]} of the {fact.relation.nouns[0]} of {fact.subject} is",
            second.object,
            before[second.relation.name],
        )
        for second in knowledge_base.of(target_new)
        if before[second.relation.name] != second.object
    )
