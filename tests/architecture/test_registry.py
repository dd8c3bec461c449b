"""What the registry says is carried out is what the services have code for."""

import pytest

from llm_repair.core.registry import METHODS, STRATEGIES, Entry
from llm_repair.selection import strategies
from llm_repair.trainer import methods


@pytest.mark.parametrize("entry", STRATEGIES, ids=lambda entry: entry.name)
def test_strategies_carried_out_are_those_the_selection_service_can_rank_by(entry: Entry) -> None:
    found = [other.name.lower() for other in strategies.STRATEGIES if other.parameters is entry.config]

    assert found == ([entry.name] if entry.carried_out else [])


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
def test_every_method_has_an_objective_of_its_name_in_the_trainer(entry: Entry) -> None:
    objective = methods.objective_of(entry.config())

    assert entry.carried_out
    assert type(objective).__name__ == entry.config.__name__.replace("Method", "Objective")
