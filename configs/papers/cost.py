"""What a sweep over published models costs on eight H100s: an estimate from operations and bytes, not a measurement.

``python -m papers.cost papers/cheng2025.yaml``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edit_lit.cli.resolving import OptionReader
from edit_lit.sweeps.address import Addresses
from edit_lit.sweeps.sweep_file import SweepFile
from edit_lit.sweeps.trials import expand

PEAK = 989e12
"""Operations a second of an H100 in bfloat16, dense, by its data sheet."""
TRAINING_SHARE, EDITING_SHARE = 0.4, 0.2
"""Assumed shares of the peak: long batches of fine-tuning; short rows of a search for target values."""
GPUS = 8

PARAMETERS = {
    "openai-community/gpt2-xl": 1.56e9,
    "EleutherAI/gpt-j-6b": 6.05e9,
    "meta-llama/Llama-2-7b-hf": 6.74e9,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
}
EXAMPLES = {"data/commonsense_170k.json": 170_420, "data/hotpot_train_v1.1.json": 90_447, "data/text.txt": 60_000}
TOKENS = {"data/commonsense_170k.json": 120, "data/hotpot_train_v1.1.json": 40, "data/text.txt": 50}
"""Assumed mean length of an example with its prompt."""
CORPUS_TOKENS = 100_000 * 500
"""Assumed: 100,000 documents of Wikipedia for the second moments, cut to the model's positions."""
ROW_TOKENS, ROWS, PROMPTS = 20, 7, 13
"""Assumed: tokens of a prompt with its context; contexts of a fact in the search; prompts of a fact that are probed."""


@dataclass(frozen=True)
class Cost:
    """Work of a trial, in operations, and the memory that it cannot do without.

    Args:
        training: Operations of fine-tuning.
        probing: Operations of all probes.
        memory: Bytes of weights, gradients and optimizer, without activations.
    """

    training: float
    probing: float
    memory: float


def trial_cost(options: Mapping[str, Any]) -> Cost:
    """The cost of one trial, its edit apart.

    A forward pass takes two operations for each weight and token, a backward pass two for the inputs' gradients and two
    more for those of the weights that train. Full tuning keeps weights, gradients and two moments in float32; an
    adapter's own are left out. A cycle that a loss ends earlier costs less than it counts here.

    Args:
        options: The trial's resolved options.
    """
    weights = PARAMETERS[options["model"]["language_model"]["init_args"]["path"]]
    data = options["data"]["task"]["init_args"]["path"]
    trainer, full = options["trainer"], options["model"]["tuning"]["class_path"].endswith("FullTuning")
    tokens = EXAMPLES[data] * TOKENS[data] * trainer["max_epochs"]
    steps = EXAMPLES[data] * trainer["max_epochs"] / options["data"]["batch_size"]
    probes = steps / options["retention"]["every_n_steps"] + 10
    facts = options["data"]["edits"]["init_args"]["limit"]
    cycles = facts // options["facts_per_cycle"] if "facts_per_cycle" in options else 1
    intrinsic = (options["data"]["intrinsic"] or {}).get("init_args", {}).get("size", 0)
    probed = (facts + cycles * intrinsic) * PROMPTS * ROW_TOKENS
    training = (6 if full else 4) * weights * tokens * cycles
    return Cost(training, 2 * weights * probed * probes, weights * (16 if full else 2))


def edit_cost(options: Mapping[str, Any]) -> float:
    """Operations of an edit: a forward and a backward pass for each step of the search for target values."""
    weights = PARAMETERS[options["model"]["language_model"]["init_args"]["path"]]
    editor = options["edit"]["editor"]["init_args"]
    steps = editor["target_values"]["steps"] if "target_values" in editor else editor["training"]["epochs"]
    return 4 * weights * options["data"]["edits"]["init_args"]["limit"] * ROWS * ROW_TOKENS * steps


def hours(training: float, other: float) -> float:
    """Hours of one GPU."""
    return (training / TRAINING_SHARE + other / EDITING_SHARE) / PEAK / 3600


def estimate(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a table in Markdown, a model each, and one for all.

    Args:
        options: The resolved options of all trials.
    """
    addresses = Addresses({})
    rows, total = [], 0.0
    edits = {addresses.edit(one): one for one in options if addresses.edit(one) is not None}
    for name, weights in PARAMETERS.items():
        own = [one for one in options if one["model"]["language_model"]["init_args"]["path"] == name]
        made = [one for one in edits.values() if one["model"]["language_model"]["init_args"]["path"] == name]
        if not own:
            continue
        costs = [trial_cost(one) for one in own]
        training, probing = (sum(getattr(cost, kind) for cost in costs) for kind in ("training", "probing"))
        editing = sum(edit_cost(one) for one in made) + (2 * weights * CORPUS_TOKENS if made else 0)
        spent = [hours(training, 0), hours(0, editing), hours(0, probing)]
        total += sum(spent)
        memory = max(cost.memory for cost in costs) / 1e9
        cells = [f"{len(own)}", f"{len(made)}", *(f"{value:.0f}" for value in spent), f"{memory:.0f} GB"]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    header = (
        "| model | trials | distinct edits | fine-tuning, h | editing, h | probing, h | least memory of the largest |"
    )
    last = f"{total:.0f} GPU hours, {total / GPUS / 24:.1f} days on {GPUS} H100s"
    return [header, "|---|---|---|---|---|---|---|", *rows, "", f"{len(options)} trials, {len(edits)} edits: {last}"]


def main(paths: Sequence[str]) -> None:
    """Print the estimate of sweep files together."""
    options = []
    for path in paths:
        sweep = SweepFile.read(Path(path))
        reader = OptionReader(sweep.verb)
        options += [reader.read(trial.parts).as_dict() for trial in expand(sweep).trials]
    print("\n".join(estimate(options)))


if __name__ == "__main__":
    main(sys.argv[1:])
