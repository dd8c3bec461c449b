"""Every domain dataclass that travels mirrors its message, so that no field can be lost on the way."""

import dataclasses
import enum
import types
import typing
from typing import Any

import pytest

from llm_repair.core import gate, repairs, steps
from llm_repair.core.errors import InvalidFields
from llm_repair.core.execution import Artifact, Progress, Usage
from llm_repair.core.selection import Budget, FractionBudget, SapsStrategy, SelectionStrategy
from llm_repair.rpc import execution_messages
from llm_repair.rpc.codec import decode, encode
from llm_repair.rpc.step_messages import MESSAGES
from llm_repair.v1 import coordinator_pb2, execution_pb2, selection_pb2, types_pb2

PAIRS: list[tuple[type, Any]] = [
    *MESSAGES.items(),
    (repairs.RepairSpec, coordinator_pb2.RepairSpec),
    (gate.GatePolicy, coordinator_pb2.GatePolicy),
    (Artifact, types_pb2.Artifact),
    (Usage, types_pb2.Usage),
    (Progress, execution_pb2.ExecutionProgress),
]


def members(hint: Any) -> list[Any]:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    found = list(typing.get_args(hint)) if is_union else [hint]
    return [member for member in found if member is not types.NoneType]


def mismatches(domain: type, descriptor: Any, path: str = "", above: tuple[type, ...] = ()) -> list[str]:
    if domain in above:  # a filter holds a strategy, which may be a filter
        return []
    above = (*above, domain)
    hints = typing.get_type_hints(domain)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(domain)}
    oneofs = {name: oneof for name, oneof in descriptor.oneofs_by_name.items() if len(oneof.fields) > 1}
    inside = {alternative.name for oneof in oneofs.values() for alternative in oneof.fields}
    wire = (set(descriptor.fields_by_name) - inside) | set(oneofs)
    found = [f"{path}.{name} is on one side only" for name in set(fields) ^ wire]
    for name in set(fields) & wire:
        kinds = members(fields[name])
        if name in oneofs:
            messages = {alternative.message_type.name: alternative.message_type for alternative in oneofs[name].fields}
            found += [f"{path}.{name}: {odd}" for odd in {kind.__name__ for kind in kinds} ^ set(messages)]
            for kind in kinds:
                found += mismatches(kind, messages[kind.__name__], f"{path}.{name}", above)
            continue
        field = descriptor.fields_by_name[name]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = {str: field.CPPTYPE_STRING, float: field.CPPTYPE_DOUBLE}
            key, value = (of[kind] for kind in typing.get_args(kinds[0]))
            on_wire = field.message_type.fields_by_name
            same = (on_wire["key"].cpp_type, on_wire["value"].cpp_type) == (key, value)
            found += [] if same else [f"{path}.{name} maps other types"]
            continue
        kind = typing.get_args(kinds[0])[0] if typing.get_origin(kinds[0]) is tuple else kinds[0]
        if field.enum_type is not None:
            prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
            names = {v.name.removeprefix(prefix) for v in field.enum_type.values if v.number != 0}
            assert issubclass(kind, enum.Enum)
            found += [f"{path}.{name}: {odd}" for odd in names ^ {member.name for member in kind}]
        elif field.message_type is not None:
            found += mismatches(kind, field.message_type, f"{path}.{name}", above)
        elif kind not in (str, bytes, bool, int, float):
            found.append(f"{path}.{name} has type {kind}")
    return found


@pytest.mark.parametrize(("domain", "message"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_dataclass_and_message_mirror_each_other(domain: type, message: Any) -> None:
    assert mismatches(domain, message.DESCRIPTOR) == []


def test_a_step_survives_the_wire_with_its_key() -> None:
    step = steps.SelectStep("sha256:a", SelectionStrategy(SapsStrategy(clusters=7)), Budget(FractionBudget(0.25)), 3)

    back = decode(
        selection_pb2.SelectStep.FromString(encode(step, selection_pb2.SelectStep).SerializeToString()),
        steps.SelectStep,
    )

    assert back == step
    assert steps.step_key(back) == steps.step_key(step)


def test_progress_survives_the_wire_with_its_measures() -> None:
    progress = Progress(3, 10, "optimizer steps", eta_s=1.5, measures={"loss": 0.25, "learning_rate": 3e-5})

    event = execution_messages.progress("key", progress)

    back = execution_pb2.ExecutionEvent.FromString(event.SerializeToString())
    assert execution_messages.progress_of(back.progress) == progress


def test_unset_fields_take_the_domain_default_and_set_zeros_do_not() -> None:
    unset = decode(selection_pb2.SelectionStrategy(saps=selection_pb2.SapsStrategy()), SelectionStrategy)
    zero = decode(
        selection_pb2.SelectionStrategy(saps=selection_pb2.SapsStrategy(boundary_fraction=0)), SelectionStrategy
    )

    assert unset.kind == SapsStrategy()
    assert isinstance(zero.kind, SapsStrategy)
    assert zero.kind.boundary_fraction == 0


def test_all_violations_are_named_at_once_by_their_path_on_the_wire() -> None:
    request = coordinator_pb2.RepairSpec()
    request.model.reference = "ftp:somewhere"
    request.budget.fraction.fraction = 0
    request.strategy.saps.clusters = -1
    request.evaluation.prompts.reference = "file:/x/../y"

    with pytest.raises(InvalidFields) as caught:
        decode(request, repairs.RepairSpec)

    assert {violation.field for violation in caught.value.violations} == {
        "model.reference",
        "pool",
        "budget.fraction.fraction",
        "strategy.saps.clusters",
        "method",
        "evaluation.prompts.reference",
    }
