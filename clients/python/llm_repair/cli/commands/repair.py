"""`llm-repair repair`: starts a repair and follows it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection as connections
from llm_repair.cli import words
from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import Exit, UsageError
from llm_repair.cli.outcome import follow_to_the_end
from llm_repair.cli.references import resolve, resolve_dataset
from llm_repair.client import judge, load_policy, load_spec, repair_spec
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2, types_pb2


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Selects repair samples, trains, measures before and after, and judges. A REF is hf:org/name@revision, "
        "s3://bucket/prefix, pypi:dist==version/path, artifact:sha256:..., file:/path or a local path; that of a "
        "data set may end in @start:end, the share of its rows meant, by hash."
    )
    parser.add_argument(
        "--spec", type=Path, metavar="FILE", help="request in YAML or JSON; the other flags override it"
    )
    _add_data(parser.add_argument_group("model and data"))
    _add_training(parser.add_argument_group("selection and training"))
    _add_measurement(parser.add_argument_group("measurement and gate"))
    parser.add_argument("--seed", type=int, help="of every random choice (default 0)")
    parser.add_argument("--request-id", metavar="UUID", help="the same id and request give the same repair")
    parser.add_argument("--validate-only", action="store_true", help="checks the request and starts nothing")
    parser.add_argument("--detach", action="store_true", help="prints the repair's name and returns")
    parser.add_argument("--out", type=Path, metavar="DIR", help="at the end, writes DIR/report and DIR/model")


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Starts and follows."""
    if options.spec is None and options.model is None:
        raise UsageError("give --model REF with --pool REF or --prompts REF, or --spec FILE")
    base = load_spec(options.spec) if options.spec else None
    policy = load_policy(options.gate) if options.gate else None
    async with connections.connected(options, starts_work=True) as connection:
        spec = await _spec(connection, options, base, policy)
        client = connection.client
        handle = await client.create_repair(spec, options.request_id, options.validate_only)
        if options.validate_only:
            console.print("the request is valid; nothing was started")
            return Exit.PASS
        if options.detach:
            console.print(Text(words.short_name(handle.name)))
            return Exit.PASS
        console.print(Text(f"repair {words.short_name(handle.name)} (Ctrl-C detaches)"), soft_wrap=True)
        return await follow_to_the_end(client, handle, console, options.out)


async def _spec(
    connection: Connection, options: argparse.Namespace, base: pb.RepairSpec | None, policy: pb.GatePolicy | None
) -> pb.RepairSpec:
    return repair_spec(
        base=base,
        model=await _optional(connection, options.model),
        pool=await _data(connection, options.pool, options.pool_slice, "--pool-slice"),
        prompts=await _data(connection, options.prompts, options.prompts_slice, "--prompts-slice"),
        strategy=options.strategy,
        fraction=options.fraction,
        samples=options.samples,
        tokens=options.tokens,
        method=options.method,
        lora=options.lora,
        top_layers=options.top_layers,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        eval_prompts=await _data(connection, options.eval_prompts, options.eval_slice, "--eval-slice"),
        judges=await _judges(connection, options.judge),
        corpora=await _corpora(connection, options.corpus),
        draws=options.draws,
        dtype=options.dtype,
        encoder=await _optional(connection, options.encoder),
        gate=policy,
        random_control=False if options.no_control else None,
        seed=options.seed,
    )


async def _optional(connection: Connection, typed: str | None) -> str | None:
    return None if typed is None else await resolve(connection, typed)


async def _data(connection: Connection, typed: str | None, part: str | None, flag: str) -> types_pb2.DatasetRef | None:
    if typed is None:
        if part is not None:
            raise UsageError(f"{flag} needs the data set it is a slice of")
        return None
    return await resolve_dataset(connection, typed, part)


async def _judges(connection: Connection, typed: Sequence[str]) -> list[evaluation_pb2.Judge]:
    async def one(text: str) -> evaluation_pb2.Judge:
        name, equals, reference = text.partition("=")
        return judge(f"{name}={await resolve(connection, reference)}" if equals else name)

    return list(await asyncio.gather(*(one(text) for text in typed)))


async def _corpora(connection: Connection, typed: Sequence[str]) -> dict[str, types_pb2.DatasetRef]:
    corpora: dict[str, types_pb2.DatasetRef] = {}
    for text in typed:
        name, equals, reference = text.partition("=")
        if not equals or name in corpora:
            raise UsageError(f"--corpus needs a different NAME=REF each time, not {text}")
        corpora[name] = await resolve_dataset(connection, reference)
    return corpora


def _add_data(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - it has no public name
    group.add_argument("--model", metavar="REF", help="the model to repair")
    pool = group.add_mutually_exclusive_group()
    pool.add_argument("--pool", metavar="REF", help="repair samples: rows with prompt, chosen and rejected")
    pool.add_argument("--prompts", metavar="REF", help="prompts; the model's own samples make the pool")
    group.add_argument("--pool-slice", metavar="A:B", help="share of the pool's rows, such as 0:0.73")
    group.add_argument("--prompts-slice", metavar="A:B", help="share of the prompts")
    group.add_argument("--encoder", metavar="REF", help="sentence-transformers folder for saps and its relatives")


def _add_training(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - see above
    group.add_argument("--strategy", help="saps (default), random, full, k-center, ...")
    budget = group.add_mutually_exclusive_group()
    budget.add_argument("--fraction", type=float, help="share of the pool to train on, (0, 1] (default 0.25)")
    budget.add_argument("--samples", type=int, metavar="N", help="number of samples to train on")
    budget.add_argument("--tokens", type=int, metavar="N", help="number of tokens to train on")
    group.add_argument("--method", help="dpo (default), dapt, ...")
    what = group.add_mutually_exclusive_group()
    what.add_argument("--lora", action="store_true", help="trains low-rank adapters, merged at the end")
    what.add_argument("--top-layers", type=int, metavar="N", help="trains the last N layers only")
    group.add_argument("--learning-rate", type=float, help="peak rate, (0, 1] (default 3e-5)")
    group.add_argument("--epochs", type=int, help="passes over the selected samples (default 2)")
    group.add_argument("--no-control", action="store_true", help="no RANDOM arm at the same budget")


def _add_measurement(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - see above
    group.add_argument("--eval-prompts", metavar="REF", help="prompts to measure on; keep them out of the pool")
    group.add_argument("--eval-slice", metavar="A:B", help="share of these prompts")
    group.add_argument(
        "--corpus", metavar="NAME=REF", action="append", default=[], help="texts for perplexity; may be repeated"
    )
    group.add_argument(
        "--judge",
        metavar="NAME[=REF]",
        action="append",
        default=[],
        help="profanity, hatesonar, detoxify=REF, classifier=REF; may be repeated, the first one gates",
    )
    group.add_argument("--draws", type=int, metavar="K", help="samples per prompt (default 25)")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="number format of training and measurement")
    group.add_argument("--gate", type=Path, metavar="FILE", help="gate policy in YAML or JSON")
