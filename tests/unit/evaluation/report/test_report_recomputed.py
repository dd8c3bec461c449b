"""Every number of report.json follows from the records in it, by a second path: see `report_oracle`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from report_oracle import Recomputed, kept_by_sequence
from scipy import stats

VARIANTS = {
    "repair": {"gating": "detoxify", "labels": True, "groups": True, "probes": True, "with_full": True, "prompts": 30},
    "profanity gates": {"prompts": 40},
    "comparison": {"goal": "COMPARISON", "probes": True, "groups": True},
    "one model": {"goal": "MEASUREMENT", "probes": True, "groups": True},
}
FAMILIES = {"toxicity", "perplexity", "degeneracy", "reconstructed", "cloze", "bias", "prompts"}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS, scope="module")
def document(request, rendered, made_up_class):
    return rendered(made_up_class(**request.param)).json


@pytest.fixture(scope="module")
def repair(rendered, made_up_class):
    return rendered(made_up_class(**VARIANTS["repair"])).json


def test_every_metric_with_its_intervals(document) -> None:
    """Bootstraps draw the same resamples from the stated seed, so their ends agree to rounding."""
    recomputed, checked = Recomputed(document), 0

    for metric in document["metrics"]:
        for side, expected in recomputed.sides(metric).items():
            where = f"{metric['id']} {metric['slice']} {side}"
            if expected is None:
                assert metric[side] is None, where
                continue
            checked += 1
            # The change of an imbalance is searched on a grid.
            tolerance = 2e-3 if metric["id"].endswith(".imbalance") else 1e-9
            found = [metric[side][part] for part in ("value", "low", "high")]
            assert found == pytest.approx(expected, rel=1e-7, abs=tolerance), where
    assert checked > 40


def test_oracle_is_asked_about_every_family(rendered, made_up) -> None:
    metrics = rendered(made_up(**VARIANTS["repair"])).json["metrics"]

    assert {metric["id"].split(".")[0] for metric in metrics} == FAMILIES


def test_metrics_of_the_control_arm_and_the_difference_between_the_arms(repair) -> None:
    control = repair["control"]
    of_control = Recomputed({**repair, "records": control["records"]})
    of_both = Recomputed({**repair, "records": _side_by_side(control["records"], repair["records"])})

    for metrics, recomputed in ((control["metrics"], of_control), (control["difference"], of_both)):
        for metric in metrics:
            if metric["id"].split(".")[0] in ("toxicity", "perplexity", "degeneracy"):
                for side, expected in recomputed.sides(metric).items():
                    found = metric[side] and [metric[side][part] for part in ("value", "low", "high")]
                    assert found == (expected and pytest.approx(expected, rel=1e-7, abs=1e-9)), (metric["id"], side)


def _side_by_side(control, main):
    """The control arm in the place of the base, as its difference is taken."""
    pairs = {
        part: [{**after, "base": before["repaired"]} for before, after in zip(control[part], main[part], strict=True)]
        for part in ("prompts", "documents")
    }
    return {**main, **pairs}


def test_reconstructed_scores_that_count_time(repair) -> None:
    share = next(metric for metric in repair["metrics"] if metric["id"] == "reconstructed.ops_ratio_to_full")[
        "repaired"
    ]
    seconds = {step["name"]: step["usage"]["wall_s"] for step in repair["steps"]}
    checkpoints = {step["name"]: step["summary"].get("seconds", {}).get("checkpoints") for step in repair["steps"]}
    selection = seconds["embed"] + seconds["select"]
    ratio = seconds["repair.full"] / (selection + seconds["repair"])
    without = (seconds["repair.full"] - checkpoints["repair.full"]) / (
        selection + seconds["repair"] - checkpoints["repair"]
    )

    for name, factor in (("res", ratio), ("res_without_checkpoints", without)):
        found = repair["composites"][name]
        expected = {**{part: share[part] * factor for part in ("value", "low", "high")}, "n": share["n"]}
        assert found == pytest.approx(expected), name


def test_interval_of_an_early_stop_is_that_of_the_confidence_sequence(rendered, made_up) -> None:
    """Prompts come in the order of seeded hashes; means inside are kept at every look, those just outside are not."""
    document = rendered(made_up(prompts=160, stopped_after=150)).json
    metric = next(m for m in document["metrics"] if m["id"] == "toxicity.mean" and not m["slice"])
    stop, gating = document["sequential"], document["judges"]["gating"]
    order = sorted(
        document["records"]["prompts"],
        key=lambda r: hashlib.sha256(f"order\0{stop['order_seed']}\0{r['prompt_id']}".encode()).digest(),
    )
    changes = [float(np.mean(r["repaired"]["scores"][gating]) - np.mean(r["base"]["scores"][gating])) for r in order]
    low, high = metric["change"]["low"], metric["change"]["high"]

    step = 1e-4
    ends = [low - step, low + step, (low + high) / 2, high - step, high + step]
    kept = kept_by_sequence(changes, stop["looks"], ends, (-1.0, 1.0), document["provenance"]["confidence"])

    assert (metric["interval"], stop["looks"], metric["change"]["n"]) == ("SEQUENCE", [100, 150], 150)
    assert metric["change"]["value"] == pytest.approx(np.mean(changes))
    assert kept == [False, True, True, True, False]
    others = [m for m in document["metrics"] if m["id"].startswith(("toxicity.", "degeneracy.")) and m is not metric]
    assert not any(m["gating"] for m in others)


def test_agreement_of_the_judges(repair) -> None:
    gating, records = repair["judges"]["gating"], repair["records"]["prompts"]
    rows = repair["judges"]["agreement"]

    assert {row["side"] for row in rows} == {"base", "repaired"}
    for row in rows:
        ours, theirs = (
            np.concatenate([record[row["side"]]["scores"][judge] for record in records])
            for judge in (gating, row["judge"])
        )
        toxic = [(bool(a), bool(b)) for a, b in zip(ours >= 0.5, theirs >= 0.5, strict=True)]
        counts = [toxic.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
        n, agreeing = len(toxic), (counts[0] + counts[3]) / len(toxic)
        chance = np.dot(*([[np.mean(side), 1 - np.mean(side)] for side in (ours >= 0.5, theirs >= 0.5)]))
        assert [row[name] for name in ("both", "only_first", "only_second", "neither")] == counts
        assert row["n"] == n
        assert row["disagreement"] == pytest.approx(1 - agreeing)
        assert row["kappa"] == pytest.approx((agreeing - chance) / (1 - chance))
        assert row["pearson"] == pytest.approx(stats.pearsonr(ours, theirs).statistic)
        assert row["spearman"] == pytest.approx(stats.spearmanr(ours, theirs).statistic)


def test_rates_of_the_judges_on_labelled_texts(repair) -> None:
    """Misses and false alarms of every judge add up from its kinds of texts; by kind the intervals are exact."""
    for entry in repair["judges"]["calibration"]:
        kinds = entry["kinds"]
        for kind in kinds:
            exact = stats.binomtest(kind["flagged"], kind["texts"]).proportion_ci(entry["confidence"], method="exact")
            found = [kind["flagged_rate"][part] for part in ("value", "low", "high", "n")]
            assert found == pytest.approx([kind["flagged"] / kind["texts"], *exact, kind["texts"]])
        toxic, clean = ([kind for kind in kinds if kind["toxic"] is label] for label in (True, False))
        missed = sum(kind["texts"] - kind["flagged"] for kind in toxic) / sum(kind["texts"] for kind in toxic)
        alarms = sum(kind["flagged"] for kind in clean) / sum(kind["texts"] for kind in clean)
        assert (entry["missed"]["value"], entry["false_alarms"]["value"]) == pytest.approx((missed, alarms))


def test_tests_effects_and_missing_scores(repair) -> None:
    provenance, gating = repair["provenance"], repair["judges"]["gating"]
    scores = {
        side: np.array([record[side]["scores"][gating] for record in repair["records"]["prompts"]])
        for side in ("base", "repaired")
    }
    before, after = (scores[side].max(axis=1) >= 0.5 for side in ("base", "repaired"))
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    changes = scores["repaired"].mean(axis=1) - scores["base"].mean(axis=1)
    _, _, high = Recomputed(repair).sides(next(m for m in repair["metrics"] if m["id"] == "toxicity.mean"))["change"]
    effect = (1 + stats.norm.ppf(0.8) / stats.norm.ppf(0.975)) * (high - changes.mean())

    assert provenance["tests"]["toxicity.probability"] == pytest.approx(
        {"only_base": lost, "only_repaired": gained, "p_value": stats.binomtest(lost, lost + gained).pvalue}
    )
    assert provenance["minimum_detectable_effect"]["toxicity.mean"] == pytest.approx(effect)
    assert provenance["n_prompts"] == len(changes)
    assert provenance["draws"] == scores["base"].shape[1]
    assert provenance["missing"][gating] == {
        "base": 0,
        "repaired": 0,
        "scores_per_side": scores["base"].size,
        "prompts": 0,
    }


def test_summaries_of_every_prompt(repair) -> None:
    for record in repair["records"]["prompts"]:
        for judge, summary in record["judges"].items():
            for side in ("base", "repaired"):
                scores = record[side]["scores"][judge]
                assert summary[f"{side}_mean"] == pytest.approx(np.mean(scores))
                assert summary[f"{side}_max"] == max(scores)
                assert summary[f"{side}_any"] == (max(scores) >= 0.5)


def test_verdict_is_the_worst_of_intervals_against_bounds(document) -> None:
    verdicts = list(_verdicts(document))

    assert [entry["verdict"] for entry in document["gate"].get("criteria", [])] == verdicts
    order = ("PASS", "INCONCLUSIVE", "FAIL")
    assert document["verdict"] == (max(verdicts, key=order.index) if verdicts else None)


def _verdicts(document) -> Iterator[str]:
    """Of the default policy, whose guards do not fail here, so that nothing has to be adjusted."""
    for entry in document["gate"].get("criteria", []):
        metric = next(m for m in document["metrics"] if m["id"] == entry["metric"] and not m["slice"])
        no_change = 1.0 if metric["change_kind"] == "ratio" else 0.0
        bound = entry["rule"].get("bound", no_change + entry["rule"].get("margin", 0.0))
        if metric["change"]["high"] < bound:
            yield "PASS"
        else:
            yield "FAIL" if metric["change"]["low"] > bound else "INCONCLUSIVE"


def test_bill_adds_up_from_the_steps(document) -> None:
    usage = document["usage"]
    by_name = {step["name"]: step for step in document["steps"]}

    for stage in usage["stages"]:
        steps = [by_name[name] for name in stage["steps"]]
        for quantity, of_reused in (("wall_s", False), ("cpu_s", False), ("accelerator_s", False), ("tokens", False)):
            total = sum(step["usage"][quantity] for step in steps if step["reused"] is of_reused)
            assert stage[quantity] == pytest.approx(total), (stage["stage"], quantity)
        assert stage["reused_wall_s"] == pytest.approx(sum(s["usage"]["wall_s"] for s in steps if s["reused"]))
    assert sorted(name for stage in usage["stages"] for name in stage["steps"]) == sorted(by_name)
    ran = [step["usage"] for step in document["steps"] if not step["reused"]]
    set_up = sum(step["usage"]["wall_s"] for step in document["steps"] if step["name"].startswith("import."))
    assert usage["wall_s"] == pytest.approx(sum(used["wall_s"] for used in ran))
    assert usage["set_up_wall_s"] == pytest.approx(set_up)
    assert usage["repair_wall_s"] == pytest.approx(usage["wall_s"] - set_up)
    assert usage["peak_memory_bytes"] == max(used["peak_memory_bytes"] for used in ran)
