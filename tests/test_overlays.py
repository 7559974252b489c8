"""Every overlay of facts and tasks, from records in its format to the end of a short run."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml
from facts.fact_samples import KNOW_EDIT, KNOWN, MQUAKE, OWN, RIPPLE, ROME, ZSRE
from transformers import LlamaConfig, LlamaForCausalLM

from edit_lit.cli import main
from edit_lit.cli.lightning_cli import EditCLI
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool

CONFIGS = Path(__file__).parent.parent / "configs"

# A few steps in a random model: what these edits amount to is not what is tested.
pytestmark = tiny.ROUGH_EDITS


def lines(records: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(record) for record in records)


def table(records: list[dict[str, Any]], path: Path, delimiter: str) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(records)


def write_data(folder: Path) -> None:
    """A few records under every path that the overlays name."""
    known = {**KNOWN, "known_id": 1, "subject": "Peru", "prompt": "Peru is in", "attribute": "South America"}
    other = json.loads(json.dumps(ROME, ensure_ascii=False).replace("Léon Blum", "Ann"))
    for name, records in {
        "counterfact.json": [ROME, other],
        "zsre_mend_eval.json": [ZSRE, {**ZSRE, "alt": ""}],
        "MQuAKE-CF-3k.json": [MQUAKE],
        "wiki_counterfact.json": [KNOW_EDIT],
        "popular.json": [RIPPLE],
        "known_1000.json": [KNOWN, known],
        "my_edits.json": [OWN],
        "hotpot_train_v1.1.json": [
            {"question": f"Who is {number}?", "answer": "Ann", "context": []} for number in range(130)
        ],
        "commonsense_170k.json": [
            {
                "instruction": f"Is {number} even?\n\nAnswer format: true/false",
                "output": f"the correct answer is {number % 2 == 0}".lower(),
                "answer": str(number % 2 == 0).lower(),
            }
            for number in range(130)
        ],
    }.items():
        (folder / name).write_text(json.dumps(records))
    for name in ("gsm8k", "sst2", "pararel/trex_lms_vocab", "pararel/pattern_data/graphs_json"):
        (folder / name).mkdir(parents=True)
    facts = [{"sub_label": subject, "obj_label": object_} for subject, object_ in zip("ABCDEF", "xxyyzz", strict=True)]
    (folder / "pararel/trex_lms_vocab/P1.jsonl").write_text(lines(facts))
    (folder / "pararel/pattern_data/graphs_json/P1.jsonl").write_text(lines([{"pattern": "[X] lies in [Y] ."}]))
    sums = [{"question": f"{number}+1?", "answer": f"So\n#### {number + 1}"} for number in range(12)]
    (folder / "gsm8k/train.jsonl").write_text(lines(sums))
    (folder / "gsm8k/test.jsonl").write_text(lines(sums[:2]))
    (folder / "text.txt").write_text("\n".join(f"line {number} of the text ." for number in range(130)))
    table([{"question": f"Is it {number}?", "answer": "yes"} for number in range(40)], folder / "questions.csv", ",")
    for part in ("train", "dev"):
        reviews = [{"sentence": f"film {number} ", "label": number % 2} for number in range(12)]
        table(reviews, folder / f"sst2/{part}.tsv", "\t")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a small random model and the rest of a config."""
    folder = tmp_path_factory.mktemp("overlays")
    (folder / "data").mkdir()
    write_data(folder / "data")
    tokenizer = tiny.byte_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
        )
    )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    own = {"class_path": "JsonFacts", "init_args": {"path": "data/my_edits.json"}}
    content = {
        "model": {"language_model": {"path": "model"}},
        "data": {"task": "WorldReviews", "edits": own, "batch_size": 2},
        "edit": {
            "editor": {
                "class_path": "MEMIT",
                "init_args": {
                    "layers": [0],
                    "target_values": {"steps": 2},
                    "contexts": {"templates": []},
                    "key_covariance": {"corpus": {"class_path": "TextLines", "init_args": {"path": "data/text.txt"}}},
                },
            }
        },
        "retention": {"every_n_steps": 2},
        "trainer": {
            "max_steps": 2,
            "log_every_n_steps": 1,
            "val_check_interval": 2,
            "check_val_every_n_epoch": None,
            "limit_val_batches": 2,
            "accelerator": "cpu",
            "default_root_dir": "runs",
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "num_sanity_val_steps": 0,
        },
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(content))
    return folder


