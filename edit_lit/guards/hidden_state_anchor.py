"""HiddenStateAnchor: what the model computes on some of the edited facts is drawn back to what the edit made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.drift.reading import Prompt, prompts_of
from edit_lit.facts.request import EditRequest
from edit_lit.guards.added_loss import AddedLoss
from edit_lit.guards.fact_gradient import RowLoss
from edit_lit.guards.held_writes import check_beginning
from edit_lit.guards.kept_states import KeptStates
from edit_lit.guards.wordings import with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError


class HiddenStateAnchor(AddedLoss):
    """Adds to each step how far the hidden states of some of the edited facts are from those right after the edit.

    The loss is the mean over prompts and layers of ‖h − hₑ‖² / ‖hₑ‖², with h a block's output: at the subject's last
    token up to the last edited layer, where the fact is looked up, and at the prompt's last token above it, where it is
    read. It is what arXiv 2511.05852 proposes and does not test. In a control no layer is edited, and all are compared
    at the prompt's last token.

    Like ``Replay`` it learns from half of the facts unless told otherwise; no answer and no logit is needed. The states
    wait on the CPU, in the weights' dtype: prompts × layers × hidden size numbers. Its gradient is computed outside of
    autocast and added right before clipping.

    Args:
        share: The share of the edited facts whose states are kept.
        batch_size: Prompts in each optimizer step, all processes together.
        weight: Weight of the distance beside the task's loss.
        paraphrases: So many paraphrases of each fact are kept beside its own prompt.
        seed: Seed of which facts are kept, and in what order.
    """

    def __init__(
        self, share: float = 0.5, batch_size: int = 2, weight: float = 1.0, paraphrases: int = 0, seed: int = 0
    ) -> None:
        super().__init__(share, batch_size, weight, paraphrases, seed)

    def row_loss(
        self, language_model: LanguageModel, delta: Delta | None, facts: Sequence[EditRequest]
    ) -> tuple[int, RowLoss]:
        """The facts' prompts without their answers, with the states of the edited model on them."""
        _check_reached(language_model)
        check_beginning(language_model.model)
        prompts = prompts_of(language_model, with_paraphrases(facts, self.paraphrases, "guards.use.paraphrases"))
        columns_RL = _columns(prompts, len(language_model.blocks), -1 if delta is None else max(delta.layers))
        states = KeptStates(language_model, [prompt.ids for prompt in prompts], columns_RL)
        return len(prompts), states.distance

    def describe(self) -> str:
        """Whose states are kept, and how many prompts are asked in a step."""
        return f"HiddenStateAnchor draws the hidden states of {self.drawn} back to the edited model's"

    def measures(self) -> Mapping[str, Tensor]:
        """The distance of the last step, a share of the states' squared norm."""
        return super().measures()


def _columns(prompts: Sequence[Prompt], layers: int, last_edited: int) -> Tensor:
    """Where each prompt is read: at its subject's last token up to a layer, at its own last one above it, [R, L]."""
    lookup_R = torch.tensor([prompt.subject for prompt in prompts])
    last_R = torch.tensor([len(prompt.ids) - 1 for prompt in prompts])
    return torch.where(torch.arange(layers) <= last_edited, lookup_R[:, None], last_R[:, None])


def _check_reached(language_model: LanguageModel) -> None:
    """Refuse a model whose hidden states cannot change.

    Raises:
        ConfigError: If nothing trains in a block or below the first one.
    """
    model = language_model.model
    below = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    reaching = [*language_model.blocks, *below, model.get_input_embeddings()]
    if not any(parameter.requires_grad for module in reaching for parameter in module.parameters()):
        raise ConfigError(
            "HiddenStateAnchor would do nothing: nothing trains in the blocks, or below them, that could move a hidden "
            "state. Leave it out."
        )
