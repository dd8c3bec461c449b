"""Repair methods: a closed registry from typed parameters to objectives. One method, one file.

DAPT's is in `models/training`: the selection service trains by it too.
"""

from __future__ import annotations

from llm_repair.core.repair import (
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    Method,
)
from llm_repair.models.training.dapt import DaptObjective
from llm_repair.models.training.objectives import Objective
from llm_repair.trainer.methods.dapt_kl import DaptKlObjective
from llm_repair.trainer.methods.dpo import DpoObjective
from llm_repair.trainer.methods.exmate import ExmateObjective
from llm_repair.trainer.methods.irepair import IrepairObjective
from llm_repair.trainer.methods.irepair_kl import IrepairKlObjective
from llm_repair.trainer.methods.kto import KtoObjective


def objective_of(method: Method) -> Objective:
    """Returns what a method minimises."""
    match method:
        case DaptMethod():
            return DaptObjective(reweighting_temperature=method.reweighting_temperature)
        case DaptKlMethod():
            return DaptKlObjective(method)
        case DpoMethod():
            return DpoObjective(method)
        case IrepairMethod():
            return IrepairObjective(method)
        case IrepairKlMethod():
            return IrepairKlObjective(method)
        case ExmateMethod():
            return ExmateObjective(method)
        case KtoMethod():
            return KtoObjective(method)
