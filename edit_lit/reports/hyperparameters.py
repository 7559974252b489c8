"""A config as the flat table of hyper-parameters that loggers take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Value = str | int | float | bool

_OF_THE_PLACE = ("config", "ckpt_path", "resume", "weights_only", "name", "tensorboard", "trainer.default_root_dir")
_LOGGERS = "trainer.logger"


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Value]:
    """The leaves of a config by their dotted names, without those that say where results go.

    Defaults stay in: TensorBoard, W&B and MLflow show first, or alone, what differs between runs, and a run that
    leaves a key out would differ from none.

    Args:
        config: The whole config, nested; what no table takes, such as ``null``, becomes its text.

    Examples:
        >>> hyperparameters({"name": "a", "model": {"tuning": {"layers": [1, 2]}, "export": False}})
        {'model.tuning.layers': '[1, 2]', 'model.export': False}
    """
    return {
        key: value
        for key, value in _leaves(config)
        if key not in _OF_THE_PLACE and key != _LOGGERS and not key.startswith(f"{_LOGGERS}.")
    }


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            yield from _leaves({str(number): item for number, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, (int, float, bool, str)) else str(value)
