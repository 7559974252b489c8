"""Every number of the drift against a plain loop over copies of the model, one prompt and one matrix at a time."""

from __future__ import annotations

import copy
import math

import peft
import pytest
import tiny
import torch
from transformers.pytorch_utils import Conv1D

from edit_lit.activations.token_rows import prompt_rows
from edit_lit.deltas import Delta, Dense, LowRank, ModelStates, Provenance, WeightPart
from edit_lit.drift import Drift
from edit_lit.drift.drift import delta_taken_off
from edit_lit.drift.representation import cosine, linear_cka, relative_change
from edit_lit.facts.request import fact_hash
from edit_lit.tuning import DoRA, FullTuning, LoRA, PeftTuning
from edit_lit.utilities.errors import ConfigError

IDS = torch.tensor([[5, 6, 7, 8, 9]])
LAYERS = (1, 2)
TUNINGS = {
    "all": FullTuning(),
    "lora": LoRA(r=2),
    "dora": DoRA(r=2),
    "prompt": PeftTuning(peft.PromptTuningConfig(num_virtual_tokens=2)),
}
EDITED, INTRINSIC, NEUTRAL = tiny.requests(4), tiny.requests(8)[4:], [[5, 6, 7], [8, 9, 10, 11], [12, 5, 9]]


def edit_of(language_model):
    """A Delta of rank 2 in one layer and a dense one in another."""
    generator = torch.Generator().manual_seed(1)
    updates = {}
    for number, layer in enumerate(LAYERS):
        weight = language_model.output_projection(layer).weight
        rows, columns = weight.shape
        left, right = (torch.randn(size, 2, generator=generator).double() / 4 for size in (rows, columns))
        name = language_model.parameter_name(weight)
        updates[name] = LowRank(left, right) if number == 0 else Dense(left @ right.T)
    return Delta([WeightPart(updates)], Provenance("Editor", {}, "m", "t", "r", LAYERS))


def trained(language_model):
    """Three steps on some loss, with every trainable parameter moved."""
    parameters = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        language_model.model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    return language_model


class Moved:
    """A model in each of its states, as copies, and what is measured of it."""

    def __init__(self, made_model, tuning):
        self.has_prompt = tuning == "prompt"
        self.model = made_model()
        self.base = copy.deepcopy(self.model)
        self.delta = edit_of(self.model)
        self.delta.apply(self.model)
        self.edited = copy.deepcopy(self.model)
        copy.deepcopy(TUNINGS[tuning]).apply(self.model, LAYERS)
        self.states = ModelStates(self.model, self.delta)
        self.drift = Drift(self.states, edited=EDITED, intrinsic=INTRINSIC, neutral=NEUTRAL, batch_tokens=12)
        self.at_start = self.drift.measure(0)
        trained(self.model)
        self.rows = self.drift.measure(3)

    def values(self, part, measure, **where):
        return [
            row.value
            for row in self.rows
            if (row.part, row.measure) == (part, measure)
            and all(getattr(row, name) == value for name, value in where.items())
        ]


@pytest.fixture(
    scope="module", params=[("llama", "all"), ("llama", "dora"), ("llama", "prompt"), ("gpt2", "lora")], ids="-".join
)
def moved(request):
    made_model, tuning = request.param
    return Moved(getattr(tiny, made_model), tuning)


def prompts(tokenizer, pool):
    """Tokens of each prompt, and the places at which it is read."""
    if pool == "neutral":
        return [(ids, {"last": -1}) for ids in NEUTRAL]
    requests = EDITED if pool == "edited" else INTRINSIC
    rows = [row for (row,) in prompt_rows(tokenizer, requests, ["{}"])]
    whole = [row.ids[: len(row.ids) - len(row.answer) + 1] for row in rows]
    return [(ids, {"subject": row.subject_last - len(ids), "last": -1}) for ids, row in zip(whole, rows, strict=True)]


@torch.no_grad()
def seen(language_model, ids, place, layer, key=False):
    """The output of a block, or the key of a layer, at one token of one prompt."""
    kept = []
    if key:
        module = language_model.output_projection(layer)
        handle = module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    else:
        module = language_model.blocks[layer]
        handle = module.register_forward_hook(lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out))
    language_model.model.eval()
    language_model.model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    handle.remove()
    return kept[0].reshape(-1, kept[0].shape[-1])[place]


