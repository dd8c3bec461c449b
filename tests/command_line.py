"""The command line, run in this process as people run it in theirs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """One run of the command line."""

    code: int
    out: str
    err: str


Cli = Callable[..., Awaitable[Ran]]
