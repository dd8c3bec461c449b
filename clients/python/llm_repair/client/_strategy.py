"""A selection strategy in readable form: its name, the filters around it, and parameters by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.message import Message

from llm_repair.client._choices import assign, choose
from llm_repair.client._errors import FieldViolation, InvalidRequest
from llm_repair.v1 import selection_pb2

_INNER: Final = "then"
"""Field of a filter that holds the strategy inside it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategyOptions:
    """Parameters of strategies, named as in the contract, which says their ranges and defaults; None is the default."""

    text_view: str | None = None
    """Of k_center, saps, cluster_random: `prompt`, `rejected`, `chosen`, `prompt-rejected`, `prompt-chosen`."""
    pca_components: int | None = None
    """Of the same."""
    clusters: int | None = None
    """Of saps, cluster_random."""
    boundary_fraction: float | None = None
    """Of saps."""
    allocation: str | None = None
    """Of saps: `proportional` or `equal`."""
    score: str | None = None
    """Of ccs: `loss`, `grand`, `el2n`, `aum`, `forgetting` or `toxicity`."""
    hard_cutoff: float | None = None
    """Of ccs."""
    strata: int | None = None
    """Of ccs."""
    stratum_edges: Sequence[float] | None = None
    """Of ccs."""
    dynamics_epochs: int | None = None
    """Of ccs."""
    low: float | None = None
    """Of learnability."""
    high: float | None = None
    """Of learnability."""
    failing_from: float | None = None
    """Of learnability."""
    max_hardness: float | None = None
    """Of hardness_filter."""


def selection_strategy(
    name: str | None = None,
    *,
    then: Sequence[str] = (),
    options: StrategyOptions | None = None,
    preset: str | None = None,
    base: selection_pb2.SelectionStrategy | None = None,
) -> selection_pb2.SelectionStrategy:
    """Builds a choice of strategy; whatever is not given keeps the server's default.

    Args:
      name: Such as `saps` or `hardness-filter`; needed without a `base`.
      then: What a filter holds, outermost first: `("learnability", "saps")` inside `hardness-filter`.
      options: Parameters; each goes to the strategy or filter that has it.
      preset: `paper` or `default`, of the strategy that ranks.
      base: A choice to start from; it is copied. What has the same name in it keeps its parameters.

    Raises:
      InvalidRequest: a name that is not known, a parameter that none of them has, or something inside what is no
        filter. Values are checked by the server.
    """
    chosen = selection_pb2.SelectionStrategy()
    if base is not None:
        chosen.CopyFrom(base)
    if name is not None or chosen.WhichOneof("kind") is None:
        choose(chosen, "kind", name or "", "strategy")
    _put_inside(chosen, then)
    _set_parameters(chosen, options or StrategyOptions())
    if preset is not None:
        *_, (path, innermost) = _chain(chosen)
        assign(innermost, "preset", preset, f"{path}.preset")
    return chosen


def _chain(chosen: selection_pb2.SelectionStrategy) -> Iterator[tuple[str, selection_pb2.SelectionStrategy]]:
    """Yields a choice and those inside it, outermost first, each with its path."""
    path = "strategy"
    while True:
        yield path, chosen
        part = _part(chosen)
        if _INNER not in part.DESCRIPTOR.fields_by_name or getattr(part, _INNER).WhichOneof("kind") is None:
            return
        path, chosen = f"{path}.{chosen.WhichOneof('kind')}.{_INNER}", getattr(part, _INNER)


def _part(chosen: selection_pb2.SelectionStrategy) -> Message:
    return getattr(chosen, str(chosen.WhichOneof("kind")))


def _put_inside(chosen: selection_pb2.SelectionStrategy, then: Sequence[str]) -> None:
    path = "strategy"
    for name in then:
        part = _part(chosen)
        path = f"{path}.{chosen.WhichOneof('kind')}.{_INNER}"
        if _INNER not in part.DESCRIPTOR.fields_by_name:
            raise InvalidRequest([FieldViolation(path, f"{chosen.WhichOneof('kind')} is no filter and holds nothing")])
        chosen = getattr(part, _INNER)
        choose(chosen, "kind", name, path)


def _set_parameters(chosen: selection_pb2.SelectionStrategy, options: StrategyOptions) -> None:
    violations: list[FieldViolation] = []
    for name, value in dataclasses.asdict(options).items():
        try:
            if value is not None:
                _set_parameter(chosen, name, value)
        except InvalidRequest as error:
            violations += error.violations
    if violations:
        raise InvalidRequest(violations)


def _set_parameter(chosen: selection_pb2.SelectionStrategy, name: str, value: object) -> None:
    """Sets a parameter where it belongs; no two strategies that can hold one another share a name."""
    parts = [(f"{path}.{each.WhichOneof('kind')}.{name}", _part(each)) for path, each in _chain(chosen)]
    for path, part in parts:
        if name in part.DESCRIPTOR.fields_by_name:
            assign(part, name, value, path)
            return
    path, part = parts[-1]
    known = ", ".join(field for _, each in parts for field in each.DESCRIPTOR.fields_by_name if field != _INNER)
    names = " and ".join(str(each.WhichOneof("kind")) for _, each in _chain(chosen))
    raise InvalidRequest([FieldViolation(path, f"is no parameter of {names}; there are: {known or 'none'}")])
