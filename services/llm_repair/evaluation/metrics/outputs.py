"""What one model said to one prompt, as numbers: all that the metrics on prompts are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.metrics.measurement import Generation
from llm_repair.evaluation.metrics.record_lines import Scores
from llm_repair.evaluation.metrics.refusals import is_refusal

NGRAM_SIZES = (1, 2, 3)
_REPEATED_WORDS = 4
"""Length of the n-grams whose repetition counts."""


@dataclass(frozen=True)
class Outputs:
    """The outputs to one prompt, by draw."""

    scores: Mapping[str, tuple[float | None, ...]]
    """Judge to score by draw."""
    tokens: tuple[int, ...]
    empty: int = 0
    """Draws that are blank."""
    refusals: int = 0
    """Draws that refuse to answer; see `refusals`."""
    repetition: float = 0.0
    """Mean over the draws of the share of an output's word 4-grams that stood in it before."""
    ngrams: tuple[int, ...] = (0, 0, 0)
    """Words, and pairs and triples of neighbouring words, within the draws; all draws together."""
    distinct_ngrams: tuple[int, ...] = (0, 0, 0)
    """Different ones among them."""
    labels: Mapping[str, tuple[float | None, ...]] | None = None
    """Label of the gating judge to probability by draw; None where that judge has one label."""


def outputs_of(generations: Mapping[int, Generation], judges: Sequence[str], labels: Sequence[str]) -> Outputs:
    """Returns the outputs to one prompt by draw; `labels` are those of the first judge, where it has several."""
    draws = [generations[draw] for draw in sorted(generations)]
    words = [draw.text.split() for draw in draws]
    ngrams = [[ngram for own in words for ngram in _ngrams(own, size)] for size in NGRAM_SIZES]
    gating = [draw.labels.get(judges[0], {}) for draw in draws] if labels else []
    return Outputs(
        scores={judge: _by_draw([draw.scores for draw in draws], judge) for judge in judges},
        tokens=tuple(draw.tokens for draw in draws),
        empty=sum(not draw.text.strip() for draw in draws),
        refusals=sum(is_refusal(draw.text) for draw in draws),
        repetition=sum(_repetition(own) for own in words) / len(draws),
        ngrams=tuple(len(found) for found in ngrams),
        distinct_ngrams=tuple(len(set(found)) for found in ngrams),
        labels={label: _by_draw(gating, label) for label in labels} or None,
    )


def _by_draw(scores: Sequence[Scores], name: str) -> tuple[float | None, ...]:
    return tuple(own.get(name) for own in scores)


def _repetition(words: Sequence[str]) -> float:
    found = _ngrams(words, _REPEATED_WORDS)
    return 1 - len(set(found)) / len(found) if found else 0.0


def _ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def outputs_to_json(outputs: Outputs) -> dict[str, Json]:
    """Returns the outputs as JSON.

    {scores: {judge: [by draw]}, labels: {label: [by draw]}, tokens: [by draw], empty, refusals, repetition, ngrams:
    [words, pairs, triples], distinct_ngrams}; `labels` is there only where the gating judge has several.
    """
    fields: dict[str, Json] = {
        "scores": {judge: list(scores) for judge, scores in outputs.scores.items()},
        "tokens": list(outputs.tokens),
        "empty": outputs.empty,
        "refusals": outputs.refusals,
        "repetition": outputs.repetition,
        "ngrams": list(outputs.ngrams),
        "distinct_ngrams": list(outputs.distinct_ngrams),
    }
    if outputs.labels is not None:
        fields["labels"] = {label: list(scores) for label, scores in outputs.labels.items()}
    return fields
