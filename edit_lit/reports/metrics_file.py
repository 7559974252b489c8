"""``metrics.csv``, as Lightning's CSVLogger writes it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from edit_lit.utilities.errors import ConfigError

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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, type(error).__name__) from error
    series: dict[str, dict[int, float]] = {}
    whole = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(whole.splitlines())
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError("other columns than the first line")
            for tag, value in row.items():
                if tag.startswith(_TAG) and value and math.isfinite(number := float(value)):
                    series.setdefault(tag.removeprefix(_TAG), {})[int(row["step"])] = number
    except (ValueError, KeyError, csv.Error) as error:
        raise _damaged(path, f"line {reader.line_num}: {error}") from error
    return {tag: sorted(points.items()) for tag, points in series.items()}


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is damaged ({why}). Delete it to report the run without its downstream scores.")
