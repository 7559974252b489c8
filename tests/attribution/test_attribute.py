"""Causes of lost edits, on models in which the cause is known by construction and against brute force."""

from __future__ import annotations

import copy
from itertools import permutations

import peft
import pytest
import torch
from constructed import MODELS, edited, turned_keys, undo, without_alternatives

from edit_lit.activations.token_rows import prompt_rows
from edit_lit.attribution.activation_view import PASSES, look_at_activations
from edit_lit.attribution.attribute import attribute
from edit_lit.attribution.groups import GROUPS, Group, trained_pieces
from edit_lit.attribution.verdict import Verdict
from edit_lit.deltas import ModelStates
from edit_lit.measures.scores import Rule
from edit_lit.tuning import DoRA, FullTuning, LoRA, PeftTuning
from edit_lit.utilities.errors import ConfigError
from edit_lit.world import World, WorldModel

ONLY = {
    "written": (FullTuning("edited", ["*.c_proj", "*.down_proj"]), Verdict.OVERWRITTEN),
    "below": (FullTuning("before_edited"), Verdict.KEY_DRIFT),
    "above": (FullTuning("after_edited"), Verdict.READOUT_DRIFT),
}


def bits(language_model):
    return {name: tensor.detach().clone() for name, tensor in language_model.model.state_dict().items()}


def same(language_model, kept):
    return all(torch.equal(kept[name], tensor) for name, tensor in language_model.model.state_dict().items())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("group", ONLY)
def test_what_alone_was_trained_is_the_cause_and_all_else_is_exactly_none(model, group):
    tuning, verdict = ONLY[group]
    if model == "gpt2" and group == "written":
        # GPT-2 calls attention's output projection c_proj as well.
        tuning = FullTuning("edited", ["*.mlp.c_proj"])
    case = undo(edited(MODELS[model], [1], tuning, count=8))
    found = attribute(case.states, case.requests, case.recorded())
    assert len(found.edits) >= 2
    assert found.trained == [group]
    assert found.probes == 2 + PASSES
    for edit in found.edits:
        assert edit.verdict is verdict
        assert edit.confidence == 0.5
        assert edit.smallest == [group]
        for other, part in edit.groups.items():
            if other == group:
                assert part.margin == pytest.approx(edit.margin_tuned - edit.margin_edited, abs=1e-12)
                assert part.nll == pytest.approx(edit.nll_tuned - edit.nll_edited, abs=1e-12)
                assert part.put_back_saves
                assert part.swap_loses
            else:
                assert (part.margin, part.nll) == (0, 0)
                assert not part.put_back_saves
                assert not part.swap_loses
                assert part.put_back_margin == edit.margin_tuned
                assert part.swap_margin == edit.margin_edited
        assert edit.activations.verdict is verdict
        parts = (edit.activations.written, edit.activations.below, edit.activations.above)
        assert sum(parts) == pytest.approx(edit.losses()[Group(group)], abs=1e-9)
        for other, part in zip((Group.WRITTEN, Group.BELOW, Group.ABOVE), parts, strict=True):
            assert other == group or part == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("model", "layers"), [("llama", [2]), ("gpt2", [0, 2])])
def test_shares_are_those_of_all_orders_one_by_one(model, layers):
    case = undo(edited(MODELS[model], layers, FullTuning()))
    kept = bits(case.language_model)
    found = attribute(case.states, case.requests, case.recorded())
    assert same(case.language_model, kept)
    assert found.edits
    assert set(found.trained) == set(GROUPS)
    assert found.probes == 16 + PASSES
    pieces = trained_pieces(case.language_model, case.delta)
    now = {p: p.detach().clone() for piece in pieces for p in piece.parameters}
    with case.states.edited():
        then = {p: p.detach().clone() for p in now}

    def values(tuned):
        """By copying values and asking the model itself, answer by answer."""
        with torch.no_grad():
            for piece in pieces:
                for parameter in piece.parameters:
                    parameter.copy_((now if piece.group in tuned else then)[parameter])
            return [margin_and_nll(case, edit) for edit in found.edits]

    known = {}
    orders = [*permutations(GROUPS)]
    sums = {group: torch.zeros(len(found.edits), 2, dtype=torch.float64) for group in GROUPS}
    for order in orders:
        for place, group in enumerate(order):
            ends = []
            for members in (frozenset(order[:place]), frozenset(order[: place + 1])):
                if members not in known:
                    known[members] = torch.tensor(values(members), dtype=torch.float64)
                ends.append(known[members])
            sums[group] += ends[1] - ends[0]
    for row, edit in enumerate(found.edits):
        for group in GROUPS:
            margin, nll = (sums[group][row] / len(orders)).tolist()
            assert edit.groups[group].margin == pytest.approx(margin, abs=1e-9)
            assert edit.groups[group].nll == pytest.approx(nll, abs=1e-9)
            assert edit.groups[group].swap_margin == pytest.approx(float(known[frozenset({group})][row, 0]), abs=1e-9)
            rest = frozenset(GROUPS) - {group}
            assert edit.groups[group].put_back_margin == pytest.approx(float(known[rest][row, 0]), abs=1e-9)
        whole = sum(part.margin for part in edit.groups.values())
        assert whole == pytest.approx(edit.margin_tuned - edit.margin_edited, abs=1e-9)


