"""Repair methods: a closed registry from typed parameters to objectives. One method, one file.

DAPT's is in `models/training`: the selection service trains by it too.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_repair.core.errors import NotCarriedOut
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
from llm_repair.trainer.methods.dpo import DpoObjective

NOT_CARRIED_OUT: Mapping[type[Method], tuple[str, str]] = {
    DaptKlMethod: ("DAPT_KL", "there is no source of utility text for its KL term yet"),
    IrepairMethod: ("IREPAIR", "the choice of one block per step is not built yet"),
    IrepairKlMethod: ("IREPAIR_KL", "the choice of one block per step and the utility text are not built yet"),
    ExmateMethod: ("EXMATE", "its objective is not built yet"),
    KtoMethod: ("KTO", "its objective needs unpaired labels, which pools do not carry yet"),
}
"""Methods of the contract that this version refuses: name and reason."""


def objective_of(method: Method) -> Objective:
    """Returns what a method minimises.

    Raises:
      NotCarriedOut: the method is in the contract but not built.
    """
    match method:
        case DaptMethod():
            return DaptObjective()
        case DpoMethod():
            return DpoObjective(method)
        case _:
            name, reason = NOT_CARRIED_OUT[type(method)]
            raise NotCarriedOut(f"the repair method {name} is not carried out: {reason}", method=name)
