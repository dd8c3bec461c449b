"""Settings of the coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.fields import FieldChecks
from llm_repair.core.repair import Precision
from llm_repair.rpc.configuration import Configuration, ServiceSettings

_PRECISIONS: Final = {"float32": Precision.FLOAT32, "bfloat16": Precision.BFLOAT16}


@dataclass(frozen=True)
class CoordinatorSettings:
    """What the coordinator needs to start."""

    service: ServiceSettings
    database: Path
    """SQLite file of the job store."""
    slots: int
    """Executions at a time: one per accelerator, or one per machine without any."""
    lease_s: float
    """A repair whose coordinator is silent for so long is taken over."""
    addresses: Mapping[str, str]
    """`host:port` of selection, trainer and evaluation."""
    training_precision: Precision
    """Of a training whose request names none: `bfloat16` where the trainer's hardware computes in it."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("coordinator.slots", self.slots, low=1)
            check.within("coordinator.lease_s", self.lease_s, low=1)


def read_settings(configuration: Configuration) -> CoordinatorSettings:
    """Reads `[coordinator]`, the addresses of the other services, and the shared sections."""
    section = configuration.section("coordinator")
    settings = CoordinatorSettings(
        service=configuration.service("coordinator", section),
        database=Path(section.need("database")),
        slots=section.get("slots", 1),
        lease_s=section.get("lease_s", 15.0),
        training_precision=_precision(section.get("training_precision", "float32")),
        addresses={name: _address(configuration, name) for name in ("selection", "trainer", "evaluation")},
    )
    section.refuse_unknown()
    return settings


def _precision(name: str) -> Precision:
    if name not in _PRECISIONS:
        message = f"must be one of {', '.join(_PRECISIONS)}"
        raise InvalidFields([FieldViolation("coordinator.training_precision", message)])
    return _PRECISIONS[name]


def _address(configuration: Configuration, service: str) -> str:
    """Returns where a service is dialled: its `address`, or where it listens on this machine."""
    section = configuration.section(service)
    return section.get("address", "") or section.need("listen")
