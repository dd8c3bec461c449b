"""How every area starts: arguments, a fair environment, the line about the machine first."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator

from bench.lines import Line, machine_line, write
from bench.measure import Limits, limits

_FORCED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Where these are set, OpenBLAS takes the kernels of another processor than this one."""


def main(description: str | None, run: Callable[[bool, Limits], Iterator[Line]]) -> None:
    """Runs an area: `run(quick, limits)` yields its lines."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few rounds: does it run at all?")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    _start_over_in_a_fair_environment()
    found = limits()
    write(machine_line(found), run(arguments.quick, found), as_json=arguments.json)


def _start_over_in_a_fair_environment() -> None:
    """Replaces this process where needed: kernels and threads are chosen when the libraries are loaded."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    fair = {name: value for name, value in os.environ.items() if name not in _FORCED_KERNELS}
    fair |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    if fair != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], fair)
