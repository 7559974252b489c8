"""Editing as a pre-fit hook."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import lightning as L

from edit_lit.data_module import EditDataModule
from edit_lit.deltas import Delta, DeltaCache
from edit_lit.editors.base.editor import Editor
from edit_lit.facts.request import EditRequest
from edit_lit.fine_tuner import as_fine_tuner
from edit_lit.language_model import LanguageModel
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class KnowledgeEdit(L.Callback):
    """Edits the model before it is fine-tuned.

    The Delta is kept in a cache and used again whenever everything that it depends on agrees by content: model,
    tokenizer, requests, the editor's options and corpus, and the code. A sweep of fine-tuning runs then edits once, and
    a resumed run starts from the same edit.

    Args:
        editor: The editor; without one the run edits nothing, as a control.
        reuse: Use a cached Delta where there is one, and keep a new one.
        cache_dir: Where Deltas are kept; a folder for the user's caches if not given.
    """

    def __init__(self, editor: Editor | None = None, reuse: bool = True, cache_dir: str | None = None) -> None:
        self.editor = editor
        self.reuse = reuse
        self.cache_dir = cache_dir
        self._made: Delta | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the edit and hand it to the module, unless there is nothing to edit or it has been done.

        The module applies it behind the callbacks' ``setup``, so that those behind this one find the model unedited.
        """
        fine_tuner = as_fine_tuner(pl_module)
        if self.editor is None:
            return
        if fine_tuner.delta is not None:
            if fine_tuner.delta is not self._made:
                warnings.warn("the model is edited already, so edit.editor makes no further edit.", stacklevel=2)
            return
        datamodule = getattr(trainer, "datamodule", None)
        requests = datamodule.requests if isinstance(datamodule, EditDataModule) else []
        fine_tuner.check_tuning(self.editor.edited_layers(fine_tuner.language_model))
        language_model = fine_tuner.language_model.to(trainer.strategy.root_device)
        self._made = delta = self.delta_for(language_model, requests)
        fine_tuner.take_edit(delta)
        if stage == "fit":
            folder = run_folder(trainer)
            if distributed.rank() == 0:
                delta.save(folder / "edits" / "delta.safetensors")
        if distributed.rank() == 0:
            report_diagnostics(delta, language_model, len(requests))

    def delta_for(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta:
        """The Delta of these requests, from the cache if it is there.

        Raises:
            ConfigError: If there is no editor or nothing to edit.
        """
        if self.editor is None:
            raise ConfigError("edit.editor is null, so there is nothing to edit with. Name an editor.")
        if not requests:
            raise ConfigError("edit.editor is given, but data.edits yields no facts. Name their source in data.edits.")
        return self.editor.edit(language_model, requests, DeltaCache(self.cache_dir) if self.reuse else None)


def report_diagnostics(delta: Delta, language_model: LanguageModel, requests: int) -> None:
    """Log the edit in one line, and warn of what may be wrong with it."""
    sizes = delta.relative_norms(language_model)
    listed = ", ".join(f"{size:.2f}" for size in sizes.values())
    log.info("edited %d facts in layers %s; ‖Δ‖/‖W‖ by layer: %s", requests, list(delta.layers), listed)
    large = [name for name, size in sizes.items() if size > 1]
    if large:
        warnings.warn(
            f"the edit is larger than the weights in {', '.join(large)}: what is measured may be damage rather than "
            "knowledge. A ridge or a larger covariance weight makes it smaller.",
            stacklevel=2,
        )
    unfinished = delta.provenance.diagnostics.get("unfinished_targets_count", 0)
    if unfinished:
        warnings.warn(
            f"{unfinished} of {requests} target values did not reach their stopping loss, such as that of "
            f"{delta.provenance.diagnostics['unfinished_targets'][0]}. More steps or another learning rate may help.",
            stacklevel=2,
        )
