"""`llm-repair`: reads the arguments, runs one command, turns every error into a sentence and an exit code."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from rich.console import Console

from llm_repair.cli import connection, words
from llm_repair.cli.commands import (
    cancel,
    down,
    evaluate,
    gate,
    jobs,
    pause,
    repair,
    report,
    resume,
    select,
    up,
    watch,
)
from llm_repair.cli.exits import EmbeddedError, Exit, UsageError, exit_for_error
from llm_repair.cli.outcome import exit_at_once_when_interrupted_again
from llm_repair.client import InvalidRequest, RepairClientError


@dataclass(frozen=True)
class _Entry:
    help: str
    register: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Console], Coroutine[Any, Any, Exit]]
    is_local: bool = False
    """Whether it is about the embedded stack only."""


_COMMANDS: Final = {
    "repair": _Entry("start a repair and follow it", repair.register, repair.run),
    "select": _Entry("select repair samples and stop there", select.register, select.run),
    "jobs": _Entry("list repairs, selections and evaluations", jobs.register, jobs.run),
    "watch": _Entry("follow a repair, selection or evaluation", watch.register, watch.run),
    "report": _Entry("print, fetch or open a report", report.register, report.run),
    "gate": _Entry("judge a finished repair for CI", gate.register, gate.run),
    "evaluate": _Entry("measure a model, or print what was measured", evaluate.register, evaluate.run),
    "pause": _Entry("have a repair free its worker", pause.register, pause.run),
    "resume": _Entry("have a paused repair go on", resume.register, resume.run),
    "cancel": _Entry("ask a repair to stop", cancel.register, cancel.run),
    "up": _Entry("run the embedded stack in the foreground", up.register, up.run, is_local=True),
    "down": _Entry("end the embedded stack", down.register, down.run, is_local=True),
}


_NOT_ALLOWED: Final = "REFERENCE_NOT_ALLOWED"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse's own exit code for wrong use, 2, would read as INCONCLUSIVE.
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; see `Exit`."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_COMMANDS[options.command].run(options, Console()))
    except KeyboardInterrupt:
        exit_at_once_when_interrupted_again()
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # The last line of defence: people get a sentence, --debug gets the trace.
        if options.debug:
            raise
        return _explain(error, is_embedded=not options.server)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="llm-repair", description="Repairs language models: select, train, measure, gate.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, entry in _COMMANDS.items():
        sub = commands.add_parser(name, help=entry.help)
        entry.register(sub)
        if entry.is_local:
            sub.set_defaults(server="")
        else:
            connection.add_server_arguments(sub)
        connection.add_home_arguments(sub)
        sub.add_argument("--debug", action="store_true", help="shows the trace of an error")
    return parser


def _explain(error: Exception, *, is_embedded: bool) -> Exit:
    """Prints an error for people and returns its exit code."""
    match error:
        case InvalidRequest():
            lines = [*(str(violation) for violation in error.violations), *_hints(error, is_embedded=is_embedded)]
            code = exit_for_error(error)
        case RepairClientError():
            lines = [
                f"{error.message}{f' ({error.reason})' if error.reason else ''}",
                *_hints(error, is_embedded=is_embedded),
            ]
            code = exit_for_error(error)
        case UsageError():
            lines, code = [str(error)], Exit.USAGE
        case EmbeddedError():
            lines, code = [str(error)], Exit.INFRASTRUCTURE
        case OSError():
            lines, code = [_os_error(error)], Exit.USAGE
        case _:
            lines = [f"a defect of llm-repair: {type(error).__name__}; --debug shows where"]
            code = Exit.INFRASTRUCTURE
    for line in lines:
        print(f"error: {words.plain(line)}", file=sys.stderr)
    return code


def _hints(error: RepairClientError, *, is_embedded: bool) -> list[str]:
    # A refused reference of a request comes as a field violation, whose text begins with the reason.
    is_refused = error.reason == _NOT_ALLOWED or f"{_NOT_ALLOWED}:" in error.message
    if is_refused and is_embedded:
        return ["allow its folder: llm-repair down, then the same command with --allow-root DIR"]
    return []


def _os_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _reader_left() -> Exit:
    # Python would complain once more when it flushes at exit.
    sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
    return Exit.INFRASTRUCTURE


if __name__ == "__main__":
    sys.exit(main())
