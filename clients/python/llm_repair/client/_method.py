"""A repair method in readable form: its name, what it trains, and the parameters of its objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llm_repair.client._choices import assign, choose
from llm_repair.client._errors import FieldViolation, InvalidRequest
from llm_repair.v1 import trainer_pb2


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Parameters of objectives, named as in the contract, which says their ranges and defaults; None is the default."""

    reweighting_temperature: float | None = None
    """Of dapt."""
    nll_weight: float | None = None
    """Of dapt_kl, irepair, irepair_kl."""
    kl_weight: float | None = None
    """Of dapt_kl, irepair_kl."""
    beta: float | None = None
    """Of dpo, exmate, kto."""
    label_smoothing: float | None = None
    """Of dpo."""
    penalty_weight: float | None = None
    """Of exmate."""
    dpo_weight: float | None = None
    """Of exmate."""
    desirable_weight: float | None = None
    """Of kto."""
    undesirable_weight: float | None = None
    """Of kto."""


def repair_method(
    name: str | None = None,
    *,
    lora: bool = False,
    top_layers: int | None = None,
    layers: Sequence[int] = (),
    top_share: float | None = None,
    options: MethodOptions | None = None,
    preset: str | None = None,
    ranks: int | None = None,
    sharding: str | None = None,
    base: trainer_pb2.RepairMethod | None = None,
) -> trainer_pb2.RepairMethod:
    """Builds a method; whatever is not given keeps the server's default.

    Args:
      name: Such as `dpo` or `irepair-kl`. Default `dpo`, or what `base` has.
      lora: Trains low-rank adapters, merged at the end. At most one of this and the next three is given.
      top_layers: Trains only so many of the last layers; 0 for everything.
      layers: Trains only these layers, counted from 0 at the input.
      top_share: Trains only this share of the layers, the last ones, (0, 1].
      options: Parameters of the objective.
      preset: `paper` or `default`.
      ranks: Trains on so many devices of the trainer's machine; the batch stays what it is.
      sharding: How several of them hold the weights: `ddp`, each all of them, or `fsdp`, each a part.
      base: A method to start from; it is copied. The same objective keeps its parameters.

    Raises:
      InvalidRequest: an unknown name, a parameter that the objective does not have, or two ways to say what is
        trained. Values are checked by the server.
    """
    method = trainer_pb2.RepairMethod()
    if base is not None:
        method.CopyFrom(base)
    if name is not None or method.WhichOneof("objective") is None:
        choose(method, "objective", name or "dpo", "method")
    _set_trained(method, lora, trainer_pb2.FullParameters(top_layers=top_layers, layers=layers, top_share=top_share))
    for field, value in dataclasses.asdict(options or MethodOptions()).items():
        if value is not None:
            _set_parameter(method, field, value)
    if preset is not None:
        assign(method, "preset", preset, "method.preset")
    for field, value in (("ranks", ranks), ("sharding", sharding)):
        if value is not None:
            assign(method.parallelism, field, value, f"method.parallelism.{field}")
    return method


def _set_trained(method: trainer_pb2.RepairMethod, lora: bool, full: trainer_pb2.FullParameters) -> None:
    ways = len(full.ListFields()) + lora
    if ways > 1:
        raise InvalidRequest([FieldViolation("method", "give one of lora, top_layers, layers and top_share")])
    if lora:
        method.lora.SetInParent()
    elif ways:
        method.full.CopyFrom(full)


def _set_parameter(method: trainer_pb2.RepairMethod, name: str, value: object) -> None:
    objective = str(method.WhichOneof("objective"))
    part = getattr(method, objective)
    path = f"method.{objective}.{name}"
    if name not in part.DESCRIPTOR.fields_by_name:
        known = ", ".join(part.DESCRIPTOR.fields_by_name) or "none"
        raise InvalidRequest([FieldViolation(path, f"is no parameter of {objective}; there are: {known}")])
    assign(part, name, value, path)
