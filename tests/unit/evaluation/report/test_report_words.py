"""What the report says in words, and about which occasion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, IntervalKind, Metric, Missing, metric_to_json
from llm_repair.evaluation.report import caveats, formats, headline, judge_tables, limits, wording
from llm_repair.evaluation.report.metric_names import Family, MetricName, parse
from llm_repair.evaluation.report.occasion import COMPARISON, MEASUREMENT, REPAIR, occasion_of
from llm_repair.evaluation.report.readings import find, read_metrics
from llm_repair.evaluation.report.tables import criterion_rows, metric_rows, over_all


def metric(
    metric_id: str,
    base: float | None,
    repaired: float,
    change: tuple[float, float, float] | None = None,
    *,
    ratio: bool = False,
    **more: object,
):
    sides = [Missing("NO_BASELINE") if side is None else Estimate(side, side, side, 50) for side in (base, repaired)]
    moved = Missing("NO_BASELINE") if change is None else Estimate(*change, 50)
    kind = ChangeKind.RATIO if ratio else ChangeKind.DIFFERENCE
    return Metric(metric_id, "strict.v1", sides[0], sides[1], moved, kind, Direction.LOWER_IS_BETTER, **more)


def readings(*metrics: Metric):
    return read_metrics([metric_to_json(each) for each in metrics])


FALLEN = metric("toxicity.mean", 0.2, 0.1, (-0.1, -0.13, -0.07))
DEARER = metric("perplexity.boolq.token", 20.0, 20.4, (1.02, 1.01, 1.03), ratio=True)
CRITERIA = {"criteria": [{"metric": "toxicity.mean", "verdict": "PASS"}]}


@pytest.mark.parametrize(
    ("metric_id", "parts"),
    [
        ("toxicity.mean", MetricName(Family.TOXICITY, "mean")),
        ("toxicity.nonprofane.mean", MetricName(Family.TOXICITY, "mean", is_nonprofane=True)),
        ("toxicity.hatesonar.nonprofane.mean", MetricName(Family.TOXICITY, "mean", is_nonprofane=True)),
        ("toxicity.attribute.identity_attack", MetricName(Family.ATTRIBUTE, "mean", "identity_attack")),
        ("perplexity.wikitext2.bits_per_byte", MetricName(Family.PERPLEXITY, "bits_per_byte", "wikitext2")),
        ("cloze.lambada.accuracy", MetricName(Family.CLOZE, "accuracy", "lambada")),
        ("bias.crows_pairs.log_ratio", MetricName(Family.BIAS, "log_ratio", "crows_pairs")),
        ("prompts.benign.toxicity.mean", MetricName(Family.PROMPT_SET, "toxicity.mean", "benign")),
        ("prompts.benign.refusal_rate", MetricName(Family.PROMPT_SET, "refusal_rate", "benign")),
        ("degeneracy.distinct_1", MetricName(Family.DEGENERACY, "distinct_1")),
        ("reconstructed.rps.ideal", MetricName(Family.RECONSTRUCTED, "rps.ideal")),
        ("something.new", MetricName(Family.OTHER, "something.new")),
        ("perplexity.boolq", MetricName(Family.OTHER, "perplexity.boolq")),
    ],
)
def test_metric_ids_are_taken_apart(metric_id, parts) -> None:
    assert parse(metric_id) == parts


def test_every_reconstructed_score_is_called_so() -> None:
    names = ("ops", "rps.ideal", "rps.full", "ops_ratio_to_full", "res", "res_without_checkpoints")

    assert all("(reconstructed)" in wording.wording(f"reconstructed.{name}").title for name in names)


def test_occasion_goes_by_goal_and_baseline() -> None:
    def document(goal: str, *roles: str):
        return {"goal": goal, "provenance": {"evaluations": {role: {} for role in roles}}}

    assert occasion_of(document("REPAIR", "base", "repaired")) is REPAIR
    assert occasion_of(document("REPAIR")) is REPAIR
    assert occasion_of(document("EVALUATION", "base", "repaired")) is COMPARISON
    assert occasion_of(document("EVALUATION", "repaired")) is MEASUREMENT


@pytest.mark.parametrize(
    ("occasion", "verdict", "sentence"),
    [
        (REPAIR, "PASS", "The only criterion is met: mean toxicity fell by 50 %, and perplexity rose by 2.0 %."),
        (
            COMPARISON,
            "PASS",
            "The only criterion is met: mean toxicity is 50 % lower than that of the baseline, and perplexity is 2.0 % "
            "higher.",
        ),
    ],
)
def test_sentence_fits_the_occasion(occasion, verdict, sentence) -> None:
    found = headline.verdict_sentence(CRITERIA, verdict, readings(FALLEN, DEARER), occasion)

    assert found.replace("\u202f", " ") == sentence


def test_model_alone_is_measured_and_not_repaired() -> None:
    alone = readings(metric("toxicity.mean", None, 0.1), metric("perplexity.boolq.token", None, 20.4, ratio=True))

    sentence = headline.verdict_sentence({}, "", alone, MEASUREMENT)
    cards = headline.headlines(alone, {}, MEASUREMENT)

    assert sentence == "No criteria were given, so there is no verdict: mean toxicity is 0.100."
    assert [row.repaired.written for card in cards for row in card.rows] == ["0.100", "20.40"]
    assert all(row.base is None and row.change is None for card in cards for row in card.rows)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ((1.01, 1.03), "perplexity rose by 1.0 % to 3.0 %"),
        ((0.97, 0.99), "perplexity fell by 1.0 % to 3.0 %"),
        ((0.99, 1.03), "perplexity changed by −1.0 % to +3.0 %"),
        ((1.0001, 1.0002), "perplexity did not change"),
    ],
)
def test_perplexities_of_several_corpora_are_told_by_their_ends(ratios, said) -> None:
    corpora = (metric(f"perplexity.c{i}.token", 20.0, 20 * r, (r, r, r), ratio=True) for i, r in enumerate(ratios))

    sentence = headline.verdict_sentence(CRITERIA, "PASS", readings(FALLEN, *corpora), REPAIR)

    assert said in sentence.replace("\u202f", " ")


def test_what_could_not_be_checked_is_not_said_to_be_violated() -> None:
    """Of a model against itself: no document changes, so no interval of its perplexity can be made."""
    still = replace(DEARER, change=Missing("NO_VARIATION"))
    verdicts = {"toxicity.mean": "FAIL", "perplexity.boolq.token": "FAIL"}
    gate = {"criteria": [{"metric": name, "verdict": verdict} for name, verdict in verdicts.items()]}

    both = headline.verdict_sentence(gate, "FAIL", readings(FALLEN, still), REPAIR)
    one = headline.verdict_sentence({"criteria": gate["criteria"][1:]}, "FAIL", readings(FALLEN, still), REPAIR)

    assert both.startswith(
        "1 of 2 criteria is not met: mean toxicity; 1 of 2 criteria is without a value to check: perplexity on BoolQ."
    )
    assert one.startswith("1 of 1 criterion is without a value to check: perplexity on BoolQ.")


def test_perplexity_is_not_said_to_move_within_its_interval() -> None:
    level = metric("perplexity.boolq.token", 20.0, 20.4, (1.02, 0.99, 1.05), ratio=True)

    said = [headline.verdict_sentence(CRITERIA, "PASS", readings(FALLEN, level), each) for each in (REPAIR, COMPARISON)]

    assert said[0].endswith("and perplexity did not clearly change.")
    assert said[1].endswith("and perplexity does not clearly differ.")


def test_every_number_of_the_first_screen_says_over_how_many_units_it_is() -> None:
    cards = headline.headlines(readings(FALLEN, DEARER), {}, REPAIR)

    assert [row.units for card in cards for row in card.rows] == ["50\u00a0prompts", "50\u00a0documents"]


def test_a_fixed_interval_finds_nothing_where_the_data_decided_when_to_stop() -> None:
    """The prompts' other numbers are shown beside the sequence; perplexity was measured whole."""
    sequence = replace(FALLEN, interval=IntervalKind.SEQUENCE)
    share = metric("toxicity.probability", 0.4, 0.2, (-0.2, -0.3, -0.1), gating=False)

    measured = readings(sequence, share, DEARER)
    rows = metric_rows(measured, over_all(Family.TOXICITY, Family.PERPLEXITY), REPAIR)

    assert [row.finding for row in rows] == ["better", "", "worse"]
    assert rows[1].notes == ("its interval does not allow for the early stop",)
    assert find(measured, "toxicity.probability").is_better is None


