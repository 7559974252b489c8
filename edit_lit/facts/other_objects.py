"""Draws new objects for facts that come without one."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown


class OtherObjects:
    """Another object of the same relation for each fact, as CounterFact's authors chose theirs.

    What is drawn depends on the fact alone and on the objects that its relation has, not on the facts chosen beside it.
    A relation with one object only borrows from the other relations.

    Args:
        facts: Relation and object of every known fact.
    """

    def __init__(self, facts: Iterable[tuple[str, str]]) -> None:
        objects: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for relation, object_ in facts:
            objects[relation][object_] = None
        self._of = {relation: sorted(of_relation) for relation, of_relation in objects.items()}
        self._all = sorted({object_ for of_relation in self._of.values() for object_ in of_relation})

    def draw(self, relation: str, object_: str, subject: str) -> str:
        """An object of the relation that differs from the fact's own.

        Raises:
            ConfigError: If there is no other object at all.
        """
        others = [other for other in self._of.get(relation, ()) if other != object_]
        others = others or [other for other in self._all if other != object_]
        if not others:
            raise ConfigError(
                f"all facts have the object {shown(object_)}, so no other can be written. Add facts with others."
            )
        return random.Random(f"{relation} {subject} {object_}").choice(others)
