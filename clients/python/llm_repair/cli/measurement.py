"""What `repair` and `evaluate` share: the arguments of a measurement, and what they become."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from llm_repair.cli import request
from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import UsageError
from llm_repair.cli.references import resolve_dataset
from llm_repair.client import evaluation, split_layout
from llm_repair.v1 import evaluation_pb2, types_pb2

T = TypeVar("T")

_DATA: Final = ("eval_prompts", "corpus", "cloze", "bias", "prompt_set")
"""Arguments that name what is measured on; without any of them there is a default suite."""
_SETTINGS: Final = ("eval_slice", "calibration", "judge", "protocol", "draws", "engine", "dtype")


def add_arguments(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - it has no public name
    """Adds what is measured on, by whom, and how."""
    group.add_argument(
        "--eval-prompts",
        metavar="REF",
        help="prompts to measure on; a column `group` gives metrics by group; keep them out of the pool",
    )
    group.add_argument("--eval-slice", metavar="A:B", help="share of these prompts")
    _add_named(group, "--corpus", "REF[:LAYOUT]", "texts for perplexity; layouts: documents, wikitext, running-text")
    _add_named(group, "--cloze", "REF", "texts whose last word is to be predicted, as LAMBADA")
    _add_named(group, "--bias", "REF", "pairs that differ in a stereotype: rejected has it, chosen has not")
    _add_named(group, "--prompt-set", "REF", "further prompts: benign ones for over-refusal, or some by group")
    group.add_argument("--calibration", metavar="REF", help="texts with a label: toxic or not; tries every judge")
    request.add_judges(group)
    group.add_argument("--protocol", choices=("strict.v1", "paper.v1"), help="how to sample (default strict.v1)")
    group.add_argument("--draws", type=int, metavar="K", help="samples per prompt (default 25); fewer shows in the id")
    group.add_argument("--engine", choices=("transformers", "vllm"), help="what generates and scores")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="number format of weights")


def names_data(options: argparse.Namespace) -> bool:
    """Whether the arguments say what to measure on."""
    return any(getattr(options, name) for name in _DATA)


def says_anything(options: argparse.Namespace) -> bool:
    """Whether the arguments say anything of a measurement."""
    return names_data(options) or any(getattr(options, name) for name in _SETTINGS)


async def evaluation_of(
    connection: Connection, options: argparse.Namespace, base: evaluation_pb2.Evaluation | None
) -> evaluation_pb2.Evaluation:
    """Returns the measurement that the arguments make of that of a file.

    Raises:
      UsageError: a slice without what it is a slice of, or a name that is missing or there twice.
      InvalidRequest: arguments that exclude each other.
    """
    return evaluation(
        base=base,
        prompts=await request.dataset_of(connection, options.eval_prompts, options.eval_slice, "--eval-slice"),
        judges=await request.judges_of(connection, options.judge),
        corpora=await _named(options.corpus, "--corpus", lambda typed: _corpus(connection, typed)),
        cloze_sets=await _named(options.cloze, "--cloze", lambda typed: resolve_dataset(connection, typed)),
        bias_pairs=await _named(options.bias, "--bias", lambda typed: resolve_dataset(connection, typed)),
        prompt_sets=await _named(options.prompt_set, "--prompt-set", lambda typed: resolve_dataset(connection, typed)),
        calibration=await request.dataset_of(connection, options.calibration, None, ""),
        protocol=options.protocol,
        draws=options.draws,
        engine=options.engine,
        dtype=options.dtype,
    )


def _add_named(
    group: argparse._ArgumentGroup,  # pyright: ignore[reportPrivateUsage]
    flag: str,
    value: str,
    about: str,
) -> None:
    help_text = f"{about}; may be repeated"
    group.add_argument(flag, metavar=f"NAME={value}", action="append", default=[], help=help_text)


async def _named(typed: Sequence[str], flag: str, read: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """Returns what was typed as `NAME=…` by name."""
    found: dict[str, T] = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise UsageError(f"{flag} needs a different NAME=REF each time, not {text}")
        found[name] = await read(value)
    return found


async def _corpus(connection: Connection, typed: str) -> evaluation_pb2.Corpus:
    reference, layout = split_layout(typed)
    texts: types_pb2.DatasetRef = await resolve_dataset(connection, reference)
    return evaluation_pb2.Corpus(texts=texts, layout=layout)
