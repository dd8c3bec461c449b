"""Which strategies, methods and protocols exist, and which of them this version carries out.

Chosen by type from closed tables; never by a dotted path, which over the wire would be code of the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm_repair.core import evaluation, repair, selection
from llm_repair.core.errors import NotCarriedOut


@dataclass(frozen=True)
class Entry:
    """One choice."""

    name: str
    """As in the contract's oneof, in reports and on the command line."""
    config: type[Any]
    """Its typed parameters."""
    carried_out: bool = True
    """Whether this version does it; if not, a request for it is refused before anything starts."""


STRATEGIES: Final = (
    Entry("random", selection.RandomStrategy),
    Entry("full", selection.FullStrategy),
    Entry("k_center", selection.KCenterStrategy),
    Entry("grand", selection.GrandStrategy),
    Entry("el2n", selection.El2nStrategy),
    Entry("loss", selection.LossStrategy),
    Entry("ccs", selection.CcsStrategy),
    Entry("saps", selection.SapsStrategy),
    Entry("cluster_random", selection.ClusterRandomStrategy),
    Entry("learnability", selection.LearnabilityStrategy),
    Entry("hardness_filter", selection.HardnessFilterStrategy),
)
METHODS: Final = (
    Entry("dapt", repair.DaptMethod),
    Entry("dapt_kl", repair.DaptKlMethod),
    Entry("dpo", repair.DpoMethod),
    Entry("irepair", repair.IrepairMethod),
    Entry("irepair_kl", repair.IrepairKlMethod),
    Entry("exmate", repair.ExmateMethod),
    Entry("kto", repair.KtoMethod),
)
PROTOCOLS: Final = (
    Entry("strict", evaluation.StrictProtocol),
    Entry("paper", evaluation.PaperProtocol),
)
JUDGES: Final = (
    Entry("profanity", evaluation.ProfanityJudge),
    Entry("hatesonar", evaluation.HatesonarJudge),
    Entry("detoxify", evaluation.DetoxifyJudge),
    Entry("classifier", evaluation.ClassifierJudge),
)


def name_of(table: Sequence[Entry], choice: object) -> str:
    """Returns the name of a choice, given its parameters."""
    return _entry(table, choice).name


def check_carried_out(table: Sequence[Entry], choice: object) -> None:
    """Refuses a choice this version does not carry out.

    Raises:
      NotCarriedOut: naming the choice and what can be had instead.
    """
    entry = _entry(table, choice)
    if not entry.carried_out:
        known = ", ".join(other.name for other in table if other.carried_out)
        raise NotCarriedOut(f"{entry.name} is not carried out yet; there are {known}", what=entry.name, known=known)


def _entry(table: Sequence[Entry], choice: object) -> Entry:
    return next(entry for entry in table if entry.config is type(choice))
