"""Every configuration can be written down whole, and read again as the same one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tiny_run import write_run

from edit_lit.cli import main

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
FILES = [
    QUICKSTART,
    *(path for folder in ("editors", "facts", "tasks") for path in sorted((ROOT / "configs" / folder).iterdir())),
    ROOT / "configs" / "models" / "gpt2-xl.yaml",
    ROOT / "configs" / "real_facts" / "edit_and_tune.yaml",
    ROOT / "docs" / "examples" / "my_experiment.yaml",
]
(README,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
LEAST = "{model: {language_model: {path: x}}, data: {task: {class_path: RunningText, init_args: {path: x}}}}"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--print_config"])
    assert not exit_.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("path", [*FILES, README, LEAST], ids=lambda path: path.stem if isinstance(path, Path) else "")
def test_a_configuration_is_written_and_read_again(path, tmp_path, capsys):
    if not isinstance(path, Path):
        (tmp_path / "shown.yaml").write_text(path)
        path = tmp_path / "shown.yaml"
    whole = {"model", "data"} <= set(yaml.safe_load(path.read_text()))
    under = [] if whole else ["--config", str(QUICKSTART)]
    once = printed(capsys, "fit", *under, "--config", str(path))
    assert "Unable to serialize" not in once
    (tmp_path / "again.yaml").write_text(once)
    assert printed(capsys, "fit", "--config", str(tmp_path / "again.yaml")) == once


@pytest.mark.parametrize("verb", ["fit", "validate", "edit"])
def test_any_verb_takes_the_configuration_of_a_fit(verb, tmp_path, corpus, capsys):
    config = write_run(tmp_path, corpus)
    fitted = yaml.safe_load(printed(capsys, "fit", "--config", str(config)))
    assert {"ckpt_path", "weights_only"} <= set(fitted)
    (tmp_path / "fitted.yaml").write_text(yaml.safe_dump({**fitted, "ckpt_path": "some.ckpt"}))
    taken = yaml.safe_load(printed(capsys, verb, "--config", str(tmp_path / "fitted.yaml")))
    assert {key: taken[key] for key in ("edit", "data", "model", "trainer")} == {
        key: fitted[key] for key in ("edit", "data", "model", "trainer")
    }
    assert taken.get("ckpt_path") == (None if verb == "edit" else "some.ckpt")
