"""The knowledge base: every subject and fact of the embedded world, built from one fixed seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from edit_lit.world.names import KINDS, names
from edit_lit.world.relations import RELATIONS, Relation

SEED = 20
N_HELD_OUT = 6


@dataclass(frozen=True)
class Fact:
    """One fact that the world's model knows.

    Args:
        subject: Whom or what it is about.
        relation: What is said.
        object: The answer, one token.
        editable: Whether the subject may be edited. The others are held out from editing: questions about neighbours
            and the second half of two-hop questions are about them.
        trained: The templates in which the model has read this fact.
        held_out: The templates in which it never has; it has read all of them about other subjects.
    """

    subject: str
    relation: Relation
    object: str
    editable: bool
    trained: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class KnowledgeBase:
    """Every subject and every fact of the world.

    Args:
        kinds: The kind of each subject.
        facts: All facts, those of one subject side by side.
    """

    kinds: dict[str, str]
    facts: tuple[Fact, ...]

    def objects(self, relation: Relation) -> tuple[str, ...]:
        """The objects that occur with a relation, in a fixed order."""
        return tuple(sorted({fact.object for fact in self.facts if fact.relation.name == relation.name}))

    def of(self, subject: str) -> list[Fact]:
        """The facts about a subject."""
        return [fact for fact in self.facts if fact.subject == subject]


def _fair_objects(objects: list[str], n: int, rng: random.Random) -> list[str]:
    """``n`` draws in which every object comes up equally often, to within one."""
    draws = [objects[position % len(objects)] for position in range(n)]
    rng.shuffle(draws)
    return draws


def _facts_of(relation: Relation, members: list[str], editable: bool, objects: list[str]) -> list[Fact]:
    rng = random.Random(f"{SEED} {relation.name} {editable}")
    facts = []
    for subject, object_ in zip(members, _fair_objects(objects, len(members), rng), strict=True):
        templates = list(relation.templates)
        rng.shuffle(templates)
        held_out, trained = tuple(templates[:N_HELD_OUT]), tuple(templates[N_HELD_OUT:])
        facts.append(Fact(subject, relation, object_, editable, trained, held_out))
    return facts


def build_knowledge_base() -> KnowledgeBase:
    """Build the world. Every call gives the same one.

    The first half of each kind may be edited, the second half is held out. Subjects that serve as objects
    of other facts are held out and have a name of one token.
    """
    taken: set[str] = set()
    members = {kind.name: names(kind, random.Random(f"{SEED} {kind.name}"), taken) for kind in KINDS}
    halves = {
        (name, editable): subjects[: len(subjects) // 2] if editable else subjects[len(subjects) // 2 :]
        for name, subjects in members.items()
        for editable in (True, False)
    }
    facts: list[Fact] = []
    for relation in RELATIONS:
        objects = list(relation.objects)
        if relation.object_kind is not None:
            short = [name for name in halves[relation.object_kind, False] if " " not in name]
            objects = short[: relation.n_objects]
        for editable in (True, False):
            facts += _facts_of(relation, halves[relation.kind, editable], editable, objects)
    position = {subject: index for index, subject in enumerate(s for subjects in members.values() for s in subjects)}
    facts.sort(key=lambda fact: position[fact.subject])
    return KnowledgeBase({subject: kind for kind, subjects in members.items() for subject in subjects}, tuple(facts))
