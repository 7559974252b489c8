"""The lines of the studies' claims against plain loops over made-up runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from papers.claims import CLAIMS, Claim, look, verdict
from studies import LOSS, RETENTION, SEEDS, sample, study

from edit_lit.analysis.bootstrap import Estimate
from edit_lit.sweeps.sweep_file import SweepFile

CONFIGS = Path(__file__).parents[2] / "configs"

AXES = {"editor": ["memit", "rome"], "layers": ["all", "edited", "frozen"], "seed": SEEDS}
KEPT = {"all": [1, 1, 0, 0], "edited": [1, 0, 0, 0], "frozen": [1, 1, 1, 1]}


def numbers(labels):
    if (labels["editor"], labels["layers"], labels["seed"]) == ("rome", "frozen", "4"):
        return None
    kept = list(KEPT[labels["layers"]])
    # In some runs another fact is lost, and one is not asked.
    kept[int(labels["seed"]) % 2] = 0
    facts = ["a", "b", "c", "d"] if labels["editor"] == "memit" else ["a", "b", "c", "e"]
    return {RETENTION.name: sample(kept, facts), LOSS.name: float(labels["layers"] == "frozen") + int(labels["seed"])}


@pytest.fixture
def made():
    return study(AXES, numbers)


def kept(editor, layers, seed):
    found = numbers({"editor": editor, "layers": layers, "seed": seed})
    return None if found is None else found[RETENTION.name].mean


def test_a_claim_of_two_labels_is_the_mean_over_cells_within_each_seed(made):
    found = look(Claim("", "s", 1, "layers: frozen - all", "editor=memit/rome"), made)
    expected = [
        mean(
            kept(editor, "frozen", seed) - kept(editor, "all", seed)
            for editor in AXES["editor"]
            if kept(editor, "frozen", seed) is not None
        )
        for seed in SEEDS
    ]
    assert found.values == pytest.approx(expected)
    one = look(Claim("", "s", 1, "layers: frozen - all", "editor=rome"), made)
    assert one.runs == 4
    assert verdict(Claim("", "s", 1, "", ""), one) == "too few runs"


def test_a_difference_is_over_the_facts_that_both_have(made):
    found = look(Claim("", "s", 1, "editor: rome - memit", "layers=edited"), made)
    assert found.values == (0.0,) * 5
    assert verdict(Claim("", "s", 1, "", ""), found) == "not decided"


def test_a_control_s_difference_is_subtracted_seed_by_seed(made):
    found = look(Claim("", "s", 1, "layers: edited - all", "editor=memit", beyond="editor=rome"), made)
    own, control = (look(Claim("", "s", 1, "layers: edited - all", f"editor={name}"), made) for name in AXES["editor"])
    assert found.values == pytest.approx([a - b for a, b in zip(own.values, control.values, strict=True)])


def test_a_claim_of_a_level_is_the_quantity_itself(made):
    found = look(Claim("", "s", 1, "", "editor=memit, layers=frozen", LOSS), made)
    assert found.values == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_the_sign_says_what_holds(made):
    found = look(Claim("", "s", 1, "layers: frozen - all", "editor=memit"), made)
    assert found.low > 0
    claim = Claim("", "s", 1, "", "")
    assert verdict(claim, found) == "holds"
    assert verdict(replace(claim, sign=-1), found) == "the opposite"


def test_more_than_five_pairs_need_the_test_as_well():
    few, many = Estimate((0.1,) * 5, 5, 0.05, 0.15), Estimate((1.0, 1.0, 1.0, *[0.0] * 22), 25, 0.01, 0.3)
    claim = Claim("", "s", 1, "", "")
    assert verdict(claim, few) == "holds"
    assert verdict(claim, many) == "interval only"
    assert verdict(claim, replace(many, values=(1.0,) * 25)) == "holds"


def test_every_claim_names_what_it_compares():
    files = {"cheng": "papers/cheng2025_small", "wen": "papers/wen2025_small", "layers": "sweeps/real_facts_layers"}
    axes = {
        sweep: {
            axis.name: {choice.label for choice in axis.choices}
            for axis in SweepFile.read(CONFIGS / f"{name}.yaml").axes
        }
        for sweep, name in files.items()
    }
    for claim in CLAIMS:
        of_sweep = axes[claim.sweep]
        assert claim.sign in (1, -1)
        assert not claim.axis or set(claim.labels) <= of_sweep[claim.axis]
        for item in filter(None, (*claim.where.split(", "), *claim.beyond.split(", "))):
            axis, labels = item.split("=")
            assert set(labels.split("/")) <= of_sweep[axis]
