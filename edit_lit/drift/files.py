"""The drift's records of one run, continued where the run is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edit_lit.drift.rows import FOLDER, DriftRow, drift_file, read_rows, write_rows
from edit_lit.measures.outcome_files import copy_probes, drop_probes, recorded_steps
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError


class DriftFiles:
    """Writes the rows of one run, in the first of several processes.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.folder = (run / FOLDER).absolute()
        self._drop_behind: int | None = None
        self._ours = False
        self._brought = False

    def write(self, step: int, rows: Sequence[DriftRow]) -> None:
        """Write the rows of one probe; those from behind the checkpoint that the run was resumed from go first.

        Raises:
            ConfigError: If the folder holds another run's rows.
        """
        if distributed.rank() > 0:
            return
        if not self._ours and recorded_steps(self.folder):
            raise ConfigError(
                f"{self.folder} holds the drift of another run, which would be mixed with this one's. Choose another "
                "folder for this run, or move it away."
            )
        self._ours = True
        if self._drop_behind is not None:
            drop_probes(self.folder, self._drop_behind)
        self._drop_behind = None
        write_rows(self.folder, step, rows)

    def go_on(self, checkpoint: Path, last_step: int) -> None:
        """Go on behind a checkpoint; rows that lie beside it in another run's folder are brought over.

        Args:
            checkpoint: The file.
            last_step: The last step that the checkpoint knows the drift of.
        """
        places = [parent / FOLDER for parent in checkpoint.absolute().parents[:3]]
        if self.folder in places and recorded_steps(self.folder):
            self._ours, self._drop_behind = True, last_step
            return
        source = next((place for place in places if recorded_steps(place)), None)
        if source is not None and distributed.rank() == 0 and not recorded_steps(self.folder):
            copy_probes(source, self.folder, last_step)
            self._ours = self._brought = True

    def brought_over(self) -> list[tuple[int, list[DriftRow]]]:
        """Rows by step that were brought over from another folder, so that this run's loggers lack them; once."""
        brought, self._brought = self._brought, False
        return [(step, read_rows(drift_file(self.folder, step))) for step in recorded_steps(self.folder) if brought]
