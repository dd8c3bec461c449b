"""Every strategy selects from a real pool through the four real services, by the command line that people use."""

import json
import random
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from acceptance_spec import tiny_spec
from command_line import Cli
from stack import Stack
from tiny_assets import TinyAssets

from llm_repair.client import (
    FailedPrecondition,
    InvalidRequest,
    RepairClient,
    RepairFailed,
    StrategyOptions,
    selection_spec,
    selection_strategy,
)
from llm_repair.core.registry import STRATEGIES
from llm_repair.v1 import coordinator_pb2 as pb

POOL = 24
"""Rows of the tiny pool."""
MODEL, ENCODER, PROXY = "model", "encoder", "proxy"
LENIENT = ("--low", "0", "--high", "1", "--failing-from", "0.4")
"""The tiny model's samples are noise, so a bound between them would keep an arbitrary few."""
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "random": ((), ()),
    "full": ((), ("--fraction", "1")),
    "k_center": ((ENCODER,), ()),
    "grand": ((MODEL,), ()),
    "el2n": ((MODEL,), ()),
    "loss": ((PROXY,), ()),
    "ccs": ((MODEL,), ()),
    "ccs by grand": ((MODEL,), ("--score", "grand")),
    "ccs by el2n": ((MODEL,), ("--score", "el2n")),
    "ccs by aum": ((MODEL,), ("--score", "aum", "--dynamics-epochs", "2")),
    "ccs by forgetting": ((MODEL,), ("--score", "forgetting", "--dynamics-epochs", "2")),
    "ccs by toxicity": ((), ("--score", "toxicity")),
    "ccs as released": ((), ("--preset", "paper")),
    "saps": ((ENCODER,), ("--clusters", "4")),
    "saps as released": ((ENCODER,), ("--preset", "paper")),
    "cluster_random": ((ENCODER,), ("--clusters", "4")),
    "learnability": ((MODEL, ENCODER), (*LENIENT, "--then", "saps")),
    "hardness_filter": ((MODEL, ENCODER), ("--max-hardness", "1", "--then", "ccs")),
}
"""What each strategy is given besides the pool, by model and by argument."""


def models(tiny: TinyAssets, needs: tuple[str, ...]) -> tuple[str, ...]:
    paths = {MODEL: tiny.model, ENCODER: tiny.encoder, PROXY: tiny.model}
    return tuple(part for need in needs for part in (f"--{need}", f"file:{paths[need]}"))


def arguments(tiny: TinyAssets, case: str, pool: Path | None = None) -> tuple[str, ...]:
    needs, options = CASES[case]
    budget = () if "--fraction" in options else ("--samples", "7")
    strategy = ("--strategy", case.partition(" ")[0], *options, *budget)
    return ("--pool", f"file:{pool or tiny.pairs}", *models(tiny, needs), *strategy, "--method", "dapt", "--seed", "3")


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def ids_in(path: Path) -> list[str]:
    return json.loads(path.read_text())["ids"]


def pool_rows(tiny: TinyAssets) -> list[dict[str, str]]:
    return [json.loads(line) for line in lines_of(tiny.pairs)]


def shuffled(tiny: TinyAssets) -> Path:
    """Returns the same pool with its lines in another order."""
    lines = tiny.pairs.read_text().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    path = tiny.root / "shuffled.jsonl"
    path.write_text("".join(lines))
    return path


def forget_everything(stack: Stack) -> None:
    """Takes away what steps have committed and where they could resume, so that a repeat has to compute."""
    for name in ("results", "checkpoints"):
        for folder in stack.store.glob(f"projects/*/{name}"):
            shutil.rmtree(folder)


def test_every_strategy_of_the_registry_is_a_case() -> None:
    assert {case.partition(" ")[0] for case in CASES} == {entry.name for entry in STRATEGIES}


