"""`llm-repair up`: runs the embedded stack in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging

from rich.console import Console
from rich.status import Status
from rich.text import Text

from llm_repair.cli import connection
from llm_repair.cli.exits import Exit
from llm_repair.cli.home import Home
from llm_repair.cli.supervisor import Service, Supervisor, require_services


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Runs coordinator, selection, trainer and evaluation on this machine until Ctrl-C."


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Runs until stopped."""
    home = Home(options.home)
    home.prepare()
    with home.held() as is_ours:
        if not is_ours:
            state = await asyncio.to_thread(home.running)
            console.print(
                Text(f"already running at {state.address if state else home.root}; stop it by: llm-repair down")
            )
            return Exit.PASS
        require_services()
        logging.basicConfig(filename=home.logs / "supervisor.log", format="%(asctime)s %(message)s", level=logging.INFO)
        supervisor = Supervisor(home, connection.allowed_roots(options))
        console.print(Text(f"home {home.root}\ncoordinator {supervisor.address}\ntoken in {home.token_file}"))
        await _run(supervisor, console)
        console.print("stopped; unfinished repairs go on at the next start")
    return Exit.PASS


async def _run(supervisor: Supervisor, console: Console) -> None:
    if not console.is_terminal:
        await supervisor.run()
        return
    with Status("starting", console=console) as status:
        await supervisor.run(on_change=lambda: status.update(_line(supervisor.services)))


def _line(services: list[Service]) -> Text:
    """Returns each service with a mark: green when healthy, red when it has ended, else starting."""
    line = Text()
    for service in services:
        colour = "green" if service.is_healthy else ("yellow" if service.pid else "red")
        line.append("● ", colour).append(service.name)
        line.append(f" ({service.restarts} restarts)  " if service.restarts else "  ", "dim")
    return line
