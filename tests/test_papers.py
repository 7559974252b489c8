"""The grids of the studies have the trials that were published, every choice is read, and the cost is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from papers.cost import Cost, edit_cost, estimate, trial_cost

from edit_lit.cli.resolving import OptionReader
from edit_lit.sweeps.address import Addresses
from edit_lit.sweeps.sweep_file import SweepFile
from edit_lit.sweeps.trials import Trial, expand

PAPERS = Path(__file__).parent.parent / "configs" / "papers"


def trials_of(name: str) -> list[Trial]:
    return list(expand(SweepFile.read(PAPERS / name)).trials)


@pytest.fixture(scope="module")
def reader():
    return OptionReader()


def covering(trials: list[Trial]) -> list[Trial]:
    """Trials that have every label of every axis among them, and so every file and option."""
    chosen, seen = [], set()
    for trial in trials:
        new = set(trial.labels.items()) - seen
        if new:
            chosen.append(trial)
            seen |= new
    return chosen


def test_the_first_studys_grid():
    trials = trials_of("cheng2025.yaml")
    edited = [trial for trial in trials if trial.labels["editor"] != "none"]
    whole = [trial for trial in edited if trial.labels["layers"] == "all"]
    # Four models, two editors, two sources of facts, three numbers of edits, three kinds of fine-tuning.
    assert len(whole) == 4 * 2 * 2 * 3 * 3
    # Table 7: two models, two numbers of edits, edited or other layers, and both readings of what was trained.
    assert len(edited) - len(whole) == 2 * 2 * 2 * 2
    # One control for each model, source of facts and kind of fine-tuning, and for each choice of layers.
    assert len(trials) - len(edited) == 4 * 2 * 3 + 2 * 4
    assert len(trials_of("cheng2025_hotpot.yaml")) == 6


def test_the_second_studys_grid():
    trials = trials_of("wen2025.yaml")
    # Two models; four editors and the control under six choices of layers, two of them with one and two paraphrases.
    assert len(trials) == 2 * (5 * 6 + 2 * 2)


@pytest.mark.parametrize("name", ["cheng2025.yaml", "cheng2025_hotpot.yaml", "cheng2025_small.yaml"])
def test_every_choice_is_read(name, reader):
    for trial in covering(trials_of(name)):
        options = reader.read(trial.parts)
        assert options.data.edits.init_args.limit == int(trial.labels["data.edits.limit"])


@pytest.mark.parametrize("name", ["wen2025.yaml", "wen2025_small.yaml"])
def test_every_choice_of_the_second_study_is_read(name):
    reader = OptionReader("cycles")
    for trial in covering(trials_of(name)):
        options = reader.read(trial.parts)
        assert options.facts_per_cycle == 1
        assert options.edit.apply == (trial.labels["editor"] != "none")
        assert options.model.tuning.init_args.layers == trial.labels["layers"]


def test_few_edits_serve_many_trials(reader):
    trials = [
        trial
        for trial in trials_of("cheng2025.yaml")
        if trial.labels["model"] == "llama-2-7b" and trial.labels["data.edits.limit"] == "100"
    ]
    addresses = Addresses({})
    by_edit: dict[str | None, set[tuple[str, str]]] = {}
    for trial in trials:
        address = addresses.edit(reader.read(trial.parts).as_dict())
        by_edit.setdefault(address, set()).add((trial.labels["facts"], trial.labels["editor"]))
    assert sorted(by_edit.values(), key=str) == sorted(
        ({(facts, editor)} for facts in ("zsre", "counterfact") for editor in ("memit", "alphaedit")), key=str
    )


def test_the_cost_of_a_trial_and_of_an_edit(reader):
    full, lora = (
        next(
            reader.read(trial.parts).as_dict()
            for trial in trials_of("cheng2025.yaml")
            if trial.labels["model"] == "gpt2-xl" and trial.labels["tuning"] == tuning
        )
        for tuning in ("full", "lora")
    )
    tokens = 170_420 * 120
    probes = 20 * 13 * 100 * 2 * 1.56e9
    assert trial_cost(full) == Cost(
        pytest.approx(6 * 1.56e9 * 2 * tokens),
        pytest.approx((170_420 * 2 / 32 / 2000 + 10) * probes),
        pytest.approx(16 * 1.56e9),
    )
    assert trial_cost(lora).training == pytest.approx(4 * 1.56e9 * 3 * tokens)
    assert edit_cost(lora) == pytest.approx(4 * 1.56e9 * 100 * 7 * 20 * 20)
    assert estimate([full, lora])[-1].startswith("2 trials, 1 edits: ")