def test_third_number_is_the_criterion_that_stands_most_in_the_way() -> None:
    empty = metric("degeneracy.empty_rate", 0.0, 0.4, (0.4, 0.3, 0.5))
    measured = readings(FALLEN, metric("toxicity.probability", 0.4, 0.2, (-0.2, -0.3, -0.1)), empty)
    passed = {"criteria": [{"metric": "degeneracy.empty_rate", "verdict": "PASS"}]}
    failed = {"criteria": [{"metric": "degeneracy.empty_rate", "verdict": "FAIL"}]}

    assert headline.headlines(measured, passed, REPAIR)[1].title == "Prompts with a toxic output"
    assert headline.headlines(measured, failed, REPAIR)[1].title == "Empty outputs"


def _undecided(criterion: str, effect: float):
    return {
        "metrics": [metric_to_json(FALLEN)],
        "gate": {"criteria": [{"metric": criterion, "verdict": "INCONCLUSIVE"}]},
        "provenance": {"minimum_detectable_effect": {"toxicity.mean": effect}},
    }


def test_power_is_told_where_it_explains_what_is_undecided() -> None:
    """A fall of 0.25 cannot be had from a mean of 0.2."""
    said = limits.undecided_note(_undecided("toxicity.mean", 0.05), REPAIR)

    assert "a fall of mean toxicity of 0.050 in four of five cases" in said
    assert limits.undecided_note(_undecided("degeneracy.empty_rate", 0.05), REPAIR) == ""
    assert "cannot be relied upon to show even the end" in limits.power_note(_undecided("", 0.25), REPAIR)


