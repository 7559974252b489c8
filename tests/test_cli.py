from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tiny_run import write_run
from transformers import AutoModelForCausalLM

from callbacks import KnowledgeEdit
from edit_lit.cli import main
from edit_lit.cli.lightning_cli import EditCLI
from edit_lit.data_module import EditDataModule
from edit_lit.deltas import Delta
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model import LanguageModel
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.reports.run import Run, short_names
from edit_lit.utilities.errors import ConfigError
from edit_lit.world import WorldCorpus

CONFIGS = Path(__file__).parent.parent / "configs"

pytestmark = tiny.ROUGH_EDITS


@pytest.fixture
def config(tmp_path, corpus):
    """A whole run on files: a saved model, facts, a task and a corpus."""
    return write_run(tmp_path, corpus)


def test_fit_leaves_everything_in_one_folder(config, tmp_path, capsys):
    main(["fit", "--config", str(config)])
    folder = tmp_path / "runs" / "tiny" / "version_0"
    names = {path.name.split(".1")[0] for path in folder.iterdir()}
    assert names >= {
        "config.yaml",
        "metrics.csv",
        "edits",
        FOLDER,
        "checkpoints",
        "report",
        "run.json",
        "events.out.tfevents",
    }
    assert list(read_probes(folder / FOLDER)[Pool.EDITED]) == [-1, 0, 2, 4]
    output = capsys.readouterr().out
    assert "Did the edits survive? tiny/version_0" in output
    assert "retention, edited (exact)" in output
    assert "after fine-tuning" in output
    assert "seed 0: data order 0" in output
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"
    row = HParamsPluginData.FromString(
        EventAccumulator(str(folder)).Reload().PluginTagToContent("hparams")["_hparams_/session_start_info"]
    ).session_start_info.hparams
    assert row["retention.every_n_steps"].number_value == 2
    assert row["model.tuning.class_path"].string_value.endswith("LoRA")
    assert not {"ckpt_path", "config"} & set(row)
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert written["model"]["tuning"]["class_path"].endswith("LoRA")
    assert set(load_file(folder / "edits" / "delta.safetensors")) == {
        f"0.weight|model.layers.{layer}.mlp.down_proj.weight|{side}" for layer in (1, 2) for side in ("left", "right")
    }


