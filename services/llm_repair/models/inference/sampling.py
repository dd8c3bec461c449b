# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""Draws next tokens by noise that is a pure function of (seed, prompt id, draw, position).

So a sample does not depend on which other rows share its batch, and a base and a repaired model are coupled:
they see the same noise at the same place (common random numbers).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Keys: TypeAlias = npt.NDArray[np.uint64]
Counters: TypeAlias = npt.NDArray[np.uint64]

REJECTION_TRIES = 8
"""Tries before the vocabulary is sorted; at top_p 0.9 at most one row in 10**8 gets there."""
CDF_BLOCK_TOKENS = 256
"""The cumulative distribution is searched by blocks first: one pass over the vocabulary instead of a cumsum."""
_CPU_CHUNK_LOGITS = 1 << 20
"""Rows are drawn in chunks that stay in the processor's cache: a third less time than all at once."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Sampling:
    """How continuations are sampled."""

    draws: int
    """Samples per prompt."""
    max_new_tokens: int
    top_p: float = 1.0
    """Mass of the nucleus, (0, 1]."""
    temperature: float = 1.0
    greedy: bool = False
    """Takes the likeliest token (the smallest id among equals) and ignores the noise."""
    seed: int = 0


@dataclass(frozen=True)
class RowNoise:
    """The noise of one row of a batch each: which prompt and which of its draws it is."""

    keys: Keys
    """`prompt_key` of every row."""
    draws: Counters

    def uniform(self, position: int, attempt: int) -> npt.NDArray[np.float64]:
        """Returns one uniform number in [0, 1) per row, for the token at `position` of the continuation."""
        state = _absorb(self.keys, self.draws)
        state = _absorb(state, np.uint64(position))
        return (_absorb(state, np.uint64(attempt)) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def of(self, rows: npt.NDArray[np.int64]) -> RowNoise:
        """Returns the noise of some rows only."""
        return RowNoise(self.keys[rows], self.draws[rows])


def prompt_key(seed: int, prompt_id: str) -> int:
    """Returns the 64-bit key of a prompt under a seed: the first 8 bytes of sha256 of both."""
    digest = hashlib.sha256(f"{seed}\x00{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def sample(logits: Tensor, sampling: Sampling, noise: RowNoise, position: int) -> Tensor:
    """Draws one token per row.

    Shapes: logits (rows, vocabulary), float32; result (rows,), int64.

    Nucleus: a token belongs to it when the mass of strictly likelier tokens is below `top_p`, so tokens that tie
    at the edge all belong (Holtzman et al., ICLR 2020, leave ties open). Drawing from the whole distribution and
    drawing again while the token lies outside is exact, and needs no sort of the vocabulary.
    """
    if sampling.greedy:
        return logits.argmax(dim=-1)
    rows = max(1, _CPU_CHUNK_LOGITS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    parts = [np.arange(start, min(start + rows, len(logits))) for start in range(0, len(logits), rows)]
    drawn = [_sample_chunk(logits[part[0] : part[-1] + 1], sampling, noise.of(part), position) for part in parts]
    return torch.cat(drawn)


def _sample_chunk(logits: Tensor, sampling: Sampling, noise: RowNoise, position: int) -> Tensor:
    probabilities = torch.softmax(logits / sampling.temperature if sampling.temperature != 1.0 else logits, dim=-1)
    tokens = inverse_cdf(probabilities, noise.uniform(position, 0))
    if sampling.top_p >= 1.0:
        return tokens
    open_rows = _outside(probabilities, tokens, sampling.top_p).nonzero().flatten()
    for attempt in range(1, REJECTION_TRIES):
        if not len(open_rows):
            return tokens
        candidates = probabilities[open_rows]
        drawn = inverse_cdf(candidates, noise.of(open_rows.cpu().numpy()).uniform(position, attempt))
        tokens[open_rows] = drawn
        open_rows = open_rows[_outside(candidates, drawn, sampling.top_p)]
    if len(open_rows):
        nucleus = nucleus_by_sort(probabilities[open_rows], sampling.top_p)
        uniform = noise.of(open_rows.cpu().numpy()).uniform(position, REJECTION_TRIES)
        tokens[open_rows] = inverse_cdf(nucleus, uniform)
    return tokens


def inverse_cdf(weights: Tensor, uniform: npt.NDArray[np.float64]) -> Tensor:
    """Returns, per row, the first token in vocabulary order at which the cumulative weight exceeds `uniform`.

    Shapes: weights (rows, vocabulary), non-negative, need not sum to 1; uniform (rows,) in [0, 1).
    """
    rows, vocabulary = weights.shape
    spare = -vocabulary % CDF_BLOCK_TOKENS
    padded = torch.nn.functional.pad(weights, (0, spare)) if spare else weights
    blocks = padded.view(rows, -1, CDF_BLOCK_TOKENS)
    # Sums of sums in double: the last bits of 50,000 addends decide which token a number falls on.
    ends = blocks.sum(dim=-1).double().cumsum(dim=-1)
    target = torch.from_numpy(uniform).to(weights.device).unsqueeze(1) * ends[:, -1:]
    block = _first_above(ends, target)
    inside = blocks[torch.arange(rows, device=weights.device), block.squeeze(1)].double().cumsum(dim=-1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    offset = _first_above(inside, target - before)
    return (block * CDF_BLOCK_TOKENS + offset).squeeze(1)


def nucleus_by_sort(probabilities: Tensor, top_p: float) -> Tensor:
    """Returns the probabilities with everything outside the nucleus set to zero, by sorting (the definition)."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    mass_before = ordered.double().cumsum(dim=-1) - ordered.double()
    # Of equal tokens the first one has the mass of the strictly likelier ones; the others take it over.
    same = ordered[:, 1:] == ordered[:, :-1]
    mass_before[:, 1:] = torch.where(same, 0.0, mass_before[:, 1:])
    mass_before = mass_before.cummax(dim=-1).values
    kept = torch.where(mass_before < top_p, ordered, 0.0)
    return torch.zeros_like(probabilities).scatter_(1, order, kept)


def _outside(probabilities: Tensor, tokens: Tensor, top_p: float) -> Tensor:
    own = probabilities.gather(1, tokens.unsqueeze(1))
    likelier = torch.where(probabilities > own, probabilities, 0.0).sum(dim=-1)
    return likelier >= top_p


def _first_above(ascending: Tensor, target: Tensor) -> Tensor:
    # Rounding may push a target to the very end; the last step with weight is then the right one.
    below_end = torch.minimum(target, ascending[:, -1:] * (1.0 - 2.0**-50))
    return torch.searchsorted(ascending, below_end, right=True).clamp(max=ascending.shape[1] - 1)


def _absorb(state: Keys, value: np.uint64 | Counters) -> Keys:
    """Mixes a counter into a state by the finaliser of splitmix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = state + _GAMMA * (value + np.uint64(1))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        return mixed ^ (mixed >> np.uint64(31))
