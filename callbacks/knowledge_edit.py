"""Editing as a pre-fit hook."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L

from edit_lit.data_module import EditDataModule
from edit_lit.deltas import Delta, DeltaCache, Part
from edit_lit.editors.base.editor import Editor
from edit_lit.facts.request import EditRequest
from edit_lit.fine_tuner import as_fine_tuner
from edit_lit.language_model import LanguageModel
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import DELTA

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptEdit:
    """The edit that a run keeps in its own folder.

    Args:
        path: The file.
        hash: The hash of what was trained on; none if nothing was trained yet.
    """

    path: Path
    hash: str | None = None

    def load(self, kinds: Sequence[type[Part]]) -> Delta | None:
        """The Delta; none, with a warning, if the file is damaged or of another edit."""
        try:
            delta = Delta.load(self.path, kinds)
        except ConfigError as error:
            warnings.warn(f"the run's own edit is made again: {error}", stacklevel=4)
            return None
        if self.hash is not None and delta.hash() != self.hash:
            warnings.warn(f"{self.path} is not the edit that was trained on, which is made again.", stacklevel=4)
            return None
        log.info("edit taken from %s", self.path)
        return delta


class KnowledgeEdit(L.Callback):
    """Edits the model before it is fine-tuned.

    The Delta is kept in a cache and used again whenever everything that it depends on agrees by content: model,
    tokenizer, requests, the editor's options and corpus, and the code. A sweep of fine-tuning runs then edits once, and
    a resumed run starts from the same edit.

    Args:
        editor: The editor; without one the run edits nothing, as a control.
        reuse: Use a cached Delta where there is one, and keep a new one.
        cache_dir: Where Deltas are kept; a folder for the user's caches if not given.
        apply: Make the edit. If not, the run is the control of one that does: nothing is computed or changed, and
            ``tuning.layers`` such as ``edited`` mean the layers that the editor would change.

    Attributes:
        kept: The edit of the run that is gone on with, which counts whatever the cache holds and the code says now.
    """

    def __init__(
        self, editor: Editor | None = None, reuse: bool = True, cache_dir: str | None = None, apply: bool = True
    ) -> None:
        self.editor = editor
        self.reuse = reuse
        self.cache_dir = cache_dir
        self.apply = apply
        self.kept: KeptEdit | None = None
        self._made: Delta | None = None
        self._cache = DeltaCache(cache_dir)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the edit and hand it to the module, unless there is nothing to edit or it has been done.

        The module applies it behind the callbacks' ``setup``, so that those behind this one find the model unedited.
        """
        fine_tuner = as_fine_tuner(pl_module)
        if fine_tuner.delta is not None:
            if self.editor is not None and fine_tuner.delta is not self._made:
                no = "makes no further edit" if self.apply else "is not that of a control"
                warnings.warn(f"the model is edited already, so edit.editor {no}.", stacklevel=2)
            return
        if self.editor is None or not self.apply:
            layers = self.editor.edited_layers(fine_tuner.language_model) if self.editor is not None else []
            fine_tuner.check_tuning(layers)
            fine_tuner.leave_unedited(layers)
            return
        datamodule = getattr(trainer, "datamodule", None)
        requests = datamodule.requests if isinstance(datamodule, EditDataModule) else []
        fine_tuner.check_tuning(self.editor.edited_layers(fine_tuner.language_model))
        language_model = fine_tuner.language_model.to(trainer.strategy.root_device)
        self._made = delta = self._kept_delta(language_model, requests) or self.delta_for(language_model, requests)
        fine_tuner.take_edit(delta)
        if stage == "fit":
            folder = run_folder(trainer)
            if distributed.rank() == 0:
                self.save(delta, folder / DELTA)
        if distributed.rank() == 0:
            report_diagnostics(delta, language_model, len(requests))

    def _kept_delta(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta | None:
        """The edit of the run that is gone on with; all processes get the same."""
        assert self.editor is not None
        if self.kept is None:
            return None
        found = self.kept.load(self.editor.kinds) if distributed.rank() == 0 else None
        delta = distributed.from_first_process(found)
        # Nothing was trained on it yet, so that it counts only if it is just what would be made now.
        if delta is not None and self.kept.hash is None and requests:
            made_now = self.editor.provenance(language_model, requests)
            return delta if delta.provenance.key == made_now.key else None
        return delta

    def delta_for(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta:
        """The Delta of these requests, from the cache if it is there.

        Raises:
            ConfigError: If there is no editor or nothing to edit, or the run is a control.
        """
        if self.editor is None:
            raise ConfigError("edit.editor is null, so there is nothing to edit with. Name an editor.")
        if not self.apply:
            raise ConfigError("edit.apply is false, so nothing is edited. Leave it out, or fit a control with it.")
        if not requests:
            raise ConfigError("edit.editor is given, but data.edits yields no facts. Name their source in data.edits.")
        return self.editor.edit(language_model, requests, self._cache if self.reuse else None)

    def save(self, delta: Delta, path: Path) -> None:
        """Write a Delta to a file, which is a hard link to the cached one where there is one."""
        self._cache.save(delta, path)


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
