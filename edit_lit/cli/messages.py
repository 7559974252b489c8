"""What reaches the terminal: our own messages, and of the libraries' what a reader has use for."""

from __future__ import annotations

import logging
import warnings


def set_up_messages() -> None:
    """Let our own messages through, and keep what is no use to a reader of the terminal out of it."""
    logging.basicConfig(format="%(message)s")
    for name in ("edit_lit", "callbacks"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "💡" not in record.getMessage())
    # The options behind one of Lightning's verbs are handed on as they are.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
