"""The page of a run: what it says, and that nothing in a name can become markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_samples import ended, outcomes, write

from edit_lit.measures.scores import Rule
from edit_lit.pages import html
from edit_lit.pages.answer import answer
from edit_lit.pages.run_page import write_run_page
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
    assert "went back" not in answer(run, Rule.FIRST)[0]


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
    assert len(re.findall("<tr hidden", dom)) == 2
    assert "1 of 3" in dom
    assert "<title>t</title>" in dom
