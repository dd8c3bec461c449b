"""AUTO: a search over strategies and fractions, as a pure function of its parameters and of the outcomes so far.

  trials = next_trials(search, outcomes)    what to run now; after a crash the same again
  found = result(search, outcomes)          when there is nothing left to run

Rounds of successive halving (Karnin, Koren & Somekh, ICML 2013; Jamieson & Talwalkar, AISTATS 2016; Li et al.,
Hyperband, JMLR 18, 2018): every arm is measured on a few prompts of the selection split, one in η goes on and is
measured on η times as many, until the finalists are left. These, RANDOM at each of their fractions and FULL are then
measured on the report split, which had no say in the choice (the winner's curse stays behind).

We differ:
  * The resource is the number of prompts, not the training. A run cut short has learnt from fewer samples and would
    judge a smaller fraction, that is another arm, and strategies cross on the way: what is good at large fractions
    can be worse than chance at small ones (Sorscher et al., NeurIPS 2022; Zheng et al., ICLR 2023). Hence every arm
    is repaired once, in the first round, and halving saves measurement only; the bill shows both.
  * RANDOM competes like any other, and where it is outranked it stays as a control for as long as any arm does at its
    fraction. So every winner was measured beside chance, at equal budget, to the end.
  * Arms are ranked on three axes by an explicit rule, see `ranking`; dominance by others is reported, but one that
    nothing dominates because it does next to nothing does not survive by it.
  * Several finalists instead of one, since the answer is a front.
  * An arm that failed leaves its place to the next; RANDOM that failed, or FULL, leaves undefined what rests on it.

What is claimed, given intervals of two-sided confidence c and the repaired models as they are (one training seed):
  * The winner is BETTER than RANDOM: one test, fixed before the report split was seen. False at most (1 - c) / 2 of
    the time.
  * The smallest fraction non-inferior to FULL, within both margins: both axes must pass (intersection-union test,
    Berger 1982), and fractions are tested from the largest down to the first that does not pass (fixed sequence:
    Maurer, Hothorn & Lehmacher 1995; Westfall & Krishen 2001). A fraction that is truly inferior is claimed at most
    (1 - c) / 2 of the time, however many are tested and whether or not more data is better. That holds for the
    statement over all strategies, and for that of each strategy by itself; not for all strategies at once.
  * The front is by values, not by intervals, which stand beside them: an estimate and no claim.
For perplexity all this holds if the corpora are split as the prompts are.
"""

from llm_repair.core.search.arms import (
    FULL,
    NOT_COMPARED,
    RANDOM,
    Arm,
    Change,
    Failed,
    Measured,
    Outcome,
    Split,
    Trial,
)
from llm_repair.core.search.costs import Bill, CostModel, Feature, features_of, shared_first
from llm_repair.core.search.findings import (
    ArmResult,
    Fate,
    SearchResult,
    Separation,
    SmallestFraction,
    Winner,
    result,
)
from llm_repair.core.search.front import Point, dominators
from llm_repair.core.search.halving import Search, most_trials, next_trials, ranking
from llm_repair.core.search.splits import PromptSplits, check_disjoint, split_prompts

__all__ = [
    "FULL",
    "NOT_COMPARED",
    "RANDOM",
    "Arm",
    "ArmResult",
    "Bill",
    "Change",
    "CostModel",
    "Failed",
    "Fate",
    "Feature",
    "Measured",
    "Outcome",
    "Point",
    "PromptSplits",
    "Search",
    "SearchResult",
    "Separation",
    "SmallestFraction",
    "Split",
    "Trial",
    "Winner",
    "check_disjoint",
    "dominators",
    "features_of",
    "most_trials",
    "next_trials",
    "ranking",
    "result",
    "shared_first",
    "split_prompts",
]
