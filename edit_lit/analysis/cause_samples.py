"""What a run says of why its edits were lost, as numbers that are averaged over runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edit_lit.analysis.quantities import CAUSE, LOST, NATS_LOST, PUT_BACK
from edit_lit.analysis.samples import Sample
from edit_lit.attribution.file import read_attribution
from edit_lit.attribution.result import Attribution
from edit_lit.measures.scores import Rule
from edit_lit.reports.run import Run


def cause_samples(run: Run, rule: Rule) -> Mapping[str, Sample]:
    """The causes of a run's lost edits by the names of their quantities; nothing where they were not looked for.

    Causes by another rule, or at another step than the last, are of other losses and are left out.

    Args:
        run: The run.
        rule: The success rule by which edits are lost.

    Raises:
        ConfigError: If the file of causes is damaged.
    """
    found = read_attribution(run.folder)
    if found is None or found.rule is not rule or found.step != run.last_step:
        return {}
    return _samples(found)


def _samples(found: Attribution) -> dict[str, Sample]:
    samples = {LOST.name: Sample.of_run(len(found.edits))}
    facts = tuple(edit.fact for edit in found.edits)
    for verdict, quantity in CAUSE.items():
        samples[quantity.name] = _of_facts([edit.verdict is verdict for edit in found.edits], facts)
    # As in a run's own table: nats are those of the margin, of the edits that have an old object.
    known = [edit for edit in found.edits if not math.isnan(edit.margin_tuned)]
    named = tuple(edit.fact for edit in known)
    for group, quantity in NATS_LOST.items():
        samples[quantity.name] = _of_facts([-edit.groups[group].margin for edit in known], named)
    for group, quantity in PUT_BACK.items():
        samples[quantity.name] = _of_facts([edit.groups[group].put_back_saves for edit in found.edits], facts)
    return {name: sample for name, sample in samples.items() if len(sample.values)}


def _of_facts(values: list[float] | list[bool], facts: tuple[str, ...]) -> Sample:
    return Sample(np.array(values, dtype=np.float64), facts)
