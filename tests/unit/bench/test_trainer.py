"""The training benchmark: what it times, what it counts as the least work, and when it says that losses agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from benchmarks import COLUMNS, quick_run
from torch.utils.flop_counter import FlopCounterMode

from llm_repair.core.repair import DaptMethod, FullParameters, Precision, Trainable
from llm_repair.models.training.adapters import make_trainable, transformer_layers
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.packing import packed_batch
from llm_repair.models.training.readout import continuation_log_probs

PAIR = TokenisedSample("a", prompt=(1, 2, 3), continuations=((4, 5), (6, 7, 8)))


@pytest.fixture(scope="module")
def quick_lines() -> list[dict[str, Any]]:
    return quick_run("trainer")[1:]


@pytest.mark.timeout(300)
def test_quick_lines_name_every_case_and_have_exactly_the_columns(quick_lines: list[dict[str, Any]]) -> None:
    steps = {f"trainer.{case}.0.2m.{form}" for case in ("sft", "lora", "dpo") for form in ("fp32", "bf16")}

    stops = {f"trainer.stop.2m.{trained}" for trained in ("top_third", "lora", "full")}

    others = {"trainer.ranks.0.2m.fp32", "trainer.overhead", "trainer.memory.0.2m.full", "trainer.gpu.0.2m.bf16"}
    assert {line["bench"] for line in quick_lines} == steps | stops | others
    assert all(set(line) == COLUMNS for line in quick_lines)
    timed = [line for line in quick_lines if not line["bench"].startswith(("trainer.memory", "trainer.gpu"))]
    parts = [line for line in timed if line["contender"].startswith("of that")]
    assert all(line["seconds"] > 0 for line in timed if line not in parts)
    assert all(line["seconds"] >= 0 for line in parts)


def test_losses_in_fp32_are_those_of_trl_padded_and_padding_free(quick_lines: list[dict[str, Any]]) -> None:
    of_steps = [line for line in quick_lines if line["bench"].endswith("fp32") and ".ranks." not in line["bench"]]
    compared = [line for line in of_steps if line["contender"] != "TRL"]

    assert [line["contender"] for line in compared] == ["ours", "TRL, padding-free"] * 2 + ["ours"]
    assert all(line["value_agrees"] is True for line in compared)


def test_losses_of_two_ranks_are_those_of_one(quick_lines: list[dict[str, Any]]) -> None:
    ranks = [line for line in quick_lines if ".ranks." in line["bench"]]

    assert {line["contender"]: line["value_agrees"] for line in ranks} == {
        "ours, 2 ranks, DDP": True,
        "2 ranks, FSDP2": True,
        "1 rank, 2 threads": None,
    }


def test_a_machine_without_a_gpu_says_so(quick_lines: list[dict[str, Any]]) -> None:
    (line,) = (line for line in quick_lines if line["bench"].startswith("trainer.gpu"))

    assert (line["contender"] == "ours") is torch.cuda.is_available()
    assert (line["seconds"] is None) is not torch.cuda.is_available()


@pytest.mark.gpu
def test_steps_on_a_gpu_lose_what_those_on_processors_do(quick_lines: list[dict[str, Any]]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")

    assert [line["value_agrees"] for line in quick_lines if line["bench"].startswith("trainer.gpu")] == [True]


def test_the_clock_leaves_out_the_first_step_of_each_run_and_what_lies_between_runs() -> None:
    from bench.trainer.step_clock import StepClock

    # Two runs of three steps: the second and third take 2 s and 3 s, then 5 s and 7 s.
    times = iter([10.0, 12.0, 15.0, 100.0, 105.0, 112.0])
    clock = StepClock(lambda: next(times))

    for _ in range(2):
        clock.start_run()
        for _ in range(3):
            clock.end_step()

    assert clock() == 2.0 + 3.0 + 5.0 + 7.0


def test_least_work_reads_a_prompt_once_and_the_last_token_of_a_continuation_never() -> None:
    from bench.trainer.bounds import Work

    work = Work.of([PAIR])

    # Read: the prompt, 1 and 2 tokens. They see 1 + 2 + 3, then 4, then 4 + 5. Predicted: 2 and 3 tokens.
    assert work == Work(tokens=6, predictions=5, seen=6 + 4 + 9)


@pytest.mark.parametrize("trainable", [FullParameters(), FullParameters(top_layers=1)])
def test_operations_without_attention_are_those_that_torch_counts_in_a_packed_step(trainable: Trainable) -> None:
    from bench.trainer.bounds import Work, step_flops
    from bench.trainer.subjects import Size, model_of

    target = make_trainable(model_of(Size.TINY), trainable, seed=1)
    work = Work.of([PAIR])

    with FlopCounterMode(display=False) as counter:
        continuation_log_probs(target.model, packed_batch([PAIR])).sum().backward()

    products = {
        str(op): flops for op, flops in counter.get_flop_counts()["Global"].items() if "attention" not in str(op)
    }
    assert step_flops(target, Work(work.tokens, work.predictions, seen=0)) == sum(products.values())


def test_bytes_hold_three_numbers_more_for_a_trained_weight_than_for_a_frozen_one() -> None:
    from bench.trainer.bounds import Work, step_bytes
    from bench.trainer.subjects import Size, model_of

    nothing_read = Work(tokens=0, predictions=0, seen=0)
    model = model_of(Size.TINY)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    of_a_layer = sum(parameter.numel() for parameter in transformer_layers(model)[0].parameters())

    full = step_bytes(make_trainable(model, FullParameters(), seed=1), nothing_read)
    top = step_bytes(make_trainable(model, FullParameters(top_layers=1), seed=1), nothing_read)

    assert full == 16 * parameters
    assert top == 4 * parameters + 12 * of_a_layer


def test_losses_of_another_rate_do_not_agree() -> None:
    from bench.trainer import ours, steps
    from bench.trainer.samples import with_chosen_only
    from bench.trainer.step_clock import StepClock
    from bench.trainer.subjects import Size, subject

    tiny = subject(Size.TINY, pairs=24)
    samples = with_chosen_only(tiny.pairs)
    usual = steps.method_of(DaptMethod(), FullParameters(), Precision.FLOAT32)
    slower = steps.method_of(DaptMethod(), FullParameters(), Precision.FLOAT32, rate=usual.peak_rate / 2)
    curves = {
        name: ours.training_losses(tiny.model(), samples, method, StepClock())
        for name, method in (("TRL", usual), ("same", usual), ("slower", slower))
    }

    agreement = steps.agreement(curves, curves["TRL"], tolerance=1e-4)

    assert agreement == {"same": True, "slower": False}


def test_a_copy_is_trained_and_never_the_model_itself() -> None:
    from bench.trainer.subjects import Size, subject

    tiny = subject(Size.TINY, pairs=1)

    with torch.no_grad():
        for parameter in tiny.model().parameters():
            parameter.zero_()

    assert any(parameter.abs().sum() > 0 for parameter in tiny.base.parameters())
