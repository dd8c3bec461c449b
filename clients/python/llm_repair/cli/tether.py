"""Becomes another Python module that dies with the process that started it.

`python -m llm_repair.cli.tether PARENT_PID MODULE ARGUMENTS...` asks the kernel for a SIGKILL when the parent ends,
then replaces itself; the request survives the replacement. A killed supervisor thus leaves no service behind that
would hold its ports. Doing this between fork and exec of the supervisor instead would run Python in a forked child
of a process with threads, which can deadlock.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str]) -> None:
    """Ties this process to its parent and becomes the module."""
    parent, module, *rest = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the supervisor ended before its service started")
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *rest])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
