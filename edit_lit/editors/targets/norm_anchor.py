"""Norm-anchored target values (NAS): scaled to the usual norm of the MLP's output.

Shape legend: F facts, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.activations.hook_points import HookPoint, MLPOutput
from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number


@dataclass(frozen=True)
class NormAnchor:
    """Scales the MLP's target output at the subject to the norm that is usual there (NAS, arXiv 2602.02543).

    With v₀ the MLP's own output, the target v₀ + δ is scaled to the mean norm of such outputs in the unedited model.
    A target of more than ``skip`` times that norm is given up, so that its fact is not written.

    Args:
        drop: Share of the outputs, those of the largest norm, that are left out of the mean.
        skip: Largest norm of a target, in mean norms.
    """

    drop: float = 0.05
    skip: float = 2.0

    def __post_init__(self) -> None:
        check_number("norm_anchor.drop", self.drop, least=0, below=1)
        check_number("norm_anchor.skip", self.skip, above=0)

    def usual_norm(self, language_model: LanguageModel, prompts: Sequence[Sequence[SubjectRow]], layer: int) -> float:
        """Mean norm of the MLP's output at the subjects' last tokens, without the largest ones.

        Args:
            language_model: The unedited model.
            prompts: Each fact's prompts, the bare one first.
            layer: The layer.
        """
        norms = _outputs(language_model, prompts, layer, MLPOutput()).norm(dim=1).sort().values
        kept = max(1, len(norms) - round(self.drop * len(norms)))
        return float(norms[:kept].mean())

    def anchored(
        self,
        language_model: LanguageModel,
        prompts: Sequence[Sequence[SubjectRow]],
        layer: int,
        hook_point: HookPoint,
        targets_FD: Tensor,
        usual_norm: float,
    ) -> Tensor:
        """The targets, with the MLP's share of them scaled to the usual norm.

        Args:
            language_model: The model as it is now.
            prompts: Each fact's prompts, the bare one first.
            layer: The layer that the targets belong to.
            hook_point: The part of the layer whose output the targets are.
            targets_FD: The targets.
            usual_norm: What :meth:`usual_norm` gave for the unedited model.
        """
        now_FD = _outputs(language_model, prompts, layer, hook_point)
        mlp_FD = _outputs(language_model, prompts, layer, MLPOutput())
        wanted_FD = mlp_FD + targets_FD.double() - now_FD
        norm_F1 = wanted_FD.norm(dim=1, keepdim=True)
        scaled_FD = torch.where(norm_F1 > self.skip * usual_norm, mlp_FD, wanted_FD * (usual_norm / norm_F1))
        return now_FD + scaled_FD - mlp_FD


def _outputs(
    language_model: LanguageModel, prompts: Sequence[Sequence[SubjectRow]], layer: int, hook_point: HookPoint
) -> Tensor:
    return KeyExtractor(language_model, [rows[:1] for rows in prompts], layer, hook_point=hook_point).read(layer).values
