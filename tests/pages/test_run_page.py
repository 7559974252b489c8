"""The page of a run: what it says, and that nothing in a name can become markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from lost_edits import attribution
from run_samples import ended, outcomes, write

from edit_lit.attribution.file import write_attribution
from edit_lit.drift.rows import FOLDER as DRIFT
from edit_lit.drift.rows import DriftRow, write_rows
from edit_lit.measures.scores import Rule
from edit_lit.pages import html
from edit_lit.pages.answer import answer
from edit_lit.pages.run_page import write_run_page
from edit_lit.recoverability.file import write_recoverability
from edit_lit.recoverability.result import Evidence, Finding, Recoverability
from edit_lit.recoverability.result import LostEdit as HiddenEdit
from edit_lit.reports.drift_figure import drift_figure
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State

EVIL = "<script>document.title='owned'</script>"
VOID = {"meta", "link", "img", "input", "br"}


class Balanced(HTMLParser):
    """Notes every tag that is not closed where it should be, and every address that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.flaws: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href") and value]

    def handle_startendtag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href") and value]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.flaws.append(tag)


@pytest.fixture
def run(tmp_path):
    """Five edits: one did not take, one is lost for the old object, one for another, two are kept."""
    command = ["/somewhere/edit_lit/__main__.py", "fit", "--config", "mine.yaml"]
    segment = replace(ended(State.FINISHED, 20, 20), command=command)
    steps = {-1: [0, 0, 0, 0, 0], 0: [1, 1, 1, 1, 0], 20: outcomes([1, 1, 0, 0, 0], reverted=[2])}
    folder = tmp_path / "runs" / "mine" / "version_0"
    return Run.read(write(folder, steps, downstream=[(0, 0.25), (20, 0.75)], segment=segment))


def test_the_answer_is_in_its_numbers(run):
    first, *others = answer(run)
    assert first == (
        "The edit made 4 of 5 facts right. After 20 steps of fine-tuning 2 of them still are (exact): 50.0% [15.0%, "
        "85.0%]. Of the lost ones 1 went back to the old object and 1 became something else."
    )
    assert others == ["Downstream accuracy went from 25.0% (step 0) to 75.0% (step 20)."]


def test_another_rule_has_its_own_answer(run):
    assert "(first): 50.0%" in answer(run, Rule.FIRST)[0]
    assert "went back" in answer(run, Rule.FIRST)[0]
    assert "went back" not in answer(run, Rule.PROB)[0], "the rule knows no third answer"


def test_the_page_is_one_file_and_well_formed(run):
    path = write_run_page(run)
    content = path.read_text()
    parser = Balanced()
    parser.feed(content)
    assert parser.flaws == []
    assert parser.open == []
    assert parser.fetched
    assert all(address.startswith("data:") for address in parser.fetched)
    assert answer(run)[0] in content
    assert "python -m edit_lit fit --config mine.yaml" in content
    assert "seed: data.edits.seed" in content
    assert [path.name for path in path.parent.iterdir()] == ["report.html"]


def test_the_same_run_gives_the_same_page(run):
    first = write_run_page(run).read_bytes()
    assert write_run_page(Run.read(run.folder)).read_bytes() == first


def test_names_are_text_and_no_markup():
    cell = html.Cell(EVIL, f'"{EVIL}')
    content = html.page(
        EVIL,
        html.paragraph(EVIL),
        html.bullets([EVIL]),
        html.code(EVIL),
        html.section(EVIL, html.table([EVIL], [[EVIL], [cell]], EVIL)),
        html.strip(["alive"], EVIL),
        html.image(b"<svg/>", f'" onload="{EVIL}'),
    )
    assert content.count("<script>") == 1, "the page's own"
    assert "onload=&#34;" in content
    assert html.paragraph("a\x1b[2J") == '<p class="">a\\x1b[2J</p>\n'


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed here")
    return found


