"""What became of demands, as a table and as files for pipelines: JSON, JUnit XML and records."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.measures.outcome_files import FOLDER, write_probe
from edit_lit.reports.table import Row
from edit_lit.utilities.escaping import visible
from edit_lit.utilities.files import write_atomically
from edit_lit.verification.demand import Group
from edit_lit.verification.judging import Judged, Standing
from edit_lit.verification.verification import Verdict

JSON, JUNIT = "verification.json", "junit.xml"
HEADER: Row = ("demand", "share [95 %]", "facts", "verdict", "note")
_MOST_NAMED = 20


def rows(verdict: Verdict) -> list[Row]:
    """A row for each demand, in the columns of ``HEADER``."""
    return [
        (_title(item), _share(item), str(item.facts) if item.facts else "", str(item.standing), item.note)
        for item in verdict.judged
    ]


def summary(verdict: Verdict) -> str:
    """The verdict in one line."""
    counts = Counter(item.standing for item in verdict.judged)
    parts = [f"{counts[Standing.HOLDS]} of {len(verdict.judged)} demands hold"]
    parts += [f"{counts[Standing.SHORT]} fall short"] if counts[Standing.SHORT] else []
    parts += [f"{counts[Standing.NOT_JUDGED]} could not be judged"] if counts[Standing.NOT_JUDGED] else []
    return ", ".join(parts)


def write_files(folder: Path, verdict: Verdict, about: Mapping[str, object]) -> None:
    """Write ``verification.json``, ``junit.xml`` and the answers, which a later verification can take as its baseline.

    Args:
        folder: Where they go.
        verdict: The verdict.
        about: What was verified, for the JSON file.
    """
    content = {
        "verdict": str(verdict.standing),
        **about,
        "demands": [_record(verdict, item) for item in verdict.judged],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(folder / JSON, partial(Path.write_text, data=text + "\n", encoding="utf-8"))
    tree = ElementTree.ElementTree(_junit(verdict))
    ElementTree.indent(tree)
    write_atomically(folder / JUNIT, lambda path: tree.write(path, encoding="utf-8", xml_declaration=True))
    outcomes = {pool: answered.outcomes for pool, answered in verdict.answered.items()}
    requests = {pool: answered.requests for pool, answered in verdict.answered.items()}
    write_probe(folder / FOLDER, 0, outcomes, requests)


def _title(item: Judged) -> str:
    return f"{item.group} {item.measure} {item.bound}"


def _share(item: Judged) -> str:
    if math.isnan(item.share):
        return ""
    return f"{item.share:.1%} [{item.low:.1%}, {item.high:.1%}]"


def _record(verdict: Verdict, item: Judged) -> dict[str, object]:
    known = not math.isnan(item.share)
    return {
        "group": str(item.group),
        "measure": item.measure,
        "demand": str(item.bound),
        "verdict": str(item.standing),
        "share": item.share if known else None,
        "low": item.low if known else None,
        "high": item.high if known else None,
        "facts": item.facts,
        "note": item.note,
        "failing": [_fact(request, item.group) for request in verdict.failing(item)],
    }


def _fact(request: EditRequest, group: Group) -> dict[str, object]:
    answer = request.target_true if group is Group.INTRINSIC else request.target_new
    return {
        "fact": fact_hash(request),
        "id": request.id,
        "subject": request.subject,
        "question": request.question,
        "answer": answer,
    }


def _junit(verdict: Verdict) -> ElementTree.Element:
    """A test suite with a case for each demand: passed, failed, or an error where it could not be judged."""
    standings = [item.standing for item in verdict.judged]
    counts = {
        "tests": len(standings),
        "failures": standings.count(Standing.SHORT),
        "errors": standings.count(Standing.NOT_JUDGED),
    }
    named = {name: str(count) for name, count in counts.items()}
    suite = ElementTree.Element("testsuite", {"name": "edit_lit verify", **named})
    for item in verdict.judged:
        case = ElementTree.SubElement(suite, "testcase", classname=f"verify.{item.group}", name=_title(item))
        if item.standing is Standing.NOT_JUDGED:
            ElementTree.SubElement(case, "error", message=visible(item.note))
        elif item.standing is Standing.SHORT:
            message = f"{_share(item)} of {item.facts} facts, demanded {item.bound}"
            failure = ElementTree.SubElement(case, "failure", message=message)
            failing = verdict.failing(item)
            lines = [visible(request.name) for request in failing[:_MOST_NAMED]]
            more = [f"and {len(failing) - _MOST_NAMED} more"] if len(failing) > _MOST_NAMED else []
            failure.text = "\n".join([*lines, *more])
    return suite
