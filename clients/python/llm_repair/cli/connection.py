"""Which coordinator a command talks to: the one named by `--server`, or the embedded stack of this user."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_repair.cli import embedded
from llm_repair.cli.exits import UsageError
from llm_repair.cli.home import Home
from llm_repair.client import RepairClient

SERVER_VARIABLE: Final = "LLM_REPAIR_SERVER"
TOKEN_VARIABLE: Final = "LLM_REPAIR_TOKEN"  # noqa: S105 - the name of a variable
HOME_VARIABLE: Final = "LLM_REPAIR_HOME"


@dataclass(frozen=True)
class Connection:
    """An open client, and whether the coordinator sees this machine's files."""

    client: RepairClient
    is_embedded: bool


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every command takes that may talk to a server."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=os.environ.get(SERVER_VARIABLE, ""),
        help=f"coordinator; the embedded stack if not given (environment: {SERVER_VARIABLE})",
    )
    group.add_argument(
        "--token-file", type=Path, help=f"file with the server's bearer token (environment: {TOKEN_VARIABLE}, a token)"
    )
    group.add_argument("--ca-file", type=Path, help="PEM of the authority that signed the server's certificate")
    group.add_argument(
        "--plaintext",
        action="store_true",
        help="no TLS although the server is not on this machine; only for a network that encrypts",
    )


def add_home_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every command takes about the embedded stack."""
    group = parser.add_argument_group("embedded stack")
    group.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get(HOME_VARIABLE, "~/.llm-repair")),
        help=f"its folder (environment: {HOME_VARIABLE}; default ~/.llm-repair)",
    )
    group.add_argument(
        "--allow-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder that file: references may lie under when the stack starts; the current one always",
    )


@contextlib.asynccontextmanager
async def connected(options: argparse.Namespace, *, starts_work: bool = False) -> AsyncGenerator[Connection]:
    """Yields an open connection.

    Args:
      options: As parsed with both groups of arguments.
      starts_work: Whether the command makes sense on a stack that was never used.

    Raises:
      UsageError: nothing was ever done in this home.
      EmbeddedError: the embedded stack does not start.
    """
    if options.server:
        token, authority = _token(options), _bytes(options.ca_file)
        client = RepairClient(options.server, token=token, root_certificates=authority, plaintext=options.plaintext)
        async with client:
            yield Connection(client, is_embedded=False)
        return
    home = Home(options.home)
    if not (starts_work or home.database.exists() or home.is_held()):
        raise UsageError(
            f"there are no repairs in {home.root}; start one with `llm-repair repair`, or give --server HOST:PORT"
        )
    state = await embedded.ensure(home, allowed_roots(options))
    async with RepairClient(state.address, token=home.token()) as client:
        yield Connection(client, is_embedded=True)


def allowed_roots(options: argparse.Namespace) -> list[Path]:
    """Returns the folders that `file:` references of an embedded stack may lie under."""
    return [Path.cwd(), *(path.expanduser().resolve() for path in options.allow_root)]


def _token(options: argparse.Namespace) -> str | None:
    if options.token_file:
        return options.token_file.read_text(encoding="ascii").strip()
    return os.environ.get(TOKEN_VARIABLE) or None


def _bytes(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None
