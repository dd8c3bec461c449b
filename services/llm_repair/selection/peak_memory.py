"""Peak memory of a part of a process's life, which may have been long before."""

from __future__ import annotations

from pathlib import Path

_RESET_PEAK = "5"
"""What to write to `clear_refs` to bring the high-water mark down to the memory in use (proc(5))."""


class PeakMemory:
    """The largest resident memory since this object was made.

    It is the kernel's high-water mark, which no sampling can miss: pages of memory-mapped files count while they are
    resident, and so does what a warm worker held before.
    """

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
            self._is_known = True
        except OSError:  # some sandboxes do not offer it
            self._is_known = False

    def read(self) -> int | None:
        """Returns the peak in bytes; None where the kernel cannot tell it from an earlier one."""
        if not self._is_known:
            return None
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