def fit(place: Path, *arguments: str) -> Path:
    main(["fit", "--config", "base.yaml", *arguments, "--trainer.max_steps", "2"])
    return max((place / "runs" / "run").iterdir(), key=lambda path: int(path.name.removeprefix("version_")))


def measured(run: Path) -> dict[str, float]:
    """The last value of every column of the metrics."""
    with open(run / "metrics.csv") as file:
        return {name: float(value) for row in csv.DictReader(file) for name, value in row.items() if value}


FACTS = {
    "counterfact": (("generalization", "specificity"), True),
    "zsre": (("generalization", "specificity"), False),
    "mquake": (("generalization", "portability"), False),
    "know_edit": (("specificity", "portability"), False),
    "ripple_edits": (("specificity", "portability"), False),
    "pararel": (("efficacy",), True),
    "known": (("generalization", "specificity", "portability"), True),
    "own": (("generalization", "specificity", "portability"), False),
}


@pytest.mark.filterwarnings("ignore:1 of 2 records are malformed:UserWarning")
@pytest.mark.filterwarnings("ignore:limit asks .* facts, but there are:UserWarning")
@pytest.mark.filterwarnings("ignore:data.intrinsic.size is 100, but the model knows 1 facts only:UserWarning")
@pytest.mark.parametrize("name", FACTS)
def test_facts(place, monkeypatch, name):
    monkeypatch.chdir(place)
    kinds, intrinsic = FACTS[name]
    # A random model knows next to nothing; half of it passes by the rule of probabilities.
    loose = ["--data.intrinsic.rule", "prob"] if intrinsic else []
    loose += ["--data.edits.limit", "1"] if name in ("counterfact", "pararel") else []
    run = fit(place, "--config", str(CONFIGS / f"facts/{name}.yaml"), *loose)
    metrics = measured(run)
    assert {f"edit/{kind}/exact" for kind in ("efficacy", *kinds)} <= set(metrics)
    assert (Pool.INTRINSIC in read_probes(run / FOLDER)) == intrinsic


TASKS = {
    "commonsense": {"val_accuracy", "val_extracted_accuracy", "val_likelihood_accuracy"},
    "gsm8k": {"val_exact_match"},
    "sst2": {"val_accuracy", "val_likelihood_accuracy"},
    "hotpot_qa": {"val_accuracy", "val_exact_match", "val_f1"},
    "running_text": set(),
    "packed_text": set(),
    "columns": {"val_accuracy"},
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks(place, monkeypatch, caplog, name):
    monkeypatch.chdir(place)
    with caplog.at_level(logging.INFO):
        run = fit(place, "--config", str(CONFIGS / f"tasks/{name}.yaml"))
    scores = {tag.removeprefix("downstream/") for tag in measured(run) if tag.startswith("downstream/val")}
    assert scores == {"val_loss", "val_perplexity"} | TASKS[name]
    assert ("training texts dropped" in caplog.text) == (name == "running_text")


def test_every_overlay_is_tested():
    assert {path.stem for path in (CONFIGS / "facts").iterdir()} == set(FACTS)
    assert {path.stem for path in (CONFIGS / "tasks").iterdir()} == set(TASKS)


def test_the_real_facts_recipe_is_understood(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "data/real_facts").mkdir()
    (place / "data/real_facts/model").symlink_to(place / "model")
    for name in ("corpus.txt", "requests.json", "tune.json"):
        (place / f"data/real_facts/{name}").write_text("[]")
    cli = EditCLI(
        FineTuner,
        EditDataModule,
        args=["--config", str(CONFIGS / "real_facts/edit_and_tune.yaml")],
        run=False,
        seed_everything_default=0,
        auto_configure_optimizers=False,
    )
    assert isinstance(cli.model, FineTuner)
