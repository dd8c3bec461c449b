# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""The `sample_texts` step: texts that a model says by itself, from the start of a text on.

A KL term holds a repair to the model's own distribution; its own samples show that distribution where the model
lives (utility text generated from the original model: arXiv 2510.20428, §3). The noise of a text is a function of
(seed, number of the text, position), so the first texts of a longer run are those of a shorter one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, ModelInvalid
from llm_repair.core.execution import StepContext, StepOutput
from llm_repair.core.fields import FieldChecks
from llm_repair.core.steps import SampleTextsStep
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.sampling_run import sampled, started_engine
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation, Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.tokenisation import start_token

_MAX_TEXTS = 1 << 20


def run(step: SampleTextsStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Samples texts. Output: `dataset`, of texts with the ids `utility-000001` and on.

    A text that the model ends before it says anything is left out and counted; its number stays free. With the
    transformers engine on CPU and an equal number of threads, a repeat is equal to the bit.

    Raises:
      InvalidFields: a parameter is out of its range.
      ModelInvalid: the tokenizer has no token to begin a text with.
      DatasetInvalid: every text is blank.
      PromptTooLong: the tokens asked for exceed the model's context.
      EngineUnavailable, EngineParityFailed, ModelInvalid: before anything is generated.
      EngineUnavailable: the engine breaks down.
    """
    _check(step)
    torch.set_num_threads(context.threads)
    watch = Stopwatch()
    with started_engine(step.engine, step.model_digest, store, context, watch) as engine:
        judged = sampled(engine, _starts(engine, step.texts), _sampling(step), (), store, context, watch)
    made = [one.sample for one in judged]
    rows = _rows(made)
    if not rows:
        raise DatasetInvalid(f"all {len(made)} texts that the model made are blank", texts=len(made))
    summary = {
        "texts": len(rows),
        "blank": len(made) - len(rows),
        "generated_tokens": sum(text.tokens for text in made),
        "seconds": watch.to_json(),
    }
    return StepOutput({"dataset": write_rows(store, rows)}, summary)


def _starts(engine: Engine, texts: int) -> list[Prompt]:
    start = start_token(engine.tokens.tokenizer)
    if start is None:
        raise ModelInvalid("the tokenizer has neither a BOS nor an EOS token, so no text can be begun")
    return [Prompt(f"utility-{number:06d}", (start,)) for number in range(1, texts + 1)]


def _rows(made: Sequence[Generation]) -> list[Row]:
    return [Row(text.prompt_id, text=text.text) for text in made if text.text.strip()]


def _sampling(step: SampleTextsStep) -> Sampling:
    return Sampling(
        draws=1,
        max_new_tokens=step.max_new_tokens,
        top_p=step.top_p,
        temperature=step.temperature,
        seed=step.seed,
    )


def _check(step: SampleTextsStep) -> None:
    with FieldChecks() as check:
        check.within("texts", step.texts, low=1, high=_MAX_TEXTS)
        check.within("max_new_tokens", step.max_new_tokens, low=1, high=4096)
        check.within("top_p", step.top_p, low=0, high=1, low_open=True)
        check.within("temperature", step.temperature, low=0, low_open=True)