@pytest.mark.parametrize("named", ["false", "elsewhere"])
def test_the_runs_folder_is_its_own_whatever_the_loggers(named, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = json.dumps({"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path / "elsewhere")}})
    before = set(tmp_path.iterdir())
    main(["fit", "--config", str(config), "--trainer.logger", elsewhere if named == "elsewhere" else named])
    folder = tmp_path / "runs" / "tiny" / "version_0"
    run = Run.read(folder)
    assert [step for step, _ in run.downstream["val_loss"]] == [3]
    assert {"config.yaml", "metrics.csv", "edits", "retention.parquet", "report"} <= {
        path.name for path in folder.iterdir()
    }
    assert len(list(folder.glob("events*"))) == (named == "elsewhere")
    assert set(tmp_path.iterdir()) - before <= {tmp_path / name for name in ("runs", "elsewhere", "cache")}
    assert len(list((tmp_path / "elsewhere").rglob("metrics.csv"))) == (named == "elsewhere")


# The repeated run has a folder of its own.
@pytest.mark.filterwarnings("ignore:The dirpath has changed from:UserWarning")
def test_a_run_can_be_repeated_and_resumed_from_its_config(config, tmp_path):
    main(["fit", "--config", str(config)])
    first = tmp_path / "runs" / "tiny" / "version_0"
    checkpoint = first / "checkpoints" / "last.ckpt"
    main(["fit", "--config", str(first / "config.yaml"), "--ckpt_path", str(checkpoint), "--trainer.max_steps", "6"])
    second = tmp_path / "runs" / "tiny" / "version_1"
    assert list(read_probes(second / FOLDER)[Pool.EDITED]) == [-1, 0, 2, 4, 6]
    # The scores of the part before are there as well, each once.
    assert [step for step, _ in Run.read(second).downstream["val_loss"]] == [3, 6]
    assert [step for step, _ in Run.read(second).downstream["train_loss"]] == [1, 3, 5]


def test_overlays_and_short_names_swap_parts(config, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("name: control\nedit: {editor: null}\n")
    main(
        [
            *("fit", "--config", str(config), "--config", str(overlay)),
            *("--model.tuning", "FullTuning", "--model.tuning.layers", "[0]", "--trainer.max_steps", "2"),
        ]
    )
    folder = tmp_path / "runs" / "control" / "version_0"
    assert Pool.UNEDITED in read_probes(folder / FOLDER)
    assert not (folder / "edits").exists()


def test_edit_writes_the_delta_and_the_edited_model(config, tmp_path, capsys):
    output, export = tmp_path / "out" / "delta.safetensors", tmp_path / "edited"
    main(["edit", "--config", str(config), "--output", str(output), "--export", str(export)])
    assert "efficacy (prob)" in capsys.readouterr().out
    delta = Delta.load(output)
    original = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="float64")
    edited = AutoModelForCausalLM.from_pretrained(export, dtype="float64")
    delta.apply(LanguageModel.wrap(original, tiny.word_tokenizer()))
    for name, parameter in original.named_parameters():
        assert (parameter == edited.get_parameter(name)).all(), name


def test_report_draws_one_run_and_compares_several(config, tmp_path, capsys):
    for _ in range(2):
        main(["fit", "--config", str(config), "--trainer.max_steps", "2"])
    runs = tmp_path / "runs" / "tiny"
    for path in runs.rglob("report/*"):
        path.unlink()
    main(["report", str(runs), "--rule", "prob"])
    assert (runs / "version_0" / "report" / "curve.png").exists()
    assert (runs / "version_1" / "report" / "table.md").exists()
    assert (runs / "report" / "comparison.png").exists()
    table = (runs / "report" / "comparison.md").read_text().splitlines()
    assert len([line for line in table if line.startswith("|")]) == 4
    assert table[2].startswith("| tiny/version_0 |")
    shown = capsys.readouterr().out
    assert "Which edits survived?" in shown
    assert all(cell.strip() in shown for cell in table[2].split("|"))
    main(["report", str(runs / "version_1")])
    assert "Did the edits survive? tiny/version_1" in capsys.readouterr().out


def test_runs_of_one_version_go_by_their_names():
    runs = [Run(Path("runs") / name, {}, {}) for name in ("memit/version_0", "rome/version_0", "rome/version_1")]
    assert short_names(runs[:2]) == ["memit", "rome"]
    assert short_names(runs) == ["memit/version_0", "rome/version_0", "rome/version_1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.tuning.rank", "4"], "rank"),
        (["--retention.steps", "4"], "steps"),
        (["--edit.editor.init_args.layer", "[1]"], "layer"),
    ],
)
def test_a_key_that_does_not_exist_is_refused(config, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(config), *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edit.editor.layers", "[1, 9]"], "layers names layer 9"),
        (
            ["--model.tuning", "FullTuning", "--model.tuning.layers", "after_edited", "--edit.editor.layers", "[2, 3]"],
            "selects nothing",
        ),
        (["--model.language_model.parts.blocks", "model.stack"], "parts.blocks"),
        (["--data.edits.path", "absent.json"], "absent.json"),
        (["--data.edits.limit", "0"], "limit is 0"),
        (["--retention.every_n_steps", "0"], "retention.every_n_steps is 0"),
    ],
)
def test_a_mistake_ends_in_one_line(config, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["fit", "--config", str(config), *arguments])


