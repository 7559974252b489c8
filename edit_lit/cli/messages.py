"""What reaches the terminal: our own messages, and of the libraries' what a reader has use for."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from typing import Any

from edit_lit.utilities.escaping import visible

_OURS = ("edit_lit", "callbacks")
# What Lightning tells of itself and of devices that are not there. Which ones are used stands in a line of ours.
_OF_NO_USE = re.compile(
    r"GPU available: |TPU available: |💡|-+\ndistributed_backend|`Trainer.fit` stopped: `max_\w+=\d+` reached"
)


def set_up_messages() -> None:
    """Let our own messages through, each in one line, and keep what is of no use to a reader out."""
    handler = _Terminal()
    handler.setFormatter(_OneLine())
    logging.basicConfig(handlers=[handler])
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    warnings.formatwarning = _formatted
    # The options behind one of Lightning's verbs are handed on as they are.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    # From another place the same message says nothing new.
    warnings.simplefilter("once", append=True)


def quiet_libraries() -> None:
    """Leave out what the libraries behind Lightning's verbs say that is not the user's business."""
    import transformers
    from lightning.pytorch.utilities import rank_zero_only

    from edit_lit.utilities.progress import shows_bars

    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        # It writes for itself what the root's handler writes too.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_of_use)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    # It tells that fonts are being looked for, and which it lacks.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    # Lightning 2.6 walks batches in a way that torch 2.13 deprecates.
    warnings.filterwarnings(
        "ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning
    )
    # PEFT 0.21 asks a model by a name that transformers 5.2 deprecates.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    # Batches are tokenised beforehand; workers rarely make them faster.
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
    if not shows_bars():
        # It is imported when a data set is read, and takes long.
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    transformers.utils.logging.set_tqdm_hook(_only_if_long)
    if getattr(rank_zero_only, "rank", 0) > 0:
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")


def quiet_ray() -> None:
    """Leave out what Ray says of the cluster that it starts; its errors come through."""
    logging.getLogger("ray").setLevel(logging.ERROR)


class _Terminal(logging.Handler):
    """Writes to what is standard error at the moment; a progress bar may stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            sys.stderr.write(f"{_line_start()}{self.format(record)}\n")
            sys.stderr.flush()


class _OneLine(logging.Formatter):
    """The message alone, below its level if that is a warning or worse; ours in one line, whatever names are in it."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = super().format(record)
        lines = [text] if record.name.split(".")[0] in _OURS else text.expandtabs().split("\n")
        return level + "\n".join(visible(line) for line in lines)


def _formatted(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    """A warning in one line, without the line of code that it comes from."""
    return f"{_line_start()}warning: {visible(' '.join(str(message).split()))}\n"


def _line_start() -> str:
    """Whatever clears the line that is written to: a bar may stand there."""
    return "\r\x1b[K" if sys.stderr is not None and sys.stderr.isatty() else ""


def _of_use(record: logging.LogRecord) -> bool:
    return not _OF_NO_USE.match(record.getMessage())


def _only_if_long(make: Any, args: Any, options: dict[str, Any]) -> Any:
    """A bar of transformers, such as that of weights being loaded, if it stays long enough to be read."""
    from edit_lit.utilities.progress import shows_bars

    return make(*args, **{**options, "delay": 2, "leave": False, "disable": not shows_bars()})