def shown(page: Path, tmp_path: Path) -> str:
    """The document as it is when the page's own script has run."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
    try:
        done = subprocess.run([browser(), *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium does not come up here")
    return done.stdout


def test_a_browser_sorts_and_searches_its_tables(tmp_path):
    rows = [["ten", "10.5 [9, 11]"], ["nine", html.Cell("about nine", 9)], [EVIL, "100 %"]]
    rows += [[f"row {number}", f"{number} %"] for number in range(5)]
    content = html.page("t", html.table(["name", "share"], rows, sortable=True))
    # What a reader does by hand: sort by the second column, twice, and look for a word.
    hand = (
        "const heads = document.querySelectorAll('th button'); heads[1].click(); heads[1].click();"
        "const field = document.querySelector('input'); field.value = 'nine'; field.dispatchEvent(new Event('input'));"
    )
    page = tmp_path / "page.html"
    page.write_text(content.replace("</body>", f"<script>{hand}</script></body>"))
    dom = shown(page, tmp_path)
    places = [dom.index(cell) for cell in (">100 %<", ">10.5 [9, 11]<", ">about nine<")]
    assert places == sorted(places)
    assert 'aria-sort="descending"' in dom
    assert len(re.findall("<tr hidden", dom)) == 7
    assert "1 of 8" in dom
    assert "<title>t</title>" in dom


def test_the_page_shows_what_became_of_every_fact(run):
    content = write_run_page(run).read_text()
    assert "What became of the facts" in content
    assert content.count('<svg class="strip"') == 4, "one for each fact that counts"
    assert "step 0: alive, step 20: reverted" in content
    assert "never taken" in content


def test_without_causes_the_page_says_how_to_find_them(run):
    assert f"python -m edit_lit explain {run.folder}" in write_run_page(run).read_text()


def test_causes_stand_on_the_page_if_they_are_of_this_step(run):
    write_attribution(run.folder, attribution(run.last_step))
    content = write_run_page(run).read_text()
    assert "The 2 lost edits by their cause: 1 overwritten, 1 mixed." in content
    assert "Why edits were lost" in content
    assert "city 2 lies in the" in content
    write_attribution(run.folder, attribution(10))
    assert f"python -m edit_lit explain {run.folder}" in write_run_page(run).read_text()


def test_a_damaged_file_of_causes_costs_a_line_and_not_the_page(run):
    (run.folder / "attribution.parquet").write_bytes(b"damaged")
    content = write_run_page(run).read_text()
    assert "is no whole file of causes" in content
    assert "Every fact" in content


def test_drift_and_what_is_hidden_stand_on_the_page_if_they_were_measured(run):
    content = write_run_page(run).read_text()
    assert "drifted" not in content
    assert "gone or hidden" not in content
    rows = [
        DriftRow(step, part, measure, 1, 0.1 * step, "edited", "subject")
        for step in (0, 20)
        for part, measure in (("representation", "relative"), ("key", "relative"), ("value", "write_retention"))
    ]
    for step in (0, 20):
        write_rows(run.folder / DRIFT, step, [row for row in rows if row.step == step])
    finding = Finding(Evidence.TRACE, 2.0, 0.0, 10)
    edit = HiddenEdit("fact", "2", "city 2 lies in the", "west", (finding,))
    write_recoverability(run.folder, Recoverability((edit,), 2, 20, Rule.EXACT, "the unedited model", 10))
    content = write_run_page(run).read_text()
    assert "How far the model drifted" in content
    assert "Are the lost edits gone or hidden?" in content
    assert "The control is the unedited model." in content
    (run.folder / DRIFT / "step_000000020.parquet").write_bytes(b"damaged")
    (run.folder / "recoverability.parquet").write_bytes(b"damaged")
    content = write_run_page(run).read_text()
    assert "is no whole record of the drift" in content
    assert "is no whole result" in content


def test_the_drift_s_lines_are_means_over_edits_and_start_at_0():
    rows = [
        DriftRow(step, "value", "write_retention", 3, value, "edited", "subject", fact)
        for step, fact, value in ((0, "a", 1.0), (0, "b", 1.0), (9, "a", 0.99), (9, "b", 0.97), (9, "c", float("nan")))
    ]
    writes = drift_figure(rows).axes[2]
    (line,) = writes.get_lines()
    assert line.get_ydata().tolist() == pytest.approx([1.0, 0.98])
    assert writes.get_ylim()[0] <= 0
