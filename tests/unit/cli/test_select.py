from __future__ import annotations

import asyncio
import json

import pytest

from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import selection_pb2, types_pb2

COMMON = ("--pool", "hf:org/p", "--strategy", "saps")
TEXT = "a secret of the pool"
ROWS = [{"id": f"r{number}", "prompt": TEXT, "chosen": TEXT} for number in range(4)]
SELECTION = {
    "ids": ["r3", "r1"],
    "clusters": [0, 1],
    "delivered": 2,
    "diagnostics": {
        "strategy": "SAPS",
        "pool": 4,
        "delivered": 2,
        "delivered_tokens": 18,
        "truncated": 1,
        "clusters": [
            {"cluster": 0, "total": 3, "selected": 1, "radius": 0.5, "exemplar": "r0"},
            {"cluster": 1, "total": 1, "selected": 1, "radius": 0.0, "exemplar": "r1"},
        ],
    },
}


@pytest.fixture
def selected(coordinator):
    """Gives a repair the steps and outputs of a selection that has succeeded."""

    def add(name: str, content=SELECTION) -> str:
        repair = coordinator.repairs[name]
        repair.spec.goal = pb.REPAIR_GOAL_SELECTION
        repair.spec.strategy.learnability.then.saps.clusters = 2
        rows = coordinator.put_blob("".join(json.dumps(row) + "\n" for row in ROWS).encode())
        outputs = {"selection": coordinator.put_blob(json.dumps(content).encode())}
        usage = types_pb2.Usage(wall_s=1.5, cpu_s=2.25, peak_memory_bytes=210_000_000)
        repair.steps.append(pb.Step(name="import.pool", outputs={"dataset": rows}, reused=True))
        repair.steps.append(pb.Step(name="select", outputs=outputs, usage=usage))
        return name

    return add


async def ended(run, coordinator, selected, *arguments: str):
    """Runs `select` against a coordinator that ends it well."""
    running = asyncio.create_task(run("select", *arguments))
    name = selected(await coordinator.created.get())
    await coordinator.finish(name)
    return await running


async def test_prints_what_was_taken_from_what_and_at_what_cost(run, coordinator, selected):
    outcome = await ended(run, coordinator, selected, *COMMON)

    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert {
        "strategy\tlearnability > saps",
        "pool\t4 samples",
        "delivered\t2 samples, 18 tokens",
        "truncated\t1 of 4 texts (25.0 %)",
        "import.pool\t0.00\t0.00\t\treused; this is what it had cost",
        "select\t1.50\t2.25\t210 MB\t",
        "cluster\tsize\tselected\texemplar",
        "0\t3\t1\tr0",
    } <= set(lines)
    assert "ids: llm-repair watch r1 --out DIR" in lines
    assert TEXT not in outcome.out + outcome.err


async def test_many_clusters_are_cut_short_and_say_so(run, coordinator, selected):
    clusters = [{"cluster": n, "total": 1, "selected": 0, "radius": 0.0, "exemplar": "r0"} for n in range(23)]
    content = {**SELECTION, "diagnostics": {**SELECTION["diagnostics"], "clusters": clusters}}
    name = selected(coordinator.add_repair(), content)
    await coordinator.finish(name)

    lines = (await run("watch", "a1")).out.splitlines()

    assert "19\t1\t0\tr0" in lines
    assert "20\t1\t0\tr0" not in lines
    assert "and 3 more" in lines


async def test_filters_scores_and_strata_are_shown_where_there_are_any(run, coordinator, selected):
    diagnostics = {
        "pool": 9,
        "delivered": 2,
        "delivered_tokens": 8,
        "score": "AUM",
        "pruned": 3,
        "readmitted": 1,
        "filters": [{"filter": "LEARNABILITY", "kept": 7, "dropped_too_low": 2, "dropped_too_high": 0}],
        "strata": [{"stratum": 4, "low": None, "high": 0.25, "total": 6, "selected": 1}],
    }
    name = selected(coordinator.add_repair(), {**SELECTION, "clusters": [None, None], "diagnostics": diagnostics})
    await coordinator.finish(name)

    lines = (await run("watch", "a1")).out.splitlines()

    assert {
        "learnability\tkept 7, dropped too low 2, dropped too high 0",
        "score\taum",
        "pruned\t3 hardest, 1 readmitted for the budget",
        "stratum\tfrom\tbelow\tsize\tselected",
        "4\t\t0.25\t6\t1",
    } <= set(lines)


