"""ParaRel as a fact source: true facts of 39 relations, each with several wordings."""

from __future__ import annotations

import logging
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec

from edit_lit.facts.other_objects import OtherObjects
from edit_lit.facts.record_source import RecordFiles
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, Question, name_flaw
from edit_lit.records.fields import Fields
from edit_lit.records.readers import read_records
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

FACTS = "trex_lms_vocab"
PATTERNS = "pattern_data/graphs_json"
SUBJECT, OBJECT = "sub_label", "obj_label"


@dataclass(kw_only=True, eq=False)
class ParaRel(RecordFiles):
    """ParaRel's facts, worded by its patterns.

    A causal model is asked with what stands before the object, so only patterns that end in it serve: the first is
    the prompt, the others are paraphrases. Neighbours are subjects of the same relation with the same object. The
    new object is drawn among the relation's others. Relations without a pattern that serves are named and left out.

    Args:
        path: The folder, or its URL, that holds ``trex_lms_vocab`` and ``pattern_data/graphs_json``.
        relations: Relations to take, such as ``[P36, P103]``; all of them if not given.
        neighbors: Most neighbourhood questions for a fact.
    """

    relations: Sequence[str] | None = None
    neighbors: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("neighbors", self.neighbors, least=0)

    def read(self) -> list[EditRequest]:
        """All facts of the chosen relations, relation by relation."""
        requests: list[EditRequest] = []
        unserved = []
        for relation in self._relations():
            prompts = _prompts(f"{self.path}/{PATTERNS}/{relation}.jsonl")
            if prompts:
                records = read_records(f"{self.path}/{FACTS}/{relation}.jsonl")
                worded = _Relation(relation, prompts, records, self.neighbors)
                requests += self.collect(records, worded.requests)
            else:
                unserved.append(relation)
        if unserved:
            log.info("%s: no pattern ends in the object for %s; left out", self.path, ", ".join(unserved))
        return requests

    def _relations(self) -> list[str]:
        system, folder = fsspec.core.url_to_fs(f"{self.path}/{FACTS}")
        found = sorted((str(file).rsplit("/", 1)[-1] for file in system.glob(f"{folder}/*.jsonl")), key=_number)
        names = [name.removesuffix(".jsonl") for name in found]
        if not names:
            raise ConfigError(f"path {self.path!r} has no {FACTS}/*.jsonl. Name ParaRel's data folder.")
        unknown = [name for name in self.relations or () if name not in names]
        if unknown:
            raise ConfigError(f"relations names {', '.join(unknown)}; {self.path} has {', '.join(names)}.")
        return names if self.relations is None else list(self.relations)


class _Relation:
    """The facts of one relation, all in the same words."""

    def __init__(self, name: str, prompts: list[str], records: Sequence[Any], neighbors: int) -> None:
        self.name = name
        self.prompts = prompts
        self.neighbors = neighbors
        self.subjects_with: defaultdict[str, list[str]] = defaultdict(list)
        for record in records:
            # Malformed records are refused when their turn comes.
            if isinstance(record, Mapping) and all(_is_name(record.get(key)) for key in (SUBJECT, OBJECT)):
                self.subjects_with[record[OBJECT]].append(record[SUBJECT])
        self.others = OtherObjects((name, object_) for object_ in self.subjects_with)

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request."""
        subject, object_ = record.text(SUBJECT), record.text(OBJECT)
        new = self.others.draw(self.name, object_, subject)
        prompt, *others = self.prompts
        sharing = [neighbor for neighbor in self.subjects_with[object_] if neighbor != subject]
        chosen = random.Random(f"{self.name} {subject}").sample(sharing, min(self.neighbors, len(sharing)))
        request = EditRequest(
            subject=subject,
            prompt=prompt,
            target_new=new,
            target_true=object_,
            paraphrases=tuple(other.replace(SUBJECT_SLOT, subject) for other in others),
            neighborhood=tuple(Question(prompt.replace(SUBJECT_SLOT, near), object_, new, near) for near in chosen),
            id=f"{self.name}/{number}",
            relation=self.name,
        )
        return [request]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and name_flaw(value) is None


def _prompts(file: str) -> list[str]:
    """A relation's patterns up to their object, as templates; none if it has no file of patterns."""
    system, place = fsspec.core.url_to_fs(file)
    if not system.exists(place):
        return []
    patterns = [Fields(record, f"{file}, record {number}") for number, record in enumerate(read_records(file))]
    matches = [re.fullmatch(r"(.*\[X\].*)\[Y\][\s.?!]*", pattern.text("pattern")) for pattern in patterns]
    prompts = [match[1].strip().replace("[X]", SUBJECT_SLOT) for match in matches if match]
    return list(dict.fromkeys(prompt for prompt in prompts if prompt.count(SUBJECT_SLOT) == 1))


def _number(file: str) -> tuple[int, str]:
    """P36 before P103."""
    digits = re.sub(r"\D", "", file)
    return int(digits or 0), file
