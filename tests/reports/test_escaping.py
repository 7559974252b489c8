from __future__ import annotations

import csv
import io
import re
import unicodedata
import warnings
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from run_samples import ended, request, run

from edit_lit.reports import terminal
from edit_lit.reports.escaping import figure_text, markdown_code, markdown_text
from edit_lit.reports.figure import comparison_figure, decay_figure
from edit_lit.reports.latex import latex_text
from edit_lit.reports.report import facts_markdown, lost_facts_markdown
from edit_lit.reports.run_record import State
from edit_lit.reports.run_tables import run_tables, scores_compared
from edit_lit.reports.table import markdown_table
from edit_lit.reports.table_files import Table, write_csv_and_latex
from edit_lit.utilities.escaping import visible

with warnings.catch_warnings():
    # What TensorBoard brings along is deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.plugin_util import markdown_to_safe_html

NAMES = [
    "plain",
    "[bold]x[/]",
    "[/]",
    "a\\",
    "\\[red]",
    "a|b",
    "`code`",
    "<script>alert(1)</script>",
    "<b>&amp;</b>",
    "*a* _b_ __c__ snake_case ~~d~~",
    "[a](javascript:b) ![c](http://d)",
    "# 1. - >",
    "$x$ and $\\frac",
    "_hidden",
    "http://example.org",
    "José 東京",
]
HIDDEN = ["a\nb", "a\r\nb", "\x1b[2J", "\x9b31m", "a\x00b", "\u202egnp.exe", "\u2028", "\ud800", "zero\u200bwidth"]


class Cells(HTMLParser):
    """The text of each cell of the tables in a page, and its tags."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.tags, self.inside = [], set(), False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


@pytest.mark.parametrize("name", NAMES + HIDDEN)
def test_a_table_in_tensorboard_s_text_tab_shows_a_name_as_it_is(name):
    page = Cells(markdown_to_safe_html(markdown_table(("name", "n"), [(name, "1"), ("last", "2")])))
    assert page.cells == ["name", "n", visible(name).strip(), "1", "last", "2"]
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("name", NAMES + HIDDEN)
def test_a_table_on_the_terminal_shows_a_name_as_it_is(name, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda: Console(file=file, width=200, force_terminal=False))
    terminal.print_table(name, ("subject", name), [(name, "end")], [name])
    shown = file.getvalue()
    assert shown.count(visible(name)) == 4
    assert not any(char in shown for char in "\x1b\x9b\x00\r\u202e\ud800")


@pytest.mark.parametrize("name", NAMES + HIDDEN)
def test_a_csv_reads_back_as_a_name_is_shown(name, tmp_path):
    write_csv_and_latex(tmp_path, Table("t", name, ("subject", name), [(name, "1"), ("last", "2")]))
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["subject", visible(name)], [visible(name), "1"], ["last", "2"]]


@pytest.mark.parametrize("name", NAMES + HIDDEN)
def test_a_latex_table_has_no_markup_but_its_own(name, tmp_path):
    pages = []
    for shown in (name, "plain"):
        write_csv_and_latex(tmp_path, Table("t", shown, ("subject", shown), [(shown, "1"), ("last", "2")]))
        pages.append((tmp_path / "t.tex").read_text(encoding="utf-8"))
    odd, plain = pages
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl"} for char in odd.replace("\n", ""))
    assert odd == plain.replace("plain", latex_text(name))
    bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$-\$|\$\\rightarrow\$|\{[\[\]*]\}", "", latex_text(name))
    assert not set(bare) & set("\\&%$#_{}~^[]*<>|")


@pytest.mark.parametrize("name", NAMES + HIDDEN)
def test_a_figure_shows_a_name_as_it_is(name):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0], [0], label=figure_text(name))
    legend = axes.legend()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.canvas.draw()
    (text,) = legend.get_texts()
    shown, is_mathematics = text._preprocess_math(text.get_text())
    assert not is_mathematics
    assert shown.strip() == visible(name)


def test_hidden_characters_are_shown_and_spelling_is_kept():
    assert visible("\x1b[2J\n\ud800\u202e") == r"\x1b[2J\n\ud800\u202e"
    assert visible("می\u200cخواهم é 東京") == "می\u200cخواهم é 東京"


def test_code_cannot_end_its_block():
    page = markdown_to_safe_html(markdown_code("name: <b>\n```\n\n# title\n\tb: *c*\x1b"))
    assert page.count("<pre>") == 1
    assert "<h1>" not in page
    assert "&lt;b&gt;" in page
    assert "\x1b" not in page


def test_names_of_runs_and_subjects_go_through_all_of_it(tmp_path, capsys):
    odd = run(tmp_path / "$a$_[bold]|x" / "_$", segment=ended(State.FINISHED, 25, 25))
    other = run(tmp_path / "b" / "version_0", segment=ended(State.FAILED, 30, error="[/] <b> $|"))
    for figure in (decay_figure(odd), decay_figure(other), comparison_figure([odd, other])):
        figure.canvas.draw()
    assert len(comparison_figure([odd, other]).legends[0].get_texts()) == 2
    terminal.print_run(odd)
    assert "$a$_[bold]|x/_$" in capsys.readouterr().out
    made = [request(number, "[/]|<b>`") for number in range(4)]
    named = run(tmp_path / "c", facts=made, texts=True)
    page = Cells(markdown_to_safe_html(lost_facts_markdown(named)))
    assert "[/]|<b>` lies in the" in page.cells
    page = Cells(markdown_to_safe_html(facts_markdown(named)))
    assert "[/]|<b>` lies in the" in page.cells
    for table in run_tables(named):
        write_csv_and_latex(tmp_path, table)
    with (tmp_path / "facts.csv").open(newline="", encoding="utf-8") as file:
        assert {row["question"] for row in csv.DictReader(file)} == {"[/]|<b>` lies in the"}
    for name in ("facts", "lost_facts"):
        assert r"{[}/{]}\textbar{}\textless{}b\textgreater{}` lies in the" in (tmp_path / f"{name}.tex").read_text()
    write_csv_and_latex(tmp_path, scores_compared([odd, other]))
    with (tmp_path / "comparison.csv").open(newline="", encoding="utf-8") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"$a$_[bold]|x/_$", "b/version_0"}
    assert r"\$a\$\_{[}bold{]}\textbar{}x/\_\$" in (tmp_path / "comparison.tex").read_text()
    assert markdown_text("a") == "a"