def margin_and_nll(case, edit):
    """The answers' mean log-probabilities, by the model's plain forward pass."""
    tokenizer, means = case.language_model.tokenizer, []
    for target in (edit.target_new, edit.target_true):
        prompt = tokenizer(edit.question)["input_ids"]
        ids = tokenizer(f"{edit.question} {target}")["input_ids"]
        logits = case.language_model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        means.append(
            sum(float(logits[at - 1, ids[at]]) for at in range(len(prompt), len(ids))) / (len(ids) - len(prompt))
        )
    return means[0] - means[1], -means[0]


@pytest.mark.parametrize(
    ("model", "tuning"),
    [
        ("gpt2", FullTuning()),
        ("gpt2", LoRA(r=4, alpha=16)),
        ("llama", DoRA(r=4, alpha=16)),
        ("llama", PeftTuning(peft.IA3Config(feedforward_modules=[]))),
    ],
    ids=["full", "lora", "dora", "ia3"],
)
def test_both_ends_are_the_edited_and_the_tuned_model_and_put_backs_leave_no_trace(model, tuning):
    case = undo(edited(MODELS[model], [0, 2], tuning))
    kept, flags = bits(case.language_model), [p.requires_grad for p in case.language_model.model.parameters()]
    pieces = trained_pieces(case.language_model, case.delta)
    inside = [p for piece in pieces for p in piece.parameters]
    assert len(inside) == len(set(inside))
    assert set(inside) == {p for p in case.language_model.model.parameters() if p.requires_grad}
    with case.states.edited():
        edited_answers = case.probe.run(case.language_model)
    tuned_answers = case.probe.run(case.language_model)
    with case.states.partly_edited(inside):
        assert case.probe.run(case.language_model).equals(edited_answers)
    with case.states.partly_edited([]):
        assert case.probe.run(case.language_model).equals(tuned_answers)
    for piece in pieces:
        with case.states.partly_edited(piece.parameters):
            assert not case.probe.run(case.language_model).equals(tuned_answers)
        with pytest.raises(ZeroDivisionError), case.states.partly_edited(piece.parameters):
            raise ZeroDivisionError
        assert case.probe.run(case.language_model).equals(tuned_answers)
    attribute(case.states, case.requests, case.recorded())
    assert same(case.language_model, kept)
    assert [p.requires_grad for p in case.language_model.model.parameters()] == flags
    assert all(p.grad is None for p in case.language_model.model.parameters())


def test_an_adapter_on_attention_alone_overwrites_nothing():
    case = undo(edited(MODELS["llama"], [1, 2], LoRA(r=8, alpha=32, modules="attention")), steps=25)
    found = attribute(case.states, case.requests, case.recorded())
    assert found.edits
    assert found.trained == ["below", "above"]
    assert all(edit.groups[Group.WRITTEN].margin == 0 for edit in found.edits)
    assert all(edit.verdict is not Verdict.OVERWRITTEN for edit in found.edits)


def test_keys_that_turn_while_the_matrix_turns_with_them_lose_nothing(monkeypatch):
    case = edited(MODELS["gpt2"], [1], FullTuning())
    # Without what bends, so that any turn of its inputs can be undone behind them.
    for block in case.language_model.blocks:
        block.mlp.act = torch.nn.Identity()
    case.baseline = case.probe.run(case.language_model)
    turned_keys(case, 1)
    found = attribute(case.states, case.requests, case.recorded())
    assert found.edits == []
    _, changes = look_at_activations(case.states, case.requests)
    for (change,) in changes:
        assert abs(change.write) > 1e-3
        assert change.whole == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("model", "tuning"), [("gpt2", FullTuning()), ("llama", LoRA(r=4, alpha=16))])
def test_what_a_layer_adds_splits_into_write_key_and_both(model, tuning):
    case = undo(edited(MODELS[model], [1, 2], tuning))
    _, changes = look_at_activations(case.states, case.requests)
    matrices = [case.language_model.output_projection(layer) for layer in (1, 2)]
    rows = [rows[0] for rows in prompt_rows(case.language_model.tokenizer, case.requests, ["{}"])]
    ends = []
    for state in (case.states.edited, case.states.tuned):
        with state():
            keys = [[key_of(case, row, matrix) for matrix in matrices] for row in rows]
            ends.append((keys, [affine(matrix, keys[0][0].shape[0]) for matrix in matrices]))
    for fact in range(len(rows)):
        for place, layer in enumerate((1, 2)):
            (old, old_bias), (new, new_bias) = [maps[place] for _, maps in ends]
            k_old, k_new = [keys[fact][place] for keys, _ in ends]
            (update,) = [u.dense() for name, u in case.delta.updates.items() if f".{layer}." in name]
            write = (update.T if model == "gpt2" else update) @ k_old
            along = {
                "write": (new - old) @ k_old + new_bias - old_bias,
                "key_drift": old @ (k_new - k_old),
                "product": (new - old) @ (k_new - k_old),
                "whole": new @ k_new + new_bias - old @ k_old - old_bias,
            }
            assert changes[fact][place].layer == layer
            for name, part in along.items():
                expected = float(part @ write / (write @ write))
                assert getattr(changes[fact][place], name) == pytest.approx(expected, abs=1e-9)