@torch.no_grad()
def product(module):
    """What a module multiplies by and adds, found by asking it."""
    inner = getattr(module, "base_layer", module)
    inputs = inner.weight.shape[0 if isinstance(inner, Conv1D) else 1]
    bias = module(torch.zeros(1, inputs).double())[0]
    return (module(torch.eye(inputs).double()) - bias).T, bias


def close(found, expected):
    torch.testing.assert_close(
        torch.tensor(found).double(), torch.tensor(expected).double(), rtol=1e-7, atol=1e-10, equal_nan=True
    )


@pytest.mark.parametrize("pool", ["edited", "intrinsic", "neutral"])
def test_hidden_states_move_as_in_a_plain_loop(moved, pool):
    for position in ("last",) if pool == "neutral" else ("subject", "last"):
        for layer in range(4):
            relative, cosines, then, now = [], [], [], []
            for ids, places in prompts(moved.model.tokenizer, pool):
                was, has = (seen(m, ids, places[position], layer) for m in (moved.edited, moved.model))
                relative.append(float((has - was).norm() / was.norm()))
                cosines.append(float(has @ was / has.norm() / was.norm()))
                then.append(was)
                now.append(has)
            where = {"pool": pool, "position": position, "layer": layer}
            close(moved.values("representation", "relative", **where), [sum(relative) / len(relative)])
            close(moved.values("representation", "cosine", **where), [sum(cosines) / len(cosines)])
            (cka,) = moved.values("representation", "cka", **where)
            x, y = (torch.stack(states) for states in (then, now))
            x, y = x - x.mean(0), y - y.mean(0)
            # Over features, as in the paper; the code never makes anything of this size.
            close([cka], [float((y.T @ x).norm() ** 2 / (x.T @ x).norm() / (y.T @ y).norm())])


def test_the_first_studys_directions_are_those_of_a_plain_loop(moved):
    without = copy.deepcopy(moved.model)
    for name, update in moved.delta.updates.items():
        with torch.no_grad():
            without.parameter(name).sub_(update.dense())
    for layer in range(4):
        sizes, cosines = {"ed": 0.0, "ft": 0.0, "ed_ft": 0.0}, {"ed_and_ft": [], "ed_and_ed_ft": [], "ft_and_ed_ft": []}
        asked = prompts(moved.model.tokenizer, "edited")
        for ids, _ in asked:
            base, ed, now, ft = (seen(m, ids, -1, layer) for m in (moved.base, moved.edited, moved.model, without))
            for name, state in (("ed", ed), ("ft", ft), ("ed_ft", now)):
                sizes[name] += float((state - base).norm()) / len(asked)
            d = {"ed": ed - base, "ft": ft - base, "ed_ft": now - ed}
            for name in cosines:
                first, second = (d[part] for part in name.split("_and_"))
                # Behind a subtraction the direction of what should be 0 is one of rounding.
                if min(first.norm(), second.norm()) > 1e-9:
                    cosines[name].append(float(first @ second / first.norm() / second.norm()))
        where = {"pool": "edited", "position": "last", "layer": layer}
        for name, size in sizes.items():
            (found,) = moved.values("direction", f"size_{name}", **where)
            assert found == pytest.approx(size, rel=1e-6, abs=1e-8)
        for name, known in cosines.items():
            (found,) = moved.values("direction", f"cosine_{name}", **where)
            if len(known) == len(asked):
                close([found], [sum(known) / len(known)])
    (below,) = moved.values("direction", "size_ed", pool="edited", position="last", layer=0)
    assert below == 0  # below the first edited layer


