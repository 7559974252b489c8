"""What sweeps say of the studies' claims, a line each: the difference, its interval, and whether the claim holds there.

Run in ``configs/``: ``python -m papers.claims --cheng FOLDER --wen FOLDER --layers FOLDER``, the folders of the sweeps
``papers/cheng2025_small.yaml``, ``papers/wen2025_small.yaml`` and ``sweeps/real_facts_layers.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse import CLI

from edit_lit.analysis.bootstrap import LEAST_RUNS, Estimate, estimate
from edit_lit.analysis.collect import collect
from edit_lit.analysis.cycles import with_cycles
from edit_lit.analysis.differences import LEVEL
from edit_lit.analysis.quantities import GAP, INTRINSIC, LOSS, RETENTION, Quantity
from edit_lit.analysis.samples import paired
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels, Sweep
from edit_lit.measures.permutation import sign_flip_p
from edit_lit.measures.scores import Rule
from edit_lit.reports.table import markdown_table

EACH = "editor=memit/alphaedit, layers=all"
SPARED = "editor=alphaedit, tuning=lora, data.edits.limit=100"
CONTROL = "editor=none, tuning=lora, data.edits.limit=100"
SINGLE = "paraphrases=0, editor="


@dataclass(frozen=True)
class Claim:
    """A difference that a study says something of.

    Args:
        says: What the study says, or what it comes to.
        sweep: Which sweep asks: ``cheng``, ``wen`` or ``layers``.
        sign: 1 if the difference should be above 0, -1 if below.
        compared: An axis and two of its labels, as ``axis: label - other``; nothing where the quantity itself should be
            above or below 0.
        where: Labels that runs must have on other axes, as ``axis=label, axis=label/label``.
        quantity: What is compared.
        beyond: Labels of control runs in which the same labels are compared, and whose difference is subtracted.
    """

    says: str
    sweep: str
    sign: int
    compared: str
    where: str
    quantity: Quantity = RETENTION
    beyond: str = ""

    @property
    def axis(self) -> str:
        """The axis on which two labels are compared; nothing if none are."""
        return self.compared.partition(": ")[0]

    @property
    def labels(self) -> tuple[str, str]:
        """The label that is looked at, and the one that is subtracted."""
        label, _, other = self.compared.partition(": ")[2].partition(" - ")
        return label, other

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Whether it is about runs of these labels."""
        wanted = dict(item.split("=") for item in self.where.split(", ") if item)
        if self.axis:
            wanted[self.axis] = self.labels[0]
        return all(labels[axis] in among.split("/") for axis, among in wanted.items())


CLAIMS = (
    Claim("edits fare worse than facts never edited", "cheng", -1, "", EACH, GAP),
    Claim("AlphaEdit decays more than MEMIT", "cheng", -1, "editor: alphaedit - memit", "layers=all"),
    Claim("full tuning erases more than LoRA", "cheng", -1, "tuning: full - lora", EACH),
    Claim("DoRA erases slightly more than LoRA", "cheng", -1, "tuning: dora - lora", EACH),
    Claim("more edits, more decay", "cheng", -1, "data.edits.limit: 100 - 20", EACH),
    Claim("tuning edited layers erases more than all", "cheng", -1, "layers: edited - all", SPARED),
    Claim("the same, their attention alone", "cheng", -1, "layers: edited_attention - all", SPARED),
    Claim("tuning other layers erases more than all", "cheng", -1, "layers: unedited - all", SPARED),
    Claim("the same, their attention alone", "cheng", -1, "layers: unedited_attention - all", SPARED),
    Claim("tuning edited layers erases more than others", "cheng", -1, "layers: edited - unedited", SPARED),
    Claim("of facts never edited, tuning edited layers keeps less", "cheng", -1, "layers: edited - all", CONTROL),
    Claim("of facts never edited, tuning other layers keeps more", "cheng", 1, "layers: unedited - all", CONTROL),
    Claim(
        "what tuning other layers keeps of edits alone", "cheng", 1, "layers: unedited - all", SPARED, beyond=CONTROL
    ),
    Claim("tuning other layers learns less than all", "cheng", 1, "layers: unedited - all", SPARED, LOSS),
    Claim("tuning edited layers learns less than others", "cheng", 1, "layers: edited - unedited", SPARED, LOSS),
    Claim("MEMIT mildly hurts later tuning", "cheng", 1, "editor: memit - none", "layers=all", LOSS),
    Claim("AlphaEdit hurts it more than MEMIT", "cheng", 1, "editor: alphaedit - memit", "layers=all", LOSS),
    *(
        Claim(f"{editor}: edits fare worse than intrinsic facts", "wen", -1, "", f"layers=all, {SINGLE}{editor}", GAP)
        for editor in ("rome", "ft", "memit", "alphaedit")
    ),
    *(
        Claim(f"of facts never edited, {what} keeps more", "wen", 1, f"layers: {layers} - all", SINGLE + "none")
        for layers, what in (("unedited", "freezing the edited layers"), ("after_edited", "freezing all up to them"))
    ),
    Claim("ROME's edits fare worse than FT's", "wen", -1, "editor: rome - ft", "layers=all, paraphrases=0"),
    *(
        Claim(f"{editor}: {what} keeps edits", "wen", 1, f"layers: {layers} - all", SINGLE + editor)
        for editor in ("rome", "memit", "ft")
        for layers, what in (
            ("unedited", "freezing the edited layers"),
            ("after_edited", "freezing all up to the edited layers"),
            ("before_edited", "freezing all from the edited layers on"),
            ("edited", "tuning the edited layers alone"),
            ("through_edited", "freezing all above the edited layers"),
        )
    ),
    *(
        Claim(f"{editor}: two paraphrases keep edits", "wen", 1, "paraphrases: 2 - 0", f"layers=all, editor={editor}")
        for editor in ("memit", "alphaedit")
    ),
    *(
        Claim(f"freezing the edited layers keeps {what}", "layers", 1, "layers: unedited - all", "", quantity)
        for quantity, what in (
            (RETENTION, "edits"),
            (INTRINSIC, "intrinsic facts of the same runs"),
            (GAP, "edits, beyond intrinsic facts"),
        )
    ),
    Claim("freezing the edited layers learns less", "layers", 1, "layers: unedited - all", "", LOSS),
)