def affine(matrix, inputs):
    """The matrix with its adapter, [outputs, inputs], and its bias, by what it makes of unit vectors."""
    with torch.no_grad():
        bias = matrix(torch.zeros(1, 1, inputs, dtype=torch.float64))[0, 0]
        return (matrix(torch.eye(inputs, dtype=torch.float64)[None])[0] - bias).T, bias


def key_of(case, row, matrix):
    seen = []
    handle = matrix.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        case.language_model.model(input_ids=torch.tensor([row.ids]))
    handle.remove()
    return seen[0][0, row.subject_last]


def test_a_fact_without_an_old_object_is_judged_by_its_nll():
    case = without_alternatives(undo(edited(MODELS["llama"], [1], FullTuning("before_edited"))))
    found = attribute(case.states, case.requests, case.recorded())
    assert found.edits
    for edit in found.edits:
        assert (edit.judged_by, edit.became, edit.verdict) == ("nll", "displaced", Verdict.KEY_DRIFT)
        assert edit.margin_tuned != edit.margin_tuned


@pytest.mark.parametrize("rule", [Rule.PROB, Rule.FIRST])
def test_other_rules_have_their_own_losses(rule):
    case = undo(edited(MODELS["gpt2"], [1], FullTuning()))
    recorded = case.recorded(rule)
    found = attribute(case.states, case.requests, recorded, rule)
    assert found.rule is rule
    assert len(found.edits) == len(recorded.losses.numbers) > 0
    for edit in found.edits:
        assert set(edit.smallest) <= set(GROUPS)


def test_layers_share_what_their_group_has_and_the_draw_is_the_seed_s():
    case = undo(edited(MODELS["llama"], [1, 2], FullTuning()))
    first, again, other = (attribute(case.states, case.requests, case.recorded(), pairs=3, seed=s) for s in (3, 3, 4))
    assert first.layer_shares == again.layer_shares
    assert first.layer_shares != other.layer_shares
    assert [(share.group, share.layer) for share in first.layer_shares] == [
        ("written", 1),
        ("written", 2),
        ("below", 0),
        ("below", 1),
        ("below", 2),
        ("above", None),
        ("above", 3),
        ("outside", None),
    ]
    whole = sum(share.margin for share in first.layer_shares)
    lost = sum(edit.margin_tuned - edit.margin_edited for edit in first.edits) / len(first.edits)
    assert whole == pytest.approx(lost, abs=1e-9)
    assert all(share.error >= 0 for share in first.layer_shares)


def test_a_model_that_answers_otherwise_than_recorded_is_refused():
    case = undo(edited(MODELS["llama"], [1], FullTuning()))
    recorded = case.recorded()
    with torch.no_grad():
        case.language_model.head.weight.mul_(1.5)
    with pytest.raises(ConfigError, match="off the run's records"):
        attribute(case.states, case.requests, recorded)
    with torch.no_grad():
        case.language_model.head.weight.mul_(torch.nan)
    with pytest.raises(ConfigError, match="up to nan nats per token off"):
        attribute(case.states, case.requests, recorded)


@pytest.mark.slow
@pytest.mark.parametrize("group", ONLY)
def test_the_same_on_the_world_s_model(group):
    tuning, verdict = ONLY[group]
    given = World(limit=6, seed=4).load()
    case = undo(edited(WorldModel, [2], tuning, given=given), lr=0.01)
    found = attribute(case.states, case.requests, case.recorded())
    assert found.edits
    assert found.trained == [group]
    for edit in found.edits:
        assert edit.verdict is edit.activations.verdict is verdict
        assert edit.groups[Group(group)].margin == pytest.approx(edit.margin_tuned - edit.margin_edited, abs=1e-9)
        assert all(edit.groups[other].margin == 0 for other in GROUPS if other != group)


def test_a_run_that_edited_nothing_is_refused():
    language_model = MODELS["llama"]()
    with pytest.raises(ConfigError, match="nothing was edited"):
        attribute(ModelStates(language_model), [], None)


def test_modes_and_random_numbers_are_left_alone():
    case = undo(edited(MODELS["llama"], [1], LoRA(r=4, alpha=16, dropout=0.5)))
    recorded = case.recorded()
    case.language_model.train()
    modes = [module.training for module in case.language_model.modules()]
    state = torch.random.get_rng_state()
    first = attribute(case.states, case.requests, recorded)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in case.language_model.modules()] == modes
    second = attribute(copy.copy(case.states), case.requests, recorded)
    assert first.edits == second.edits
