from __future__ import annotations

import pytest

from llm_repair.client import InvalidRequest, MethodOptions, repair_method, repair_spec, selection_spec
from llm_repair.v1 import trainer_pb2


def test_the_default_is_dpo_and_says_nothing_else():
    method = repair_method()

    assert method == trainer_pb2.RepairMethod(dpo=trainer_pb2.DpoMethod())
    assert method.WhichOneof("trainable") is None


@pytest.mark.parametrize("name", ["dapt", "dapt_kl", "dpo", "irepair", "irepair_kl", "exmate", "kto"])
def test_every_method_of_the_contract_is_known_by_name(name):
    assert repair_method(name.replace("_", "-")).WhichOneof("objective") == name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dapt", MethodOptions(reweighting_temperature=0.5)),
        ("dapt-kl", MethodOptions(nll_weight=0.25, kl_weight=0.0)),
        ("dpo", MethodOptions(beta=0.5, label_smoothing=0.0)),
        ("irepair", MethodOptions(nll_weight=0.25)),
        ("irepair-kl", MethodOptions(nll_weight=0.25, kl_weight=2.0)),
        ("exmate", MethodOptions(penalty_weight=0.2, dpo_weight=0.1, beta=0.3)),
        ("kto", MethodOptions(beta=0.3, desirable_weight=2.0, undesirable_weight=3.0)),
    ],
)
def test_parameters_reach_the_objective_and_a_given_zero_is_not_absent(name, options):
    method = repair_method(name, options=options)

    objective = getattr(method, str(method.WhichOneof("objective")))
    given = {field: value for field, value in vars(options).items() if value is not None}
    assert {field.name: value for field, value in objective.ListFields()} == given


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"top_layers": 0}, trainer_pb2.FullParameters(top_layers=0)),
        ({"top_layers": 3}, trainer_pb2.FullParameters(top_layers=3)),
        ({"layers": (3, 5)}, trainer_pb2.FullParameters(layers=[3, 5])),
        ({"top_share": 0.5}, trainer_pb2.FullParameters(top_share=0.5)),
    ],
)
def test_what_is_trained_is_said_in_one_way_and_replaces_that_of_the_base(arguments, expected):
    base = repair_method("dpo", layers=(1, 2))

    assert repair_method(base=base, **arguments).full == expected
    assert repair_method(base=repair_method(lora=True), **arguments).WhichOneof("trainable") == "full"


def test_everything_and_nothing_said_are_told_apart():
    assert repair_method(top_layers=0).full.HasField("top_layers")
    assert repair_method().WhichOneof("trainable") is None


def test_a_base_keeps_what_is_not_overridden_and_is_not_changed():
    base = repair_method("dpo", options=MethodOptions(beta=0.5), lora=True)
    base.epochs = 7

    changed = repair_method(base=base, options=MethodOptions(label_smoothing=0.1), preset="paper")
    other = repair_method("kto", base=base)

    assert (changed.dpo.beta, changed.dpo.label_smoothing, changed.epochs) == (0.5, 0.1, 7)
    assert (changed.preset, base.preset) == (trainer_pb2.REPAIR_PRESET_PAPER, trainer_pb2.REPAIR_PRESET_UNSPECIFIED)
    assert changed.WhichOneof("trainable") == other.WhichOneof("trainable") == "lora"
    assert not other.kto.HasField("beta")


@pytest.mark.parametrize(
    ("arguments", "field", "part"),
    [
        ({"name": "magic"}, "method", "'magic' is not known; choose one of dapt, dapt_kl"),
        (
            {"name": "dapt", "options": MethodOptions(beta=0.1)},
            "method.dapt.beta",
            "there are: reweighting_temperature",
        ),
        ({"name": "kto", "options": MethodOptions(kl_weight=1)}, "method.kto.kl_weight", "no parameter of kto"),
        ({"preset": "best"}, "method.preset", "choose one of default, paper"),
        ({"lora": True, "layers": (1,)}, "method", "give one of lora, top_layers, layers and top_share"),
        ({"top_layers": 1, "top_share": 0.5}, "method", "give one of"),
    ],
)
def test_what_a_method_does_not_have_is_refused_by_its_path(arguments, field, part):
    with pytest.raises(InvalidRequest) as caught:
        repair_method(**arguments)

    [violation] = caught.value.violations
    assert violation.field == field
    assert part in violation.description


def test_a_built_method_replaces_that_of_the_base_and_settings_beside_it_still_count():
    base = repair_spec(model="file:/m", method="dapt", epochs=9)
    built = repair_method("kto", top_share=0.5)

    spec = repair_spec(base=base, method=built, learning_rate=1e-4)

    assert (spec.method.WhichOneof("objective"), spec.method.full.top_share) == ("kto", 0.5)
    assert (spec.method.HasField("epochs"), spec.method.learning_rate) == (False, 1e-4)
    assert selection_spec(method=built).method == built


def test_utility_texts_are_a_data_set_like_the_others():
    spec = repair_spec(method="dapt-kl", utility="file:/t.jsonl@0:0.5")

    assert (spec.utility.reference, spec.utility.slice.end) == ("file:/t.jsonl", 0.5)
    assert not repair_spec(method="dapt-kl").HasField("utility")


@pytest.mark.parametrize(
    ("sharding", "expected"), [("ddp", trainer_pb2.SHARDING_DDP), ("FSDP", trainer_pb2.SHARDING_FSDP)]
)
def test_devices_are_said_beside_the_method_and_keep_what_the_base_says_of_them(sharding, expected):
    base = repair_method("dapt", ranks=2)

    method = repair_method(base=base, sharding=sharding)

    assert method.WhichOneof("objective") == "dapt"
    assert method.parallelism == trainer_pb2.Parallelism(ranks=2, sharding=expected)
    assert not repair_method("dapt").HasField("parallelism")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"sharding": "zero3"}, "method.parallelism.sharding"), ({"ranks": 1 << 40}, "method.parallelism.ranks")],
)
def test_devices_that_the_contract_cannot_say_are_refused_by_field(arguments, field):
    with pytest.raises(InvalidRequest) as refused:
        repair_method("dapt", **arguments)

    assert [violation.field for violation in refused.value.violations] == [field]
