"""Which repair a command means: a resource name, a bare id, or `latest`."""

from __future__ import annotations

import argparse
import contextlib
from typing import Final

from llm_repair.cli.exits import UsageError
from llm_repair.client import RepairClient, RepairHandle

LATEST: Final = "latest"


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the positional argument NAME."""
    parser.add_argument("name", metavar="NAME", help="id or resource name of a repair, or `latest`")


async def find(client: RepairClient, name: str) -> RepairHandle:
    """Returns a handle.

    Raises:
      UsageError: `latest` where there is none.
    """
    if name != LATEST:
        return client.repair(name)
    async with contextlib.aclosing(client.list_repairs(page_size=1)) as repairs:
        async for repair in repairs:
            return client.repair(repair.name)
    raise UsageError("there are no repairs yet")
