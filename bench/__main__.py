"""Runs every area, each in a process of its own, so that none inherits the memory and threads of another."""

from __future__ import annotations

import subprocess
import sys

AREAS = ("selection", "trainer", "evaluation", "orchestration", "methods")


def main() -> int:
    """Passes the arguments on to every area; returns the number of areas that failed."""
    return sum(subprocess.call([sys.executable, "-m", f"bench.{area}", *sys.argv[1:]]) != 0 for area in AREAS)


if __name__ == "__main__":
    sys.exit(main())
