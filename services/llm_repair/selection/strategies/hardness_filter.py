"""HARDNESS_FILTER: removes pairs that are likely mislabelled, before any other strategy ranks the rest.

Source: Smith & Martinez, Improving Classification Accuracy by Identifying and Removing Instances that Should Be
Misclassified, IJCNN 2011; Smith, Martinez & Giraud-Carrier, An Instance Level Analysis of Data Complexity, Machine
Learning 95 (2014), whose instance hardness the step `score` has computed for every pair (`scoring/instance_hardness`).

Stage: keep the pairs whose hardness is at most `max_hardness`.

How good it is, with a tenth of the pairs swapped on purpose:

                   9,518 of ParaDetox              1,508 of CrowS-Pairs
    max_hardness   found   swapped of dropped      found   swapped of dropped
    0.5             98 %    89 %                    77 %    30 %
    0.7             90 %    98 %                    47 %    50 %
    0.9             37 %   100 %                     3 %    50 %

At 0.7 another draw of the tenth gave 91 % and 98 %, and 56 % and 57 %. So that is the default; where both sides of a
pair are hard to tell apart at all, as in CrowS-Pairs, half of what it drops is sound. Of pools without swapped pairs it
drops 0.3 % and 7 %.

We differ:
- The papers drop samples of a classifier's training set; ours are pairs, whose label is which side is wanted.
- What is left is ranked by any strategy, RANDOM unless another is given.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.selection import HardnessFilterStrategy
from llm_repair.selection.features import FloatArray
from llm_repair.selection.strategies.strategy import Filtered, within


@dataclass(frozen=True)
class HardnessFilter:
    """HARDNESS_FILTER with its parameters."""

    parameters: HardnessFilterStrategy

    def keep(self, scores: FloatArray) -> Filtered:
        """Keeps the pairs that are not harder than the bound."""
        return within(scores, low=0.0, high=self.parameters.max_hardness)
