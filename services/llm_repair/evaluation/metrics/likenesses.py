"""Refuses to compare what was not measured alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from llm_repair.core.errors import EvaluationMismatch
from llm_repair.core.execution import Json
from llm_repair.evaluation.metrics.measurement import Document, Measurement, SampledPrompts
from llm_repair.evaluation.sequential import prompt_order

_MUST_EQUAL = (
    "protocol",
    "prompts_digest",
    "seed",
    "engine",
    "judges",
    "corpora",
    "cloze_sets",
    "bias_pairs",
    "prompt_sets",
    "draws",
    "max_new_tokens",
    "window_tokens",
    "stride_tokens",
    "start_token",
    "sampling_digest",
)
"""Fields of `about.json` that both sides must share."""
_MUST_BE_RECORDED = ("protocol", "judges", "sampling_digest")
"""Without them nothing is proved: the last one is of prompts, token by token, and noise."""


def refuse_unlike(base: Measurement, repaired: Measurement) -> None:
    """Passes what was measured alike.

    The repaired side may have fewer of the gate's prompts where it says that it stopped early: the first ones of the
    order that it names, which nobody can choose by their outcome.

    Raises:
      EvaluationMismatch: something differs; names all of it, units by their number and not by their ids.
    """
    differs = [name for name in _MUST_EQUAL if base.about.get(name) != repaired.about.get(name)]
    differs += [f"{name} (not recorded)" for name in _MUST_BE_RECORDED if not base.about.get(name)]
    differs += [*_unlike_prompts(base, repaired), *_unlike_texts(base, repaired)]
    if differs:
        raise EvaluationMismatch(
            f"two evaluations cannot be compared, these differ: {', '.join(differs)}", differs=", ".join(differs)
        )


def _unlike_prompts(base: Measurement, repaired: Measurement) -> Iterator[str]:
    stop = repaired.about.get("sequential")
    if isinstance(stop, Mapping):
        yield from _not_in_order(base.prompts, repaired.prompts, stop)
    else:
        yield from _on_one_side("prompts", base.generations, repaired.generations)
    yield from _unlike_draws("the prompts", base.prompts, repaired.prompts)
    yield from _on_one_side("files of prompt_sets", base.prompt_sets, repaired.prompt_sets)
    for name in sorted(base.prompt_sets.keys() & repaired.prompt_sets.keys()):
        ours, theirs = base.prompt_sets[name], repaired.prompt_sets[name]
        yield from _on_one_side(f"prompts of {name}", ours.generations, theirs.generations)
        yield from _unlike_draws(name, ours, theirs)


def _not_in_order(base: SampledPrompts, repaired: SampledPrompts, stop: Mapping[str, Json]) -> Iterator[str]:
    seed, measured = stop.get("order_seed"), stop.get("measured_prompts")
    if not isinstance(seed, int) or not isinstance(measured, int):
        yield "sequential (not recorded)"
        return
    expected = set(prompt_order(base.generations, seed)[:measured])
    if odd := expected ^ repaired.generations.keys():
        yield f"prompts of the sequence ({len(odd)} others than its first {measured})"


def _unlike_draws(name: str, base: SampledPrompts, repaired: SampledPrompts) -> Iterator[str]:
    # Every prompt needs the same draws: the maximum of 24 is not comparable with the maximum of 25.
    shared = base.generations.keys() & repaired.generations.keys()
    draws = {frozenset(side.generations[prompt]) for side in (base, repaired) for prompt in shared}
    if len(draws) > 1:
        yield f"draws of {name} ({len(draws)} different sets)"


def _unlike_texts(base: Measurement, repaired: Measurement) -> Iterator[str]:
    yield from _unlike_units("corpora", "documents", base.corpora, repaired.corpora)
    yield from _unlike_units("cloze_sets", "texts", base.cloze_sets, repaired.cloze_sets)
    yield from _unlike_units("bias_pairs", "pairs", base.bias_pairs, repaired.bias_pairs)
    for corpus in sorted(base.corpora.keys() & repaired.corpora.keys()):
        changed = _changed(base.corpora[corpus], repaired.corpora[corpus])
        if changed:
            yield f"texts of {corpus} ({changed} documents)"


def _unlike_units(
    what: str, units: str, base: Mapping[str, Mapping[str, object]], repaired: Mapping[str, Mapping[str, object]]
) -> Iterator[str]:
    yield from _on_one_side(f"files of {what}", base, repaired)
    for name in sorted(base.keys() & repaired.keys()):
        yield from _on_one_side(f"{units} of {name}", base[name], repaired[name])


def _changed(base: Mapping[str, Document], repaired: Mapping[str, Document]) -> int:
    shared = base.keys() & repaired.keys()
    return sum((base[d].words, base[d].bytes) != (repaired[d].words, repaired[d].bytes) for d in shared)


def _on_one_side(what: str, base: Iterable[str], repaired: Iterable[str]) -> Iterator[str]:
    odd = set(base) ^ set(repaired)
    if odd:
        yield f"{what} ({len(odd)} on one side only)"
