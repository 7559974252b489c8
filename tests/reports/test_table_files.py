"""Tables as CSV and LaTeX."""

from __future__ import annotations

import csv
import math
import re

from edit_lit.reports.latex import latex_table, latex_text
from edit_lit.reports.table_files import write_records


def test_latex_escapes_what_it_would_not_show():
    text = latex_table(("arm & co", "50%"), [("a_b\\c", "[1, 2]"), ("{x}^~#$", "*")], "τ|<1>")
    assert r"arm \& co & 50\% \\" in text
    assert r"a\_b\textbackslash{}c & {[}1, 2{]} \\" in text
    assert r"\{x\}\textasciicircum{}\textasciitilde{}\#\$ & {*} \\" in text
    assert r"\caption{τ\textbar{}\textless{}1\textgreater{}}" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    bare = re.sub(r"\\[&%$#_{}]", "", latex_text("&%$#_{}~^\\"))
    assert not set(bare) & set("&%$#_~^")


def test_a_csv_has_raw_numbers_and_nothing_where_one_is_not_known(tmp_path):
    write_records(tmp_path / "a.csv", [{"name": "a\x1b", "share": 1 / 3}, {"name": "b,c", "share": math.nan, "n": 0}])
    with (tmp_path / "a.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {"name": r"a\x1b", "share": str(1 / 3), "n": ""}
    assert second == {"name": "b,c", "share": "", "n": "0"}
