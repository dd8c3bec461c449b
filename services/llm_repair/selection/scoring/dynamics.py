"""Scores by training dynamics: how every sample fares while a proxy model learns the pool.

A short run learns the chosen continuations of the whole pool and is thrown away. At the end of each of its T epochs
every learnt token is measured: its margin is its logit minus the largest other logit, and it is predicted if that is
positive. Of a sample, the mean over its tokens counts.

AUM, area under the margin (Pleiss et al., NeurIPS 2020, §3): the mean margin over the T measurements. A mislabelled
sample must be learnt against what its likes teach, so its margin stays small or negative. Larger is easier.

FORGETTING (Toneva et al., ICLR 2019, algorithm 1): how often what was predicted at one measurement is not at the
next; before the first, nothing is. What is never predicted counts more than anything forgotten. Larger is harder.

We differ:
- A sample of a classifier is one decision; a continuation is one per token, each given the true tokens before it. So
  a continuation that belongs to another prompt is hard at its first tokens, and less so where they give it away.
- Both papers measure a sample when it is drawn for training: in training mode, each by other weights. We measure all
  of them by the same weights, in evaluation mode, at the end of the epoch; a forward pass over the pool dearer, and
  independent of where in the epoch a sample fell.
- Never predicted is infinitely often in the paper; here it is T times, beyond the T / 2 that can be forgotten, so that
  the tokens of a sample have a mean.
- A tie for the largest logit is no prediction; an argmax would leave it to the order of the tokens.
- AUM's cut by samples of an extra class ("threshold samples") has no counterpart: strategies rank. Nor is the run
  stopped before the learning rate drops; the rate follows the method's schedule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import LossNotFinite, PoolTooSmall
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.repair import Precision, RepairMethod
from llm_repair.core.selection import Score
from llm_repair.core.steps import ScoreStep, step_key, to_json
from llm_repair.models.loading import context_tokens, load_causal_lm, load_tokenizer
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import PairText, TokenisedSample, tokenise
from llm_repair.models.training.checkpoints import Checkpoints
from llm_repair.models.training.dapt import DaptObjective
from llm_repair.models.training.encoding import encoding_of
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.loop import TrainingResult, TrainingRun
from llm_repair.models.training.schedule import plan
from llm_repair.selection.scoring.token_histories import FloatArray, MarginArray, before_training

# pyright: reportUnknownMemberType=false
# torch annotates some of its functions in part only.

CHECKPOINTS_PER_EPOCH = 4
"""At most. A pool takes far more steps than a selection, and of all weights of a 135M model a checkpoint took as long
as four steps, which at a repair's interval would be a large part of the bill."""


