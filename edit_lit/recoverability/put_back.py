"""Putting the edit back in parts: models between the edited one and another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import ModelStates
from edit_lit.deltas.swap import on_cpu, swapped
from edit_lit.language_model.module_tree import plain_parameters
from edit_lit.measures.outcomes import Kind
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success
from edit_lit.recoverability.sides import Side
from edit_lit.tuning.merging import merged_copy, of_adapters, tuner_layers, wrapped_by_adapters

ALPHAS = (0.25, 0.5, 0.75)
"""How far from the edited model to the other one."""


class PutBack:
    """Asks the models at θ_e + α (θ − θ_e), where θ_e is the edited model and θ another.

    What an adapter adds to a weight is a part of the weight here. On the CPU it keeps the weights in which the two
    differ, once for each of them.

    Args:
        states: The states of the model.
        probe: Asks the facts.
        rule: The success rule.
        also: Weights of the model's own in which θ differs, whether or not they trained.
    """

    def __init__(self, states: ModelStates, probe: Probe, rule: Rule, also: Collection[nn.Parameter] = ()) -> None:
        self.states = states
        self.probe = probe
        self.rule = rule
        self._weights = _concerned(states, also)

    @property
    def possible(self) -> bool:
        """Whether all that trained is in weights; a prompt that was learnt is in none."""
        model = self.states.language_model.model
        known = {id(parameter) for parameter in (*self._weights, *of_adapters(model))}
        return all(id(parameter) in known for parameter in model.parameters() if parameter.requires_grad)

    def largest_alpha(self, side: Side, watch: Callable[[], object] = lambda: None) -> Tensor:
        """The largest α at which each fact is right, [F]; 0 if it is at none.

        Args:
            side: The model at α = 1.
            watch: Called after each pass.
        """
        with side.enter():
            there = self._now()
        best = torch.zeros(len(self.probe.requests), dtype=torch.float64)
        with self.states.edited():
            here = {parameter: on_cpu(parameter) for parameter in self._weights}
            for alpha in ALPHAS:
                between = {weight: torch.lerp(here[weight], there[weight], alpha) for weight in here}
                with swapped(between):
                    outcomes = self.probe.run(self.states.language_model).of_kind(Kind.REWRITE)
                best[success(outcomes, self.rule) == 1] = alpha
                watch()
        return best

    @torch.no_grad()
    def _now(self) -> dict[nn.Parameter, Tensor]:
        """The weights as they are in force now, adapters merged into them where they are switched on."""
        values = {parameter: on_cpu(parameter) for parameter in self._weights}
        for layer in tuner_layers(self.states.language_model.model):
            if layer.disable_adapters:
                continue
            merged = dict(merged_copy(layer).named_parameters())
            for name, parameter in layer.get_base_layer().named_parameters():
                values[parameter] = merged[name].to("cpu", parameter.dtype)
        return values


def _concerned(states: ModelStates, also: Collection[nn.Parameter]) -> Sequence[nn.Parameter]:
    """The model's own weights that edit or training can have changed, and others that did, each once."""
    language_model, delta = states.language_model, states.delta
    edited = [language_model.parameter(name) for name in (delta.updates if delta is not None else ())]
    changed = {id(parameter) for parameter in (*wrapped_by_adapters(language_model.model), *edited, *also)}
    added = {id(parameter) for parameter in of_adapters(language_model.model)}
    return [
        parameter
        for _, parameter in plain_parameters(language_model.model)
        if id(parameter) not in added and (parameter.requires_grad or id(parameter) in changed)
    ]
