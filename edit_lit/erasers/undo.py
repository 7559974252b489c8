"""Undo: the edit is subtracted, exactly where nothing was trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edit_lit.deltas import Delta
from edit_lit.erasers.eraser import Eraser
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.surgery.written import check_bare, check_of_weights, named
from edit_lit.utilities.errors import ConfigError


class Undo(Eraser):
    """Subtracts the Delta: W becomes W − Δ.

    Where the edited weights have not been trained since, they become bit for bit what they were before the edit,
    whatever else has been trained. Where they have, W − Δ is W_0 + D with D all that training did to them, in answer to
    the edit too: had it taken the edit back, subtracting would write its opposite. That is refused unless it is asked
    for, and is told with the size of D and the share of the edit that it had taken back.

    Args:
        after_training: Subtract it from weights that have been trained since as well.
    """

    def __init__(self, after_training: bool = False) -> None:
        self.after_training = after_training
        self._delta: Delta | None = None
        self._did = ""

    def setup(self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]) -> None:
        """Take the Delta."""
        check_of_weights(delta, "Undo")
        self._delta, self._did = delta, ""

    def changes(self, language_model: LanguageModel) -> list[str]:
        """The weights that the edit changed."""
        return list(self._given().updates)

    @torch.no_grad()
    def erase(self, language_model: LanguageModel) -> None:
        """Put back the weights from before the edit, or subtract it.

        Raises:
            ConfigError: If there was no setup, an adapter is on an edited weight, or one has been trained since and
                that was not allowed.
        """
        delta = self._given()
        check_bare(language_model, [named(language_model, name) for name in delta.updates], "Undo")
        drift = _since_the_edit(language_model, delta)
        if not drift:
            delta.revert(language_model)
            self._did = f"Undo put {len(delta.updates)} matrices back as they were before the edit, bit for bit"
            return
        # Without the sign of what rounds to nothing.
        parts = {name: (size, round(back, 2) + 0.0) for name, (size, back) in drift.items()}
        listed = ", ".join(f"{name}: {size:.2f} (taken back: {back:.2f})" for name, (size, back) in parts.items())
        if not self.after_training:
            raise ConfigError(
                "Undo is exact only where nothing was trained since the edit, but training has changed edited weights, "
                f"in sizes of the edit: {listed}. Use Unwrite, or subtract all the same with eraser.after_training."
            )
        for name, update in delta.updates.items():
            weight = named(language_model, name)
            weight.copy_(weight.double() - update.dense().to(weight.device))
        self._did = (
            "Undo subtracted the edit from weights that had been trained since, which is not exact: what training did "
            f"to them stays, in sizes of the edit: {listed}"
        )

    def describe(self) -> str:
        """Whether the weights are those from before the edit, or how far off."""
        return self._did or "Undo has not erased anything yet"

    def _given(self) -> Delta:
        if self._delta is None:
            raise ConfigError("Undo knows of no edit. Call its setup right after the edit.")
        return self._delta


def _since_the_edit(language_model: LanguageModel, delta: Delta) -> dict[str, tuple[float, float]]:
    """Of each edited weight that has changed since: ‖D‖/‖Δ‖, and −⟨D, Δ⟩/‖Δ‖², the share of the edit taken back."""
    now = {name: named(language_model, name).detach().clone() for name in delta.updates}
    found = {}
    with delta.suspended(language_model):
        for name, update in delta.updates.items():
            before, change = named(language_model, name).detach(), update.dense().to(now[name].device)
            edited = (before.double() + change).to(before.dtype)
            if not torch.equal(now[name], edited):
                drift, size = now[name].double() - edited.double(), change.norm()
                found[name] = (float(drift.norm() / size), float(-(drift * change).sum() / size**2))
    return found
