"""Guards of matrices that wear LoRA: the adapter may not answer to what is kept."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from test_hold import OPTIMIZERS, answers, change, edited, keys, train, trainable
from test_path_null_space import logits

from edit_lit.deltas import ModelStates
from edit_lit.guards import Hold, PathNullSpace
from edit_lit.utilities.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:Hold protects more than a quarter")

LLAMA = ["q_proj", "o_proj", "up_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj", "c_fc"]


def adapted(make=tiny.llama, targets=LLAMA, config=None, **options):
    """An edited model that wears an adapter."""
    model, delta, requests = edited(make)
    torch.manual_seed(1)
    config = config or LoraConfig(r=4, target_modules=targets, fan_in_fan_out=targets is GPT2, **options)
    model.model = get_peft_model(model.model, config).double()
    return model, delta, requests


@pytest.mark.parametrize(("make", "targets"), [(tiny.llama, LLAMA), (tiny.gpt2, GPT2)], ids=["llama", "gpt2"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_hold_keeps_the_writes(make, targets, optimizer):
    for guard in (Hold(), None):
        model, delta, requests = adapted(make, targets)
        of = keys(model, requests)
        before = answers(model, of)
        steps = OPTIMIZERS[optimizer](trainable(model))
        if guard is not None:
            guard.setup(model, delta, requests)
            guard.attach(steps)
        train(model, steps)
        moved = change(before, answers(model, of))
        assert moved < 1e-12 if guard is not None else moved > 1e-4
        ones = {layer: torch.ones_like(of_layer[:1]) for layer, of_layer in of.items()}
        assert change({k: v[:1] for k, v in before.items()}, answers(model, ones)) > 1e-3, "it learns elsewhere"


def test_path_null_space_keeps_the_pass_over_the_prompts():
    changes = []
    for guard in (PathNullSpace(energy=1), None):
        model, delta, _ = adapted()
        one = tiny.requests(1)
        before, steps = logits(model, one), OPTIMIZERS["adamw"](trainable(model))
        if guard is not None:
            guard.setup(model, delta, one)
            guard.attach(steps)
            assert f"{4 * len(LLAMA)} matrices" in guard.describe()
        train(model, steps)
        changes.append(float((logits(model, one) - before).abs().max()))
    assert changes[0] < 1e-10
    assert changes[1] > 1e-2


def test_set_up_again_in_the_middle_of_a_training_it_keeps_the_same():
    model, delta, requests = adapted()
    states = ModelStates(model, delta)
    first, again = Hold(), Hold()
    first.setup(model, delta, requests)
    steps = OPTIMIZERS["adamw"](trainable(model))
    first.attach(steps)
    train(model, steps, steps=3)
    with states.edited():
        again.setup(model, delta, requests)
    for name, write in first.writes.items():
        torch.testing.assert_close(again.writes[name]._basis_NR, write._basis_NR, rtol=0, atol=1e-12)
        assert float(again.writes[name].off()) < 1e-12


@pytest.mark.parametrize("guard", [Hold(), PathNullSpace()], ids=["hold", "path null space"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "wears DoRA, which rescales the edited weight itself"),
        ({"lora_bias": True}, "a bias that trains"),
        ({"config": IA3Config(target_modules=["down_proj"], feedforward_modules=["down_proj"])}, "an adapter .Linear."),
    ],
    ids=["dora", "bias", "ia3"],
)
def test_adapters_that_cannot_be_kept_are_refused(guard, options, message):
    with_bias = "lora_bias" in options
    model, delta, requests = adapted(tiny.gpt2 if with_bias else tiny.llama, GPT2 if with_bias else LLAMA, **options)
    with pytest.raises(ConfigError, match=message):
        guard.setup(model, delta, requests)


@pytest.mark.parametrize("guard", [Hold(), PathNullSpace()], ids=["hold", "path null space"])
def test_a_beginning_that_moves_the_edited_weight_is_refused(guard):
    model, delta, requests = edited()
    model.model.float()
    model.model = get_peft_model(model.model, LoraConfig(r=4, target_modules=LLAMA, init_lora_weights="pissa"))
    with pytest.raises(ConfigError, match="init_lora_weights is 'pissa', which may move the edited weights"):
        guard.setup(model, delta, requests)
