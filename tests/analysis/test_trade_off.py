"""The figure of what keeping the edits costs: who is on the front, and who is drawn how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from studies import LOSS, RETENTION, SEEDS, sample, study

from edit_lit.analysis.quantities import TRAINED
from edit_lit.analysis.trade_off import MOST_ARMS, front, trade_off_figures
from edit_lit.measures.outcomes import Pool


def test_the_front_is_that_of_a_plain_loop():
    random = np.random.default_rng(0)
    for _ in range(20):
        points = {(("arm", str(n)),): tuple(random.integers(0, 6, 2).tolist()) for n in range(12)}
        expected = set()
        for arm, (cost, kept) in points.items():
            beaten = False
            for c, k in points.values():
                no_worse = c <= cost and k >= kept
                better = c < cost or k > kept
                beaten = beaten or (no_worse and better)
            if not beaten:
                expected.add(arm)
        assert front(points) == expected
        assert expected


def numbers(labels):
    """Good, dear and bad arms of five runs, and one of two."""
    if labels["guard"] == "few" and labels["seed"] not in "01":
        return None
    kept, loss = {"good": (0.75, 1.0), "dear": (1.0, 2.0), "bad": (0.5, 2.0), "few": (1.0, 0.5)}[labels["guard"]]
    shifted = loss + 0.01 * int(labels["seed"])
    return {RETENTION.name: sample([kept, kept, kept, 1.0]), LOSS.name: shifted, TRAINED.name: 100.0}


AXES = {"guard": ["good", "dear", "bad", "few"], "seed": SEEDS}


def test_arms_of_five_runs_are_numbers_at_their_means_and_others_their_number_at_each_run():
    (figure,) = trade_off_figures(study(AXES, numbers))
    (axes,) = figure.axes  # all trained for as many steps, so that these are no panel
    assert axes.get_xlabel() == "downstream loss"
    texts = {text.get_text(): text for text in axes.texts if text.get_text() != "4"}
    assert set(texts) == {"1", "2", "3"}
    places = {number: text.get_position() for number, text in texts.items()}
    assert np.allclose(places["1"], (1.02, 81.25))
    assert np.allclose(places["3"], (2.02, 62.5))
    assert texts["1"].get_color() == texts["2"].get_color() != texts["3"].get_color()
    few = [text for text in axes.texts if text.get_text() == "4"]
    assert np.allclose([text.get_position()[0] for text in few], [0.5, 0.51])
    assert {text.get_color() for text in few}.isdisjoint({text.get_color() for text in texts.values()})
    assert axes.get_xlim()[0] < 0.5
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["1  good", "2  dear", "3  bad", "4  few"]


def test_controls_are_left_out_and_one_arm_is_no_comparison():
    made = study(AXES, numbers)
    controls = [
        replace(result, pool=Pool.UNEDITED) if result.trial.labels["guard"] != "good" else result
        for result in made.results
    ]
    assert not list(trade_off_figures(replace(made, results=controls)))


def test_many_arms_go_over_several_figures():
    axes = {"guard": [f"g{n}" for n in range(MOST_ARMS + 2)], "seed": ["0"]}
    many = study(axes, lambda labels: {RETENTION.name: sample([1.0, 0.0]), LOSS.name: float(labels["guard"][1:])})
    assert [len(figure.axes[0].get_legend().get_texts()) for figure in trade_off_figures(many)] == [MOST_ARMS, 2]
