# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# transformers' models and Opacus are partly untyped.
"""`selection.gradients.*`: norms of per-sample gradients as GRAND finds them, against Opacus, vmap and a loop.

A GPT-2 and a Llama of 7 million parameters, all of them trained, every token learnt. The limit is one batched forward
and backward pass with parameter gradients: a training step without its optimizer; a share above 1 is cheaper than that.
`value_agrees`: every norm is within 1e-5 of the loop's. Input and output embeddings are apart, since Opacus' ghost
norms refuse tied ones; it has no rule for the matrices of GPT-2 (Conv1D) and for RMSNorm, and falls back to vmap there.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import Contender, absent, present
from llm_repair.core.repair import DaptMethod, FullParameters, RepairMethod
from llm_repair.models.gradients.loss import sample_loss
from llm_repair.models.gradients.norms import GradientNorms
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample

Norms = npt.NDArray[np.float64]

EXACT = 1e-5
LOOP, STEP = "a backward pass a sample", "one batched forward and backward (limit)"
METHOD = RepairMethod(DaptMethod(), trainable=FullParameters())
IDS: Mapping[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False}


@dataclass(frozen=True)
class Size:
    """A model and a batch."""

    layers: int
    width: int
    vocabulary: int
    samples: int
    tokens: int
    """Of a sample; all but the first are learnt."""
    rounds: int


QUICK = (Size(1, 32, 64, 3, 12, 2),)
FULL = (Size(6, 256, 4096, 16, 32, 9), Size(6, 256, 4096, 16, 128, 5), Size(6, 256, 4096, 16, 512, 3))


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        torch.manual_seed(0)
        for name, model in (("gpt2", _gpt2(size)), ("llama", _llama(size))):
            yield from _side_by_side(f"selection.gradients.{name}", model, size)


def _gpt2(size: Size) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=size.vocabulary,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.width // 32,
        n_positions=size.tokens,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **IDS,
    )
    return GPT2LMHeadModel(config)


def _llama(size: Size) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.width * 43 // 16,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // 32,
        max_position_embeddings=size.tokens,
        **IDS,
    )
    return LlamaForCausalLM(config)


def _side_by_side(bench: str, model: PreTrainedModel, size: Size) -> Iterator[Line]:
    batch = _Batch(model, torch.randint(1, size.vocabulary, (size.samples, size.tokens)))
    contenders = [
        Contender("ours", _ours(batch)),
        Contender(STEP, batch.step),
        Contender("Opacus ghost norms", _OpacusNorms(batch, ghost=True), needs=("opacus",)),
        Contender("Opacus per-sample gradients", _OpacusNorms(batch, ghost=False), needs=("opacus",)),
        Contender("torch.func vmap", _vmapped(batch)),
        Contender(LOOP, batch.loop),
    ]
    with warnings.catch_warnings():
        # Opacus' hooks warn in every round.
        warnings.simplefilter("ignore")
        timings = interleaved(present(contenders, size.samples), rounds=size.rounds)
    exact = timings.values[LOOP]
    agrees = {
        name: np.allclose(norms, exact, rtol=EXACT, atol=0) for name, norms in timings.values.items() if name != STEP
    }
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    shown = f"{size.samples} x {size.tokens} tokens, {millions:.2g}M"
    yield from lines_of(timings, bench, shown, agrees=agrees, limit=STEP)
    yield from absent(contenders, bench, size.samples)


@dataclass(frozen=True)
class _Batch:
    """What all contenders work on."""

    model: PreTrainedModel
    ids: Tensor
    """(samples, tokens)."""

    def losses(self, module: torch.nn.Module, ids: Tensor) -> Tensor:
        """Returns the mean negative log-likelihood of each sample."""
        inputs = ids[:, :-1].contiguous()
        # In every row, since Opacus takes a broadcast row for a batch of one.
        positions = torch.arange(inputs.shape[1]).repeat(len(ids), 1)
        logits = module(input_ids=inputs, position_ids=positions, use_cache=False).logits
        tokens = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        return tokens.view(len(ids), -1).mean(dim=1)

    def step(self) -> Norms:
        """Takes the gradient of the mean loss."""
        torch.autograd.grad(self.losses(self.model, self.ids).mean(), list(self.model.parameters()))
        return np.empty(0)

    def loop(self) -> Norms:
        """Takes the gradient of one loss after the other."""
        parameters = list(self.model.parameters())
        norms: list[float] = []
        for row in self.ids.split(1):
            gradients = torch.autograd.grad(self.losses(self.model, row).sum(), parameters)
            own = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in gradients]
            norms.append(float(torch.stack(own).norm()))
        return np.array(norms)


def _ours(batch: _Batch) -> Callable[[], Norms]:
    samples = [
        TokenisedSample(f"{number:03}", (first,), (tuple(rest),))
        for number, (first, *rest) in enumerate(batch.ids.tolist())
    ]
    target = make_trainable(batch.model, METHOD.trained, seed=0)
    norms = GradientNorms(target, sample_loss(METHOD), samples, half=False)
    assert norms.path == "ghost", norms.reason

    def found() -> Norms:
        values = np.empty(len(samples))
        for places in norms.batches(samples):
            values[places] = norms.of([samples[place] for place in places]).values
        return values

    return found


@dataclass(frozen=True)
class _OpacusNorms:
    """Norms by Opacus' wrappers, on a model of their own: their hooks stay on it."""

    batch: _Batch
    ghost: bool

    def __call__(self) -> Norms:
        wrapped = _wrapped(self.batch.model, self.ghost)
        wrapped.zero_grad()
        self.batch.losses(wrapped, self.batch.ids).sum().backward()
        if self.ghost:
            return wrapped.get_norm_sample().detach().double().numpy()
        return _norms([parameter.grad_sample for parameter in wrapped.parameters()])


@cache
def _wrapped(model: PreTrainedModel, ghost: bool) -> Any:
    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping

    kind = GradSampleModuleFastGradientClipping if ghost else GradSampleModule
    return kind(copy.deepcopy(model).train(), loss_reduction="sum", strict=False)


def _vmapped(batch: _Batch) -> Callable[[], Norms]:
    parameters = {f"model.{name}": value.detach() for name, value in batch.model.named_parameters()}
    loss_of = _SampleLoss(batch)

    def loss(values: Mapping[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(loss_of, dict(values), (row,))

    def found() -> Norms:
        # The fused attention has no batching rule: vmap would go through it sample by sample.
        with sdpa_kernel(SDPBackend.MATH):
            gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, batch.ids)
        return _norms(list(gradients.values()))

    return found


class _SampleLoss(torch.nn.Module):
    """The loss of one row of tokens."""

    def __init__(self, batch: _Batch) -> None:
        super().__init__()
        self.model = batch.model
        self._batch = batch

    def forward(self, row: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        return self._batch.losses(self.model, row.unsqueeze(0)).sum()


def _norms(gradients: list[Tensor]) -> Norms:
    """Returns the norm of each sample from its gradients, (samples, *shape) each."""
    own = [torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64) for gradient in gradients]
    return torch.stack(own).norm(dim=0).numpy()


if __name__ == "__main__":
    area.main(__doc__, lines)
