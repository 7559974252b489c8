"""A cache of Deltas on disk, found by everything that they depend on."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edit_lit.deltas.delta import Delta
from edit_lit.deltas.part import Part
from edit_lit.deltas.provenance import Provenance
from edit_lit.deltas.weight_part import WeightPart
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import WriteError, default_cache_dir, write_atomically
from edit_lit.utilities.locks import making

log = logging.getLogger(__name__)


class DeltaCache:
    """Finds and keeps Deltas by their provenance.

    Args:
        folder: Where they are kept; a folder for the user's caches if not given.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_cache_dir() / "deltas"
        self._held: set[str] = set()

    def find(self, provenance: Provenance, kinds: Sequence[type[Part]] = (WeightPart,)) -> Delta | None:
        """The Delta that was made from just this, if it is there; all processes get the same.

        A file that is damaged or of something else is passed over with a warning.

        Args:
            provenance: What it must come from.
            kinds: The kinds of part that it may hold.
        """
        # One process looks, so that all take the same way even where they see different disks.
        found = self._load(provenance, kinds) if distributed.rank() == 0 else None
        if found is not None:
            self._held.add(provenance.key)
        return distributed.from_first_process(found)

    @contextmanager
    def making(self, provenance: Provenance) -> Iterator[None]:
        """Keep other processes of this disk from making the same Delta for the length of a ``with`` block."""
        if distributed.rank() > 0:
            yield
            return
        with making(self.path(provenance), "this edit"):
            yield

    def keep(self, delta: Delta) -> None:
        """Write a Delta; one process does. Where the folder cannot be written to, a warning says so."""
        if distributed.rank() > 0:
            return
        try:
            delta.save(self.path(delta.provenance))
        except WriteError as error:
            warnings.warn(f"this edit is not kept for other runs: {error}", stacklevel=3)
        else:
            self._held.add(delta.provenance.key)

    def save(self, delta: Delta, path: Path) -> None:
        """Write a Delta to another place: as a hard link to the kept file if it was found or kept here.

        So a hundred runs with the same edit hold one file. It is written where there are no links, as between disks.

        Raises:
            WriteError: If it cannot be written.
        """
        kept = self.path(delta.provenance)
        if delta.provenance.key in self._held:
            with suppress(OSError):
                write_atomically(path, lambda temporary: os.link(kept, temporary))
                return
        delta.save(path)

    def path(self, provenance: Provenance) -> Path:
        """Where a Delta is kept."""
        return self.folder / f"{provenance.key[:24]}.safetensors"

    def _load(self, provenance: Provenance, kinds: Sequence[type[Part]]) -> Delta | None:
        path = self.path(provenance)
        # Not Path.exists, which fails where the folder may not be looked into.
        if not os.path.exists(path):
            return None
        try:
            delta = Delta.load(path, kinds)
        except ConfigError as error:
            warnings.warn(f"cached edit is made again: {error}", stacklevel=4)
            return None
        if delta.provenance.key != provenance.key:
            warnings.warn(f"cached edit in {path} belongs to another model or edit; it is made again.", stacklevel=4)
            return None
        log.info("edit taken from %s", path)
        return delta
