"""What decides a score, and nothing else, is part of the step that makes it."""

import dataclasses

import pytest

from llm_repair.core.repair import (
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    FullParameters,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    LoraParameters,
    Method,
    Parallelism,
    Precision,
    RepairMethod,
    Sharding,
)
from llm_repair.core.scoring import DYNAMICS_SCORES, JUDGE_SCORES, MODEL_SCORES, scored_method, scoring_seed
from llm_repair.core.selection import FILTER_SCORES, Score

METHOD = RepairMethod(DpoMethod(beta=0.3), trainable=LoraParameters(rank=4), learning_rate=1e-3, epochs=7)


def test_every_score_has_one_maker() -> None:
    made = [*MODEL_SCORES, *DYNAMICS_SCORES, *JUDGE_SCORES, Score.INSTANCE_HARDNESS]

    assert sorted(score.name for score in made) == sorted(score.name for score in Score)
    assert {*FILTER_SCORES} <= {*made}


def test_only_a_small_margin_is_hard() -> None:
    assert [score for score in Score if score.hard_is_low] == [Score.AUM]


@pytest.mark.parametrize("score", MODEL_SCORES)
def test_learning_rate_and_epochs_do_not_decide_a_score_of_the_model(score: Score) -> None:
    other = dataclasses.replace(METHOD, learning_rate=5e-4, epochs=1, batch_samples=2)

    assert scored_method(METHOD, score, dynamics_epochs=1) == scored_method(other, score, dynamics_epochs=4)


def test_the_gradient_is_that_of_the_method_over_what_it_trains() -> None:
    """The weights of a loss only scale its gradient, so β is not part of it; which parameters are is."""
    scored = scored_method(METHOD, Score.GRAND, dynamics_epochs=1)

    assert (scored.objective, scored.trainable) == (DpoMethod(), LoraParameters(rank=4))


@pytest.mark.parametrize(
    ("objective", "scored"),
    [
        (DaptMethod(reweighting_temperature=0.5), DaptMethod()),
        (DaptKlMethod(kl_weight=2.0), DaptMethod()),
        (IrepairMethod(nll_weight=2.0), DaptMethod()),
        (IrepairKlMethod(kl_weight=2.0), DaptMethod()),
        (KtoMethod(beta=0.3, undesirable_weight=1.5), KtoMethod(undesirable_weight=1.5)),
        (ExmateMethod(penalty_weight=2.0, beta=0.3), ExmateMethod(penalty_weight=2.0)),
        (ExmateMethod(dpo_weight=1.0, beta=0.3), ExmateMethod(dpo_weight=1.0, beta=0.3)),
    ],
)
def test_what_only_scales_the_gradient_at_the_base_model_or_vanishes_there_is_left_out(
    objective: Method, scored: Method
) -> None:
    assert scored_method(RepairMethod(objective), Score.GRAND, dynamics_epochs=1).objective == scored


@pytest.mark.parametrize("score", [Score.EL2N, Score.LOSS])
def test_a_score_without_gradient_is_of_the_chosen_text_under_any_method(score: Score) -> None:
    scored = scored_method(METHOD, score, dynamics_epochs=1)

    assert (scored.objective, scored.trainable) == (DaptMethod(), FullParameters())


@pytest.mark.parametrize("change", [{"prompt_in_loss": True}, {"max_tokens": 64}, {"precision": Precision.BFLOAT16}])
@pytest.mark.parametrize("score", [*MODEL_SCORES, *DYNAMICS_SCORES])
def test_what_is_learnt_decides_every_score(score: Score, change: dict[str, object]) -> None:
    other = dataclasses.replace(METHOD, **change)  # type: ignore[arg-type]

    assert scored_method(METHOD, score, dynamics_epochs=2) != scored_method(other, score, dynamics_epochs=2)


@pytest.mark.parametrize("score", [*MODEL_SCORES, *DYNAMICS_SCORES])
def test_devices_of_the_repair_do_not_decide_a_score(score: Score) -> None:
    other = dataclasses.replace(METHOD, parallelism=Parallelism(4, Sharding.FSDP))

    assert scored_method(METHOD, score, dynamics_epochs=2) == scored_method(other, score, dynamics_epochs=2)


@pytest.mark.parametrize("score", DYNAMICS_SCORES)
def test_a_training_run_goes_at_the_method_s_pace_over_the_whole_pool(score: Score) -> None:
    scored = scored_method(METHOD, score, dynamics_epochs=4)

    assert (scored.epochs, scored.learning_rate, scored.trainable) == (4, 1e-3, LoraParameters(rank=4))
    assert (scored.objective, scored.validation_share) == (DaptMethod(), 0.0)


@pytest.mark.parametrize(
    ("score", "trainable", "seeded"),
    [
        (Score.LOSS, FullParameters(), False),
        (Score.GRAND, FullParameters(), False),
        (Score.GRAND, LoraParameters(), True),
        (Score.AUM, FullParameters(), True),
        (Score.FORGETTING, FullParameters(), True),
    ],
)
def test_the_seed_is_part_of_a_score_only_where_chance_is(
    score: Score, trainable: FullParameters | LoraParameters, seeded: bool
) -> None:
    method = RepairMethod(DaptMethod(), trainable=trainable)

    assert scoring_seed(method, score, 9) == (9 if seeded else 0)
