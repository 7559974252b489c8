"""Charts of TensorBoard's custom layout, of which a run has one, whoever logs what is in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import lightning as L

Charts = Mapping[str, Sequence[str]]
"""The tags of each chart's scalars, by its title."""


class DrawsCharts(ABC):
    """A callback whose scalars have charts of their own in the layout that ``EditRetentionCallback`` logs."""

    @abstractmethod
    def charts(self, trainer: L.Trainer, pl_module: L.LightningModule) -> tuple[str, Charts]:
        """The title of the category and its charts; none where the run logs nothing of it.

        Asked when the training starts, which may be before the callback's own ``on_train_start``.

        Args:
            trainer: The trainer.
            pl_module: What it trains.
        """


def charts_of_callbacks(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Charts]:
    """The categories of all callbacks that have charts, by title."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by a connector
    found = [callback.charts(trainer, pl_module) for callback in callbacks if isinstance(callback, DrawsCharts)]
    return {title: charts for title, charts in found if charts}
