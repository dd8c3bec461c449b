"""Cover: how far every sample is from the nearest chosen one, computed only where it can matter.

A distance to the nearest chosen sample only falls as more are chosen, so an old one is an upper bound. Only rows whose
bound reaches the largest true distance need more, as in lazy greedy (Minoux 1978), and these catch up with all samples
chosen meanwhile in one matrix product. On 384-d embeddings that reads some 1 % of the rows a plain loop reads, and
looks at 10 % to 40 % of its pairs.

The product in float32 only tells which pairs cannot matter, by a bound on its rounding. Pairs that can are computed in
float64, each by itself. So a distance never depends on what else was computed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray
from llm_repair.selection.atoms import ATOM_ROWS
from llm_repair.selection.features import FloatArray

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

HOT_SHARE = 1 / 16
"""Of the rows: those with the largest distances are kept up to date from pick to pick, until they run out. Between 1/8
and 1/32 there was no difference beyond noise, at 5,000 to 200,000 rows."""
LEAST_HOT = 64
_PAIRS_AT_ONCE = 2**18
"""1 MB of float32, which a second-level cache holds."""
_ROWS_AT_ONCE = 256
_CHOSEN = -1.0
"""In place of a squared distance: a chosen row is never farthest."""
_UNDERFLOW = 1e-35
"""More than what products too small for float32 can add up to."""


@dataclass(frozen=True)
class Farthest:
    """A row that is farthest from all chosen ones, the smallest of equals."""

    squared_distance: float
    """Below 0 where all rows of the range are chosen."""
    row: int


class Cover:
    """Squared distances of a range of rows to the nearest chosen row, of that range or of another.

    Rows are chosen one after the other by `choose`; `farthest` tells which to choose next.
    """

    def __init__(self, points: FloatArray, rows: range, first: int, places: int) -> None:
        """Starts from one chosen row.

        Args:
          points: (n, d), finite, float32; possibly memory-mapped.
          rows: The rows that are covered, not empty.
          first: The row chosen first, [0, n).
          places: How many are chosen in the end, at least 1.
        """
        self._points, self._first, self._covered = points, rows.start, points[rows.start : rows.stop]
        # Seen from near the points, products lose fewer digits than from the origin.
        self._origin = points[:ATOM_ROWS].mean(axis=0, dtype=np.float64).astype(np.float32)
        # A sum of d products of rounded differences is off by less than this share of the squared norms (Higham,
        # Accuracy and Stability of Numerical Algorithms, 2002, §3.1; the unit roundoff is 2**-24).
        self._rounding = np.float32(2 * (points.shape[1] + 16) * 2.0**-24)
        self._chosen = np.empty(places, dtype=np.int64)
        self._centres = np.empty((places, points.shape[1]), dtype=np.float32)
        self._centre_squares = np.empty(places, dtype=np.float32)
        self._count = 0
        self._nearest = _squared_distances(self._covered, points[first])
        self._seen = np.ones(len(rows), dtype=np.int64)
        self._hot: _Hot | None = None
        self.choose(first)

    def choose(self, row: int) -> None:
        """Adds a row to the chosen ones; it has to be told of every choice."""
        away, squares = self._from_origin(self._points[row : row + 1])
        self._chosen[self._count] = row
        self._centres[self._count] = away[0]
        self._centre_squares[self._count] = squares[0]
        self._count += 1
        if self._hot is not None:
            self._bring_near(self._hot, row)
        if 0 <= row - self._first < len(self._nearest):
            self._nearest[row - self._first] = _CHOSEN

    def farthest(self) -> Farthest:
        """Returns the row of the range that is farthest from all chosen ones."""
        while True:
            hot = self._hot
            if hot is not None:
                place = int(hot.nearest.argmax())
                if (hot.nearest[place], -hot.rows[place]) >= (hot.floor, -hot.last):
                    return self._named(hot.rows[place], hot.nearest[place])
                self._nearest[hot.rows] = hot.nearest
                self._seen[hot.rows] = self._count
            largest = int(self._nearest.argmax())
            if self._nearest[largest] <= 0:
                return self._named(largest, self._nearest[largest])
            self._hot = self._heated()

    def _named(self, row: np.int64 | int, squared_distance: np.float64) -> Farthest:
        return Farthest(float(squared_distance), self._first + int(row))

    def _bring_near(self, hot: _Hot, row: int) -> None:
        """Accounts for the row chosen last."""
        with np.errstate(over="ignore", invalid="ignore"):
            low = hot.squares + self._centre_squares[self._count - 1] - 2 * (hot.away @ self._centres[self._count - 1])
            near = np.flatnonzero(~((low > hot.nearest + _UNDERFLOW) & (low < np.inf)))
        exact = self._exact(hot.rows[near], np.full(len(near), row))
        hot.nearest[near] = np.minimum(hot.nearest[near], exact)
        hot.nearest[hot.rows == row - self._first] = _CHOSEN

    def _heated(self) -> _Hot | None:
        """Brings the rows with the largest bounds up to date; hot are those that no other row's bound exceeds."""
        share = min(max(LEAST_HOT, int(HOT_SHARE * len(self._nearest))), len(self._nearest))
        floor = max(0.0, float(np.partition(self._nearest, -share)[-share]))
        # Of many equal bounds only the first: all of them could be the whole pool.
        level = np.flatnonzero(self._nearest == floor)[:share]
        rows = np.sort(np.concatenate([np.flatnonzero(self._nearest > floor), level]))
        self._catch_up(rows[self._seen[rows] < self._count])
        rows = rows[self._nearest[rows] >= floor]
        if not len(rows):
            return None
        away, squares = self._from_origin(self._covered[rows])
        last = int(level[-1]) if len(level) else -1
        return _Hot(floor, last, rows, self._nearest[rows], away, squares)

    def _catch_up(self, rows: IntArray) -> None:
        # Rows that saw equally many are next to each other, so that few pairs are computed twice.
        rows = rows[np.argsort(self._seen[rows], kind="stable")]
        start = 0
        while start < len(rows):
            unseen = self._count - int(self._seen[rows[start]])
            end = start + min(_ROWS_AT_ONCE, max(1, _PAIRS_AT_ONCE // unseen))
            self._catch_up_together(rows[start:end])
            start = end

    def _catch_up_together(self, rows: IntArray) -> None:
        seen = int(self._seen[rows[0]])
        centre_squares = self._centre_squares[seen : self._count]
        away, squares = self._from_origin(self._covered[rows])
        with np.errstate(over="ignore", invalid="ignore"):
            low = away @ self._centres[seen : self._count].T
            low *= -2
            low += centre_squares
            low += squares[:, None]
            # No farther than this is the nearest of them.
            most = low.min(axis=1) + 2.1 * self._rounding * (squares + centre_squares.max())
            near = np.minimum(self._nearest[rows], most) + _UNDERFLOW
            if not np.isfinite(4 * (squares.max() + centre_squares.max())):
                near[:] = np.inf  # a product may have overflowed: no pair is left out
            # One step up in float32, as comparing with float64 would copy `low`.
            bound = np.nextafter(near.astype(np.float32), np.float32(np.inf))
            row, centre = np.nonzero(~(low > bound[:, None]))
        np.minimum.at(self._nearest, rows[row], self._exact(rows[row], self._chosen[seen + centre]))
        self._seen[rows] = self._count

    def _from_origin(self, points: FloatArray) -> tuple[Float32Array, Float32Array]:
        """Returns the points as seen from the origin, and their squared norms less what rounding may have added."""
        with np.errstate(over="ignore", invalid="ignore"):
            away = points - self._origin
            return away, np.vecdot(away, away) * (1 - self._rounding)

    def _exact(self, rows: IntArray, chosen: IntArray) -> Float64Array:
        """Returns the squared distances of pairs, (pairs,), in float64."""
        exact = np.empty(len(rows))
        for start in range(0, len(rows), ATOM_ROWS):
            pairs = slice(start, start + ATOM_ROWS)
            differences = self._covered[rows[pairs]].astype(np.float64)
            differences -= self._points[chosen[pairs]]
            exact[pairs] = np.vecdot(differences, differences)
        return exact


@dataclass(frozen=True)
class _Hot:
    """Rows with the largest distances. No other row exceeds `floor`, and none up to `last` reaches it."""

    floor: float
    last: int
    rows: IntArray
    """Ascending, counted from the first covered row; at least one."""
    nearest: Float64Array
    """Up to date with all chosen rows."""
    away: Float32Array
    squares: Float32Array


def _squared_distances(points: FloatArray, centre: FloatArray) -> Float64Array:
    distances = np.empty(len(points))
    for start in range(0, len(points), ATOM_ROWS):
        differences = points[start : start + ATOM_ROWS] - centre.astype(np.float64)
        distances[start : start + ATOM_ROWS] = np.vecdot(differences, differences)
    return distances
