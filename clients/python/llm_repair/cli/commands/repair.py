"""`llm-repair repair`: starts a repair and follows it."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection as connections
from llm_repair.cli import measurement, request, words
from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import Exit, UsageError
from llm_repair.cli.foresight import print_plan
from llm_repair.cli.outcome import follow_to_the_end
from llm_repair.client import load_policy, load_spec, repair_spec
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import selection_pb2


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = f"Selects repair samples, trains, measures before and after, and judges. {request.REFERENCES}"
    parser.add_argument(
        "--spec", type=Path, metavar="FILE", help="request in YAML or JSON; the other flags override it"
    )
    request.add_data(parser.add_argument_group("models and data"))
    request.add_selection(parser.add_argument_group("selection"), default="; default saps")
    request.add_strategy_options(parser.add_argument_group("strategy options"))
    _add_training(parser.add_argument_group("training"))
    request.add_method_options(parser.add_argument_group("method options"))
    measured = parser.add_argument_group("measurement and gate")
    measurement.add_arguments(measured)
    measured.add_argument("--gate", type=Path, metavar="FILE", help="gate policy in YAML or JSON")
    parser.add_argument("--seed", type=int, help="of every random choice (default 0)")
    parser.add_argument("--request-id", metavar="UUID", help="the same id and request give the same repair")
    parser.add_argument("--validate-only", action="store_true", help="checks the request and prints what it would take")
    parser.add_argument("--detach", action="store_true", help="prints the repair's name and returns")
    parser.add_argument("--out", type=Path, metavar="DIR", help="at the end, writes DIR/report and DIR/model")


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Starts and follows."""
    if options.spec is None and options.model is None:
        raise UsageError("give --model REF with --pool REF or --prompts REF, or --spec FILE")
    base = load_spec(options.spec) if options.spec else None
    if base is not None and base.goal == pb.REPAIR_GOAL_SELECTION:
        raise UsageError(f"{options.spec} asks for a selection only: llm-repair select --spec {options.spec}")
    if base is not None and base.goal == pb.REPAIR_GOAL_EVALUATION:
        raise UsageError(f"{options.spec} asks for an evaluation only: llm-repair evaluate --spec {options.spec}")
    policy = load_policy(options.gate) if options.gate else None
    strategy = request.strategy_of(options, base, default="saps")
    async with connections.connected(options, starts_work=True) as connection:
        spec = await _spec(connection, options, base, strategy, policy)
        client = connection.client
        if options.validate_only:
            print_plan(console, await client.foresee(spec))
            return Exit.PASS
        handle = await client.create_repair(spec, options.request_id)
        if options.detach:
            console.print(Text(words.short_name(handle.name)))
            return Exit.PASS
        console.print(Text(f"repair {words.short_name(handle.name)} (Ctrl-C detaches)"), soft_wrap=True)
        return await follow_to_the_end(client, handle, console, options.out)


async def _spec(
    connection: Connection,
    options: argparse.Namespace,
    base: pb.RepairSpec | None,
    strategy: selection_pb2.SelectionStrategy | None,
    policy: pb.GatePolicy | None,
) -> pb.RepairSpec:
    return repair_spec(
        base=base,
        model=await request.reference_of(connection, options.model),
        pool=await request.dataset_of(connection, options.pool, options.pool_slice, "--pool-slice"),
        prompts=await request.dataset_of(connection, options.prompts, options.prompts_slice, "--prompts-slice"),
        strategy=strategy,
        fraction=options.fraction,
        samples=options.samples,
        tokens=options.tokens,
        method=request.method_of(options, base),
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        measured_by=await measurement.evaluation_of(connection, options, base.evaluation if base else None),
        dtype=options.dtype,
        encoder=await request.reference_of(connection, options.encoder),
        proxy=await request.reference_of(connection, options.proxy),
        utility=await request.dataset_of(connection, options.utility, None, ""),
        gate=policy,
        random_control=False if options.no_control else None,
        full_control=True if options.full_control else None,
        seed=options.seed,
    )


def _add_training(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - see above
    request.add_method(group)
    group.add_argument(
        "--learning-rate",
        type=float,
        help="peak rate, (0, 1] (default 8e-5 for some layers, 3e-5 for all, 2e-4 for LoRA)",
    )
    group.add_argument("--epochs", type=int, help="passes over the selected samples (default 2)")
    group.add_argument(
        "--utility",
        metavar="REF",
        help="dapt-kl, irepair-kl: texts the model is to go on saying (default its own samples)",
    )
    group.add_argument(
        "--ranks", type=int, metavar="N", help="devices of the trainer's machine to train on (default 1)"
    )
    group.add_argument(
        "--sharding",
        metavar="NAME",
        help="of several: ddp, each holds all weights (default), or fsdp, each holds a part of them",
    )
    group.add_argument("--no-control", action="store_true", help="no RANDOM arm at the same budget")
    group.add_argument(
        "--full-control",
        action="store_true",
        help="also repairs with the whole pool, to which reconstructed scores refer; costs a whole training",
    )