@pytest.mark.parametrize("layer", LAYERS)
def test_keys_and_what_they_are_answered_with_move_as_in_a_plain_loop(moved, layer):
    update = moved.delta.updates[list(moved.delta.updates)[LAYERS.index(layer)]].dense()
    module = moved.edited.output_projection(layer)
    before, bias_before = product(module)
    now, bias_now = product(moved.model.output_projection(layer))
    update = update if update.shape == before.shape else update.T
    for request, (ids, places) in zip(EDITED, prompts(moved.model.tokenizer, "edited"), strict=True):
        was, has = (seen(m, ids, places["subject"], layer, key=True) for m in (moved.edited, moved.model))
        write = update @ was
        unit, size, drift = write / write.norm(), write.norm(), now - before
        value_was, value_has = before @ was + bias_before, now @ has + bias_now
        by_write = drift @ (was + has) / 2 + bias_now - bias_before
        by_key = (before + now) / 2 @ (has - was)
        expected = {
            ("key", "cosine"): has @ was / has.norm() / was.norm(),
            ("key", "relative"): (has - was).norm() / was.norm(),
            ("value", "write_retention"): 1 + unit @ (drift @ was + bias_now - bias_before) / size,
            ("value", "delivered"): unit @ (value_has - value_was) / size,
            ("value", "by_write"): unit @ by_write / size,
            ("value", "by_key"): unit @ by_key / size,
            ("value", "by_key_of_edit"): unit @ (update @ (has - was)) / size,
            ("value", "relative"): (value_has - value_was).norm() / value_was.norm(),
        }
        for (part, measure), value in expected.items():
            close(moved.values(part, measure, layer=layer, fact=fact_hash(request)), [float(value)])
        found = {
            measure: moved.values("value", measure, layer=layer, fact=fact_hash(request))[0]
            for _, measure in list(expected)[2:]
        }
        assert found["delivered"] == pytest.approx(found["by_write"] + found["by_key"], rel=0, abs=1e-9)


@torch.no_grad()
def test_weights_move_as_in_a_plain_loop(moved):
    for layer in range(4):
        change = size = 0.0
        inner = {n: m for n, m in moved.model.blocks[layer].named_modules() if hasattr(m, "base_layer")}
        for name, module in inner.items():
            then, now = product(moved.edited.blocks[layer].get_submodule(name)), product(module)
            change += sum(float((b - a).norm() ** 2) for a, b in zip(then, now, strict=True))
        own = dict(moved.model.blocks[layer].named_parameters())
        for name, parameter in moved.edited.blocks[layer].named_parameters():
            size += float(parameter.norm() ** 2)
            change += float((own[name] - parameter).norm() ** 2) if name in own else 0.0
        (found,) = moved.values("weight", "relative", layer=layer)
        assert found == pytest.approx(math.sqrt(change / size), rel=1e-6, abs=1e-9)
    for layer, update in zip(LAYERS, moved.delta.updates.values(), strict=True):
        drift = product(moved.model.output_projection(layer))[0] - product(moved.edited.output_projection(layer))[0]
        delta = update.dense() if update.shape == drift.shape else update.dense().T
        close(moved.values("weight", "along_delta", layer=layer), [float((drift * delta).sum() / delta.norm() ** 2)])
        keys = [
            seen(moved.edited, ids, places["subject"], layer, key=True)
            for ids, places in prompts(moved.model.tokenizer, "edited")
        ]
        up = math.sqrt(sum(float((drift @ key).norm() ** 2) for key in keys))
        down = math.sqrt(sum(float((delta @ key).norm() ** 2) for key in keys))
        found = moved.values("weight", "on_edited_keys", layer=layer)
        assert found == [pytest.approx(up / down, rel=1e-6, abs=1e-9)]


def test_nothing_has_drifted_before_the_first_step(moved):
    # An adapter that is merged is so to rounding.
    for row in moved.at_start:
        measure = (row.part, row.measure)
        if moved.has_prompt and row.part != "weight":
            continue  # which stands before the text from the first step on
        cosines = {("key", "cosine"), ("representation", "cosine"), ("representation", "cka")}
        if measure in {*cosines, ("value", "write_retention")}:
            assert row.value == pytest.approx(1, abs=1e-9)
        elif row.part != "direction":
            assert row.value == pytest.approx(0, abs=1e-9)


