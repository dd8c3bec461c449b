"""Who learns what of a batch: every rank a share, cut into the parts that it reads at once.

All ranks make equally many passes, since those with sharded weights can only go through the model together. One that
has read its share reads a sample again, which then weighs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.models.training.batches import TokenisedSample


@dataclass(frozen=True)
class Part:
    """Samples that a rank reads in one pass through the model."""

    samples: Sequence[TokenisedSample]
    places: Sequence[int]
    """Where they stand in the batch."""
    counts: bool = True
    """False if they are only read so that the other ranks can go on."""

    @property
    def weight(self) -> int:
        """What the losses of the samples are multiplied by."""
        return int(self.counts)


def dealt(samples: Sequence[TokenisedSample], ranks: int) -> list[list[int]]:
    """Returns the places of the samples of each rank, ascending: a function of the samples alone.

    The longest sample first, each goes to the rank with the fewest tokens so far; at most as unequal as one sample is
    long. There may be ranks without any.
    """
    hands: list[list[int]] = [[] for _ in range(ranks)]
    tokens = [0] * ranks
    for place in sorted(range(len(samples)), key=lambda place: (-samples[place].tokens, place)):
        rank = tokens.index(min(tokens))
        hands[rank].append(place)
        tokens[rank] += samples[place].tokens
    return [sorted(hand) for hand in hands]


def stand_in(samples: Sequence[TokenisedSample]) -> Part:
    """Returns the part of a rank that has read its share: the shortest sample, which weighs nothing."""
    place = min(range(len(samples)), key=lambda place: (samples[place].tokens, place))
    return Part([samples[place]], [place], counts=False)
