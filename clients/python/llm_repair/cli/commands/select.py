"""`llm-repair select`: selects repair samples and stops there."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection as connections
from llm_repair.cli import request, selections, words
from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import Exit, UsageError
from llm_repair.cli.foresight import print_plan
from llm_repair.cli.outcome import until_ended
from llm_repair.client import load_spec, selection_spec
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import selection_pb2


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Selects repair samples by any strategy, and prints what was taken and what that cost. A repair with the same "
        f"arguments goes on from there. {request.REFERENCES}"
    )
    parser.add_argument(
        "--spec",
        type=Path,
        metavar="FILE",
        help="request in YAML or JSON, a whole repair's too; the other flags override it",
    )
    request.add_data(parser.add_argument_group("models and data"))
    request.add_selection(parser.add_argument_group("selection"), default="")
    request.add_strategy_options(parser.add_argument_group("strategy options"))
    scoring = parser.add_argument_group("scoring", "what gradients are taken of, and who judges")
    request.add_method(scoring)
    request.add_judges(scoring)
    scoring.add_argument("--dtype", choices=("float32", "bfloat16"), help="number format of scoring and sampling")
    parser.add_argument("--seed", type=int, help="of every random choice (default 0)")
    parser.add_argument("--request-id", metavar="UUID", help="the same id and request give the same selection")
    parser.add_argument("--validate-only", action="store_true", help="checks the request and prints what it would take")
    parser.add_argument("--detach", action="store_true", help="prints the selection's name and returns")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="writes ids, diagnostics and cost (.json) or the selected rows (.jsonl)",
    )


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Starts, follows and prints."""
    base = load_spec(options.spec) if options.spec else None
    if base is None and (options.strategy is None or (options.pool is None and options.prompts is None)):
        raise UsageError("give --strategy NAME with --pool REF or --prompts REF, or --spec FILE")
    strategy = request.strategy_of(options, base, default=None)
    if strategy is None and (base is None or base.WhichOneof("selection") is None):
        raise UsageError("the file names no strategy; give --strategy NAME")
    if options.out is not None:
        selections.check_place(options.out)
    async with connections.connected(options, starts_work=True) as connection:
        spec = await _spec(connection, options, base, strategy)
        if options.validate_only:
            print_plan(console, await connection.client.foresee(spec))
            return Exit.PASS
        handle = await connection.client.create_repair(spec, options.request_id)
        if options.detach:
            console.print(Text(words.short_name(handle.name)))
            return Exit.PASS
        console.print(Text(f"selection {words.short_name(handle.name)} (Ctrl-C detaches)"), soft_wrap=True)
        repair = await until_ended(handle, console)
        if repair is None:
            return Exit.INTERRUPTED
        await selections.show(handle, repair, console, options.out)
        return Exit.PASS


async def _spec(
    connection: Connection,
    options: argparse.Namespace,
    base: pb.RepairSpec | None,
    strategy: selection_pb2.SelectionStrategy | None,
) -> pb.RepairSpec:
    return selection_spec(
        base=base,
        model=await request.reference_of(connection, options.model),
        pool=await request.dataset_of(connection, options.pool, options.pool_slice, "--pool-slice"),
        prompts=await request.dataset_of(connection, options.prompts, options.prompts_slice, "--prompts-slice"),
        strategy=strategy,
        fraction=options.fraction,
        samples=options.samples,
        tokens=options.tokens,
        method=request.method_of(options, base),
        judges=await request.judges_of(connection, options.judge),
        dtype=options.dtype,
        encoder=await request.reference_of(connection, options.encoder),
        proxy=await request.reference_of(connection, options.proxy),
        seed=options.seed,
    )
