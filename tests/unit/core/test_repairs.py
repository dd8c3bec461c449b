"""Legal transitions of a repair: every pair is walked."""

import itertools

import pytest

from llm_repair.core.errors import IllegalTransition
from llm_repair.core.repairs import RepairState as S

ALLOWED = {
    (S.PENDING, S.RUNNING), (S.PENDING, S.PAUSING), (S.PENDING, S.CANCELLING), (S.PENDING, S.FAILED),
    (S.RUNNING, S.PAUSING), (S.RUNNING, S.CANCELLING), (S.RUNNING, S.SUCCEEDED), (S.RUNNING, S.FAILED),
    (S.PAUSING, S.PAUSED), (S.PAUSING, S.CANCELLING), (S.PAUSING, S.SUCCEEDED), (S.PAUSING, S.FAILED),
    (S.PAUSED, S.RUNNING), (S.PAUSED, S.CANCELLING),
    (S.CANCELLING, S.CANCELLED), (S.CANCELLING, S.SUCCEEDED), (S.CANCELLING, S.FAILED),
}  # fmt: skip


@pytest.mark.parametrize(("here", "there"), list(itertools.product(S, S)))
def test_only_the_listed_transitions_are_legal(here: S, there: S) -> None:
    if (here, there) in ALLOWED:
        assert here.advance(there) is there
    else:
        with pytest.raises(IllegalTransition):
            here.advance(there)


def test_terminal_states_lead_nowhere() -> None:
    assert {state for state in S if state.is_terminal} == {S.SUCCEEDED, S.FAILED, S.CANCELLED}
