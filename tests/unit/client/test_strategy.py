from __future__ import annotations

import pytest

from llm_repair.client import (
    InvalidRequest,
    StrategyOptions,
    load_spec,
    repair_spec,
    selection_spec,
    selection_strategy,
)
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import selection_pb2


def test_parameters_go_to_the_strategy_that_has_them_and_the_others_stay_unset():
    options = StrategyOptions(text_view="prompt-chosen", clusters=20, boundary_fraction=0.0, allocation="EQUAL")

    saps = selection_strategy("saps", options=options).saps

    assert (saps.text_view, saps.clusters) == (selection_pb2.TEXT_VIEW_PROMPT_CHOSEN, 20)
    assert (saps.HasField("boundary_fraction"), saps.boundary_fraction) == (True, 0.0)
    assert saps.allocation == selection_pb2.ALLOCATION_EQUAL
    assert not saps.HasField("pca_components")


def test_a_score_and_its_strata_are_those_of_ccs():
    options = StrategyOptions(score="aum", hard_cutoff=0.2, stratum_edges=(0.1, 0.5), dynamics_epochs=2)

    ccs = selection_strategy("ccs", options=options).ccs

    assert (ccs.score, ccs.hard_cutoff, list(ccs.stratum_edges)) == (selection_pb2.SCORE_AUM, 0.2, [0.1, 0.5])
    assert ccs.dynamics_epochs == 2


def test_what_filters_hold_is_nested_and_every_parameter_finds_its_place():
    options = StrategyOptions(max_hardness=0.8, low=0.1, clusters=3)

    chosen = selection_strategy("hardness-filter", then=["learnability", "saps"], options=options, preset="paper")

    outer = chosen.hardness_filter
    inner = outer.then.learnability
    assert (outer.max_hardness, inner.low, inner.then.saps.clusters) == (0.8, 0.1, 3)
    presets = (chosen.preset, outer.then.preset, inner.then.preset)
    assert presets == (0, 0, selection_pb2.SELECTION_PRESET_PAPER)


def test_a_base_keeps_what_is_not_overridden_and_is_not_changed():
    base = selection_pb2.SelectionStrategy()
    base.learnability.low = 0.2
    base.learnability.then.ccs.strata = 7

    changed = selection_strategy(base=base, options=StrategyOptions(hard_cutoff=0.0))
    replaced = selection_strategy(base=base, then=["random"])

    assert (changed.learnability.low, changed.learnability.then.ccs.strata) == (0.2, 7)
    assert changed.learnability.then.ccs.hard_cutoff == 0.0
    assert not base.learnability.then.ccs.HasField("hard_cutoff")
    assert (replaced.learnability.low, replaced.learnability.then.WhichOneof("kind")) == (0.2, "random")


@pytest.mark.parametrize(
    ("name", "then", "options", "field", "part"),
    [
        (
            "random",
            [],
            StrategyOptions(clusters=3),
            "strategy.random.clusters",
            "no parameter of random; there are: none",
        ),
        ("k-center", [], StrategyOptions(clusters=3), "strategy.k_center.clusters", "text_view, pca_components"),
        ("saps", [], StrategyOptions(score="loss"), "strategy.saps.score", "no parameter of saps"),
        (
            "learnability",
            ["random"],
            StrategyOptions(max_hardness=0.5),
            "strategy.learnability.then.random.max_hardness",
            "no parameter of learnability and random; there are: low, high",
        ),
        ("saps", [], StrategyOptions(allocation="fair"), "strategy.saps.allocation", "proportional, equal"),
        ("ccs", [], StrategyOptions(score="luck"), "strategy.ccs.score", "loss"),
        ("saps", [], StrategyOptions(clusters=1 << 40), "strategy.saps.clusters", "is not a number"),
        ("saps", ["random"], StrategyOptions(), "strategy.saps.then", "saps is no filter"),
        ("learnability", ["magic"], StrategyOptions(), "strategy.learnability.then", "'magic' is not known"),
        ("magic", [], StrategyOptions(), "strategy", "'magic' is not known"),
    ],
)
def test_what_a_strategy_does_not_have_is_refused_by_its_path(name, then, options, field, part):
    with pytest.raises(InvalidRequest) as caught:
        selection_strategy(name, then=then, options=options)

    [violation] = caught.value.violations
    assert violation.field == field
    assert part in violation.description


def test_all_parameters_that_do_not_fit_are_named_at_once():
    with pytest.raises(InvalidRequest) as caught:
        selection_strategy("k-center", options=StrategyOptions(text_view="title", clusters=3, score="loss"))

    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["strategy.k_center.text_view", "strategy.k_center.clusters", "strategy.k_center.score"]


def test_an_unknown_preset_is_refused_where_it_would_stand():
    with pytest.raises(InvalidRequest) as caught:
        selection_strategy("learnability", then=["saps"], preset="best")

    assert [violation.field for violation in caught.value.violations] == ["strategy.learnability.then.preset"]


def test_a_selection_asks_for_what_the_repair_that_follows_it_asks_for():
    arguments = {"model": "file:/m", "pool": "file:/p.jsonl", "proxy": "file:/x", "strategy": "grand", "samples": 3}

    selection, repair = selection_spec(**arguments), repair_spec(**arguments)

    assert selection.goal == pb.REPAIR_GOAL_SELECTION
    assert repair.goal == pb.REPAIR_GOAL_UNSPECIFIED
    selection.ClearField("goal")
    assert selection == repair
    assert repair.proxy.reference == "file:/x"


def test_a_selection_may_start_from_the_file_of_a_whole_repair(tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "model: {reference: 'file:/m'}\nself_generated_pool: {prompts: {reference: 'file:/p'}}\n"
        "strategy: {ccs: {score: SCORE_AUM}}\nevaluation: {prompts: {reference: 'file:/e'}}\n"
    )

    spec = selection_spec(base=load_spec(tmp_path / "spec.yaml"), fraction=0.5)

    assert spec.goal == pb.REPAIR_GOAL_SELECTION
    assert (spec.strategy.ccs.score, spec.budget.fraction.fraction) == (selection_pb2.SCORE_AUM, 0.5)


def test_a_built_strategy_replaces_that_of_the_base():
    base = repair_spec(model="file:/m", strategy="ccs")

    spec = repair_spec(base=base, strategy=selection_strategy("saps", options=StrategyOptions(clusters=2)))

    assert (spec.strategy.WhichOneof("kind"), spec.strategy.saps.clusters) == ("saps", 2)
