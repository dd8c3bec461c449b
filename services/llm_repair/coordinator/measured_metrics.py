"""Which metrics a request will give, and whether its gate can be decided by them.

Known before anything is measured, so that no criterion names in vain what the finished report would lack or refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llm_repair.coordinator.inputs import PROMPTS_FIELD, judge_name, prompt_set_field
from llm_repair.core.errors import FieldViolation
from llm_repair.core.evaluation import Evaluation, ProfanityJudge
from llm_repair.core.policy import SEQUENTIAL_METRIC, AbsoluteRule, ChangeRule, Criterion, CriterionSlice, GatePolicy
from llm_repair.core.repairs import RepairGoal, RepairSpec

_ANY: Final = "*"


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric that a request will give, or several of one family."""

    id: str
    """Ends in `*` where the labels of a judge decide what there is."""
    units_of: str = ""
    """Field of the data set whose rows are the units, or whose outputs are."""
    by_group: bool = False
    """Whether it is also given for every group of these rows."""
    shown_only: str = ""
    """Why it may not gate; empty if it may."""

    def names(self, metric: str) -> bool:
        """Whether this is the metric, or its family."""
        return metric == self.id or (self.id.endswith(_ANY) and metric.startswith(self.id.removesuffix(_ANY)))


def measured_metrics(evaluation: Evaluation) -> tuple[MeasuredMetric, ...]:
    """Returns what an evaluation gives."""
    return (
        *_toxicity(evaluation),
        *_degeneracy(),
        *_of_prompt_sets(evaluation),
        *_of_texts(evaluation),
        *_composites(),
    )


def is_measured_alone(spec: RepairSpec) -> bool:
    """Whether there is one model and nothing to compare it with, so that no change has a value."""
    return spec.goal is RepairGoal.EVALUATION and spec.baseline is None


def gate_violations(spec: RepairSpec) -> Iterator[FieldViolation]:
    """Yields what the finished report would refuse, so that nobody learns of it after the work."""
    if not spec.measures:
        return
    if spec.gate.sequential and is_measured_alone(spec):
        yield FieldViolation("spec.gate.sequential", "needs a baseline: it goes by a change")
    if spec.gate.sequential and not spec.gate.criteria:
        what = "must be named beside a sequence: of the default ones that on empty outputs needs all prompts"
        yield FieldViolation("spec.gate.criteria", what)
    measured = measured_metrics(spec.evaluation)
    for index, criterion in enumerate(spec.gate.criteria):
        for field, description in _refusals(criterion, spec, measured):
            yield FieldViolation(f"spec.gate.criteria[{index}].{field}", description)
    yield from (violation.under("spec.gate") for violation in sequence_violations(spec, spec.gate))


def sequence_violations(spec: RepairSpec, policy: GatePolicy) -> Iterator[FieldViolation]:
    """Yields criteria of a policy that a request cannot be judged by, since it ends its measurement early.

    At a number of prompts that the data chose, only what is measured whole and the change that the sequence is about
    have intervals that hold.
    """
    if spec.gate.sequential is None:
        return
    measured = measured_metrics(spec.evaluation)
    for index, criterion in enumerate(policy.criteria):
        metric = next((entry for entry in measured if entry.names(criterion.metric)), None)
        if metric and not metric.shown_only and not _holds_in_sequence(criterion, metric):
            what = f"is over as many prompts as {SEQUENTIAL_METRIC} needs in sequence, where only its change gates"
            yield FieldViolation(f"criteria[{index}].metric", what)


def _refusals(criterion: Criterion, spec: RepairSpec, measured: Sequence[MeasuredMetric]) -> Iterator[tuple[str, str]]:
    metric = next((entry for entry in measured if entry.names(criterion.metric)), None)
    if metric is None:
        yield "metric", f"will not be measured; {_known(criterion.metric, measured)}"
        return
    if metric.shown_only:
        yield "metric", metric.shown_only
    if criterion.slice is CriterionSlice.EACH_GROUP and not metric.by_group:
        yield "slice", f"is not given by group; {_known(criterion.metric, [m for m in measured if m.by_group])}"
    if is_measured_alone(spec) and not isinstance(criterion.rule, AbsoluteRule):
        rule = "change" if isinstance(criterion.rule, ChangeRule) else "non_inferiority"
        yield rule, "is on a change, which one model alone does not have: give a baseline, or an absolute bound"