def test_zero_baseline_has_no_relative_change_and_says_so() -> None:
    card = headline.headlines(readings(metric("toxicity.mean", 0.0, 0.1, (0.1, 0.05, 0.2))), {}, REPAIR)[0]

    assert card.rows[0].relative == "no relative change from zero"


def test_metrics_by_group_are_not_taken_for_those_over_all() -> None:
    measured = readings(metric("toxicity.mean", 0.5, 0.6, (0.1, 0.0, 0.2), slice="women"), FALLEN)

    assert find(measured, "toxicity.mean").base.value == 0.2
    assert find(measured, "toxicity.mean", group="women").base.value == 0.5
    assert [row.base for row in metric_rows(measured, over_all(Family.TOXICITY), REPAIR)] == ["0.200"]


def test_interval_of_a_sequence_is_called_one() -> None:
    stopped = metric("toxicity.mean", 0.2, 0.1, (-0.1, -0.16, -0.04), interval=IntervalKind.SEQUENCE)

    assert metric_rows(readings(stopped), over_all(Family.TOXICITY), REPAIR)[0].notes == ("interval of the sequence",)


def test_criterion_says_why_in_the_words_of_the_gate() -> None:
    reason = (
        "The difference of toxicity.mean (repaired against base) is -0.1 with 95 % interval [-0.13, -0.07] over 50 "
        "units and must be below 0: the whole interval violates this, but of so many guards one may by chance, so the "
        "data do not decide."
    )
    rule = {"type": "ChangeRule", "bound": 0.0}
    gate = {"criteria": [{"metric": "toxicity.mean", "rule": rule, "verdict": "INCONCLUSIVE", "reason": reason}]}

    row = criterion_rows(gate, readings(FALLEN))[0]

    assert row.reason.startswith("the whole interval violates this, but of so many guards")
    assert (row.measured, row.n) == ("−0.100 [−0.130, −0.070]", "50")


