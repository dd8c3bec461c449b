"""What a request would take, on a terminal: counts, time, what it could show, and which steps are there already."""

from __future__ import annotations

from rich.console import Console

from llm_repair.cli import words
from llm_repair.cli.tables import print_rows
from llm_repair.v1 import coordinator_pb2 as pb


def print_plan(console: Console, answer: pb.CreateRepairResponse) -> None:
    """Prints the plan of a request that was checked and not started."""
    console.print("the request is valid; nothing was started")
    print_rows(console, ("plan", ""), _facts(answer.repair, answer.plan))
    rows = [(words.plain(step.name), "reused" if step.reused else "runs") for step in answer.repair.steps]
    print_rows(console, ("step", ""), rows)


def _facts(repair: pb.Repair, plan: pb.RepairPlan) -> list[tuple[str, str]]:
    reused = sum(step.reused for step in repair.steps)
    facts = [
        ("steps", f"{len(repair.steps)}, of which {reused} are there already"),
        ("prompts", _count(plan, "prompts")),
        ("texts to write", _count(plan, "samples")),
        ("tokens of them", f"at most {_count(plan, 'tokens')}" if plan.HasField("tokens") else "not known"),
        ("time", _time(plan)),
    ]
    if plan.HasField("minimum_detectable_effect"):
        facts.append(("detectable", _detectable(plan)))
    if plan.metrics:
        facts.append(("metrics", ", ".join(map(words.plain, plan.metrics))))
    return facts if repair.spec.goal != pb.REPAIR_GOAL_SELECTION else [fact for fact in facts if fact[0] != "prompts"]


def _count(plan: pb.RepairPlan, field: str) -> str:
    return f"{getattr(plan, field):,}" if plan.HasField(field) else "not known before the import"


def _time(plan: pb.RepairPlan) -> str:
    known = f"{words.duration(plan.known_s)} by equal work done before" if plan.known_s else ""
    unknown = f"not known of {', '.join(map(words.plain, plan.unknown_steps))}" if plan.unknown_steps else ""
    return "; ".join(part for part in (known, unknown) if part) or "seconds"


def _detectable(plan: pb.RepairPlan) -> str:
    return (
        f"a fall of mean toxicity of {plan.minimum_detectable_effect:.3g} in four of five cases, if differences of a "
        f"prompt deviate by {plan.assumed_deviation:g} (measured for 4 draws of a 135 M model)"
    )
