"""What `repair` and `select` share: the arguments of a request, and the parts of it they become."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Final

from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import UsageError
from llm_repair.cli.references import resolve, resolve_dataset
from llm_repair.client import MethodOptions, StrategyOptions, judge, repair_method, selection_strategy
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2, selection_pb2, trainer_pb2, types_pb2

REFERENCES: Final = (
    "A REF is hf:org/name@revision, s3://bucket/prefix, pypi:dist==version/path, artifact:sha256:..., file:/path or a "
    "local path; that of a data set may end in @start:end, the share of its rows meant, by hash."
)


def add_data(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - it has no public name
    """Adds the model, the pool, and the models that selection may need."""
    group.add_argument("--model", metavar="REF", help="the model to repair")
    pool = group.add_mutually_exclusive_group()
    pool.add_argument(
        "--pool",
        metavar="REF",
        help="repair samples: rows with prompt, chosen and rejected; for kto one of the two, or completion and label",
    )
    pool.add_argument("--prompts", metavar="REF", help="prompts; the model's own samples make the pool")
    group.add_argument("--pool-slice", metavar="A:B", help="share of the pool's rows, such as 0:0.73")
    group.add_argument("--prompts-slice", metavar="A:B", help="share of the prompts")
    group.add_argument("--encoder", metavar="REF", help="sentence-transformers folder, for what goes by embeddings")
    group.add_argument("--proxy", metavar="REF", help="model that scores samples in the place of the model")


def add_selection(group: argparse._ArgumentGroup, default: str) -> None:  # pyright: ignore[reportPrivateUsage]
    """Adds the strategy and the budget."""
    group.add_argument(
        "--strategy",
        metavar="NAME",
        help="random, full, k-center, grand, el2n, loss, ccs, saps, cluster-random, or a filter around another one: "
        f"learnability, hardness-filter{default}",
    )
    group.add_argument(
        "--then", metavar="NAME", action="append", default=[], help="what ranks inside a filter (default random)"
    )
    group.add_argument(
        "--preset", metavar="NAME", help="of the strategy, not the method: paper, the constants of the study's release"
    )
    budget = group.add_mutually_exclusive_group()
    budget.add_argument("--fraction", type=float, help="share of the pool to select, (0, 1] (default 0.25)")
    budget.add_argument("--samples", type=int, metavar="N", help="number of samples to select")
    budget.add_argument("--tokens", type=int, metavar="N", help="number of tokens to select")


def add_strategy_options(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Adds the parameters of strategies, each under the name it has in the contract."""
    views = "prompt, rejected, chosen, prompt-rejected (default) or prompt-chosen"
    scores = "loss (default), grand, el2n, aum, forgetting or toxicity"
    group.add_argument("--text-view", metavar="NAME", help=f"k-center, saps, cluster-random: {views}")
    group.add_argument("--pca-components", type=int, metavar="N", help="of the same: dimensions kept, 0 for all")
    group.add_argument("--clusters", type=int, metavar="K", help="saps, cluster-random: 0 for sqrt(n / 2)")
    group.add_argument("--boundary-fraction", type=float, metavar="F", help="saps: share farthest from the centroid")
    group.add_argument("--allocation", metavar="NAME", help="saps: proportional (default) or equal")
    group.add_argument("--score", metavar="NAME", help=f"ccs: {scores}")
    group.add_argument("--hard-cutoff", type=float, metavar="F", help="ccs: share of the hardest dropped first")
    group.add_argument("--strata", type=int, metavar="N", help="ccs: number of equal-width strata")
    group.add_argument("--stratum-edges", type=_numbers, metavar="A,B,...", help="ccs: inner edges, in their place")
    group.add_argument("--dynamics-epochs", type=int, metavar="N", help="ccs by aum or forgetting: passes of the run")
    group.add_argument("--low", type=float, metavar="F", help="learnability: least share of failing samples")
    group.add_argument("--high", type=float, metavar="F", help="learnability: largest share of failing samples")
    group.add_argument("--failing-from", type=float, metavar="F", help="learnability: judge score that is a failure")
    group.add_argument("--max-hardness", type=float, metavar="F", help="hardness-filter: harder pairs are removed")


