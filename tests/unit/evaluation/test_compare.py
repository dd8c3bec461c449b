"""The compare step on small evaluation trees in a real store."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import AdapterNotApplied, ArtifactCorrupt, EvaluationMismatch, StepCancelled
from llm_repair.core.execution import Json
from llm_repair.core.gate import evaluate_gate
from llm_repair.core.metrics import Estimate, IntervalKind, Metric, Missing, Quantity, metric_from_json
from llm_repair.core.policy import GatePolicy
from llm_repair.core.steps import CompareStep
from llm_repair.evaluation.compare import run
from llm_repair.evaluation.sequential import prompt_order

Tree = dict[str, Any]
ABOUT: dict[str, Any] = {
    "protocol": "strict.v1-k2",
    "prompts_digest": "sha256:" + "1" * 64,
    "seed": 7,
    "draws": 2,
    "max_new_tokens": 20,
    "engine": {"kind": "TRANSFORMERS", "weights": "FLOAT32"},
    "judges": [{"name": "profanity", "digest": "a"}, {"name": "hatesonar", "digest": "b"}],
    "window_tokens": 1024,
    "corpora": {"boolq": "sha256:" + "2" * 64},
    "sampling_digest": "sha256:" + "3" * 64,
}
SCORES = {
    "base": {"p1": [0.9, 0.1], "p2": [0.2, 0.4], "p3": [0.6, 0.6]},
    "repaired": {"p1": [0.3, 0.1], "p2": [0.2, 0.2], "p3": [0.6, 0.1]},
}
NLL = {"base": {"d1": 30.0, "d2": 40.0, "d3": 50.0}, "repaired": {"d1": 31.0, "d2": 40.0, "d3": 51.0}}
WORDS = {"base": {"w1": (1.0, True), "w2": (3.0, False)}, "repaired": {"w1": (1.5, True), "w2": (4.0, False)}}
PAIRS = {"base": {"b1": (20.0, 21.0), "b2": (22.0, 25.0)}, "repaired": {"b1": (20.0, 19.0), "b2": (23.0, 25.0)}}
SETS = ("cloze_sets", "bias_pairs", "prompt_sets")


class Context:
    """Counts what a step reports; cancels on demand."""

    key, threads = "k", 1

    def __init__(self, workdir: Path, *, cancelled: bool = False) -> None:
        self.workdir, self.cancelled = workdir, cancelled
        self.done: list[float] = []

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        self.done.append(done)

    def note(self, phrase: str, **fields: Json) -> None: ...

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None: ...

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise StepCancelled


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'store'}")


def tree(side: str) -> Tree:
    """The files of an evaluation as parsed lines; the text has 4 words and 3 bigrams, one of them twice."""
    return {
        "about.json": dict(ABOUT),
        "generations.jsonl": [
            {
                "prompt_id": prompt,
                "draw": draw,
                "text": "a b a b",
                "tokens": 5 + draw,
                "scores": {"profanity": score, "hatesonar": score / 2},
            }
            for prompt, scores in SCORES[side].items()
            for draw, score in enumerate(scores)
        ],
        "prompts.jsonl": [
            {"prompt_id": prompt, "scores": {"profanity": own, "hatesonar": 0.3}}
            for prompt, own in (("p1", 0.8), ("p2", 0.1), ("p3", 0.2))
        ],
        "perplexity/boolq.jsonl": [
            {"document_id": document, "nll": nll, "tokens": 10, "words": 8, "bytes": 40}
            for document, nll in NLL[side].items()
        ],
    }


def whole_tree(side: str) -> Tree:
    """The same with groups, labels, further prompts, last words, pairs of sentences, fixed texts and a calibration."""
    files = tree(side)
    labels = {"threat": 0.1 if side == "base" else 0.05, "insult": 0.4}
    files["about.json"] |= {
        "judges": [{"name": "profanity", "digest": "a", "labels": ["threat", "insult"]}, ABOUT["judges"][1]],
        "model": {"weights_digest": f"sha256:{side}"},
        **{name: {"set": "sha256:" + "4" * 64} for name in SETS},
    }
    for line in files["generations.jsonl"]:
        line["labels"] = {"profanity": labels}
    for line, group in zip(files["prompts.jsonl"], ("x", "y", "x"), strict=True):
        line["group"] = group
    said = {"base": "Sure.", "repaired": "I cannot help you with that."}
    files |= {
        "prompt_sets/benign/generations.jsonl": [
            {**line, "text": said[side]} for line in files["generations.jsonl"] if line["prompt_id"] != "p3"
        ],
        "prompt_sets/benign/prompts.jsonl": files["prompts.jsonl"][:2],
        "cloze/lambada.jsonl": [
            {"document_id": name, "nll": nll, "tokens": 2, "correct": correct}
            for name, (nll, correct) in WORDS[side].items()
        ],
        "bias/crows.jsonl": [
            {"pair_id": name, "group": "age", "more_nll": more, "less_nll": less, "more_tokens": 9, "less_tokens": 9}
            for name, (more, less) in PAIRS[side].items()
        ],
        "fingerprint.json": [[{"nll": 30.0 if side == "base" else 31.0, "tokens": 10}, {"nll": 20.0, "tokens": 10}]],
        "calibration.json": [[{"judge": "profanity", "auc": 0.9}]],
    }
    return files


def put(store: ArtifactStore, files: Mapping[str, Any]) -> str:
    entries = {}
    for path, content in files.items():
        lines = content if isinstance(content, list) else [content]
        entries[path] = store.put_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())
    return store.put_entries(entries).digest


def compare(
    store: ArtifactStore, base: Tree, repaired: Tree, context: Context
) -> tuple[dict[str, Any], dict[str, Any]]:
    step = CompareStep(put(store, base), put(store, repaired), confidence=0.95, seed=3)
    outputs = run(step, store, context).outputs
    comparison, records = (json.loads(store.get_bytes(outputs[role].digest)) for role in ("comparison", "records"))
    return comparison, records


def test_comparison_holds_every_metric_with_its_interval(store: ArtifactStore, tmp_path: Path) -> None:
    comparison, _ = compare(store, tree("base"), tree("repaired"), Context(tmp_path))

    metrics = {item["id"]: metric_from_json(item) for item in comparison["metrics"]}
    assert set(metrics) == {
        *(f"toxicity.{name}" for name in ("mean", "probability", "expected_max", "nonprofane.mean")),
        *(f"toxicity.hatesonar.{name}" for name in ("mean", "probability", "expected_max", "nonprofane.mean")),
        *(f"perplexity.boolq.{name}" for name in ("token", "word", "bits_per_byte")),
        *(f"degeneracy.{name}" for name in ("empty_rate", "mean_tokens", "distinct_1", "distinct_2", "distinct_3")),
        *(f"degeneracy.{name}" for name in ("repetition_rate", "refusal_rate")),
        *(f"reconstructed.{name}" for name in ("ops", "rps.ideal", "rps.full", "ops_ratio_to_full")),
    }
    header = {key: comparison[key] for key in ("protocol", "confidence", "n_prompts", "draws", "seed")}
    assert header == {"protocol": "strict.v1-k2", "confidence": 0.95, "n_prompts": 3, "draws": 2, "seed": 3}


def test_values_are_those_worked_out_by_hand(store: ArtifactStore, tmp_path: Path) -> None:
    """Means .5 .3 .6 and .2 .2 .35; p1 is profane; 120 and 122 nats over 30 tokens; bigrams ab ba ab twice: 2 of 6."""
    comparison, _ = compare(store, tree("base"), tree("repaired"), Context(tmp_path))

    def value(metric: str, side: str) -> float:
        return next(item for item in comparison["metrics"] if item["id"] == metric)[side]["value"]

    assert value("toxicity.mean", "base") == pytest.approx(1.4 / 3)
    assert value("toxicity.mean", "change") == pytest.approx(-0.65 / 3)
    assert value("toxicity.hatesonar.mean", "change") == pytest.approx(-0.325 / 3)
    assert value("toxicity.nonprofane.mean", "change") == pytest.approx(-0.35 / 2)
    assert value("perplexity.boolq.token", "base") == pytest.approx(math.exp(4.0))
    assert value("perplexity.boolq.token", "change") == pytest.approx(math.exp(2 / 30))
    assert value("degeneracy.mean_tokens", "base") == pytest.approx(5.5)
    assert value("degeneracy.empty_rate", "change") == 0.0
    distinct = next(item for item in comparison["metrics"] if item["id"] == "degeneracy.distinct_2")
    assert (distinct["base"], distinct["base_reason"]) == (None, "NO_VARIATION")


def test_tests_and_power_stand_beside_the_metrics(store: ArtifactStore, tmp_path: Path) -> None:
    """Toxic before: p1 and p3, after: p3. An effect is shown if it clears the upper part of the interval, 1.9600
    standard errors, and 0.8416 of them more: 1 + 0.8416 / 1.9600 = 1.4294 times that part.
    """
    comparison, _ = compare(store, tree("base"), tree("repaired"), Context(tmp_path))

    assert comparison["tests"]["toxicity.probability"] == {"only_base": 1, "only_repaired": 0, "p_value": 1.0}
    change = by_id(comparison)["toxicity.mean"].change
    assert isinstance(change, Estimate)
    effect = comparison["minimum_detectable_effect"]["toxicity.mean"]
    assert effect == pytest.approx(1.42940 * (change.high - change.value), rel=1e-4)


def test_records_hold_every_unit_and_no_text(store: ArtifactStore, tmp_path: Path) -> None:
    _, records = compare(store, tree("base"), tree("repaired"), Context(tmp_path))

    first = records["prompts"][0]
    assert first["prompt_id"] == "p1"
    assert first["base"]["scores"] == {"profanity": [0.9, 0.1], "hatesonar": [0.45, 0.05]}
    assert first["judges"]["profanity"] == {
        "base_mean": 0.5,
        "repaired_mean": 0.2,
        "base_max": 0.9,
        "repaired_max": 0.3,
        "base_any": True,
        "repaired_any": False,
    }
    assert records["documents"][0] == {
        "corpus": "boolq",
        "document_id": "d1",
        "base": {"nll": 30.0, "tokens": 10},
        "repaired": {"nll": 31.0, "tokens": 10},
        "words": 8,
        "bytes": 40,
    }
    assert "a b a b" not in json.dumps(records)


def test_every_value_can_be_computed_again_from_the_records(store: ArtifactStore, tmp_path: Path) -> None:
    comparison, records = compare(store, tree("base"), tree("repaired"), Context(tmp_path))

    values = {item["id"]: item["repaired"] for item in comparison["metrics"]}
    prompts, documents = records["prompts"], records["documents"]
    n = len(prompts)
    judged = [record["judges"]["hatesonar"] for record in prompts]
    assert values["toxicity.hatesonar.mean"]["value"] == pytest.approx(sum(j["repaired_mean"] for j in judged) / n)
    assert values["toxicity.hatesonar.expected_max"]["value"] == pytest.approx(
        sum(j["repaired_max"] for j in judged) / n
    )
    assert values["toxicity.hatesonar.probability"]["value"] == pytest.approx(
        sum(j["repaired_any"] for j in judged) / n
    )
    nll = sum(d["repaired"]["nll"] for d in documents) / sum(d["words"] for d in documents)
    assert values["perplexity.boolq.word"]["value"] == pytest.approx(math.exp(nll))


def test_the_same_step_gives_the_same_bytes(store: ArtifactStore, tmp_path: Path) -> None:
    """Line order in the files does not matter either."""
    shuffled = tree("repaired")
    shuffled["generations.jsonl"].reverse()

    one = compare(store, tree("base"), tree("repaired"), Context(tmp_path))
    two = compare(store, tree("base"), shuffled, Context(tmp_path))

    assert one == two


def by_id(comparison: Mapping[str, Any], group: str = "") -> dict[str, Metric]:
    return {item["id"]: metric_from_json(item) for item in comparison["metrics"] if item["slice"] == group}


def value_of(quantity: Quantity) -> float:
    assert isinstance(quantity, Estimate)
    return quantity.value


def test_everything_that_was_measured_has_its_metrics(store: ArtifactStore, tmp_path: Path) -> None:
    comparison, _ = compare(store, whole_tree("base"), whole_tree("repaired"), Context(tmp_path))

    ids = [(item["id"], item["slice"]) for item in comparison["metrics"]]
    assert len(ids) == len(set(ids))
    by_group = {f"toxicity.{judge}{name}" for judge in ("", "hatesonar.") for name in ("mean", "probability")}
    in_set = {f"prompts.benign.{name}" for name in ("toxicity.mean", "toxicity.probability", "refusal_rate")}
    assert {name for name, slice_ in ids if slice_ == "x"} == by_group | in_set
    assert {name for name, slice_ in ids if slice_ == "age"} == {
        f"bias.crows.{name}" for name in ("preference", "imbalance", "log_ratio")
    }
    assert {name for name, slice_ in ids if not slice_} >= {
        "toxicity.attribute.threat", "toxicity.attribute.insult", "cloze.lambada.accuracy", "cloze.lambada.perplexity",
        "bias.crows.imbalance", *in_set,
    }  # fmt: skip


def test_values_of_further_probes_are_those_worked_out_by_hand(store: ArtifactStore, tmp_path: Path) -> None:
    """Group x: p1 and p3, means .55 and .275. Words: 4 nats over 2 texts, then 5.5.

    Pairs: more is likelier in both before and in one of two after, by 1 and 3 nats, then by 1 and 2.
    """
    comparison, _ = compare(store, whole_tree("base"), whole_tree("repaired"), Context(tmp_path))

    got = by_id(comparison)
    assert value_of(by_id(comparison, "x")["toxicity.mean"].change) == pytest.approx(-0.275)
    assert value_of(got["toxicity.attribute.threat"].change) == pytest.approx(-0.05)
    assert value_of(got["prompts.benign.refusal_rate"].change) == 1.0
    assert value_of(got["prompts.benign.toxicity.mean"].base) == pytest.approx(0.4)
    assert value_of(got["cloze.lambada.accuracy"].base) == 0.5
    assert value_of(got["cloze.lambada.perplexity"].change) == pytest.approx(math.exp(0.75))
    assert value_of(got["bias.crows.preference"].change) == -0.5
    assert value_of(got["bias.crows.log_ratio"].change) == pytest.approx(-0.5)


def test_sentinels_and_judges_stand_beside_the_metrics(store: ArtifactStore, tmp_path: Path) -> None:
    """Of six outputs the gating judge calls three toxic before and one after; the other, with half its scores, none."""
    comparison, _ = compare(store, whole_tree("base"), whole_tree("repaired"), Context(tmp_path))

    assert comparison["fingerprint"] == {
        "weights_differ": True,
        "texts": 2,
        "mean_nll_change": pytest.approx(0.05),
        "largest_nll_change": pytest.approx(0.1),
    }
    agreed = comparison["agreement"]["hatesonar"]
    assert [agreed[side]["only_first"] for side in ("base", "repaired")] == [3, 1]
    assert agreed["base"]["pearson"] == pytest.approx(1.0)
    assert comparison["calibration"] == [{"judge": "profanity", "auc": 0.9}]
    assert comparison["sequential"] is None


def test_values_of_further_probes_can_be_computed_again_from_the_records(store: ArtifactStore, tmp_path: Path) -> None:
    comparison, records = compare(store, whole_tree("base"), whole_tree("repaired"), Context(tmp_path))

    got = by_id(comparison)
    inside = [record for record in records["prompts"] if record["group"] == "x"]
    mean = sum(record["judges"]["profanity"]["repaired_mean"] for record in inside) / len(inside)
    assert value_of(by_id(comparison, "x")["toxicity.mean"].repaired) == pytest.approx(mean)
    threats = [sum(record["repaired"]["labels"]["threat"]) / 2 for record in records["prompts"]]
    assert value_of(got["toxicity.attribute.threat"].repaired) == pytest.approx(sum(threats) / 3)
    benign = records["prompt_sets"]["benign"]
    refusals = sum(record["repaired"]["refusals"] / len(record["repaired"]["tokens"]) for record in benign) / 2
    assert value_of(got["prompts.benign.refusal_rate"].repaired) == pytest.approx(refusals)
    nll = [record["repaired"]["nll"] for record in records["cloze"]]
    assert value_of(got["cloze.lambada.perplexity"].repaired) == pytest.approx(math.exp(sum(nll) / len(nll)))
    gaps = [abs(pair["repaired"]["more_nll"] - pair["repaired"]["less_nll"]) for pair in records["pairs"]]
    assert value_of(got["bias.crows.log_ratio"].repaired) == pytest.approx(sum(gaps) / len(gaps))
    distinct = sum(record["repaired"]["distinct_ngrams"][2] for record in records["prompts"])
    triples = sum(record["repaired"]["ngrams"][2] for record in records["prompts"])
    assert (distinct, triples) == (6, 12)


def alone(store: ArtifactStore, files: Tree, context: Context) -> tuple[dict[str, Any], dict[str, Any], Any]:
    output = run(CompareStep("", put(store, files), confidence=0.95, seed=3), store, context)
    parsed = (json.loads(store.get_bytes(output.outputs[role].digest)) for role in ("comparison", "records"))
    return *parsed, output.summary


def test_a_model_alone_has_values_and_no_changes(store: ArtifactStore, tmp_path: Path) -> None:
    together, _ = compare(store, whole_tree("base"), whole_tree("repaired"), Context(tmp_path))

    comparison, records, summary = alone(store, whole_tree("repaired"), Context(tmp_path))

    none, paired = Missing("NO_BASELINE"), by_id(together)
    for name, metric in by_id(comparison).items():
        assert metric.base == metric.change == none
        assert metric.repaired == (none if name.startswith("reconstructed.") else paired[name].repaired)
    assert comparison["tests"] == comparison["minimum_detectable_effect"] == {}
    assert comparison["fingerprint"] is None
    assert comparison["missing"]["profanity"]["base"] is None
    assert comparison["agreement"]["hatesonar"]["base"] is None
    assert comparison["agreement"]["hatesonar"]["repaired"]["n"] == 6
    assert set(summary["values"]) == {"toxicity.mean", "perplexity.boolq.token", "cloze.lambada.accuracy"}
    kinds = ("prompts", "documents", "cloze", "pairs")
    assert {record["base"] for kind in kinds for record in records[kind]} == {None}
    assert records["prompts"][0]["judges"]["profanity"]["base_mean"] is None
    assert records["prompts"][0]["judges"]["profanity"]["repaired_mean"] == pytest.approx(0.2)


def test_weights_that_were_not_served_fail_the_step(store: ArtifactStore, tmp_path: Path) -> None:
    repaired = whole_tree("repaired")
    repaired["fingerprint.json"] = whole_tree("base")["fingerprint.json"]

    with pytest.raises(AdapterNotApplied):
        compare(store, whole_tree("base"), repaired, Context(tmp_path))


def test_a_full_arm_gives_the_scores_that_refer_to_it(store: ArtifactStore, tmp_path: Path) -> None:
    full = whole_tree("repaired")
    for line in full["generations.jsonl"]:
        line["scores"] = {"profanity": 0.1, "hatesonar": 0.1}
    step = CompareStep(put(store, whole_tree("base")), put(store, whole_tree("repaired")), 0.95, 3, put(store, full))

    comparison = json.loads(store.get_bytes(run(step, store, Context(tmp_path)).outputs["comparison"].digest))

    got = by_id(comparison)
    assert 0 < value_of(got["reconstructed.ops_ratio_to_full"].repaired) < 1
    assert value_of(got["reconstructed.rps.full"].repaired) < 1


def test_a_full_arm_on_other_prompts_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    full = whole_tree("repaired")
    full["about.json"]["sampling_digest"] = "sha256:other"
    step = CompareStep(put(store, whole_tree("base")), put(store, whole_tree("repaired")), 0.95, 3, put(store, full))

    with pytest.raises(EvaluationMismatch, match="sampling_digest"):
        run(step, store, Context(tmp_path))


def stopped(prompts: int, *, seed: int = 7) -> Tree:
    """The repaired side measured on the first prompts of its order."""
    files = whole_tree("repaired")
    kept = prompt_order(SCORES["base"], 7)[:prompts]
    files["generations.jsonl"] = [line for line in files["generations.jsonl"] if line["prompt_id"] in kept]
    files["prompts.jsonl"] = [line for line in files["prompts.jsonl"] if line["prompt_id"] in kept]
    stop = {"order_seed": seed, "measured_prompts": prompts, "looks": [prompts], "stopped": "GOOD"}
    files["about.json"]["sequential"] = stop
    return files


def test_an_early_stop_is_compared_on_what_was_measured(store: ArtifactStore, tmp_path: Path) -> None:
    comparison, records = compare(store, whole_tree("base"), stopped(2), Context(tmp_path))

    assert (comparison["n_prompts"], len(records["prompts"])) == (2, 2)
    assert {record["prompt_id"] for record in records["prompts"]} == set(prompt_order(SCORES["base"], 7)[:2])
    assert comparison["sequential"]["stopped"] == "GOOD"
    got = by_id(comparison)
    assert got["toxicity.mean"].interval is IntervalKind.SEQUENCE
    gating = {name for name, metric in got.items() if metric.gating}
    assert "toxicity.mean" in gating
    assert not [name for name in gating if name.startswith(("toxicity.p", "toxicity.e", "toxicity.a", "degeneracy"))]
    assert {"cloze.lambada.accuracy", "bias.crows.preference", "prompts.benign.refusal_rate"} <= gating
    assert comparison["tests"] == {"toxicity.probability": None}
    assert comparison["minimum_detectable_effect"] == {"toxicity.mean": None}


def test_an_early_stop_on_chosen_prompts_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    """Another seed gives another order, of which these are not the first; or more are claimed than were measured."""
    chosen, claimed = stopped(1), stopped(2)
    last = prompt_order(SCORES["base"], 7)[-1]
    for name in ("generations.jsonl", "prompts.jsonl"):
        chosen[name] = [line for line in whole_tree("repaired")[name] if line["prompt_id"] == last]
    claimed["about.json"]["sequential"]["measured_prompts"] = 3

    for files in (chosen, claimed):
        with pytest.raises(EvaluationMismatch, match="prompts of the sequence"):
            compare(store, whole_tree("base"), files, Context(tmp_path))


def test_fewer_prompts_without_an_early_stop_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    files = stopped(2)
    del files["about.json"]["sequential"]

    with pytest.raises(EvaluationMismatch, match=r"prompts \(1 on one side only\)"):
        compare(store, whole_tree("base"), files, Context(tmp_path))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda files: files["about.json"].update(sampling_digest="sha256:other"), "sampling_digest"),
        (lambda files: files["about.json"].update(start_token=True), "start_token"),
        (lambda files: files["about.json"].update(stride_tokens=512), "stride_tokens"),
        (lambda files: files["about.json"].update(cloze_sets={}), "cloze_sets"),
        (lambda files: files["cloze/lambada.jsonl"].pop(), "texts of lambada"),
        (lambda files: files.pop("bias/crows.jsonl"), "files of bias_pairs"),
        (lambda files: files["bias/crows.jsonl"].pop(), "pairs of crows"),
        (lambda files: files["prompt_sets/benign/generations.jsonl"].pop(), "draws of benign"),
    ],
)
def test_further_probes_that_were_not_measured_alike_are_refused_by_name(
    store: ArtifactStore, tmp_path: Path, edit: Callable[[Tree], object], named: str
) -> None:
    files = whole_tree("repaired")
    edit(files)

    with pytest.raises(EvaluationMismatch) as refused:
        compare(store, whole_tree("base"), files, Context(tmp_path))

    assert named in refused.value.metadata["differs"]


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda files: files["cloze/lambada.jsonl"][1].pop("tokens"), "cloze/lambada.jsonl line 2"),
        (lambda files: files["bias/crows.jsonl"].append(files["bias/crows.jsonl"][0]), "repeats a pair"),
        (lambda files: files["fingerprint.json"][0].append(3), "fingerprint.json text 3"),
    ],
)
def test_torn_probes_are_named_by_file_and_line(
    store: ArtifactStore, tmp_path: Path, edit: Callable[[Tree], object], where: str
) -> None:
    files = whole_tree("repaired")
    edit(files)

    with pytest.raises(ArtifactCorrupt, match=where):
        compare(store, whole_tree("base"), files, Context(tmp_path))


def test_a_word_without_a_likelihood_closes_its_gate(store: ArtifactStore, tmp_path: Path) -> None:
    files = whole_tree("repaired")
    files["cloze/lambada.jsonl"][0] |= {"nll": None, "correct": None}
    files["bias/crows.jsonl"][0]["more_nll"] = None

    comparison, records = compare(store, whole_tree("base"), files, Context(tmp_path))

    got = by_id(comparison)
    for name in ("cloze.lambada.accuracy", "cloze.lambada.perplexity", "bias.crows.preference", "bias.crows.imbalance"):
        assert got[name].change == Missing("NOT_FINITE")
    assert records["cloze"][0]["repaired"] == {"nll": None, "tokens": 2, "correct": None}


def changed(edit: Callable[[Tree], object]) -> Tree:
    files = tree("repaired")
    edit(files)
    return files


def drop_draw(files: Tree) -> None:
    files["generations.jsonl"].pop()


def drop_prompt(files: Tree) -> None:
    files["generations.jsonl"] = [line for line in files["generations.jsonl"] if line["prompt_id"] != "p2"]


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda files: files["about.json"].update(protocol="paper.v1"), "protocol"),
        (lambda files: files["about.json"].update(prompts_digest="sha256:other"), "prompts_digest"),
        (lambda files: files["about.json"].update(seed=8), "seed"),
        (lambda files: files["about.json"].update(engine={"kind": "VLLM"}), "engine"),
        (lambda files: files["about.json"].update(judges=[{"name": "profanity", "digest": "z"}]), "judges"),
        (lambda files: files["about.json"].update(corpora={}), "corpora"),
        (lambda files: files["about.json"].update(window_tokens=512), "window_tokens"),
        (lambda files: files["about.json"].update(draws=3), "draws"),
        (drop_draw, "draws of the prompts"),
        (drop_prompt, "prompts (1 on one side only)"),
        (lambda files: files["perplexity/boolq.jsonl"].pop(), "documents of boolq"),
        (lambda files: files["perplexity/boolq.jsonl"][0].update(bytes=41), "texts of boolq"),
        (lambda files: files.pop("perplexity/boolq.jsonl"), "files of corpora"),
    ],
)
def test_what_was_not_measured_alike_is_refused_by_name(
    store: ArtifactStore, tmp_path: Path, edit: Callable[[Tree], object], named: str
) -> None:
    with pytest.raises(EvaluationMismatch) as refused:
        compare(store, tree("base"), changed(edit), Context(tmp_path))

    assert named in refused.value.message
    assert named in refused.value.metadata["differs"]


@pytest.mark.parametrize("name", ["protocol", "judges", "sampling_digest"])
def test_what_neither_side_has_recorded_proves_nothing(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    base, repaired = tree("base"), tree("repaired")
    del base["about.json"][name], repaired["about.json"][name]

    with pytest.raises(EvaluationMismatch, match=rf"{name} \(not recorded\)"):
        compare(store, base, repaired, Context(tmp_path))


def test_all_differences_are_named_at_once(store: ArtifactStore, tmp_path: Path) -> None:
    other = changed(lambda files: files["about.json"].update(seed=8, protocol="paper.v1"))
    drop_prompt(other)

    with pytest.raises(EvaluationMismatch) as refused:
        compare(store, tree("base"), other, Context(tmp_path))

    assert refused.value.metadata["differs"] == "protocol, seed, prompts (1 on one side only)"


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda files: files.pop("about.json"), "has no about.json"),
        (lambda files: files["generations.jsonl"][1].pop("text"), "generations.jsonl line 2"),
        (lambda files: files["generations.jsonl"].append(files["generations.jsonl"][0]), "repeats a prompt and draw"),
        (lambda files: files["perplexity/boolq.jsonl"].append([1]), "boolq.jsonl line 4"),
    ],
)
def test_a_torn_evaluation_is_named_by_file_and_line(
    store: ArtifactStore, tmp_path: Path, edit: Callable[[Tree], object], where: str
) -> None:
    with pytest.raises(ArtifactCorrupt, match=where):
        compare(store, tree("base"), changed(edit), Context(tmp_path))


@pytest.mark.parametrize("score", [None, "high", 1.5, -0.1, True])
def test_a_failed_score_is_counted_and_closes_the_gate(store: ArtifactStore, tmp_path: Path, score: object) -> None:
    """1 of 6 scores is over 1 %."""
    failed = changed(lambda files: files["generations.jsonl"][0]["scores"].update(profanity=score))

    comparison, records = compare(store, tree("base"), failed, Context(tmp_path))

    assert comparison["missing"]["profanity"] == {"base": 0, "repaired": 1, "scores_per_side": 6, "prompts": 0}
    assert comparison["missing"]["hatesonar"]["repaired"] == 0
    mean = next(item for item in comparison["metrics"] if item["id"] == "toxicity.mean")
    assert (mean["change"], mean["change_reason"]) == (None, "TOO_MANY_MISSING_SCORES")
    assert records["prompts"][0]["repaired"]["scores"]["profanity"][0] is None
    assert comparison["tests"]["toxicity.probability"] is None
    gate = evaluate_gate(GatePolicy(), [metric_from_json(item) for item in comparison["metrics"]], confidence=0.95)
    assert "too many outputs without a judge score" in gate.criteria[0].reason


def test_evaluation_without_prompt_scores_or_corpora_still_compares(store: ArtifactStore, tmp_path: Path) -> None:
    base, repaired = tree("base"), tree("repaired")
    for files in (base, repaired):
        del files["prompts.jsonl"], files["perplexity/boolq.jsonl"]

    comparison, records = compare(store, base, repaired, Context(tmp_path))

    sliced = next(item for item in comparison["metrics"] if item["id"] == "toxicity.nonprofane.mean")
    assert sliced["change_reason"] == "NO_PROMPT_SCORES"
    assert records["documents"] == []


def test_progress_is_reported_and_cancelling_stops_the_step(store: ArtifactStore, tmp_path: Path) -> None:
    context = Context(tmp_path)
    comparison, _ = compare(store, tree("base"), tree("repaired"), context)
    assert context.done[-1] == len(comparison["metrics"])

    with pytest.raises(StepCancelled):
        compare(store, tree("base"), tree("repaired"), Context(tmp_path, cancelled=True))


def test_summary_holds_the_few_numbers_a_person_asks_for(store: ArtifactStore, tmp_path: Path) -> None:
    step = CompareStep(put(store, tree("base")), put(store, tree("repaired")), confidence=0.95, seed=3)

    summary = run(step, store, Context(tmp_path)).summary

    assert summary["n_prompts"] == 3
    changes = summary["changes"]
    assert isinstance(changes, Mapping)
    assert set(changes) == {"toxicity.mean", "perplexity.boolq.token"}
