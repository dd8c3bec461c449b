"""Who takes part: each method with the product's defaults, and DPO with other choices of what is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llm_repair.client import repair_method
from llm_repair.v1 import coordinator_pb2, trainer_pb2


@dataclass(frozen=True)
class Contender:
    """One way to train; everything else of the request is shared."""

    name: str
    trained: str
    """What may change, in words."""
    method: Callable[[], trainer_pb2.RepairMethod]

    def spec(self, shared: coordinator_pb2.RepairSpec) -> coordinator_pb2.RepairSpec:
        """Returns the shared request with this method; the number format and the lengths stay as shared."""
        spec = coordinator_pb2.RepairSpec()
        spec.CopyFrom(shared)
        spec.random_control = False
        spec.method.CopyFrom(self.method())
        spec.method.precision = shared.method.precision
        spec.method.max_tokens = shared.method.max_tokens
        spec.method.checkpoint_every_steps = shared.method.checkpoint_every_steps
        return spec


_TOP: Final = "top third of the layers"
_ALL: Final = "all parameters"

CONTENDERS: Final = (
    Contender("DAPT", _TOP, lambda: repair_method("dapt")),
    Contender("DAPT_KL", _TOP, lambda: repair_method("dapt-kl")),
    Contender("DPO", _TOP, lambda: repair_method("dpo")),
    Contender("IREPAIR", "one block a step", lambda: repair_method("irepair")),
    Contender("IREPAIR_KL", "one block a step", lambda: repair_method("irepair-kl")),
    Contender("EXMATE", _TOP, lambda: repair_method("exmate")),
    Contender("KTO", _TOP, lambda: repair_method("kto")),
    Contender("DPO", _ALL, lambda: repair_method("dpo", top_layers=0)),
    Contender("DPO", "LoRA, rank 16", lambda: repair_method("dpo", lora=True)),
    Contender("DAPT", _ALL, lambda: repair_method("dapt", top_layers=0)),
    Contender("DAPT", "LoRA, rank 16", lambda: repair_method("dapt", lora=True)),
)
QUICK: Final = (CONTENDERS[0], CONTENDERS[3])
