"""Options of the search for target values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from edit_lit.editors.targets.norm_anchor import NormAnchor
from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class Anchor:
    """Anchored dimensions: most of a target value stays as it was (EAC, Xu et al., arXiv 2503.00035).

    A first optimisation finds which dimensions matter, by abs(mean gradient · δ); a second one moves only those.

    Args:
        share: Share of the dimensions that may move in the second optimisation.
        first_steps: Forward passes of the first optimisation.
        warm_start: Start the second one from the first one's δ in these dimensions, as the ROME variant does;
            from zero if not, as the MEMIT variant does.
        l1: Weight of Σ abs(δ) / (score + 10⁻⁶) in the second one's loss.
    """

    share: float = 0.05
    first_steps: int = 10
    warm_start: bool = False
    l1: float = 5e-7

    def __post_init__(self) -> None:
        check_number("target_values.anchor.share", self.share, above=0, most=1)
        check_number("target_values.anchor.first_steps", self.first_steps, least=2)
        check_number("target_values.anchor.l1", self.l1, least=0)


@dataclass(frozen=True)
class TargetValues:
    """How target values are optimised (MEMIT, arXiv 2210.07229, §4.2 and equation 16).

    For each fact a vector δ is added to a layer's output at the subject's last token and minimises

        mean over contexts of NLL(target) + kl_weight · KL(now ‖ before) + weight_decay · ‖δ‖ / ‖z₀‖²

    with Adam; KL is taken on the next token after the subject in ``kl_anchor_prompt``. The norm of δ in the last term
    is not squared: that is what the published results were made with.

    Args:
        steps: Forward passes at most; the last of them makes no update.
        lr: Adam's learning rate.
        stop_loss: A fact is finished when its loss falls below this.
        clamp: Largest ‖δ‖ / ‖z₀‖, enforced by projection after each update.
        weight_decay: Weight of the norm term.
        kl_weight: Weight of the KL term.
        kl_anchor_prompt: A statement about the subject that the edit should leave alone, with one ``{}``.
        chunk: Facts optimised together.
        stop_correct: A fact is also finished at this many passes in which every target token is the most probable
            one in every context (most-probable early stopping of ENCORE, arXiv 2502.01636). Never if not given.
        correct_without_bare: Ask whether every target token is the most probable one in the other contexts only, not
            in the bare prompt, as ENCORE's public code does.
        correct_nll_weight: Weight of the NLL in the pass after one in which every target token is the most probable
            one; PMET has 0.1.
        correct_stop_kl: A fact is also finished when every target token is the most probable one and the weighted
            KL term is at most this; PMET has 0.01. Never if not given.
        neighbors: How many of each request's neighborhood questions keep their answers while its target is sought
            (neighbor-assisted editing, arXiv 2503.11895): δ is added at the neighbor's subject too, and the NLL of
            the neighbor's own answer counts as that of a context does. Each question needs a ``subject``.
        margin: Go on until the new object leads by so much, too: log p(new) − log p(old), both per token and in nats,
            as a mean over contexts. What it lacks is added to the loss, and no fact is finished before it lacks
            nothing. It runs each prompt a second time, with the old object. Not asked for if not given.
        sharpness: Descend by the gradient at δ + sharpness · ‖z₀‖ · g / ‖g‖ with g the gradient at δ, so that the value
            lies where the loss is flat (sharpness-aware minimisation, Foret et al., arXiv 2010.01412). It doubles the
            passes; 0 for the gradient at δ itself.
        anchor: Leave most dimensions of the value as they were (EAC).
        norm_anchor: Scale values to the length that is usual in the unedited model (NAS).
    """

    steps: int = 25
    lr: float = 0.5
    stop_loss: float = 0.05
    clamp: float = 0.75
    weight_decay: float = 0.5
    kl_weight: float = 0.0625
    kl_anchor_prompt: str = "{} is a"
    chunk: int = 24
    stop_correct: int | None = None
    correct_without_bare: bool = False
    correct_nll_weight: float = 1.0
    correct_stop_kl: float | None = None
    neighbors: int = 0
    margin: float | None = None
    sharpness: float = 0.0
    anchor: Anchor | None = None
    norm_anchor: NormAnchor | None = None

    def __post_init__(self) -> None:
        # One pass makes no update.
        check_number("target_values.steps", self.steps, least=2)
        for name in ("lr", "clamp"):
            check_number(f"target_values.{name}", getattr(self, name), above=0)
        for name in ("stop_loss", "weight_decay", "kl_weight", "correct_nll_weight", "neighbors", "sharpness"):
            check_number(f"target_values.{name}", getattr(self, name), least=0)
        check_number("target_values.chunk", self.chunk, least=1)
        check_number("target_values.stop_correct", self.stop_correct, least=1, null="for never")
        check_number("target_values.correct_stop_kl", self.correct_stop_kl, least=0, null="for never")
        check_number("target_values.margin", self.margin, above=0, null="to ask for none")
        if self.kl_anchor_prompt.count(SUBJECT_SLOT) != 1:
            raise ConfigError(
                f"target_values.kl_anchor_prompt is {self.kl_anchor_prompt!r}; it needs exactly one '{{}}'."
            )
        if self.correct_without_bare and not self.watches_correctness:
            warnings.warn(
                "target_values.correct_without_bare has no effect by itself. Set stop_correct too, or leave it out.",
                stacklevel=3,
            )

    @property
    def watches_correctness(self) -> bool:
        """Whether any option depends on the target's being the most probable answer."""
        return self.stop_correct is not None or self.correct_stop_kl is not None or self.correct_nll_weight != 1.0
