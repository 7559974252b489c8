from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_samples import ended, run, write

from edit_lit.cli.verbs import report
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER
from edit_lit.measures.outcomes import Pool
from edit_lit.reports.run import Run, find_runs, short_names
from edit_lit.reports.run_record import FILE, State
from edit_lit.utilities.errors import ConfigError

STEP = f"{FOLDER}/step_000000025.parquet"
FIRST = f"{FOLDER}/step_000000000.parquet"


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def foreign(path):
    pq.write_table(pa.table({"a": [1]}), path)


def other_kinds(path):
    table = pq.read_table(path)
    kinds = pa.array(["riddle"] * table.num_rows)
    pq.write_table(table.set_column(table.schema.get_field_index("kind"), "kind", kinds), path)


DAMAGES = {
    "torn": (STEP, cut, "step_000000025.parquet is no whole record .*Delete it to go on without this probe"),
    "empty file": (STEP, lambda path: path.write_bytes(b""), "step_000000025.parquet is no whole record"),
    "text": (STEP, lambda path: path.write_text("hello" * 50), "step_000000025.parquet is no whole record"),
    "foreign": (STEP, foreign, "step_000000025.parquet is no whole record"),
    "other kinds": (STEP, other_kinds, "step_000000025.parquet is no whole record"),
    "torn baseline": (FIRST, cut, "step_000000000.parquet is no whole record .*Run it again"),
    "metrics": (
        "metrics.csv",
        lambda path: path.write_text("downstream/loss,step\nx,1\n"),
        "metrics.csv is damaged",
    ),
    "metrics cut in": (
        "metrics.csv",
        lambda path: path.write_text("downstream/val_loss,step\n1.5\n2.5,2\n"),
        "metrics.csv is damaged .line 2.*Delete it",
    ),
    "metrics in bytes": ("metrics.csv", lambda path: path.write_bytes(b"\xff\xfe\x00"), "metrics.csv is damaged"),
    "record": (FILE, lambda path: path.write_text("{"), "run.json is no record of a run"),
    "delta": ("edits/delta.safetensors", lambda path: path.write_text("{"), "delta.safetensors holds no Delta"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_line_that_names_the_file(tmp_path, damage):
    name, harm, message = DAMAGES[damage]
    run(tmp_path / "a", segment=ended(State.FINISHED, 25, 25))
    (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
    harm(tmp_path / "a" / name)
    with pytest.raises(ConfigError, match=message) as caught:
        find_runs([tmp_path])
    assert "\n" not in str(caught.value)


def test_the_last_line_of_a_killed_run_s_metrics_is_passed_over(tmp_path):
    run(tmp_path)
    (tmp_path / "metrics.csv").write_text("downstream/val_loss,step\n2.25,10\nnan,20\n1.5,3")
    assert Run.read(tmp_path).downstream == {"val_loss": [(10, 2.25)]}
    (tmp_path / "metrics.csv").write_text("downstream/val_lo")
    assert Run.read(tmp_path).downstream == {}


def test_files_that_are_no_records_are_passed_over(tmp_path):
    run(tmp_path)
    (tmp_path / FOLDER / "step_final.parquet").write_text("?")
    (tmp_path / FOLDER / ".step_000000050.77.parquet").write_text("?")
    assert list(Run.read(tmp_path).curve(Pool.EDITED)) == [0, 25]


def test_other_runs_are_reported_and_what_is_left_out_is_told(tmp_path, capsys):
    for name in ("a", "b", "torn"):
        run(tmp_path / name / "version_0", segment=ended(State.FINISHED, 25, 25))
    cut(tmp_path / "torn" / "version_0" / STEP)
    (tmp_path / "early" / "version_0").mkdir(parents=True)
    write(tmp_path / "early" / "version_0", {}, segment=ended(State.RUNNING, 0))
    write(tmp_path / "unedited" / "version_0", {BEFORE_EDIT: [0, 0]}, segment=ended(State.RUNNING, 0))
    (tmp_path / "nothing").mkdir()
    report([str(tmp_path), str(tmp_path / "nothing"), str(tmp_path / "typo")], "exact", str(tmp_path / "out"))
    shown, written = capsys.readouterr().out, (tmp_path / "out" / "comparison.md").read_text()
    for text in (
        "no whole record of a probe",
        "never probed",
        "before its first probe",
        "nothing holds no run",
        "typo",
    ):
        assert text in shown
        assert text in written
    assert written.count("| 100.0% → 75.0% |") == 2


def test_a_folder_without_any_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run with a retention.parquet folder in .*Name the folder of a run"):
        find_runs([tmp_path, tmp_path / "typo"])
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(ConfigError, match="holds no probe records"):
        find_runs([tmp_path])


def test_runs_of_one_name_are_told_apart(tmp_path):
    found = [run(tmp_path / top / "same" / "version_0") for top in ("x", "y")]
    assert len(set(short_names(found))) == 2


def test_of_a_single_run_too_it_is_told_what_is_left_out(tmp_path, caplog):
    run(tmp_path / "a")
    report([str(tmp_path / "a"), str(tmp_path / "typo")], "exact", None)
    assert "left out" in caplog.text
    assert "typo holds no run" in caplog.text
