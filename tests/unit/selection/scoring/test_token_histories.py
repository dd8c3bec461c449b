"""What becomes of margins over the epochs, worked by hand and by an independent count."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.selection import Score
from llm_repair.selection.scoring.token_histories import FloatArray, before_training


def per_token(score: Score, measurements: list[list[float]]) -> FloatArray:
    """Feeds one measurement after the other, each with a margin for every token."""
    history = before_training(score, len(measurements[0]))
    for margins in measurements:
        history = history.after(np.array(margins, dtype=np.float32))
    return history.per_token(len(measurements))


def test_aum_of_a_token_is_its_mean_margin() -> None:
    """(1 - 3 + 0.5) / 3 = -0.5 and (2 + 2 + 5) / 3 = 3."""
    assert per_token(Score.AUM, [[1, 2], [-3, 2], [0.5, 5]]).tolist() == [-0.5, 3.0]


def test_forgetting_counts_each_time_a_predicted_token_is_no_longer_predicted() -> None:
    """Predicted or not, four times: ++++ and -+++ are never forgotten, +-+- is twice, -++- and --+- are once."""
    scripted = ["++++", "+-+-", "-++-", "--+-", "-+++"]
    measurements = [[1.0 if token[epoch] == "+" else -1.0 for token in scripted] for epoch in range(4)]

    assert per_token(Score.FORGETTING, measurements).tolist() == [0, 2, 1, 1, 0]


def test_token_that_is_never_predicted_counts_as_forgotten_at_every_measurement() -> None:
    """More than the two times that four measurements allow a predicted token."""
    assert per_token(Score.FORGETTING, [[-1.0, 1.0], [-2.0, -1.0], [-1.0, 1.0], [-0.1, -1.0]]).tolist() == [4, 2]


def test_tie_for_the_largest_logit_is_no_prediction() -> None:
    assert per_token(Score.FORGETTING, [[0.0, 0.5], [0.0, 0.0]]).tolist() == [2, 1]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12))
def test_forgetting_agrees_with_a_count_of_falling_edges(predicted: list[list[bool]]) -> None:
    found = per_token(Score.FORGETTING, [[1.0 if yes else -1.0 for yes in epoch] for epoch in predicted])

    for token in range(3):
        seen = "".join("+" if epoch[token] else "-" for epoch in predicted)
        assert found[token] == (seen.count("+-") if "+" in seen else len(seen))
        assert found[token] <= len(seen) // 2 or "+" not in seen