async def test_out_holds_ids_in_rank_order_diagnostics_and_cost(run, coordinator, selected, tmp_path):
    out = tmp_path / "new" / "selection.json"

    outcome = await ended(run, coordinator, selected, *COMMON, "--out", str(out))

    written = json.loads(out.read_text())
    assert (written["ids"], written["clusters"]) == (["r3", "r1"], [0, 1])
    assert written["diagnostics"] == SELECTION["diagnostics"]
    assert (written["repair"], written["seed"]) == ("projects/default/repairs/r1", 0)
    assert written["strategy"] == {"learnability": {"then": {"saps": {"clusters": 2}}}}
    assert written["cost"] == [
        {"step": "import.pool", "seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_bytes": None, "reused": True},
        {"step": "select", "seconds": 1.5, "cpu_seconds": 2.25, "peak_memory_bytes": 210_000_000, "reused": False},
    ]
    assert f"wrote {out}" in outcome.out
    assert TEXT not in out.read_text()


async def test_out_as_lines_holds_the_rows_in_rank_order(run, coordinator, selected, tmp_path):
    out = tmp_path / "selected.jsonl"

    outcome = await ended(run, coordinator, selected, *COMMON, "--out", str(out))

    assert [json.loads(line) for line in out.read_text().splitlines()] == [ROWS[3], ROWS[1]]
    assert TEXT not in outcome.out


async def test_a_place_that_cannot_be_written_is_wrong_use_before_anything_is_sent(run, coordinator, tmp_path):
    outcome = await run("select", *COMMON, "--out", str(tmp_path))

    assert outcome.code == 4
    assert "is a folder" in outcome.err
    assert not coordinator.create_requests


async def test_every_argument_finds_its_place_in_the_request(run, coordinator):
    outcome = await run(
        *("select", "--pool", "hf:org/p", "--pool-slice", "0:0.5", "--model", "hf:org/m", "--proxy", "hf:org/x"),
        *("--encoder", "hf:org/e", "--strategy", "hardness-filter", "--max-hardness", "0.8"),
        *("--then", "learnability", "--low", "0.1", "--then", "ccs", "--score", "aum", "--stratum-edges", "0.1,0.2"),
        *("--samples", "7", "--method", "dapt", "--lora", "--judge", "hatesonar", "--dtype", "bfloat16", "--seed", "5"),
        "--detach",
    )

    spec = coordinator.create_requests[0].spec
    outer, inner = spec.strategy.hardness_filter, spec.strategy.hardness_filter.then.learnability
    assert (outcome.code, outcome.out) == (0, "r1\n")
    assert spec.goal == pb.REPAIR_GOAL_SELECTION
    assert (outer.max_hardness, inner.low, inner.then.ccs.score) == (0.8, 0.1, selection_pb2.SCORE_AUM)
    assert list(inner.then.ccs.stratum_edges) == [0.1, 0.2]
    references = [spec.model, spec.proxy, spec.encoder, spec.pool_rows.rows]
    assert [each.reference for each in references] == ["hf:org/m", "hf:org/x", "hf:org/e", "hf:org/p"]
    assert (spec.budget.samples.samples, spec.seed, spec.pool_rows.rows.slice.end) == (7, 5, 0.5)
    assert (spec.method.WhichOneof("objective"), spec.method.WhichOneof("trainable")) == ("dapt", "lora")
    assert [judge.WhichOneof("kind") for judge in spec.evaluation.judges] == ["hatesonar"]


async def test_a_repair_takes_the_same_strategy_arguments(run, coordinator):
    arguments = ("--model", "hf:org/m", "--prompts", "hf:org/p", "--clusters", "4", "--preset", "paper", "--detach")

    await run("repair", *arguments)

    strategy = coordinator.create_requests[0].spec.strategy
    assert (strategy.saps.clusters, strategy.preset) == (4, selection_pb2.SELECTION_PRESET_PAPER)


