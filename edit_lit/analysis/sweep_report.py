"""The report of a sweep: from its folder to tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from edit_lit.analysis.arms_figure import arms_figures
from edit_lit.analysis.band_figure import band_figure
from edit_lit.analysis.causes import TITLE, causes_figures, causes_tables
from edit_lit.analysis.collect import collect
from edit_lit.analysis.cycles import with_cycles
from edit_lit.analysis.differences import differences
from edit_lit.analysis.effects import effects
from edit_lit.analysis.half_lives import with_half_lives
from edit_lit.analysis.hazards_table import hazards_table
from edit_lit.analysis.matching import Match, match_by_loss
from edit_lit.analysis.panels import pages
from edit_lit.analysis.paper_tables import first_study_table, groups_table, second_study_table
from edit_lit.analysis.quantities import COMPARED, MORE, SCORES, SURVIVAL
from edit_lit.analysis.report_files import write_figures, write_page, write_table
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels, Sweep
from edit_lit.analysis.tables import arms_table, differences_table, effects_table, left_out_table
from edit_lit.analysis.trade_off import TITLE as COSTS
from edit_lit.analysis.trade_off import trade_off_figures
from edit_lit.analysis.trials_file import write_trials
from edit_lit.measures.scores import Rule
from edit_lit.reports.table_files import Table

MOST_FIGURES = 24


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is reported.

    Args:
        rule: The success rule of tables and figures.
        against: The arm that the others are compared with; the first if not given.
        match: The axis along which arms are matched by their downstream loss before they are compared.
        lines: The axis whose labels are the lines of a panel; the first on which arms differ if not given.
        panels: The axis whose labels are panels; the next one if not given.
    """

    rule: Rule = Rule.EXACT
    against: str | None = None
    match: str | None = None
    lines: str | None = None
    panels: str | None = None

    def check(self, sweep: Sweep) -> None:
        """Refuse names that the sweep does not have, before its runs are read.

        Raises:
            ConfigError: Naming the option and what there is.
        """
        if self.against is not None:
            sweep.find_arm(self.against)
        for option, axis in (("--match", self.match), ("--lines", self.lines), ("--panels", self.panels)):
            if axis is not None:
                sweep.check_axis(option, axis)


@dataclass(frozen=True)
class SweepReport:
    """What a sweep's report says.

    Args:
        folder: Where its files are.
        notes: What a reader must know of the sweep before its numbers.
        tables: Its tables, the most important first.
    """

    folder: Path
    notes: Sequence[str]
    tables: Sequence[Table]


def report_sweep(folder: Path, options: SweepOptions | None = None, output: Path | None = None) -> SweepReport:
    """Collect a sweep's results, and write its tables and figures.

    Args:
        folder: The sweep's folder, which gets ``results.parquet``, ``facts.parquet`` and ``trials.csv``.
        options: How it is reported.
        output: Where tables and figures go; ``report/`` in the sweep's folder if not given.

    Raises:
        ConfigError: If the folder is no sweep's, no trial is finished, or an option names what is not there.
    """
    options = options or SweepOptions()
    sweep = with_cycles(Sweep.read(folder))
    options.check(sweep)
    results = collect(sweep, options.rule)
    write_trials(sweep, results)
    study = Study(sweep, results, options.rule)
    lost_first, why_not = hazards_table(study)
    tables = [table for table in (*_tables(study, options), lost_first) if table.rows]
    report = output if output is not None else folder / "report"
    notes = [*study.notes(), *filter(None, [why_not])]
    figures = [
        *write_figures(report, "arms", (("arms", figure) for figure in arms_figures(study))),
        *write_figures(report, "trade_off", ((COSTS, figure) for figure in trade_off_figures(study))),
        *write_figures(report, "curves", _curves(study, options, notes)),
        *write_figures(report, "causes", ((TITLE, figure) for figure in causes_figures(study))),
    ]
    for table in tables:
        write_table(report, table)
    write_page(report, sweep.name, notes, tables, figures)
    return SweepReport(report, notes, tables)


def _curves(study: Study, options: SweepOptions, notes: list[str]) -> Iterator[tuple[str, Figure]]:
    """Curves by title; none of cycles that end at different steps."""
    every = pages(study, options.lines, options.panels)
    if study.sweep.unit == "cycles" and study.horizon is None:
        notes.append("no curves are drawn: a mean over cycles that end at different steps would be of ever fewer")
        return
    if len(every) > MOST_FIGURES:
        notes.append(f"{MOST_FIGURES} of {len(every)} figures are drawn: choose other --lines and --panels for fewer")
    for page in every[:MOST_FIGURES]:
        yield page.title or "curves", band_figure(study, page)


def _tables(study: Study, options: SweepOptions) -> list[Table]:
    reference = study.reference(options.against)
    matches = match_by_loss(study, options.match, reference) if options.match is not None else []
    found = [
        effect
        for axis in study.sweep.varied
        for quantity in study.present(COMPARED)
        for effect in effects(study, axis, quantity)
    ]
    return [
        arms_table(study, "arms", "Which edits survived?", SURVIVAL),
        _comparison(study, reference, matches),
        effects_table(found),
        arms_table(study, "scores", "Scores after the edit and at the end", SCORES),
        with_half_lives(study, arms_table(study, "more", "Other readings of survival", MORE)),
        *causes_tables(study),
        first_study_table(study),
        second_study_table(study),
        groups_table(study),
        left_out_table(study),
    ]


def _comparison(study: Study, reference: Labels, matches: Sequence[Match]) -> Table:
    chosen = [match.arm for match in matches] if matches else study.arms
    others = [arm for arm in chosen if arm != reference]
    flaws = {match.arm: match.flaw for match in matches}
    found = differences(study, reference, others, study.present(COMPARED), flaws)
    return differences_table(study, found, study.arm_title(reference), matches)