def dynamics_scores(
    step: ScoreStep, rows: Sequence[Row], store: ArtifactStore, context: StepContext
) -> tuple[FloatArray, Mapping[str, Json]]:
    """Returns the scores of rows, (n,) in their order and as the paper counts, and what was run.

    On the CPU the same request gives the same bytes, whatever the order of the rows. A killed attempt goes on from
    the loop's checkpoints, which hold the measurements too and lie under this step's key and no repair's. Costs the
    epochs of a DAPT repair on the whole pool, and one forward pass over it after each.

    Raises:
      PoolTooSmall: there are no rows.
      DatasetInvalid: chosen continuations without a token.
      LossNotFinite: training diverged.
      StepCancelled: the context says so; no partial is left.
    """
    if not rows:
        raise PoolTooSmall("the pool has no rows", pool=0)
    torch.set_num_threads(context.threads)
    context.progress(0, 0, "models", stage="loading model")
    folder = store.materialize(step.model_digest)
    model = load_causal_lm(folder, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    longest = min(step.method.max_tokens, context_tokens(model.config))
    order = sorted(range(len(rows)), key=lambda place: rows[place].id)
    texts = _chosen_texts([rows[place] for place in order], context)
    samples = tokenise(texts, encoding_of(load_tokenizer(folder)), max_tokens=longest)
    measured, result = _train(step, model, samples, store, context)
    values = np.empty(len(rows))
    values[order] = measured.scores(step.method.epochs)
    return values, _about(step, longest, measured, samples, result)


def _chosen_texts(rows: Sequence[Row], context: StepContext) -> Iterator[PairText]:
    for done, row in enumerate(rows):
        context.raise_if_cancelled()
        context.progress(done, len(rows), "samples", stage="tokenising")
        yield PairText(row.id, row.prompt, (row.chosen,))


def _train(
    step: ScoreStep,
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    store: ArtifactStore,
    context: StepContext,
) -> tuple[Measurements, TrainingResult]:
    """Runs the epochs; the weights are left in the model and published nowhere."""
    target = make_trainable(model, step.method.trained, seed=step.seed)
    measured = Measurements(model, samples, step.score, step.method, context)
    run = TrainingRun(
        target,
        samples,
        [],
        objective=DaptObjective(),
        method=_rarely_checkpointed(step.method, len(samples)),
        seed=step.seed,
        context=context,
        checkpoints=Checkpoints(store, context, step.model_digest, config_digest=step_key(step)),
        observer=measured,
    )
    return measured, run.run()


def _rarely_checkpointed(method: RepairMethod, samples: int) -> RepairMethod:
    steps = plan(method, samples).steps_per_epoch // CHECKPOINTS_PER_EPOCH
    return dataclasses.replace(method, checkpoint_every_steps=max(steps, method.checkpoint_every_steps))


def _about(
    step: ScoreStep,
    longest: int,
    measured: Measurements,
    samples: Sequence[TokenisedSample],
    result: TrainingResult,
) -> Mapping[str, Json]:
    curve = result.history.curve
    return {
        "model": step.model_digest,
        "seed": step.seed,
        "method": to_json(step.method),
        "epochs": step.method.epochs,
        "learning_rate": step.method.peak_rate,
        "max_tokens": longest,
        "samples": len(samples),
        "truncated": sum(sample.truncated for sample in samples),
        "learnt_tokens": measured.learnt_tokens,
        "optimizer_steps": len(curve),
        "trained_tokens": result.history.tokens,
        "measured_tokens": measured.tokens_per_epoch * step.method.epochs,
        "first_loss": curve[0].loss,
        "last_loss": curve[-1].loss,
    }


class Measurements:
    """Measures all samples at the end of every epoch; observes the training loop."""

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Sequence[TokenisedSample],
        score: Score,
        method: RepairMethod,
        context: StepContext,
    ) -> None:
        """Prepares the measurements; samples in any order, score AUM or FORGETTING."""
        self._log_probs = LogProbs(
            model,
            samples,
            prompt_in_loss=method.prompt_in_loss,
            half=method.precision is Precision.BFLOAT16,
        )
        self._samples = samples
        self._context = context
        self._lengths = np.array([self._log_probs.learnt_tokens(sample) for sample in samples])
        self._history = before_training(score, self.learnt_tokens)
        self.tokens_per_epoch = 0
        """Tokens read by a measurement; 0 before the first."""

    @property
    def learnt_tokens(self) -> int:
        """Tokens that have a margin."""
        return int(self._lengths.sum())

    @property
    def gathered(self) -> Mapping[str, Tensor]:
        """The arrays of the history."""
        return {name: torch.from_numpy(array) for name, array in vars(self._history).items()}

    def restore(self, gathered: Mapping[str, Tensor]) -> None:
        """Goes on from the history of an earlier attempt."""
        self._history = dataclasses.replace(self._history, **{name: array.numpy() for name, array in gathered.items()})

    def after_epoch(self, step: int) -> None:
        """Measures the margins of all learnt tokens, in parts that fit in memory."""
        margins: list[MarginArray] = []
        self.tokens_per_epoch = done = 0
        for part in self._log_probs.parts(self._samples):
            self._context.raise_if_cancelled()
            found, tokens = self._margins(part)
            if not np.isfinite(found).all():
                message = f"a logit is not finite after optimizer step {step}; nothing was published"
                raise LossNotFinite(message, step=step)
            margins.append(found)
            self.tokens_per_epoch += tokens
            done += len(part)
            self._context.count(tokens=tokens)
            self._context.progress(done, len(self._samples), "samples", stage="measuring")
        self._history = self._history.after(np.concatenate(margins))

    def scores(self, epochs: int) -> FloatArray:
        """Returns the score of each sample after so many measurements, (samples,): the mean over its tokens."""
        first = np.cumsum(self._lengths) - self._lengths
        return np.add.reduceat(self._history.per_token(epochs), first) / self._lengths

    def _margins(self, samples: Sequence[TokenisedSample]) -> tuple[MarginArray, int]:
        """Returns the margins of the learnt tokens, sample after sample, and the number of tokens read."""
        logits, batch = self._log_probs.logits(samples)
        by_sample = torch.argsort(batch.owners, stable=True)
        return margins_of(logits, batch.targets)[by_sample].cpu().numpy(), batch.tokens


def margins_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the logit of each target minus the largest other logit, (predictions,).

    logits: (predictions, vocab), used up: the targets' own are overwritten, since a copy would double the memory.
    """
    columns = targets.unsqueeze(1)
    own = logits.gather(1, columns).squeeze(1)
    return own - logits.scatter_(1, columns, -torch.inf).amax(dim=1)