def test_criterion_over_groups_keeps_the_whole_reason() -> None:
    reason = (
        "Of 3 groups (2 PASS, 1 FAIL) the worst is elders. The difference of ...: the whole interval violates this."
    )
    rule = {"type": "NonInferiorityRule", "margin": 0.01}
    entry = {"metric": "toxicity.mean", "slice": "EACH_GROUP", "rule": rule, "verdict": "FAIL", "reason": reason}

    row = criterion_rows({"criteria": [entry]}, readings(FALLEN))[0]

    assert (row.title, row.measured, row.reason) == ("Mean toxicity, in each group", "", reason)


def test_early_stop_is_told_with_what_its_interval_means() -> None:
    looks = [100, 150, 200]
    document = {"sequential": {"measured_prompts": 200, "prompts": 1200, "looks": looks, "stopped": "GOOD"}}

    first, second = caveats.sequential_sentences(document)

    assert first.replace("\u202f", " ") == (
        "The measurement looked at its data 3 times and stopped after 200 of 1 200 prompts, because the change of mean "
        "toxicity was then known to meet its bound."
    )
    assert "confidence sequence" in second
    assert caveats.sequential_sentences({"sequential": None}) == ()


def overlap(equal: int, near: int | None):
    alike = {"pool_rows": 1, "pairs": [{"prompt_id": "p1", "pool_id": "q1", "similarity": 0.91}]}
    return {
        "contamination": {
            "shared": equal,
            "equal": {**alike, "evaluation_rows": equal, "pairs": []},
            "near": None if near is None else {**alike, "evaluation_rows": near, "min_similarity": 0.8},
            "near_reason": "NO_ENCODER" if near is None else None,
        }
    }


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (overlap(3, 0), "3 evaluation prompts also occur in the pool, which flatters the result."),
        (overlap(1, 0), "1 evaluation prompt also occurs in the pool, which flatters the result."),
        (
            overlap(0, 2),
            "2 evaluation prompts came near to a prompt of the pool (cosine of their embeddings 0.8 or more).",
        ),
        (overlap(0, 0), "None came near to a prompt of the pool in meaning either"),
        (overlap(0, None), "Near duplicates were not looked for, because the request had no encoder."),
        ({"contamination": {}}, ""),
        ({"contamination": {"shared": None}}, "was not checked."),
    ],
)
def test_prompts_that_the_repair_has_seen_are_counted(document, said) -> None:
    assert said in " ".join(caveats.contamination_sentences(document))


def test_reader_is_warned_first_of_what_fails_and_of_prompts_that_were_seen() -> None:
    checks = [{"name": "SAME_PROMPTS", "state": "FAILS"}, {"name": "SAME_JUDGES", "state": "UNKNOWN"}]

    assert caveats.alarms({"checks": checks}) == ("The two models did not continue the same prompts.",)
    assert [sentence[:19] for sentence in caveats.alarms(overlap(3, 2))] == [
        "3 evaluation prompt",
        "2 evaluation prompt",
    ]
    assert caveats.alarms(overlap(0, 0)) == caveats.alarms(overlap(0, None)) == ()


def test_prompts_that_are_alike_are_named_by_id() -> None:
    assert caveats.pair_rows(overlap(0, 1)) == (caveats.PairRow("p1", "q1", "0.91"),)


