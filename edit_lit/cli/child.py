"""A process of a sweep: the command line, which stops when its worker dies.

Run as ``python -m edit_lit.cli.child PARENT VERB OPTIONS …``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def stop_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies, upon which a run keeps itself and ends. Linux only.

    Args:
        parent: Its process id; if it is not the parent any more, the process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    stop_with_parent(int(sys.argv.pop(1)))
    from edit_lit.cli import main

    main()
