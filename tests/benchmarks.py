"""Runs of benchmarks in a process of their own, as people start them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COLUMNS = {"bench", "contender", "size", "seconds", "ratio_to_ours", "limit_share", "value_agrees"}


def quick_run(area: str, **environment: str) -> list[dict[str, Any]]:
    """Returns what `python -m bench.AREA --quick --json` prints on one thread: the machine, then a line a contender."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{area}", "--quick", "--json"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
