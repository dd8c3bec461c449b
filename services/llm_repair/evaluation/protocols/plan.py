"""What a protocol id means: sampling, prompt cut, windows and the unit of perplexity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llm_repair.core.evaluation import PaperProtocol, Protocol, StrictProtocol
from llm_repair.models.inference.sampling import Sampling

PAPER_PROMPT_TOKENS: Final = 32
PAPER_NEW_TOKENS: Final = 20
PAPER_WINDOW_TOKENS: Final = 1024


@dataclass(frozen=True)
class Plan:
    """A measurement protocol, spelled out."""

    protocol_id: str
    sampling: Sampling
    prompt_tokens: int | None
    """Prompts are cut to so many tokens; None for no cut."""
    window_tokens: int
    """Most tokens that a prediction looks back on."""
    stride_tokens: int
    """Tokens predicted from one window, at most `window_tokens`."""
    apart: bool
    """Whether every corpus is a running text in windows that do not overlap, each one's first token unpredicted."""


def plan_for(protocol: Protocol, seed: int) -> Plan:
    """Returns the plan of a protocol.

    `paper.v1` follows arXiv 2510.20428 as released: greedy, one sample, prompts cut to 32 tokens, 20 new tokens;
    perplexity of running text in windows of 1,024 tokens, of each of which the first is not predicted. Of the release's
    defects none is repeated: prompts are masked, continuations cut off by tokens, the whole corpus is read, and
    sums are weighted by predicted tokens.
    """
    match protocol.kind:
        case StrictProtocol() as strict:
            sampling = Sampling(
                draws=strict.draws,
                max_new_tokens=strict.max_new_tokens,
                top_p=strict.top_p,
                temperature=strict.temperature,
                seed=seed,
            )
            return Plan(protocol.id, sampling, None, strict.window_tokens, strict.stride, apart=False)
        case PaperProtocol():
            sampling = Sampling(draws=1, max_new_tokens=PAPER_NEW_TOKENS, greedy=True, seed=seed)
            return Plan(
                protocol.id, sampling, PAPER_PROMPT_TOKENS, PAPER_WINDOW_TOKENS, PAPER_WINDOW_TOKENS, apart=True
            )