@pytest.mark.parametrize("arguments", [[], ["tune"], ["tune", "--config", "a.yaml"]])
def test_an_unknown_verb_is_refused_and_the_verbs_are_listed(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    listed = (
        "one of fit, validate, edit, cycles, sweep, report, explain, recover, rewrite, erase, verify, detect, merge"
    )
    assert listed in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], "{fit,validate,edit,cycles,sweep,report,explain,recover,rewrite,erase,verify,detect,merge}"),
        (["--version"], f"edit_lit {version('edit_lit')}"),
        (["fit", "--help"], "--retention.every_n_steps"),
        (["validate", "--help"], "--ckpt_path"),
        (["edit", "--help"], "--output"),
        (["report", "--help"], "--rule"),
        (["merge", "--help"], "deltas"),
    ],
)
def test_help_and_version(arguments, shown, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    assert shown in capsys.readouterr().out


def test_a_folder_without_runs_is_refused():
    with pytest.raises(SystemExit, match="no run with"):
        main(["report", "/nowhere"])


def test_an_option_that_a_verb_of_ours_does_not_have_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["report", "runs", "--config", "a.yaml"])
    assert exit_.value.code == 2
    assert "--config is no option of report" in capsys.readouterr().err


def test_a_run_that_diverged_says_so_and_is_no_success(config, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(config), "--model.optimizer.init_args.lr", "1e30"])
    assert ended.value.code == 1
    output = capsys.readouterr().out
    assert "diverged at step 2" in output
    assert " 0.0% [" not in output
    assert json.loads((tmp_path / "runs" / "tiny" / "version_0" / "run.json").read_text())["state"] == "diverged"


def test_deltas_are_merged(config, tmp_path):
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("first", "second", "third")]
    for path, layers in zip(paths, ("[1]", "[1, 2]", "[0]"), strict=True):
        main(["edit", "--config", str(config), "--edit.editor.layers", layers, "--output", path])
    main(["merge", *paths, "--output", str(tmp_path / "merged.safetensors")])
    merged, parts = Delta.load(tmp_path / "merged.safetensors"), [Delta.load(path) for path in paths]
    names = {f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(3)}
    assert set(merged.updates) == names
    assert merged.layers == (0, 1, 2)
    for name in names:
        expected = sum(part.updates[name].dense() for part in parts if name in part.updates)
        torch.testing.assert_close(merged.updates[name].dense(), expected)
    with pytest.raises(SystemExit, match="was given 1 Delta. Name two or more"):
        main(["merge", paths[0]])
    with pytest.raises(SystemExit, match="absent does not exist. Name the file"):
        main(["merge", paths[0], str(tmp_path / "absent")])


def test_a_bug_keeps_its_traceback_and_a_mistake_behind_a_wrapper_does_not(monkeypatch):
    def broken(*_):
        raise ValueError("a bug")

    monkeypatch.setattr("edit_lit.cli.verbs.report", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["report", "runs"])

    def wrapped(*_):
        try:
            raise ConfigError("size is 0")
        except ConfigError as error:
            raise TypeError("in a wrapper") from error

    monkeypatch.setattr("edit_lit.cli.verbs.report", wrapped)
    with pytest.raises(SystemExit, match="error: size is 0"):
        main(["report", "runs"])

    def bug_behind_a_mistake(*_):
        try:
            raise ConfigError("size is 0")
        except ConfigError:
            return {}["a bug"]

    monkeypatch.setattr("edit_lit.cli.verbs.report", bug_behind_a_mistake)
    with pytest.raises(KeyError, match="a bug"):
        main(["report", "runs"])


QUICKSTART = CONFIGS / "quickstart.yaml"
OVERLAYS = sorted((CONFIGS / "world").glob("*.yaml"))


@pytest.mark.parametrize("overlay", [None, *OVERLAYS], ids=lambda path: path.stem if path else "none")
def test_the_quickstart_and_its_overlays_are_understood(overlay):
    paths = [QUICKSTART, overlay] if overlay else [QUICKSTART]
    arguments = [word for path in paths for word in ("--config", str(path))]
    cli = EditCLI(
        FineTuner, EditDataModule, args=arguments, run=False, seed_everything_default=0, auto_configure_optimizers=False
    )
    (edit,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, KnowledgeEdit))
    named = yaml.safe_load((overlay or QUICKSTART).read_text())["edit"]["editor"]["class_path"]
    assert type(edit.editor).__name__ == named
    covariance = getattr(edit.editor, "key_covariance", None)
    assert covariance is None or covariance.corpus == WorldCorpus(limit=1500, seed=1)
    assert set(edit.editor.edited_layers(cli.model.language_model)) <= {1, 2, 3}
