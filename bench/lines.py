# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# threadpoolctl is untyped.
"""What a benchmark says: one line a contender, below one line about the machine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import threadpoolctl
import torch

from bench.measure import Limits, Timings
from llm_repair.rpc.provenance import machine_provenance

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One contender at one size; None where a column is not defined."""

    bench: str
    """`<area>.<case>`."""
    contender: str
    size: str | int | float
    """What was worked on; a number has the unit that the area's docstring names."""
    seconds: float | None = None
    """Median of the rounds."""
    ratio_to_ours: float | None = None
    """Median of the ratios within rounds; above 1 is slower than ours."""
    limit_share: float | None = None
    """The limit's time divided by the contender's: 1 is at the limit that the area's docstring names."""
    value_agrees: bool | None = None
    """Whether the result is as good as that of the contender it is compared with, in the area's sense."""


def lines_of(
    timings: Timings[T],
    bench: str,
    size: str | int,
    *,
    agrees: Mapping[str, bool] | None = None,
    limit: str = "",
    limit_s: float | None = None,
    other_work: Collection[str] = (),
) -> Iterator[Line]:
    """Yields a line a contender.

    Args:
      timings: The first contender is ours.
      bench: As in `Line`.
      size: As in `Line`.
      agrees: `value_agrees` by contender.
      limit: The contender that does nothing but the least possible work.
      limit_s: Instead of one, its time by a formula and the measured limits of the machine.
      other_work: Contenders that the limit does not hold for.
    """
    ours = next(iter(timings.seconds))
    for contender in timings.seconds:
        share = timings.ratio(limit, contender) if limit else limit_s and limit_s / timings.median_s(contender)
        share = None if contender in other_work else share
        yield Line(
            bench=bench,
            contender=contender,
            size=size,
            seconds=timings.median_s(contender),
            ratio_to_ours=timings.ratio(contender, ours),
            limit_share=share,
            value_agrees=(agrees or {}).get(contender),
        )


def machine_line(limits: Limits) -> dict[str, Any]:
    """Returns the description of the machine: processor, threads, kernels in use, limits just probed, versions."""
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {
        **dataclasses.asdict(Line("machine", "", "")),
        "contender": None,
        "size": None,
        **machine_provenance(torch.get_num_threads()),
        "load": os.getloadavg()[0],
        "kernels": sorted({f"{pool['internal_api']} {pool['architecture']}" for pool in pools}),
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
        **{name: _rounded(value) for name, value in dataclasses.asdict(limits).items()},
    }


def write(machine: Mapping[str, Any], lines: Iterable[Line], *, as_json: bool) -> None:
    """Prints the lines as they come: JSON, or a table."""
    print(json.dumps(machine) if as_json else _machine_text(machine), flush=True)
    if not as_json:
        print(_ROW.format("bench", "contender", "size", "seconds", "x ours", "of limit", "agrees"), flush=True)
    for line in lines:
        print(_json(line) if as_json else _text(line), flush=True)


_ROW = "{:<25} {:<42} {:<30} {:>10} {:>8} {:>8}  {}"


def _machine_text(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['cpu']}, {machine['threads']} of {machine['cpus']} processors, load {machine['load']:.1f}; "
        f"kernels {', '.join(machine['kernels'])}, torch {machine['torch_kernels']}; "
        f"fp32 {machine['sgemm_gflops']} GFLOP/s, bf16 {machine['bf16_gflops']} GFLOP/s, "
        f"read {machine['read_gb_s']} GB/s"
    )


def _json(line: Line) -> str:
    return json.dumps({name: _rounded(value) for name, value in dataclasses.asdict(line).items()})


def _text(line: Line) -> str:
    numbers = (line.seconds, line.ratio_to_ours, line.limit_share)
    shown = ["" if number is None else f"{number:.3g}" for number in numbers]
    agrees = {None: "", True: "yes", False: "NO"}[line.value_agrees]
    return _ROW.format(line.bench, line.contender, str(_rounded(line.size)), *shown, agrees)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
