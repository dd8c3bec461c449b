"""Utility texts: what a repaired model should go on saying; the KL term is taken on them.

Which texts a step takes is a function of (seed, step), so that a resumed run needs no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

from llm_repair.core.errors import PoolTooSmall
from llm_repair.models.training.batches import TokenisedSample, epoch_order, hold_out

HELD_OUT_TEXTS = 64
"""Texts held out at most, as many as in the study's release: each is read at every validation."""


class UtilityTexts:
    """Utility texts in token ids: some are held out for the validation loss, the others drawn step by step."""

    def __init__(self, texts: Sequence[TokenisedSample], *, held_out_share: float, batch: int, seed: int) -> None:
        """Splits texts of any order by id hash.

        held_out_share: of the texts, [0, 0.5]. batch: texts of a full step.

        Raises:
          PoolTooSmall: a single text, which cannot both be learnt from and validated on, or none.
        """
        if len(texts) < 2:
            raise PoolTooSmall(f"a KL term needs at least 2 utility texts, there are {len(texts)}", texts=len(texts))
        share = min(held_out_share, HELD_OUT_TEXTS / len(texts))
        held = hold_out([text.id for text in texts], share=share)
        ordered = sorted(texts, key=lambda text: text.id)
        self.held_out = [text for text in ordered if text.id in held]
        """Texts of the validation loss; none without one."""
        self._drawn = [text for text in ordered if text.id not in held]
        self._batch = batch
        self._order = lru_cache(maxsize=1)(partial(epoch_order, [text.id for text in self._drawn], seed=seed))

    def of_step(self, step: int, count: int) -> list[TokenisedSample]:
        """Returns the texts of a step, from 1: the next ones of a shuffled pass, a new pass where it ends.

        count: how many, at most those of a full step.
        """
        first = (step - 1) * self._batch
        return [self._text(number) for number in range(first, first + count)]

    def _text(self, number: int) -> TokenisedSample:
        through, place = divmod(number, len(self._drawn))
        return self._drawn[self._order(epoch=through)[place]]