@pytest.mark.parametrize("case", CASES)
async def test_a_strategy_delivers_its_budget_from_a_real_pool(
    case: str, cli: Cli, tiny: TinyAssets, out: Path
) -> None:
    done = await cli("select", *arguments(tiny, case), "--out", str(out))

    assert (done.code, done.err) == (0, "")
    ids, rows = ids_in(out), {row["id"]: row for row in pool_rows(tiny)}
    size = POOL if case == "full" else 7
    assert len(ids) == len(set(ids)) == size
    words = sum(len((row["prompt"] + row["chosen"] + row["rejected"]).split()) for row in map(rows.__getitem__, ids))
    assert f"delivered\t{size} samples, {words} tokens" in done.out.splitlines()
    assert not any(row["prompt"] in done.out for row in rows.values())


@pytest.mark.parametrize("case", ["saps", "grand", "ccs by aum", "learnability", "hardness_filter"])
async def test_what_is_computed_anew_from_another_order_of_the_file_gives_the_same_ids(
    case: str, cli: Cli, tiny: TinyAssets, stack: Stack, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    await cli("select", *arguments(tiny, case), "--out", str(first))
    forget_everything(stack)

    done = await cli("select", *arguments(tiny, case, shuffled(tiny)), "--out", str(second))

    assert done.code == 0, done.err
    assert "reused" not in done.out
    assert ids_in(second) == ids_in(first)


async def test_a_repair_after_a_selection_begins_where_it_ended(client: RepairClient, tiny: TinyAssets) -> None:
    options = StrategyOptions(score="grand", low=0.0, high=1.0, failing_from=0.4)
    strategy = selection_strategy("learnability", then=["ccs"], options=options)
    wanted = tiny_spec(tiny, prompts=None, pool=f"file:{tiny.pairs}", strategy=strategy, random_control=False, seed=9)

    selected = await (await client.create_repair(selection_spec(base=wanted))).result()
    repaired = await (await client.create_repair(wanted)).result()

    steps = {step.name: step.key for step in selected.steps}
    assert {"score.failure_rate", "score.grand", "select"} <= set(steps)
    assert {step.name: step.key for step in repaired.steps if step.name in steps} == steps
    assert {step.name for step in repaired.steps if step.reused} >= set(steps)


async def test_a_selection_from_the_models_own_pairs_needs_only_prompts(cli: Cli, tiny: TinyAssets, out: Path) -> None:
    prompts = ("--prompts", f"file:{tiny.prompts}", "--model", f"file:{tiny.model}")
    selected = out.with_suffix(".jsonl")

    done = await cli("select", *prompts, "--strategy", "random", "--samples", "3", "--out", str(selected))

    assert done.code == 0, done.err
    rows = [json.loads(line) for line in lines_of(selected)]
    assert len(rows) == 3
    assert all(row["chosen"] and row["rejected"] for row in rows)


async def test_a_selection_has_no_report_and_no_verdict_and_says_so(
    cli: Cli, client: RepairClient, tiny: TinyAssets
) -> None:
    handle = await client.create_repair(selection_spec(pool=f"file:{tiny.pairs}", strategy="random", samples=2))
    repair = await handle.result()

    report, gate = await cli("report", handle.name), await cli("gate", handle.name)
    with pytest.raises(FailedPrecondition) as refused:
        await client.evaluate_gate(handle.name)

    assert (repair.state, repair.verdict) == (pb.REPAIR_STATE_SUCCEEDED, pb.VERDICT_UNSPECIFIED)
    assert refused.value.reason == "REPORT_NOT_READY"
    for done in (report, gate):
        assert done.code == 3
        assert "a request that ends with its selection has no report" in done.err


async def test_jobs_and_watch_know_selections(cli: Cli, client: RepairClient, tiny: TinyAssets, out: Path) -> None:
    handle = await client.create_repair(selection_spec(pool=f"file:{tiny.pairs}", strategy="random", samples=5))

    watched = await cli("watch", handle.name, "--out", str(out))
    listed = await cli("jobs", "--limit", "1")

    assert watched.code == 0
    assert len(ids_in(out / "selection.json")) == 5
    assert listed.out.splitlines()[1].split("\t")[:4] == [handle.name[-12:], "SUCCEEDED", "none", "selection"]


BAD: list[tuple[str, dict[str, object], set[str]]] = [
    ("unknown encoder", {"strategy": "saps", "encoder": "gone"}, {"spec.encoder.reference"}),
    ("no encoder", {"strategy": "saps"}, {"spec.encoder"}),
    ("no model", {"strategy": "grand"}, {"spec.model"}),
    ("more samples than rows", {"samples": POOL + 1}, {"spec.budget.samples.samples"}),
    ("no samples", {"samples": 0}, {"spec.budget.samples.samples"}),
    ("fraction 0", {"fraction": 0.0}, {"spec.budget.fraction.fraction"}),
    ("fraction above 1", {"fraction": 1.01}, {"spec.budget.fraction.fraction"}),
    ("fraction NaN", {"fraction": float("nan")}, {"spec.budget.fraction.fraction"}),
    ("fewer tokens than any sample", {"tokens": 13}, {"spec.budget.tokens.tokens"}),
    (
        "all at once",
        {"strategy": "saps", "encoder": "gone", "samples": POOL + 1},
        {"spec.encoder.reference", "spec.budget.samples.samples"},
    ),
]


@pytest.mark.parametrize(("request_", "fields"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_request_that_cannot_be_carried_out_is_refused_by_field_and_leaves_nothing(
    request_: dict[str, object], fields: set[str], client: RepairClient, tiny: TinyAssets, stack: Stack
) -> None:
    wanted = {"strategy": "random", "pool": f"file:{tiny.pairs}", **request_}
    if "encoder" in wanted:
        wanted["encoder"] = f"file:{tiny.root}/{wanted['encoder']}"
    before = await left_behind(client, stack)

    with pytest.raises(InvalidRequest) as refused:
        await client.create_repair(selection_spec(**wanted))  # type: ignore[arg-type]

    assert {violation.field for violation in refused.value.violations} == fields
    assert await left_behind(client, stack) == before


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"tokens": 13}, "BUDGET_TOO_SMALL", "budget.tokens.tokens"),
        ({"samples": POOL + 1}, "POOL_TOO_SMALL", "budget.samples.samples"),
    ],
)
async def test_a_pool_that_only_the_import_can_read_fails_its_selection_by_field_and_commits_none(
    changes: dict[str, int], reason: str, field: str, client: RepairClient, tiny: TinyAssets
) -> None:
    pool = tiny.root / "pool.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pool_rows(tiny)), pool)
    handle = await client.create_repair(selection_spec(pool=f"file:{pool}", strategy="random", **changes))

    with pytest.raises(RepairFailed) as failed:
        await handle.result()

    assert (failed.value.reason, failed.value.step) == (reason, "select")
    assert failed.value.metadata["field"] == field
    assert not next(step for step in (await handle.get()).steps if step.name == "select").outputs


async def test_a_folder_that_is_no_encoder_fails_before_anything_is_embedded(
    client: RepairClient, tiny: TinyAssets
) -> None:
    spec = selection_spec(pool=f"file:{tiny.pairs}", strategy="saps", samples=3, encoder=f"file:{tiny.model}")

    with pytest.raises(RepairFailed) as failed:
        await (await client.create_repair(spec)).result()

    assert failed.value.step in ("import.encoder", "embed")
    assert failed.value.reason in ("MODEL_INVALID", "UNSAFE_MODEL")


async def left_behind(client: RepairClient, stack: Stack) -> tuple[list[str], int]:
    """Returns the repairs there are and how many results the store holds."""
    results = list(stack.store.rglob("results/**/*"))
    return [repair.name async for repair in client.list_repairs()], sum(path.is_file() for path in results)