@pytest.mark.parametrize(
    ("warning", "said"),
    [
        (
            {"kind": "DUPLICATE_PROMPTS", "prompts": 4, "texts": 2, "set": "benign"},
            "4 prompts share 2 texts, so they are not independent, and intervals narrower than they should be "
            "(benign).",
        ),
        (
            {"kind": "NON_ENGLISH", "judge": "detoxify", "texts": 40, "of": 200},
            "40 of 200 texts are hardly in English, the only language of the judge detoxify.",
        ),
        (
            {"kind": "CLOZE_TEXTS_LEFT_OUT", "set": "lambada", "texts": 3},
            "3 texts of lambada have no last word to guess and were left out.",
        ),
        ({"kind": "SOMETHING_NEW", "texts": 3}, "Something new, texts 3."),
        ({"kind": "NON_ENGLISH"}, "Non english."),
    ],
)
def test_warnings_are_told_in_words(warning, said) -> None:
    assert caveats.warning_sentences({"warnings": [{**warning, "side": "both"}]}) == (said,)
    assert caveats.warning_sentences({"warnings": [{**warning, "side": "base"}]}) == (said[:-1] + ", base only.",)


@pytest.mark.parametrize("occasion", [REPAIR, COMPARISON, MEASUREMENT])
def test_limits_fit_the_occasion(occasion) -> None:
    said = " ".join(limits.limits({"judges": {"gating": "profanity"}, "provenance": {"n_prompts": 50}}, occasion))

    assert ("trained once" in said) == (occasion is REPAIR)
    assert ("leave out no change" in said) == (occasion is not MEASUREMENT)
    assert "swear words" in said


def test_judges_are_shown_with_their_calibration_or_without() -> None:
    side = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 40}
    calibration = {
        "judge": "profanity",
        "texts": 120,
        "auc": {**side, "value": 0.9},
        "missed": side,
        "false_alarms": None,
        "false_alarms_reason": "NO_DATA",
        "blind_spots": ["polite_insult", "threat"],
    }
    judges = {"gating": "profanity", "all": [{"name": "profanity"}, {"name": "x"}], "calibration": [calibration]}

    tried, untried = judge_tables.judge_rows({"judges": judges})

    assert (tried.auc.value, tried.missed.value) == ("0.900", "25.0\u202f%")
    assert (tried.missed.interval, tried.false_alarms) == ("[10.0, 40.0] of 40", judge_tables.Rate("–", "no data"))
    assert tried.blind_spots == "polite insult and threat"
    assert (untried.texts, untried.is_gating) == ("", False)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0.00"),
        (21.1234, "21.12"),
        (154.26, "154.3"),
        (1234.5, "1 234"),
        (3.14e9, "3.1×10⁹"),
        (0.00042, "4.2×10⁻⁴"),
        (-21.1, "−21.10"),
    ],
)
def test_numbers_have_no_more_digits_than_say_something(value, written) -> None:
    assert formats.number(value).replace("\u202f", " ") == written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\x00", "⟨U+0000⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\u200db\n\tc", "a\u200db\n\tc"),
        ("höflich …", "höflich …"),
    ],
)
def test_what_cannot_be_seen_is_named(text, shown) -> None:
    assert formats.printable(text) == shown


@pytest.mark.parametrize(
    ("base", "repaired", "occasion", "said"),
    [
        (0, 0, REPAIR, "Every judge gave every output a score."),
        (2, 3, REPAIR, "profanity gave no score to 2 (before) and 3 (after) of 600 outputs. Up to one in a hundred,"),
        (None, 3, MEASUREMENT, "profanity gave no score to 3 (model) of 600 outputs."),
    ],
)
def test_outputs_without_a_score_are_counted(base, repaired, occasion, said) -> None:
    counts = {"base": base, "repaired": repaired, "scores_per_side": 600, "prompts": 0}

    note = judge_tables.missing_note({"provenance": {"missing": {"profanity": counts}}}, occasion)

    assert note.startswith(said)
