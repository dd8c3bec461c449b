"""Settings out of range are refused at the start, not found out as a service that waits for ever."""

from typing import Any

import pytest

from llm_repair.coordinator.settings import read_settings
from llm_repair.core.errors import InvalidFields
from llm_repair.core.repair import Precision
from llm_repair.rpc.configuration import Configuration


def configuration(**tables: dict[str, Any]) -> Configuration:
    services = {
        name: {"listen": f"127.0.0.1:{port}"} for port, name in enumerate(("selection", "trainer", "evaluation"))
    }
    coordinator = {"listen": "127.0.0.1:9", "database": "jobs.sqlite3", **tables.pop("coordinator", {})}
    shared = {"store": {"url": "file:///store"}, "auth": {"insecure": True}}
    return Configuration({**services, **shared, **tables, "coordinator": coordinator})


@pytest.mark.parametrize(
    ("tables", "field"),
    [
        ({"coordinator": {"slots": 0}}, "coordinator.slots"),
        ({"coordinator": {"lease_s": 0.0}}, "coordinator.lease_s"),
        ({"coordinator": {"training_precision": "float16"}}, "coordinator.training_precision"),
        ({"workers": {"threads": 0}}, "workers.threads"),
        ({"workers": {"heartbeat_s": 0.0}}, "workers.heartbeat_s"),
        # The contract promises a sign of life every 5 seconds.
        ({"workers": {"heartbeat_s": 6.0}}, "workers.heartbeat_s"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(tables: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        read_settings(configuration(**tables))

    assert [violation.field for violation in caught.value.violations] == [field]


def test_the_defaults_are_in_range() -> None:
    settings = read_settings(configuration())

    assert (settings.slots, settings.training_precision) == (1, Precision.FLOAT32)


def test_a_deployment_may_train_in_bf16() -> None:
    settings = read_settings(configuration(coordinator={"training_precision": "bfloat16"}))

    assert settings.training_precision is Precision.BFLOAT16