def claims(
    cheng: Path | None = None,
    wen: Path | None = None,
    layers: Path | None = None,
    rule: Literal["exact", "prob", "first"] = "exact",
) -> None:
    """Print a line for each claim that the given sweeps ask.

    Args:
        cheng: Folder of the sweep cheng2025_small.
        wen: Folder of the sweep wen2025_small.
        layers: Folder of the sweep real_facts_layers.
        rule: The success rule.
    """
    studies = {}
    for name, folder in (("cheng", cheng), ("wen", wen), ("layers", layers)):
        if folder is not None:
            sweep = with_cycles(Sweep.read(folder))
            studies[name] = Study(sweep, collect(sweep, Rule(rule)), Rule(rule))
    rows = [row for claim in CLAIMS if claim.sweep in studies for row in _row(claim, studies[claim.sweep])]
    print(markdown_table(("claim", "compared", "difference [95 %]", "runs", "p", "here"), rows))


def _row(claim: Claim, study: Study) -> Iterator[tuple[str, ...]]:
    """The line of a claim; none if the sweep has no such runs."""
    found, show = look(claim, study), claim.quantity.difference
    if not found.runs:
        return
    beyond = f"beyond {claim.beyond}" if claim.beyond else ""
    compared = "; ".join(filter(None, (claim.quantity.title, claim.compared, claim.where, beyond)))
    if found.has_interval:
        text, p = f"{show(found.mean)} [{show(found.low)}, {show(found.high)}]", f"{sign_flip_p(found.values):.3f}"
    else:
        text, p = ", ".join(map(show, found.values)), ""
    yield claim.says, compared, text, str(found.runs), p, verdict(claim, found)


def verdict(claim: Claim, found: Estimate) -> str:
    """Whether a claim holds in a sweep: by the interval over runs and, where more than five can tell, by the test."""
    if not found.has_interval:
        return "too few runs"
    if not found.leaves_out_zero:
        return "not decided"
    if found.runs > LEAST_RUNS and sign_flip_p(found.values) > LEVEL:
        return "interval only"
    return "holds" if np.sign(found.mean) == claim.sign else "the opposite"


def look(claim: Claim, study: Study) -> Estimate:
    """The mean over replicates of a claim's difference; each is the mean over the arms that have both labels in it."""
    found = _by_replicate(claim, study)
    if claim.beyond:
        control = _by_replicate(replace(claim, where=claim.beyond), study)
        found = {replicate: found[replicate] - control[replicate] for replicate in found if replicate in control}
    return estimate([np.array([value]) for value in found.values()])


def _by_replicate(claim: Claim, study: Study) -> dict[Labels, float]:
    values: dict[Labels, list[float]] = {}
    for replicate, value in _differences(claim, study):
        values.setdefault(replicate, []).append(value)
    return {replicate: math.fsum(of_replicate) / len(of_replicate) for replicate, of_replicate in values.items()}


def _differences(claim: Claim, study: Study) -> Iterator[tuple[Labels, float]]:
    for arm in study.arms:
        if not claim.covers(dict(arm)):
            continue
        partner = tuple((axis, claim.labels[1] if axis == claim.axis else label) for axis, label in arm)
        others = study.samples(partner, claim.quantity) if claim.axis and partner in study.cells else {}
        for replicate, sample in study.samples(arm, claim.quantity).items():
            if not claim.axis:
                yield replicate, sample.mean
            elif replicate in others and len(values := paired(others[replicate], sample)):
                yield replicate, float(values.mean())


if __name__ == "__main__":
    CLI(claims)
