"""The distinct texts of a pool: each is embedded once, in batches that depend on the set of texts alone."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from llm_repair.selection.encoder import PreparedText

_DIGEST_BYTES = 16


class DistinctTexts:
    """Collects the texts of rows, prepared for the encoder.

    What the encoder reads lies in a file and memory holds some 150 bytes a text, so that a pool of a million long
    texts fits.
    """

    def __init__(self, file: Path) -> None:
        """Creates `file`."""
        self._file = file.open("w+b")
        self._places: dict[bytes, int] = {}
        self._bounds: array[int] = array("q", [0])
        self._tokens: array[int] = array("q")
        self._truncated = bytearray()
        self._rows: array[int] = array("q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        """Closes and removes the file."""
        self._file.close()
        Path(self._file.name).unlink()

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(rows,), the number of each row's text, in the order the rows were added."""
        return np.array(self._rows, dtype=np.int64)

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """(texts,), as the encoder reads them."""
        return np.array(self._tokens, dtype=np.int64)

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """(texts,), whether the encoder sees only the beginning."""
        return np.frombuffer(bytes(self._truncated), dtype=np.bool_)

    def add(self, texts: Sequence[str], prepare: Callable[[Sequence[str]], Sequence[PreparedText]]) -> None:
        """Adds a row for each text; those not seen before are prepared, together."""
        fresh: list[str] = []
        for text in texts:
            digest = hashlib.blake2b(text.encode("utf-8"), digest_size=_DIGEST_BYTES).digest()
            place = self._places.setdefault(digest, len(self._places))
            if place == len(self._tokens) + len(fresh):
                fresh.append(text)
            self._rows.append(place)
        for text in prepare(fresh):
            self._file.write(text.payload)
            self._bounds.append(self._file.tell())
            self._tokens.append(text.tokens)
            self._truncated.append(text.is_truncated)
        self._file.flush()

    def order(self) -> npt.NDArray[np.int64]:
        """Returns the numbers of the texts, longest first and then by digest: whatever the order of the rows."""
        digests = np.frombuffer(b"".join(self._places), dtype=">u8").reshape(-1, 2)
        return np.lexsort((digests[:, 1], digests[:, 0], -self.tokens))

    def read(self, places: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Yields what the encoder reads of each text."""
        for place in map(int, places.tolist()):
            start, end = self._bounds[place], self._bounds[place + 1]
            yield os.pread(self._file.fileno(), end - start, start)


def batches(tokens: npt.NDArray[np.int64], limit: int) -> list[range]:
    """Cuts texts into batches of at most `limit` tokens, or of one text that is longer.

    Args:
      tokens: (texts,), not ascending: neighbours in length share a batch, and padding, where a forward pads, is small.
      limit: Counted as if every text of a batch were as long as its first.
    """
    cut: list[range] = []
    start = 0
    while start < len(tokens):
        size = max(1, limit // max(1, int(tokens[start])))
        cut.append(range(start, min(start + size, len(tokens))))
        start = cut[-1].stop
    return cut
