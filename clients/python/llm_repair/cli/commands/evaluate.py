"""`llm-repair evaluate`: measures a model, or prints what a finished repair measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection as connections
from llm_repair.cli import heart, measurement, names, request, words
from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import Exit, UsageError
from llm_repair.cli.foresight import print_plan
from llm_repair.cli.outcome import follow_to_the_end
from llm_repair.client import default_evaluation, evaluation_spec, load_policy, load_spec
from llm_repair.v1 import coordinator_pb2 as pb


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Measures a model, alone or against another one, prompt by prompt; or prints every metric of a finished repair "
        "or evaluation. Without data, a small suite from packages is measured: prompts that lead to toxic text, "
        "Wikipedia passages and news, harmless questions and stereotypes, judged by profanity and hatesonar. "
        f"{request.REFERENCES}"
    )
    parser.add_argument(
        "subject",
        nargs="?",
        default="",
        metavar="MODEL|NAME",
        help="REF of a model; or id of a finished repair or evaluation, or `latest`, to print what that measured",
    )
    parser.add_argument("--compare", metavar="REF", help="the model it is compared with; then changes are measured")
    parser.add_argument(
        "--spec", type=Path, metavar="FILE", help="request in YAML or JSON, a repair's too; the flags override it"
    )
    measurement.add_arguments(parser.add_argument_group("measurement"))
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="gate policy in YAML or JSON; the exit code is its verdict: 0 PASS, 1 FAIL, 2 INCONCLUSIVE",
    )
    parser.add_argument("--seed", type=int, help="of every random choice (default 0)")
    parser.add_argument("--request-id", metavar="UUID", help="the same id and request give the same evaluation")
    parser.add_argument("--validate-only", action="store_true", help="checks the request and prints what it would take")
    parser.add_argument("--detach", action="store_true", help="prints the evaluation's name and returns")
    parser.add_argument("--out", type=Path, metavar="DIR", help="at the end, writes DIR/report")


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Measures, or prints."""
    if options.subject and not _is_model(options.subject):
        return await _print_measured(options, console)
    if not options.subject and options.spec is None:
        raise UsageError("give a MODEL to measure or --spec FILE, or the NAME of what was measured")
    base = load_spec(options.spec) if options.spec else None
    policy = _deciding(options.policy)
    async with connections.connected(options, starts_work=True) as connection:
        spec = await _spec(connection, options, base, policy)
        client = connection.client
        if options.validate_only:
            print_plan(console, await client.foresee(spec))
            return Exit.PASS
        handle = await client.create_repair(spec, options.request_id)
        if options.detach:
            console.print(Text(words.short_name(handle.name)))
            return Exit.PASS
        console.print(Text(f"evaluation {words.short_name(handle.name)} (Ctrl-C detaches)"), soft_wrap=True)
        return await follow_to_the_end(client, handle, console, options.out)


async def _print_measured(options: argparse.Namespace, console: Console) -> Exit:
    """Prints the metrics of what is there; no verdict is passed on them."""
    if options.compare or options.spec or options.policy or measurement.says_anything(options):
        raise UsageError(
            f"{options.subject} is no model but the name of a repair or evaluation, and what that measured is only "
            "printed; a model is a REF or an existing path, and `llm-repair gate` judges by a policy"
        )
    async with connections.connected(options) as connected:
        handle = await names.find(connected.client, options.subject)
        report = await connected.client.get_report(handle.name)
    heart.print_metrics(console, report.metrics)
    return Exit.PASS


def _deciding(path: Path | None) -> pb.GatePolicy | None:
    policy = load_policy(path) if path else None
    if policy is not None and not policy.criteria:
        raise UsageError(f"{path} names no criteria, so it would not say by what an evaluation passes")
    return policy


async def _spec(
    connection: Connection, options: argparse.Namespace, base: pb.RepairSpec | None, policy: pb.GatePolicy | None
) -> pb.RepairSpec:
    given = base.evaluation if base is not None else None
    if given is None and not measurement.names_data(options):
        given = default_evaluation()
    return evaluation_spec(
        base=base,
        model=await request.reference_of(connection, options.subject or None),
        baseline=await request.reference_of(connection, options.compare),
        measured_by=await measurement.evaluation_of(connection, options, given),
        gate=policy,
        seed=options.seed,
    )


def _is_model(text: str) -> bool:
    """Whether a text is a reference or a path; ids and resource names of repairs are neither."""
    is_path = text.startswith((".", "/", "~")) or (text != names.LATEST and Path(text).exists())
    return ":" in text or is_path
