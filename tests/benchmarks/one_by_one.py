"""The search for target values as it is usually written: one fact after another, each pass through the whole model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edit_lit.activations.token_rows import SubjectRow
from edit_lit.editors import TargetValues
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.token_batch import pad_right


def target_value(
    options: TargetValues,
    language_model: LanguageModel,
    layer: int,
    scored: Sequence[SubjectRow],
    kl_anchor_prompt: SubjectRow,
) -> Tensor:
    """A fact's target value: padded rows, all logits of every pass, and a look at the loss after each.

    Args:
        options: How to search; the plain search of MEMIT, without what only other editors use.
        language_model: A frozen model.
        layer: The layer whose output is moved.
        scored: The fact's prompts, the bare one first.
        kl_anchor_prompt: Its KL anchor prompt.

    Returns:
        The value, [hidden size].
    """
    rows = [*scored, kl_anchor_prompt]
    ids = pad_right([row.ids for row in rows], 0)
    subject_last = torch.tensor([row.subject_last for row in rows])
    delta = torch.zeros(language_model.hidden_size, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=options.lr)
    origin: Tensor | None = None
    initial: Tensor | None = None

    def move(_: nn.Module, __: object, output: Tensor) -> Tensor:
        nonlocal origin
        if origin is None:
            origin = output[0, subject_last[0]].detach().clone()
        moved = output.clone()
        moved[torch.arange(len(rows)), subject_last] += delta
        return moved

    handle = language_model.blocks[layer].register_forward_hook(move)
    for step in range(options.steps):
        log_p = language_model.model(input_ids=ids).logits.log_softmax(-1)
        nll = torch.stack([_nll(log_p[place], row) for place, row in enumerate(scored)]).mean()
        now = log_p[-1, kl_anchor_prompt.subject_last]
        initial = now.detach() if initial is None else initial
        assert origin is not None
        kl = (now.exp() * (now - initial)).sum()
        loss = nll + options.kl_weight * kl + options.weight_decay * delta.norm() / origin.norm() ** 2
        if loss.item() < options.stop_loss or step == options.steps - 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            limit = options.clamp * origin.norm()
            if delta.norm() > limit:
                delta.mul_(limit / delta.norm())
    handle.remove()
    assert origin is not None
    return origin + delta.detach()


def _nll(log_p_TV: Tensor, row: SubjectRow) -> Tensor:
    last = len(row.ids)
    places = torch.arange(last - len(row.answer), last)
    return -log_p_TV[places, torch.tensor(row.answer)].mean()
