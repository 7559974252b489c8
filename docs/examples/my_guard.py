"""A guard of one's own: fine-tuning may not change what the edited matrices answer to the edited facts' keys.

With K the facts' keys at an edited layer and Q an orthonormal basis of them, an optimizer step's change S of the weight
becomes S (I − Q Qᵀ). W K then stays what the edit made it, whatever the optimizer does with momentum, weight decay or
clipping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows
from edit_lit.deltas import Delta
from edit_lit.facts import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer, projection_weight


@dataclass
class _Protected:
    """A weight, an orthonormal basis Q [N, R] of the keys that it answers to, and its value after the last step."""

    weight: nn.Parameter
    basis_NR: Tensor
    transposed: bool
    before: Tensor

    @torch.no_grad()
    def project(self) -> float:
        """Take the protected part out of the last step.

        Returns:
            Its share of the step's norm.
        """
        step = (self.weight - self.before).to(self.basis_NR.dtype)
        step_DN = step.T if self.transposed else step
        along_DN = (step_DN @ self.basis_NR) @ self.basis_NR.T
        self.weight.sub_((along_DN.T if self.transposed else along_DN).to(self.weight.dtype))
        self.before.copy_(self.weight)
        return float(along_DN.norm() / step.norm().clamp(min=1e-30))


class KeyGuard:
    """Keeps the values of the edited facts' keys where the edit put them.

    Attributes:
        removed: For each protected layer, the share of the last step's norm that was taken out.
    """

    def __init__(self) -> None:
        self.removed: dict[int, float] = {}
        self._protected: dict[int, _Protected] = {}

    def setup(self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]) -> None:
        """Read the keys at every edited layer; called with the Delta applied, before the first training step."""
        prompts = prompt_rows(language_model.tokenizer, requests, ["{}"])
        for layer in delta.layers:
            keys_FN = KeyExtractor(language_model, prompts, layer).read(layer).keys
            module = language_model.output_projection(layer)
            weight = projection_weight(module)
            basis_NR = torch.linalg.qr(keys_FN.T).Q.to(torch.promote_types(weight.dtype, torch.float32))
            transposed = isinstance(base_layer(module), Conv1D)
            self._protected[layer] = _Protected(weight, basis_NR, transposed, weight.detach().clone())

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Act after each step of any optimizer of torch's."""
        optimizer.register_step_post_hook(lambda *_: self.after_step())

    def after_step(self) -> None:
        """Project the step that was just taken."""
        self.removed = {layer: protected.project() for layer, protected in self._protected.items()}

    def describe(self) -> str:
        """One line for the log."""
        ranks = {layer: protected.basis_NR.shape[1] for layer, protected in self._protected.items()}
        return f"guards directions of the edited facts' keys, by layer: {ranks}"
