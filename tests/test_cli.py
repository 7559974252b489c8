from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from callbacks import KnowledgeEdit
from edit_lit.cli import EditCLI, main
from edit_lit.data_module import EditDataModule
from edit_lit.deltas.delta import Delta
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.reports.run import Run, short_names

CONFIGS = Path(__file__).parent.parent / "configs"

# Six steps in a random model: what these edits amount to is not what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*did not reach their stopping loss:UserWarning"),
    pytest.mark.filterwarnings("ignore:the edit is larger than the weights:UserWarning"),
]


def _without_nulls(record):
    return {name: value for name, value in record.items() if value is not None}


@pytest.fixture
def config(tmp_path, corpus):
    """A whole run on files: a saved model, facts, a task and a corpus."""
    language_model = tiny.llama()
    language_model.model.save_pretrained(tmp_path / "model")
    language_model.tokenizer.save_pretrained(tmp_path / "model")
    for name, made in (("edits", tiny.requests(4)), ("intrinsic", tiny.requests(8))):
        (tmp_path / f"{name}.json").write_text(json.dumps([_without_nulls(asdict(request)) for request in made]))
    lines = [
        json.dumps({"prompt": f"the bus goes to {subject} and it is", "completion": "late"})
        for subject in tiny.SUBJECTS
    ]
    (tmp_path / "task.jsonl").write_text("\n".join(lines))
    memit = {
        "layers": [1, 2],
        "covariance_weight": 2,
        "target_values": {"steps": 3},
        "contexts": {"templates": ["it is late . {}"]},
        "key_covariance": {"corpus": {"class_path": "TextLines", "init_args": {"path": corpus}}},
    }
    facts = lambda name: {"class_path": "JsonFacts", "init_args": {"path": str(tmp_path / f"{name}.json")}}  # noqa: E731
    content = {
        "name": "tiny",
        "model": {"language_model": {"path": str(tmp_path / "model"), "dtype": "float64"}, "tuning": "LoRA"},
        "data": {
            "task": {
                "class_path": "Columns",
                "init_args": {
                    "path": str(tmp_path / "task.jsonl"),
                    "instruction": "{prompt}",
                    "output": "{completion}",
                    "val_examples": 2,
                },
            },
            "edits": facts("edits"),
            "intrinsic": facts("intrinsic"),
            "batch_size": 2,
        },
        "edit": {"editor": {"class_path": "MEMIT", "init_args": memit}},
        "retention": {"every_n_steps": 2},
        "trainer": {
            "max_steps": 4,
            "accelerator": "cpu",
            "default_root_dir": str(tmp_path / "runs"),
            "enable_progress_bar": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 2,
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_fit_leaves_everything_in_one_folder(config, tmp_path, capsys):
    main(["fit", "--config", str(config)])
    folder = tmp_path / "runs" / "tiny" / "version_0"
    names = {path.name.split(".1")[0] for path in folder.iterdir()}
    assert names >= {"config.yaml", "metrics.csv", "edits", FOLDER, "checkpoints", "report", "events.out.tfevents"}
    assert list(read_probes(folder / FOLDER)[Pool.EDITED]) == [-1, 0, 2, 4]
    output = capsys.readouterr().out
    assert "Did the edits survive? tiny/version_0" in output
    assert "retention, edited (prob)" in output
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert written["model"]["tuning"]["class_path"].endswith("LoRA")
    assert set(load_file(folder / "edits" / "delta.safetensors")) == {
        f"model.layers.{layer}.mlp.down_proj.weight|{side}" for layer in (1, 2) for side in ("left", "right")
    }


# The repeated run has a folder of its own.
@pytest.mark.filterwarnings("ignore:The dirpath has changed from:UserWarning")
def test_a_run_can_be_repeated_and_resumed_from_its_config(config, tmp_path):
    main(["fit", "--config", str(config)])
    first = tmp_path / "runs" / "tiny" / "version_0"
    (checkpoint,) = (first / "checkpoints").iterdir()
    main(["fit", "--config", str(first / "config.yaml"), "--ckpt_path", str(checkpoint), "--trainer.max_steps", "6"])
    second = tmp_path / "runs" / "tiny" / "version_1"
    assert list(read_probes(second / FOLDER)[Pool.EDITED]) == [-1, 0, 2, 4, 6]


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
    delta.apply(original)
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
    assert len(table) == 4
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
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), *arguments])
    assert message in capsys.readouterr().err


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
    ],
)
def test_a_mistake_ends_in_one_line(config, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["fit", "--config", str(config), *arguments])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train"]])
def test_without_a_verb_the_verbs_are_listed(arguments):
    with pytest.raises(SystemExit, match="fit,validate,edit,report"):
        main(arguments)
    with pytest.raises(SystemExit, match="no run with"):
        main(["report", "/nowhere"])


def test_an_error_below_these_packages_keeps_its_traceback(monkeypatch):
    def broken(args):
        raise ValueError("a bug")

    monkeypatch.setattr("edit_lit.cli._report", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["report", "runs"])


QUICKSTART = CONFIGS / "quickstart.yaml"
OVERLAYS = sorted((CONFIGS / "world").glob("*.yaml"))


@pytest.mark.parametrize("overlay", [None, *OVERLAYS], ids=lambda path: path.stem if path else "none")
def test_the_quickstart_and_its_overlays_are_understood(overlay):
    paths = [QUICKSTART, overlay] if overlay else [QUICKSTART]
    arguments = [word for path in paths for word in ("--config", str(path))]
    cli = EditCLI(FineTuner, EditDataModule, args=arguments, run=False, auto_configure_optimizers=False)
    (edit,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, KnowledgeEdit))
    named = yaml.safe_load((overlay or QUICKSTART).read_text())["edit"]["editor"]["class_path"]
    assert type(edit.editor).__name__ == named
    assert set(edit.editor.edited_layers(cli.model.language_model)) <= {1, 2, 3}