@pytest.mark.parametrize("command", [("select",), ("repair", "--model", "hf:org/m")])
async def test_an_argument_that_the_strategy_does_not_have_is_named_and_nothing_is_sent(run, coordinator, command):
    outcome = await run(*command, "--pool", "hf:org/p", "--strategy", "random", "--clusters", "4")

    assert outcome.code == 4
    assert outcome.err == "error: strategy.random.clusters: is no parameter of random; there are: none\n"
    assert not coordinator.create_requests


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--pool", "hf:org/p"), "give --strategy NAME"),
        (("--strategy", "random"), "--pool REF or --prompts REF"),
        (("--pool", "hf:org/p", "--strategy", "magic"), "'magic' is not known"),
        ((*COMMON, "--text-view", "title"), "strategy.saps.text_view: 'title' is not known; choose one of prompt"),
        ((*COMMON, "--then", "random"), "strategy.saps.then: saps is no filter"),
    ],
)
async def test_wrong_use_says_what_would_be_right(run, coordinator, arguments, complaint):
    outcome = await run("select", *arguments)

    assert outcome.code == 4
    assert complaint in outcome.err
    assert not coordinator.create_requests


async def test_the_file_of_a_whole_repair_stops_at_its_selection_and_flags_override_it(run, coordinator, tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "model: {reference: 'hf:org/m'}\npool_rows: {rows: {reference: 'hf:org/p'}}\nstrategy: {saps: {clusters: 3}}\n"
        "budget: {fraction: {fraction: 0.5}}\nmethod: {dpo: {}}\nevaluation: {prompts: {reference: 'hf:org/e'}}\n"
    )

    await run("select", "--spec", str(tmp_path / "spec.yaml"), "--boundary-fraction", "0.5", "--detach")

    spec = coordinator.create_requests[0].spec
    assert spec.goal == pb.REPAIR_GOAL_SELECTION
    assert (spec.strategy.saps.clusters, spec.strategy.saps.boundary_fraction) == (3, 0.5)
    assert (spec.budget.fraction.fraction, spec.evaluation.prompts.reference) == (0.5, "hf:org/e")


async def test_a_file_that_asks_for_a_selection_is_not_repaired_by(run, coordinator, tmp_path):
    (tmp_path / "spec.yaml").write_text("goal: REPAIR_GOAL_SELECTION\nstrategy: {random: {}}\n")

    outcome = await run("repair", "--spec", str(tmp_path / "spec.yaml"))

    assert outcome.code == 4
    assert "llm-repair select --spec" in outcome.err
    assert not coordinator.create_requests


async def test_validate_only_starts_nothing(run, coordinator):
    outcome = await run("select", *COMMON, "--validate-only")

    assert outcome.code == 0
    assert outcome.out.startswith("the request is valid; nothing was started\n")
    assert not coordinator.repairs


async def test_a_failed_selection_is_told_with_its_reason(run, coordinator):
    running = asyncio.create_task(run("select", *COMMON))
    failure = types_pb2.Failure(reason="BUDGET_TOO_SMALL", message="The budget buys nothing.", step="select")
    await coordinator.finish(await coordinator.created.get(), pb.REPAIR_STATE_FAILED, error=failure)

    outcome = await running

    assert outcome.code == 3
    assert "failed in select: The budget buys nothing. (BUDGET_TOO_SMALL)" in outcome.err


async def test_watch_prints_a_selection_and_writes_it_into_a_folder(run, coordinator, selected, tmp_path):
    name = selected(coordinator.add_repair())
    await coordinator.finish(name)

    outcome = await run("watch", "latest", "--out", str(tmp_path / "out"))

    assert outcome.code == 0
    assert "delivered\t2 samples, 18 tokens" in outcome.out.splitlines()
    assert json.loads((tmp_path / "out" / "selection.json").read_text())["ids"] == ["r3", "r1"]


async def test_jobs_shows_the_goal(run, coordinator, selected):
    coordinator.add_repair("whole")
    selected(coordinator.add_repair("part"))

    lines = [line.split("\t") for line in (await run("jobs")).out.splitlines()]

    assert [line[3] for line in lines] == ["goal", "selection", "repair"]
