"""What reaches whoever watches a run of the command line: every message once, in one line, and none to no purpose."""

from __future__ import annotations

import ast
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from edit_lit.cli.messages import quiet_libraries, set_up_messages

ROOT = Path(__file__).parent.parent


def edit_lit(*arguments, **environment):
    """The command line in a process of its own, without a terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PYTHONWARNINGS")}
    return subprocess.run(
        [sys.executable, "-m", "edit_lit", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_run_reads_from_top_to_bottom(tmp_path):
    small = "--data.edits.limit 2 --data.intrinsic null --data.num_workers 1 --edit.editor.target_values.steps 2"
    place = f"--trainer.default_root_dir {tmp_path} --edit.cache_dir {tmp_path}/cache --trainer.accelerator cpu"
    options = f"{small} {place} --trainer.max_steps 2 --progress.every_n_seconds 0"
    # A font cache of its own, which is empty.
    done = edit_lit("fit", "--config", "configs/quickstart.yaml", *options.split(), MPLCONFIGDIR=f"{tmp_path}/fonts")
    assert done.returncode == 0, done.stderr
    expected = [
        "model: WorldModel, 1,768,320 parameters in float32, on CPU",
        r"edit made in \d+\.\d s",
        r"edited 2 facts in layers \[1, 2, 3\]; ‖Δ‖/‖W‖ by layer: .*",
        r"warning: \d of 2 target values did not reach their stopping loss.*",
        r"trainable: 1,768,320 of 1,768,320 parameters \(100.00%\), in layers .*",
        r"step 1/2  loss \S+  (retention \S+ %  )?left \d:\d\d",
        r"step 2/2  loss \S+  (retention \S+ %  )?(accuracy \S+ %  )?took \d:\d\d",
        rf"the run is in {tmp_path}/quickstart/version_0; "
        rf"its curves: tensorboard --logdir {tmp_path}/quickstart/version_0",
    ]
    # On a slow machine there are lines of how far something is, too.
    told = [line for line in done.stderr.splitlines() if not re.fullmatch(r"[a-z ]+: \d+/\d+ [a-z]+, .*", line)]
    assert len(told) == len(expected), done.stderr
    for line, pattern in zip(told, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert done.stdout.startswith("Did the edits survive? quickstart/version_0")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr)


@pytest.fixture
def told(monkeypatch):
    """Sets up the messages as the command line does in a process of its own; what is written is then on stderr."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    set_up_messages()
    yield
    logging.disable(logging.NOTSET)


def test_a_message_is_one_line_without_control_characters(told, capsys):
    quiet_libraries()
    logging.getLogger("edit_lit.anything").info("the Delta is in %s", "a\n\x1b[2J[red]\u202eb")
    logging.getLogger("callbacks").warning("of %s", "x\x07")
    logging.getLogger("lightning.pytorch").error("first\n\tsecond\x1b[0m")
    assert capsys.readouterr().err.splitlines() == [
        r"the Delta is in a\n\x1b[2J[red]\u202eb",
        r"warning: of x\x07",
        "error: first",
        r"        second\x1b[0m",
    ]


def test_a_warning_is_one_line_and_comes_once(told, capsys):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        set_up_messages()
        # As Python does where pytest collects none.
        warnings.showwarning = lambda *where, **_: sys.stderr.write(warnings.formatwarning(*where[:4]))
        for place in range(2):
            exec(f"import warnings\n{'pass;' * place}warnings.warn('the edit of \\x1b[2J\\n  is large')")
    assert capsys.readouterr().err == r"warning: the edit of \x1b[2J is large" + "\n"


def test_a_message_of_lightning_comes_once_if_it_matters(told, capsys):
    quiet_libraries()
    for text in ("GPU available: False, used: False", "💡 Tip: buy", "`Trainer.fit` stopped: `max_steps=4` reached."):
        rank_zero_info(text)
    logging.getLogger("lightning.fabric.utilities.seed").info("Seed set to 0")
    rank_zero_info("Restoring states from the checkpoint path at here")
    rank_zero_info("`Trainer.fit` stopped: No training batches.")
    assert capsys.readouterr().err.splitlines() == [
        "Restoring states from the checkpoint path at here",
        "`Trainer.fit` stopped: No training batches.",
    ]


def test_only_the_first_process_talks(told, capsys, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with warnings.catch_warnings():
        quiet_libraries()
        logging.getLogger("edit_lit.anything").info("edited")
        warnings.warn("large", stacklevel=1)
        logging.getLogger("edit_lit.anything").error("broken")
    assert capsys.readouterr().err == "error: broken\n"


def test_no_one_but_the_command_line_changes_how_messages_are_shown():
    changing = {"basicConfig", "addHandler", "addFilter", "setLevel", "captureWarnings", "formatwarning", "showwarning"}
    changing |= {"set_tqdm_hook", "disable_progress_bar", "disable_progress_bars", "simplefilter"}
    for path in [*ROOT.glob("edit_lit/**/*.py"), *ROOT.glob("callbacks/**/*.py")]:
        if ROOT / "edit_lit" / "cli" not in path.parents:
            names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
            assert not names & changing, path