def _known(metric: str, measured: Sequence[MeasuredMetric]) -> str:
    """Returns which metrics of the same family there are, or which families: on the wire a description is short."""
    may_gate = [entry.id for entry in measured if not entry.shown_only]
    family = metric.partition(".")[0]
    if members := [entry.removeprefix(f"{family}.") for entry in may_gate if entry.startswith(f"{family}.")]:
        return f"of {family} there are {', '.join(members)}"
    families = dict.fromkeys(entry.partition(".")[0] for entry in may_gate)
    return f"there are some of {', '.join(families)}; a plan (validate_only) lists all that will be measured"


def _holds_in_sequence(criterion: Criterion, metric: MeasuredMetric) -> bool:
    """Whether a criterion goes by an interval that holds where a measurement ends early."""
    if metric.units_of != PROMPTS_FIELD:
        return True
    by_change = criterion.slice is CriterionSlice.ALL and not isinstance(criterion.rule, AbsoluteRule)
    return criterion.metric == SEQUENTIAL_METRIC and by_change


def _toxicity(evaluation: Evaluation) -> Iterator[MeasuredMetric]:
    gating, *others = evaluation.judges
    shown_only = f"is of a judge that is only shown; the gating judge is {judge_name(gating)}"
    families = {"toxicity": "", **{f"toxicity.{judge_name(judge)}": shown_only for judge in others}}
    for family, reason in families.items():
        for name in ("mean", "probability", "expected_max", "nonprofane.mean"):
            by_group = name in ("mean", "probability")
            yield MeasuredMetric(f"{family}.{name}", PROMPTS_FIELD, by_group, reason)
    if not isinstance(gating.kind, ProfanityJudge):  # which has one label
        yield MeasuredMetric("toxicity.attribute.*", PROMPTS_FIELD)


def _degeneracy() -> Iterator[MeasuredMetric]:
    names = ("empty_rate", "mean_tokens", "distinct_1", "distinct_2", "distinct_3", "repetition_rate", "refusal_rate")
    for name in names:
        yield MeasuredMetric(f"degeneracy.{name}", PROMPTS_FIELD)


def _of_prompt_sets(evaluation: Evaluation) -> Iterator[MeasuredMetric]:
    for index, entry in enumerate(evaluation.prompt_sets):
        field = prompt_set_field(index)
        for name in ("toxicity.mean", "toxicity.probability", "refusal_rate"):
            yield MeasuredMetric(f"prompts.{entry.name}.{name}", field, by_group=True)


def _of_texts(evaluation: Evaluation) -> Iterator[MeasuredMetric]:
    for index, corpus in enumerate(evaluation.corpora):
        for name in ("token", "word", "bits_per_byte"):
            yield MeasuredMetric(f"perplexity.{corpus.name}.{name}", f"evaluation.corpora[{index}].texts")
    for index, cloze in enumerate(evaluation.cloze_sets):
        for name in ("accuracy", "perplexity"):
            yield MeasuredMetric(f"cloze.{cloze.name}.{name}", f"evaluation.cloze_sets[{index}].texts")
    for index, bias in enumerate(evaluation.bias_pairs):
        for name in ("preference", "imbalance", "log_ratio"):
            yield MeasuredMetric(f"bias.{bias.name}.{name}", f"evaluation.bias_pairs[{index}].pairs", by_group=True)


def _composites() -> Iterator[MeasuredMetric]:
    for name in ("ops", "rps.ideal", "rps.full", "ops_ratio_to_full"):
        yield MeasuredMetric(f"reconstructed.{name}", shown_only="is reconstructed from other metrics and only shown")
