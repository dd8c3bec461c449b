"""What the coordinator refuses before it looks anything up."""

import pytest

from llm_repair.coordinator import wire
from llm_repair.core.errors import InvalidFields
from llm_repair.core.repairs import RepairState
from llm_repair.v1 import coordinator_pb2 as pb


def test_states_that_do_not_exist_are_named_as_violations() -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.states_of(pb.ListRepairsRequest(states=[0, 2, 99]))  # type: ignore[list-item]

    assert [violation.field for violation in caught.value.violations] == ["states[0]", "states[2]"]


def test_states_that_exist_are_taken() -> None:
    request = pb.ListRepairsRequest(states=[pb.REPAIR_STATE_RUNNING])

    assert wire.states_of(request) == [RepairState.RUNNING]
