"""The causes of lost edits at the end of a fit."""

from __future__ import annotations

import logging
from typing import Literal

import lightning as L

from callbacks.to_loggers import log_table
from edit_lit.attribution.attribute import Recorded, attribute
from edit_lit.attribution.file import write_attribution
from edit_lit.attribution.result import Attribution
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import as_fine_tuner
from edit_lit.measures.scores import Rule
from edit_lit.reports.causes import CAUSES_HEADER, causes_rows, mean_losses, write_causes
from edit_lit.reports.run import Run
from edit_lit.reports.run_losses import check_explainable, recorded_losses
from edit_lit.reports.terminal import print_causes
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class AttributionCallback(L.Callback):
    """Finds out why edits were lost when training ends, as ``python -m edit_lit explain`` does later.

    It prints the causes and writes ``attribution.parquet`` and ``report/causes.md``; loggers get the table, and what
    each group of parameters cost on average, as ``attribution/written`` and so on. A run that cannot be explained gets
    a warning. List it behind ``EditRetentionCallback``.

    Args:
        enabled: Do so; it costs at most 24 probes of the lost edits, and on the CPU a copy of the weights that train.
        rule: The success rule by which edits are lost.
        layers: Go down to layers, by so many pairs of sampled orders.
        seed: Seed of these orders.
    """

    def __init__(
        self,
        enabled: bool = False,
        rule: Literal["prob", "exact", "first"] = "exact",
        layers: int = 0,
        seed: int = 0,
    ) -> None:
        check_number("attribution.layers", layers, least=0)
        self.enabled = enabled
        self.rule = Rule(rule)
        self.layers = layers
        self.seed = seed
        self._found: tuple[str, Attribution] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have the module remember the weights right after the edit."""
        if self.enabled and stage == "fit":
            as_fine_tuner(pl_module).keeps_states = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the model while it is on its device; what was found is printed below the bar."""
        self._found = None
        if not self.enabled:
            return
        try:
            self._explain(trainer, pl_module)
        except ConfigError as error:
            # The run itself is whole.
            if distributed.rank() == 0:
                log.warning("the lost edits are not explained: %s", error)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print what was found."""
        if self._found is not None and distributed.rank() == 0:
            print_causes(*self._found)

    def _explain(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        states = as_fine_tuner(pl_module).states
        data = getattr(trainer, "datamodule", None)
        folder, step = run_folder(trainer), trainer.global_step
        if states is None or not isinstance(data, EditDataModule):
            raise ConfigError("the module was prepared before this callback came, or its data are no EditDataModule.")

        def look() -> tuple[str, Recorded]:
            run = Run.read(folder)
            check_explainable(run)
            return run.name, recorded_losses(run, step, self.rule)

        name, recorded = distributed.at_first_process(look)
        found = attribute(states, data.requests, recorded, self.rule, self.layers, self.seed)
        if distributed.rank() > 0:
            return
        self._found = name, found
        write_attribution(folder, found)
        write_causes(folder, found)
        for logger in trainer.loggers:
            if found.edits:
                means = {f"attribution/{group}": loss for group, loss in mean_losses(found).items()}
                logger.log_metrics(means, step)
                log_table(logger, "causes", CAUSES_HEADER, causes_rows(found), step)
