"""The page of one run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from edit_lit.measures.scores import Rule
from edit_lit.pages.answer import answer
from edit_lit.pages.html import bullets, code, image, page, paragraph, section, table
from edit_lit.pages.model_sections import drift_section, recoverability_section
from edit_lit.pages.run_sections import cause_sentence, causes_section, fates_sections
from edit_lit.reports.figure import decay_figure
from edit_lit.reports.figure_files import vector
from edit_lit.reports.notes import run_notes
from edit_lit.reports.run import Run
from edit_lit.reports.table import run_header, run_table
from edit_lit.utilities.files import write_atomically

PAGE = "report.html"


def write_run_page(run: Run, rule: Rule = Rule.EXACT) -> Path:
    """Write ``report/report.html`` into a run's folder.

    Args:
        run: The run.
        rule: The success rule of sentences and figures.

    Returns:
        The page's path.
    """
    path = run.folder / "report" / PAGE
    content = run_page(run, rule)
    write_atomically(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))
    return path


def run_page(run: Run, rule: Rule = Rule.EXACT) -> str:
    """The page of a run: its answer first, then curves, tables, and what was run."""
    return page(
        run.name,
        *(paragraph(line, "answer") for line in (*answer(run, rule), _cause(run, rule)) if line),
        bullets(run_notes(run)),
        section(
            "Over the steps",
            image(vector(decay_figure(run, rule)), f"Success by the rule {rule} above, the downstream task below."),
        ),
        section("Scores", table(run_header(run), run_table(run, rule))),
        causes_section(run),
        recoverability_section(run),
        fates_sections(run, rule),
        drift_section(run),
        section("What ran", _what_ran(run)),
    )


def _cause(run: Run, rule: Rule) -> str:
    counts = list(run.transitions(run.main_pool, rule).values())
    return cause_sentence(run, counts[-1].erased if counts else 0)


def _what_ran(run: Run) -> Markup:
    """Versions, seeds and hashes of the run, and the command that repeats it."""
    segment = run.segment
    if segment is None:
        return paragraph("The run has no record of itself (run.json), so this is not known.", "note")
    facts = {
        "started": segment.started,
        **{f"version of {name}": version for name, version in segment.versions.items()},
        "commit": _commit(dict(segment.commit or {})),
        **{f"seed: {name}": "none" if seed is None else str(seed) for name, seed in segment.seeds.items()},
        **{f"hash: {name}": str(value) for name, value in segment.hashes.items()},
        "precision": segment.precision,
    }
    rows = [(name, value) for name, value in facts.items() if value]
    return Markup("").join((code(_command(segment.command)), table(("what", "value"), rows)))


def _command(words: Sequence[str]) -> str:
    """The command line as it is given by hand, whichever file Python was told to run."""
    if words and Path(words[0]).name in ("__main__.py", "edit_lit"):
        return f"python -m edit_lit {shlex.join(words[1:])}"
    return shlex.join(words)


def _commit(commit: dict[str, object]) -> str:
    dirty = " with changes that are in no commit" if commit.get("dirty") else ""
    return f"{commit['hash']}{dirty}" if commit.get("hash") else ""