def add_method(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Adds the method and what it trains."""
    group.add_argument(
        "--method", metavar="NAME", help="dpo (default), dapt, dapt-kl, irepair, irepair-kl, exmate or kto"
    )
    group.add_argument(
        "--method-preset",
        metavar="NAME",
        help="of the method, not the strategy: paper, the training constants of the study's release",
    )
    what = group.add_mutually_exclusive_group()
    what.add_argument("--lora", action="store_true", help="trains low-rank adapters, merged at the end")
    what.add_argument("--top-layers", type=int, metavar="N", help="trains the last N layers only; 0 for everything")
    what.add_argument("--layers", type=_places, metavar="A,B,...", help="trains these layers only, 0 at the input")
    what.add_argument(
        "--top-share",
        type=float,
        metavar="F",
        help="trains the last share F of the layers only, (0, 1]; if nothing is said a third, for irepair all",
    )


def add_method_options(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Adds the parameters of objectives, each under the name it has in the contract."""
    group.add_argument("--beta", type=float, metavar="B", help="dpo, exmate, kto: pull to the model before")
    group.add_argument("--label-smoothing", type=float, metavar="F", help="dpo: share of flipped preferences")
    group.add_argument("--nll-weight", type=float, metavar="W", help="dapt-kl, irepair, irepair-kl")
    group.add_argument("--kl-weight", type=float, metavar="W", help="dapt-kl, irepair-kl")
    group.add_argument("--reweighting-temperature", type=float, metavar="T", help="dapt: larger losses weigh more")
    group.add_argument("--penalty-weight", type=float, metavar="W", help="exmate: of unwanted continuations")
    group.add_argument("--dpo-weight", type=float, metavar="W", help="exmate: of a dpo term beside it")
    group.add_argument("--desirable-weight", type=float, metavar="W", help="kto: of wanted continuations")
    group.add_argument("--undesirable-weight", type=float, metavar="W", help="kto: of unwanted continuations")


def add_judges(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Adds the judges."""
    group.add_argument(
        "--judge",
        metavar="NAME[=REF]",
        action="append",
        default=[],
        help="profanity, hatesonar, detoxify=REF, classifier=REF; may be repeated, the first one gates",
    )


def strategy_of(
    options: argparse.Namespace, base: pb.RepairSpec | None, *, default: str | None
) -> selection_pb2.SelectionStrategy | None:
    """Returns the strategy that the arguments make of that of the file; None if they say nothing of it.

    Raises:
      InvalidRequest: an argument that the strategy does not have, named by its path.
    """
    parameters = StrategyOptions(**{each.name: getattr(options, each.name) for each in _OPTIONS})
    said = options.strategy, options.preset, *options.then, *dataclasses.astuple(parameters)
    if all(each is None for each in said):
        return None
    given = base.strategy if base is not None and base.WhichOneof("selection") == "strategy" else None
    name = options.strategy or (None if given is not None else default)
    return selection_strategy(name, then=options.then, options=parameters, preset=options.preset, base=given)


def method_of(options: argparse.Namespace, base: pb.RepairSpec | None) -> trainer_pb2.RepairMethod:
    """Returns the method that the arguments make of that of the file.

    Raises:
      InvalidRequest: an argument that the method does not have, named by its path.
    """
    parameters = MethodOptions(**{each.name: getattr(options, each.name, None) for each in _METHOD_OPTIONS})
    return repair_method(
        options.method,
        lora=options.lora,
        top_layers=options.top_layers,
        layers=options.layers or (),
        top_share=options.top_share,
        options=parameters,
        preset=options.method_preset,
        ranks=getattr(options, "ranks", None),
        sharding=getattr(options, "sharding", None),
        base=base.method if base is not None else None,
    )


async def reference_of(connection: Connection, typed: str | None) -> str | None:
    """Returns the reference that was typed, if one was."""
    return None if typed is None else await resolve(connection, typed)


async def dataset_of(
    connection: Connection, typed: str | None, part: str | None, flag: str
) -> types_pb2.DatasetRef | None:
    """Returns the data set that was typed, if one was, or the slice of it that `flag` says."""
    if typed is None:
        if part is not None:
            raise UsageError(f"{flag} needs the data set it is a slice of")
        return None
    return await resolve_dataset(connection, typed, part)


async def judges_of(connection: Connection, typed: Sequence[str]) -> list[evaluation_pb2.Judge]:
    """Returns the judges that were typed."""

    async def one(text: str) -> evaluation_pb2.Judge:
        name, equals, reference = text.partition("=")
        return judge(f"{name}={await resolve(connection, reference)}" if equals else name)

    return list(await asyncio.gather(*(one(text) for text in typed)))


_OPTIONS: Final = dataclasses.fields(StrategyOptions)
_METHOD_OPTIONS: Final = dataclasses.fields(MethodOptions)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _places(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
