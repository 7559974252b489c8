"""The Trainer of the command line: a run folder of its own, and the verb ``edit``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import KnowledgeEdit
from callbacks.knowledge_edit import report_diagnostics
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.probe import Probe
from edit_lit.reports.table import HEADER, score_rows
from edit_lit.reports.terminal import print_table
from edit_lit.run_folder import discard_if_unused
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class EditTrainer(L.Trainer):
    """Lightning's Trainer with a folder of the run's own, which can also stop after the edit.

    Attributes:
        folder: The run's folder. The first process's counts; the others learn it from that one.
    """

    folder: Path | None = None
    _agreed: str | None = None

    @property
    def log_dir(self) -> str | None:
        """The run's folder, whatever loggers there are; all processes must ask together."""
        if self.folder is None:
            return super().log_dir
        if self._agreed is None:
            self._agreed = self.strategy.broadcast(str(self.folder))
        return self._agreed

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Fit as Lightning does; checkpoints that name no folder go into the run's."""
        for callback in self.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None and self.folder is not None:
                callback.dirpath = str(self.folder / "checkpoints")
        try:
            super().fit(*args, **kwargs)
        except (ConfigError, MisconfigurationException):
            if self.folder is not None and self.is_global_zero:
                discard_if_unused(self.folder)
            raise

    def edit(
        self,
        model: FineTuner,
        datamodule: EditDataModule,
        output: str = "delta.safetensors",
        export: str | None = None,
    ) -> None:
        """Edit the model, print the scores, and write the Delta and, if asked, the edited model.

        Args:
            model: The module whose language model is edited.
            datamodule: Knows the facts to edit.
            output: Where the Delta is written.
            export: Folder for the edited model in Hugging Face's format, if wanted.

        Raises:
            ConfigError: If there are no facts to edit.
        """
        (knowledge_edit,) = (callback for callback in self.callbacks if isinstance(callback, KnowledgeEdit))  # type: ignore[attr-defined] # set by a connector
        language_model = model.language_model.to(self.strategy.root_device)
        if datamodule.edits is None:
            raise ConfigError("data.edits is not given. Name a source of facts to edit.")
        requests = datamodule.edits.load()
        delta = knowledge_edit.delta_for(language_model, requests)
        report_diagnostics(delta, language_model, len(requests))
        probe = Probe(requests, language_model.tokenizer)
        before = probe.run(language_model)
        delta.apply(language_model)
        print_table("The edit", HEADER, score_rows([before, probe.run(language_model)]))
        delta.save(output)
        log.info("the Delta is in %s", output)
        if export is not None:
            model.save_pretrained(Path(export))
