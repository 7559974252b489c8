"""Edits and fine-tunings that tests plant into tiny models, and what plain hooks read there."""

from __future__ import annotations

import tiny
import torch
from transformers.pytorch_utils import Conv1D

from edit_lit.activations.token_rows import prompt_rows
from edit_lit.deltas import Delta, LowRank, WeightPart
from edit_lit.deltas.provenance import Provenance
from edit_lit.language_model.module_tree import base_layer, projection_weight

LAYERS = (1, 2)
MODELS = [tiny.llama, tiny.gpt2]
NAMES = ["llama", "gpt2 with biases"]


def keys(model, requests, contexts=("{}",)):
    """The keys of the prompts by layer, one prompt at a time."""
    found = {layer: [] for layer in LAYERS}
    for rows in prompt_rows(model.tokenizer, requests, list(contexts)):
        for row in rows:
            for layer in LAYERS:
                hook = model.output_projection(layer).register_forward_pre_hook(
                    lambda _, inputs, layer=layer, at=row.subject_last: found[layer].append(inputs[0][0, at].detach())
                )
                with torch.no_grad():
                    model.model(torch.tensor([row.ids]))
                hook.remove()
    return {layer: torch.stack(of_layer) for layer, of_layer in found.items()}


def edited(make=tiny.llama, layers=LAYERS, count=4):
    """A model with a write for each fact's key in some layers, applied; model, Delta and facts."""
    model, requests = make(), tiny.requests(count)
    torch.manual_seed(1)
    updates = {}
    for layer, of_layer in keys(model, requests).items():
        if layer in layers:
            module = base_layer(model.output_projection(layer))
            values = torch.randn(model.hidden_size, len(requests), dtype=torch.float64)
            update = LowRank(values, of_layer.T)
            name = model.parameter_name(projection_weight(module))
            updates[name] = update.transposed if isinstance(module, Conv1D) else update
    delta = Delta([WeightPart(updates)], Provenance("Planted", {}, "m", "t", "r", tuple(layers)))
    delta.apply(model)
    return model, delta, requests


@torch.no_grad()
def fine_tune(model, size=0.05, but=()):
    """Change every parameter that is not named, biases too."""
    torch.manual_seed(2)
    for name, parameter in model.model.named_parameters():
        change = size * torch.randn_like(parameter)
        if name not in but:
            parameter += change


def state(model):
    """All parameters with their flags, and all modes."""
    parameters = {name: (one.detach().clone(), one.requires_grad) for name, one in model.model.named_parameters()}
    return parameters, [module.training for module in model.model.modules()]


def changed(before, after):
    """Names of the parameters that are not bit for bit what they were; flags and modes must be."""
    assert before[1] == after[1]
    assert before[0].keys() == after[0].keys()
    for name, (_, flag) in before[0].items():
        assert after[0][name][1] == flag
    return {name for name, (value, _) in before[0].items() if not torch.equal(value, after[0][name][0])}


def augmented(model, layer):
    """A projection's matrix as outputs × inputs, with its bias as the last column."""
    module = base_layer(model.output_projection(layer))
    weight = module.weight.detach().clone()
    weight = weight.T if isinstance(module, Conv1D) else weight
    bias = torch.zeros(len(weight), dtype=weight.dtype) if module.bias is None else module.bias.detach().clone()
    return torch.cat([weight, bias[:, None]], dim=1)


def with_one(keys_KN):
    """Keys with the 1 that a bias is multiplied by."""
    return torch.cat([keys_KN, torch.ones(len(keys_KN), 1, dtype=keys_KN.dtype)], dim=1)
