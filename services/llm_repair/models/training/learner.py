"""What happens at an optimizer step: a batch of samples becomes a loss and its gradient.

A batch is dealt to the ranks and cut into parts that fit in memory, and the gradients of the parts add up to that of
the batch. So whatever an objective needs of the whole batch, its number of learnt tokens, its weights, its baseline,
its most sensitive block, is found before the first part is learnt.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from llm_repair.core.execution import StepContext
from llm_repair.core.repair import Precision, RepairMethod
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample, mismatched
from llm_repair.models.training.divergence import Divergence
from llm_repair.models.training.faults import is_out_of_memory, require_finite, require_learnt_tokens
from llm_repair.models.training.frozen import frozen_layers
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.low_rank import add_in_place
from llm_repair.models.training.objectives import Objective, Preview, Scored
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.models.training.recomputation import recompute_activations
from llm_repair.models.training.reference import ReferenceModel, measured
from llm_repair.models.training.sensitivity import Blocks
from llm_repair.models.training.shares import Part
from llm_repair.models.training.utility import UtilityTexts

# pyright: reportUnknownMemberType=false
# torch annotates some of its functions in part only.

T = TypeVar("T")


@dataclass
class BatchLoss:
    """The loss of a batch, summed over its parts."""

    loss: float = 0.0
    tokens: int = 0
    """Tokens of the samples, read by the model in training once."""
    measures: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The objective's own; means over the batch."""
    block: int | None = None
    """The block that alone has a gradient; None where all trained parameters have."""


