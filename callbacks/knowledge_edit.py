"""Editing as a pre-fit hook."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import lightning as L

from edit_lit import distributed
from edit_lit.data_module import EditDataModule
from edit_lit.deltas.delta import Delta, Provenance
from edit_lit.editors.base.diagnostics import warn_of_shared_subjects
from edit_lit.editors.base.editor import Editor
from edit_lit.errors import ConfigError
from edit_lit.facts.request import EditRequest
from edit_lit.files import default_cache_dir
from edit_lit.fine_tuner import as_fine_tuner
from edit_lit.language_model import LanguageModel

log = logging.getLogger(__name__)


class KnowledgeEdit(L.Callback):
    """Edits the model before it is fine-tuned.

    The Delta is kept in a cache and used again whenever model, editor and requests all agree, so that a sweep of
    fine-tuning runs edits once, and a resumed run starts from the same edit.

    Args:
        editor: The editor; without one the run edits nothing, as a control.
        reuse: Use a cached Delta where there is one.
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
        language_model = fine_tuner.language_model.to(trainer.strategy.root_device)
        self._made = delta = self.delta_for(language_model, requests)
        fine_tuner.take_edit(delta)
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        if distributed.rank() == 0:
            delta.save(folder / "edits" / "delta.safetensors")
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
        provenance = self.editor.provenance(language_model, requests)
        path = self._path(provenance)
        # One process looks, so that all take the same way even where they see different disks.
        cached = _load(path, provenance) if self.reuse and distributed.rank() == 0 else None
        cached = distributed.from_first_process(cached)
        if cached is not None:
            log.info("edit taken from %s", path)
            warn_of_shared_subjects(cached.provenance.diagnostics)
            return cached
        started = time.perf_counter()
        delta = self.editor.edit(language_model, requests)
        diagnostics = {**delta.provenance.diagnostics, "seconds": time.perf_counter() - started}
        delta.provenance = replace(delta.provenance, diagnostics=diagnostics)
        if distributed.rank() == 0:
            delta.save(path)
        return delta

    def _path(self, provenance: Provenance) -> Path:
        folder = Path(self.cache_dir) if self.cache_dir else default_cache_dir() / "deltas"
        key = hashlib.sha256(json.dumps(_identity(provenance), sort_keys=True).encode()).hexdigest()
        return folder / f"{key[:24]}.safetensors"


def _identity(provenance: Provenance) -> dict[str, object]:
    """What must agree for a Delta to be used again, in the form in which JSON gives it back."""
    identity = {name: value for name, value in asdict(provenance).items() if name not in ("diagnostics", "versions")}
    loaded: dict[str, object] = json.loads(json.dumps(identity))
    return loaded


def _load(path: Path, provenance: Provenance) -> Delta | None:
    if not path.exists():
        return None
    try:
        delta = Delta.load(path)
    except ValueError as error:
        warnings.warn(f"cached edit is made again: {error}", stacklevel=2)
        return None
    if _identity(delta.provenance) != _identity(provenance):
        warnings.warn(f"cached edit in {path} belongs to another model or edit; it is made again.", stacklevel=2)
        return None
    return delta


def report_diagnostics(delta: Delta, language_model: LanguageModel, requests: int) -> None:
    """Log the edit in one line, and warn of what may be wrong with it."""
    sizes = delta.relative_norms(language_model.model)
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
