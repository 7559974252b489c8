"""The downstream task's curves, read from a run's ``metrics.csv``."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.log_files import whole_rows

Series = list[tuple[int, float]]
_TAG = "downstream/"


def read_downstream(path: Path) -> dict[str, Series]:
    """Curves of the downstream task by tag without ``downstream/``, each (step, value) in order.

    A last line that a killed run left without its end is passed over, and so is what is not a finite number. Of a step
    that was logged twice, as when a run is resumed, the later value counts.

    Raises:
        ConfigError: If a line makes no sense.
    """
    try:
        header, *rows = whole_rows(path) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    series: dict[str, dict[int, float]] = {}
    for line, cells in enumerate(rows, start=2):
        try:
            if len(cells) != len(header):
                raise ValueError("other columns than the first line")
            row = dict(zip(header, cells, strict=True))
            for tag, value in row.items():
                if tag.startswith(_TAG) and value and math.isfinite(number := float(value)):
                    series.setdefault(tag.removeprefix(_TAG), {})[int(row["step"])] = number
        except (ValueError, KeyError) as error:
            raise _damaged(path, f"line {line}: {error}") from error
    return {tag: sorted(points.items()) for tag, points in series.items()}


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is damaged ({why}). Delete it to report the run without its downstream scores.")