class Learner:
    """Finds losses and gradients; takes no step and knows nothing of what was before."""

    def __init__(
        self,
        target: TrainableModel,
        samples: Sequence[TokenisedSample],
        *,
        objective: Objective,
        method: RepairMethod,
        seed: int,
        context: StepContext,
        utility: UtilityTexts | None = None,
        ranks: Ranks = ALONE,
        halved: bool = False,
    ) -> None:
        """Prepares for the samples of a run, before its first step; needs utility texts if the objective does.

        ranks: with sharded weights, the target's parameters become others, of which each rank holds a part. halved:
        begins with micro-batches of half the size.

        Raises:
          DatasetInvalid: a sample has no token to learn.
          ModelInvalid: the architecture cannot be trained as the method asks.
        """
        needs = objective.needs
        assert needs.kl_weight == 0 or utility is not None
        require_learnt_tokens(samples)
        self._target = target
        self._objective = objective
        self._needs = needs
        self._seed = seed
        self._context = context
        self._utility = utility
        self._ranks = ranks
        self._longest = max(_tokens_at_once(sample) for sample in samples)
        add_in_place(target.model)
        if method.gradient_checkpointing:
            recompute_activations(target.model)
        self._log_probs = LogProbs(
            target.model,
            samples,
            prompt_in_loss=method.prompt_in_loss and needs.may_learn_prompt,
            half=method.precision is Precision.BFLOAT16,
            frozen=frozen_layers(target),
            ranks=ranks,
            halved=halved,
        )
        self._blocks = Blocks(target, ranks) if needs.one_block else None
        live = needs.kl_weight > 0 or (needs.preview is not None and needs.preview.mismatched)
        self._reference = ReferenceModel(target, self._log_probs) if live else None
        self._divergence = (
            Divergence(self._log_probs, self._reference, context, weight=needs.kl_weight, ranks=ranks)
            if self._reference and needs.kl_weight > 0
            else None
        )
        self._halved = halved
        self.reference: Mapping[str, Tensor] = {}
        """Log-probabilities before training, (continuations,) by sample id; filled in by `remember`."""

    def measure_reference(self, samples: Sequence[TokenisedSample], *, held_out: bool = False) -> Tensor:
        """Returns the log-probabilities of samples at the present weights, (samples, continuations).

        Zeros, at no cost, where the objective needs none. held_out: the samples are those that `validate` will read.
        """
        views = self._views(samples)
        if not self._needs.reference or not views:
            return torch.zeros(len(views), self._needs.continuations)
        measure = partial(measured, self._log_probs, views, self._context, repeated=held_out, ranks=self._ranks)
        return self._within_memory(measure, 0)

    def remember(self, samples: Sequence[TokenisedSample], rows: Tensor) -> None:
        """Takes what `measure_reference` returned for these samples as the reference from now on."""
        self.reference = {sample.id: row for sample, row in zip(samples, rows, strict=True)}

    def learn(self, batch: Sequence[TokenisedSample], step: int) -> BatchLoss:
        """Leaves the gradient of the batch's loss in the trained parameters, and nothing of an earlier one.

        Raises:
          LossNotFinite: a part of the loss became NaN or infinite; carries the step.
        """
        return self._within_memory(lambda: self._learn(batch, step), step)

    def validate(self, samples: Sequence[TokenisedSample], step: int) -> float:
        """Returns the loss of samples that are held out, with the divergence on the utility texts that are.

        Raises:
          LossNotFinite: as `learn`.
        """
        with torch.no_grad():
            return self._within_memory(lambda: self._pass_over(samples, self._held_out_texts(), step).loss, step)

    def _learn(self, batch: Sequence[TokenisedSample], step: int) -> BatchLoss:
        self._drop_gradients()
        texts = self._utility.of_step(step, len(batch)) if self._utility else []
        if self._blocks is None:
            return self._learn_over(batch, texts, step)
        block = self._blocks.most_sensitive(self._log_probs, batch, step, self._context)
        with self._blocks.only(block):
            return replace(self._learn_over(batch, texts, step), block=block)

    def _learn_over(self, batch: Sequence[TokenisedSample], texts: Sequence[TokenisedSample], step: int) -> BatchLoss:
        found = self._pass_over(batch, texts, step)
        self._ranks.add_up(self._target.parameters.values())
        return found

    def _pass_over(self, samples: Sequence[TokenisedSample], texts: Sequence[TokenisedSample], step: int) -> BatchLoss:
        """Sums the loss over parts that fit in memory; where gradients are on, each part leaves its own."""
        views = self._views(samples)
        found = BatchLoss()
        weight = self._weight(views)
        batchwide = self._previewed(views)
        for number, part in enumerate(self._log_probs.shares(views, self._context)):
            known = None if batchwide is None else batchwide[part.places]
            self._add_part(found, part, known, weight, (step, number))
        found = self._over_ranks(found)
        for name in found.measures:
            found.measures[name] /= len(views)
        if texts and self._divergence:
            divergence = self._divergence.over(texts, step)
            found.measures["kl"] = divergence
            found.loss += self._needs.kl_weight * divergence
        return found

    def _add_part(
        self, found: BatchLoss, part: Part, batchwide: Tensor | None, weight: int, place: tuple[int, int]
    ) -> None:
        with self._dropout(*place):
            log_probs, tokens = self._log_probs.of(part.samples, repeated=not torch.is_grad_enabled())
            known = self._scored(part.samples, log_probs, self._reference_of(part.samples), batchwide)
            terms = self._objective.terms(known)
            loss = part.weight * terms.losses.sum() / weight
            value = loss.item()
            require_finite(value, place[0], "loss")
            _backward(loss)
        found.loss += value
        found.tokens += tokens * part.weight
        for name, measure in terms.measures.items():
            found.measures[name] += float(measure.sum()) * part.weight
        self._context.count(tokens=tokens * part.weight)

    def _over_ranks(self, found: BatchLoss) -> BatchLoss:
        """Returns what the ranks found together; all have the same measures, since each has read a part at least."""
        names = sorted(found.measures)
        loss, tokens, *measures = self._ranks.totals(
            [found.loss, found.tokens, *(found.measures[name] for name in names)]
        )
        return BatchLoss(loss, int(tokens), defaultdict(float, zip(names, measures, strict=True)))

    def _previewed(self, views: Sequence[TokenisedSample]) -> Tensor | None:
        """Returns what the objective makes of the whole batch, (samples,); None where it wants nothing of it."""
        preview = self._needs.preview
        if preview is None or not (torch.is_grad_enabled() or preview.when_validating):
            return None
        validates = not torch.is_grad_enabled()
        with torch.no_grad():
            return preview.conclude(self._preview(preview, views, repeated=validates)).expand(len(views))

    def _preview(self, preview: Preview, views: Sequence[TokenisedSample], *, repeated: bool) -> Scored:
        seen = mismatched(views, max_tokens=self._longest) if preview.mismatched else views
        own = torch.zeros(len(seen), self._needs.continuations, device=self._target.model.device)
        before = torch.zeros_like(own)
        for part in self._log_probs.shares(seen, self._context):
            log_probs, tokens = self._log_probs.of(part.samples, repeated=repeated)
            passes, known = 1, self._reference_of(part.samples)
            if preview.mismatched:
                assert self._reference is not None
                passes, known = 2, self._reference.of(part.samples, repeated=repeated)[0]
            if part.counts:
                own[part.places], before[part.places] = log_probs, known
                self._context.count(tokens=passes * tokens)
        return self._scored(seen, self._ranks.total(own), self._ranks.total(before), None)

    def _scored(
        self, part: Sequence[TokenisedSample], log_probs: Tensor, reference: Tensor, batchwide: Tensor | None
    ) -> Scored:
        return Scored(
            log_probs=log_probs,
            reference=reference,
            tokens=self._log_probs.lengths(part),
            desirable=torch.tensor([sample.desirable for sample in part], device=log_probs.device),
            batchwide=batchwide,
        )

    def _reference_of(self, part: Sequence[TokenisedSample]) -> Tensor:
        return torch.stack([self.reference[sample.id] for sample in part]).to(self._target.model.device)

    def _views(self, samples: Sequence[TokenisedSample]) -> list[TokenisedSample]:
        """Returns samples with the continuations that the loss reads."""
        count = self._needs.continuations
        return [replace(sample, continuations=sample.continuations[:count]) for sample in samples]

    def _weight(self, views: Sequence[TokenisedSample]) -> int:
        if not self._needs.averages_over_tokens:
            return len(views)
        return sum(self._log_probs.learnt_tokens(sample) for sample in views)

    def _held_out_texts(self) -> Sequence[TokenisedSample]:
        return self._utility.held_out if self._utility else []

    def _drop_gradients(self) -> None:
        for parameter in self._target.parameters.values():
            parameter.grad = None

    @contextmanager
    def _dropout(self, step: int, part: int) -> Generator[None]:
        """Switches the adapters' own dropout on, its noise a function of (seed, step, part); off everywhere else.

        The backward pass belongs inside: it may recompute activations.
        """
        dropouts = self._target.adapter_dropouts if torch.is_grad_enabled() else []
        if not dropouts:
            yield
            return
        with torch.random.fork_rng():
            # Parts are numbered over all ranks, so that no two of a step have the same noise.
            torch.manual_seed(_noise_seed(self._seed, step, part * self._ranks.count + self._ranks.rank))
            for module in dropouts:
                module.train()
            try:
                yield
            finally:
                for module in dropouts:
                    module.eval()

    def _within_memory(self, work: Callable[[], T], step: int) -> T:
        """Does the work again on smaller parts if memory runs out, once in a run; the batch stays what it is.

        Not among ranks, which a lone one cannot ask to begin again: they fail, and whoever started them does.
        """
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            may_halve = self._ranks.count == 1 and not self._halved and is_out_of_memory(error)
            if not may_halve or not self._log_probs.halve():
                raise
        # Past the except clause, so that the frames of the failure no longer hold their tensors.
        self._halved = True
        self._context.note("out of memory, so micro-batches are halved", step=step)
        if self._target.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return work()


def _backward(loss: Tensor) -> None:
    if torch.is_grad_enabled():
        loss.backward()


def _tokens_at_once(sample: TokenisedSample) -> int:
    return len(sample.prompt) + max(len(continuation) for continuation in sample.continuations)


def _noise_seed(seed: int, step: int, part: int) -> int:
    """Returns 63 bits that depend on all three and on nothing else."""
    return int.from_bytes(hashlib.sha256(f"dropout\n{seed}\n{step}\n{part}".encode()).digest()[:8], "big") >> 1
