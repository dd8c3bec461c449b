"""The outcomes as a document of Markdown, beside the figures of the study's predecessor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from bench.methods import predecessor
from bench.methods.outcomes import Outcome

_HEAD: Final = """# What each repair method gives and takes

Made by `python -m bench.methods`. The untouched SmolLM2-135M-Instruct is repaired with the demo's data
(`docs/demo.yaml`): pairs of its own samples, a quarter of them selected by SAPS, two passes; measured on
{prompts} held-out prompts, and on {corpora}. Every method runs with the product's defaults for it; only the number
format (bf16 autocast) and the longest sample are the demo's. One training seed: the intervals (95 %, paired by prompt
or document) say how sure the effect is on other prompts, not on another seed.

Machine: {machine}.

Seconds are processor time, which other work on the machine lengthens least; they and the peak memory are of the
training step, loading and saving included.

Before the repair: mean toxicity {base_mean}, prompts with a toxic output {base_any}.
"""

_NOTES: Final = """
- *mean toxicity* and *toxic prompts* are changes by the gating judge, which also made the pairs; the *other judge* did
  not.
- *perplexity* is the ratio after / before; 1.05 is the gate's default margin.
- The seconds of DAPT_KL and IREPAIR_KL leave out the sampling of the utility texts, a step of its own.

## The study's predecessor, for orientation

IRepair's own figures (workbook in the replication package of arXiv 2510.20428): full-data repairs of larger models.
Toxicity is 100 times the mean, over 1,199 challenge prompts, of the largest of seven Perspective attributes of one
greedy sample; perplexity is that of WikiText-2; seconds are of one H20 GPU.
"""

_COMPARABLE: Final = """
**Comparable:** the losses, the order of costs among methods, and which of them spare perplexity. **Not comparable:**
the levels. Model, size of the repair (here about a hundred pairs, there thousands), judge, prompts, decoding and the
texts of the perplexity all differ: a toxicity of 0.1 here and one of 10 there measure different things.
"""

_COLUMNS: Final = (
    "method",
    "trained",
    "mean toxicity",
    "toxic prompts",
    "other judge",
    "perplexity",
    "CPU s",
    "peak GB",
)


def table(outcomes: Sequence[Outcome], machine: str) -> str:
    """Returns the whole document."""
    first = outcomes[0].metrics
    corpora = [name.split(".")[1] for name in first if name.startswith("perplexity.") and name.endswith(".token")]
    head = _HEAD.format(
        prompts=first["toxicity.mean"]["base"]["n"],
        corpora=" and ".join(corpora),
        machine=machine,
        base_mean=_interval(first["toxicity.mean"]["base"]),
        base_any=_interval(first["toxicity.probability"]["base"]),
    )
    ours = _table([_COLUMNS, *(list(_row(outcome, corpora)) for outcome in outcomes)])
    return "\n".join([head, ours, _NOTES, _table(list(predecessor.rows())), _COMPARABLE])


def _table(rows: Sequence[Iterable[str]]) -> str:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(list(rows[0]))}", *body])


def _row(outcome: Outcome, corpora: Sequence[str]) -> Iterator[str]:
    metrics = outcome.metrics
    yield outcome.contender.name
    yield outcome.contender.trained
    yield _interval(metrics["toxicity.mean"]["change"], signed=True)
    yield _interval(metrics["toxicity.probability"]["change"], signed=True)
    yield _interval(metrics[outcome.other_judge]["change"], signed=True) if outcome.other_judge else "–"
    yield "<br>".join(f"{corpus} {_interval(metrics[f'perplexity.{corpus}.token']['change'])}" for corpus in corpora)
    yield f"{outcome.processor_s:.0f}"
    yield f"{outcome.peak_memory_bytes / 1e9:.1f}"


def _interval(estimate: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    if estimate is None:
        return "–"
    form = "+.3f" if signed else ".3f"
    return f"{estimate['value']:{form}} [{estimate['low']:{form}}, {estimate['high']:{form}}]"
