"""The statistics of the report: every number with an interval that means what it says.

The prompt is the unit, never the draw; the document is the unit, never the token. Before and after are
paired. Who looks more than once needs a confidence sequence, who asks several questions at once an
adjustment. Where the data cannot support an interval the answer is `Missing` with a reason or an exact
bound, never an interval of zero width. Arrays are float64; `rng` is always passed in, see `generator`.
"""

from llm_repair.core.statistics.arrays import FloatArray
from llm_repair.core.statistics.draws import (
    TOXIC_THRESHOLD,
    bounds_of_missing,
    expected_maximum,
    probability_of_any,
)
from llm_repair.core.statistics.likelihood import (
    bits_per_byte,
    paired_perplexity_ratio,
    paired_rate_ratio,
    perplexity,
)
from llm_repair.core.statistics.looks import Answer, LookPlan, SequentialState, SequentialTest
from llm_repair.core.statistics.means import mean, paired_mean_difference, paired_ratio_difference, ratio_of_sums
from llm_repair.core.statistics.multiplicity import holm, one_sided_p_value
from llm_repair.core.statistics.power import detectable_fall, minimum_detectable_effect, pairs_needed
from llm_repair.core.statistics.proportions import (
    clopper_pearson,
    mcnemar_exact,
    paired_proportion_difference,
    wilson,
)
from llm_repair.core.statistics.resampling import (
    ANY_NUMBER,
    DEFAULT_REPLICATES,
    Statistic,
    bootstrap,
    bootstrap_families,
    generator,
)
from llm_repair.core.statistics.sequences import confidence_sequence, log_capital

__all__ = [
    "ANY_NUMBER",
    "DEFAULT_REPLICATES",
    "TOXIC_THRESHOLD",
    "Answer",
    "FloatArray",
    "LookPlan",
    "SequentialState",
    "SequentialTest",
    "Statistic",
    "bits_per_byte",
    "bootstrap",
    "bootstrap_families",
    "bounds_of_missing",
    "clopper_pearson",
    "confidence_sequence",
    "detectable_fall",
    "expected_maximum",
    "generator",
    "holm",
    "log_capital",
    "mcnemar_exact",
    "mean",
    "minimum_detectable_effect",
    "one_sided_p_value",
    "paired_mean_difference",
    "paired_perplexity_ratio",
    "paired_proportion_difference",
    "paired_rate_ratio",
    "paired_ratio_difference",
    "pairs_needed",
    "perplexity",
    "probability_of_any",
    "ratio_of_sums",
    "wilson",
]