def test_an_edit_that_training_takes_back_is_found_along_the_delta():
    language_model = tiny.llama()
    delta = edit_of(language_model)
    delta.apply(language_model)
    states = ModelStates(language_model, delta)
    drift = Drift(states, edited=EDITED)
    with torch.no_grad():
        for name, update in delta.updates.items():
            language_model.parameter(name).sub_(update.dense())
    rows = drift.measure(1)
    by_measure = {}
    for row in rows:
        by_measure.setdefault((row.part, row.measure, row.layer), []).append(row.value)
    for layer in LAYERS:
        assert by_measure["weight", "along_delta", layer] == [pytest.approx(-1)]
        assert by_measure["weight", "on_edited_keys", layer] == [pytest.approx(1)]
    assert by_measure["value", "write_retention", 1] == pytest.approx([0] * 4, abs=1e-9)
    # The keys of the first edited layer are as they were: all that is lost there was overwritten.
    assert by_measure["value", "by_write", 1] == pytest.approx([-1] * 4)
    assert by_measure["value", "by_key", 1] == pytest.approx([0] * 4, abs=1e-12)


def test_measuring_leaves_every_bit_mode_and_random_state():
    language_model = tiny.llama()
    delta = edit_of(language_model)
    delta.apply(language_model)
    LoRA(r=2, dropout=0.5).apply(language_model, LAYERS)
    language_model.model.train()
    drift = Drift(ModelStates(language_model, delta), edited=EDITED, intrinsic=INTRINSIC, neutral=NEUTRAL)
    trained(language_model)
    weights = {name: value.clone() for name, value in language_model.model.state_dict().items()}
    flags = [(parameter.requires_grad, parameter.grad is None) for parameter in language_model.model.parameters()]
    modes = [module.training for module in language_model.model.modules()]
    state = torch.random.get_rng_state()
    drift.measure(3)
    assert all(torch.equal(weights[name], value) for name, value in language_model.model.state_dict().items())
    assert flags == [(p.requires_grad, p.grad is None) for p in language_model.model.parameters()]
    assert modes == [module.training for module in language_model.model.modules()]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_delta_taken_off_is_put_back_bit_for_bit():
    language_model = tiny.llama()
    delta = edit_of(language_model)
    delta.apply(language_model)
    states = ModelStates(language_model, delta)
    before = {name: value.clone() for name, value in language_model.model.state_dict().items()}
    with pytest.raises(ZeroDivisionError), delta_taken_off(states):
        raise ZeroDivisionError
    assert all(torch.equal(before[name], value) for name, value in language_model.model.state_dict().items())


def test_a_run_without_an_edit_has_hidden_states_and_weights_alone():
    language_model = tiny.llama()
    drift = Drift(ModelStates(language_model), edited=EDITED, neutral=NEUTRAL, prompts=2)
    trained(language_model)
    rows = drift.measure(3)
    assert {(row.part, row.pool) for row in rows} == {
        ("representation", "unedited"),
        ("representation", "neutral"),
        ("weight", None),
    }


def test_a_direction_that_is_not_there_has_no_cosine_and_no_number_hangs_on_scale():
    zero, some = torch.zeros(1, 3).double(), torch.tensor([[1e-30, 0.0, 2e-30]]).double()
    assert cosine(zero, some).isnan().all()
    assert float(cosine(some, -some)) == pytest.approx(-1)
    assert relative_change(zero, some).isnan().all()
    assert math.isnan(linear_cka(zero, zero))
    same = torch.ones(4, 3).double()
    assert math.isnan(linear_cka(same, torch.randn(4, 3).double()))


def test_weights_that_no_process_has_whole_are_refused():
    language_model = tiny.llama()
    language_model.output_projection(2).weight.data = torch.zeros(0).double()
    with pytest.raises(ConfigError, match="layer 2 are split over processes.*trainer.strategy to auto or ddp"):
        Drift(ModelStates(language_model), edited=EDITED)


def test_an_adapter_that_cannot_be_merged_is_refused_by_name(monkeypatch):
    def merge(self, *args, **options):
        raise NotImplementedError

    language_model = tiny.llama()
    LoRA(r=2).apply(language_model, [])
    monkeypatch.setattr(peft.tuners.lora.Linear, "merge", merge)
    with pytest.raises(ConfigError, match="the adapter Linear cannot be merged.*Use LoRA, DoRA or FullTuning"):
        Drift(ModelStates(language_model), edited=EDITED).measure(0)
