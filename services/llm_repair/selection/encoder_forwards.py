"""How texts become vectors: by sentence-transformers itself, or by a faster forward for what it understands."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# sentence-transformers types its features as dictionaries of anything.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from llm_repair.core.evaluation import WeightFormat
from llm_repair.models.inference.bert import FusedBert, PackedStates, is_plain_bert

_DTYPES: Final = {WeightFormat.FLOAT32: torch.float32, WeightFormat.BFLOAT16: torch.bfloat16}
_POOLINGS: Final[dict[str, Callable[[PackedStates], Tensor]]] = {
    "mean": PackedStates.means,
    "cls": PackedStates.firsts,
}


class Forward(Protocol):
    """What turns prepared texts into vectors."""

    @property
    def name(self) -> str:
        """`fused` or `library`."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether several threads may embed at once, each a batch of its own."""
        ...

    def payload(self, text: str, ids: Sequence[int]) -> bytes:
        """Returns what `embed` needs of a text: of the text itself or of its token ids, truncated."""
        ...

    def embed(self, payloads: Sequence[bytes]) -> Tensor:
        """Returns the vectors (texts, dimensions), float32, of one batch."""
        ...


class LibraryForward:
    """The library's own, for any encoder; pads a batch to its longest text."""

    name = "library"
    parallel = False
    """A tokenizer serves one thread at a time."""

    def __init__(self, model: SentenceTransformer, prompt: str, weights: WeightFormat) -> None:
        self._model, self._prompt = model, prompt
        self._narrow = weights is WeightFormat.BFLOAT16

    def payload(self, text: str, ids: Sequence[int]) -> bytes:
        """Returns the text: how the library tokenises for a model is its own affair."""
        return text.encode("utf-8")

    @torch.inference_mode()
    def embed(self, payloads: Sequence[bytes]) -> Tensor:
        """Embeds one batch; products in bf16 by autocast where asked for, so that norms and residuals stay fp32."""
        texts = [payload.decode("utf-8") for payload in payloads]
        features: dict[str, Any] = self._model.preprocess(texts, prompt=self._prompt or None)
        device = self._model.device
        moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in features.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=self._narrow):
            return self._model(moved)["sentence_embedding"].float()


class FusedForward:
    """BERT without padding, mean or first-token pooling, then the encoder's own further modules."""

    name = "fused"

    def __init__(
        self,
        bert: FusedBert,
        pooling: Callable[[PackedStates], Tensor],
        further: Sequence[Callable[[dict[str, Tensor]], dict[str, Tensor]]],
        *,
        parallel: bool,
    ) -> None:
        self._bert, self._pooling, self._further, self.parallel = bert, pooling, further, parallel

    def payload(self, text: str, ids: Sequence[int]) -> bytes:
        """Returns the ids, so that nothing is tokenised twice."""
        return np.array(ids, dtype=np.int32).tobytes()

    @torch.inference_mode()
    def embed(self, payloads: Sequence[bytes]) -> Tensor:
        """Embeds one batch."""
        states = self._bert.read([np.frombuffer(payload, dtype=np.int32) for payload in payloads])
        features = {"sentence_embedding": self._pooling(states)}
        for module in self._further:
            features = module(features)
        return features["sentence_embedding"].float()


def fused_forward(model: SentenceTransformer, prompt: str, weights: WeightFormat) -> FusedForward | None:
    """Returns the fast forward of an encoder, or None where it is of another make.

    Only what the modules say of themselves is looked at here; that both forwards agree is for the caller to check.
    """
    modules: list[Any] = list(model)
    if [type(module).__name__ for module in modules[:2]] != ["Transformer", "Pooling"]:
        return None
    transformer, pooling, further = modules[0], modules[1], modules[2:]
    if pooling.pooling_mode not in _POOLINGS or (prompt and not pooling.include_prompt):
        return None
    if not is_plain_bert(transformer.auto_model) or transformer.tokenizer.padding_side != "right":
        return None
    if not all(_takes_vectors(module) for module in further):
        return None
    bert = FusedBert(transformer.auto_model, _DTYPES[weights])
    on_cpu = model.device.type == "cpu"
    return FusedForward(bert, _POOLINGS[pooling.pooling_mode], further, parallel=on_cpu)


def _takes_vectors(module: Any) -> bool:
    """Tells whether a module after the pooling works on vectors of texts alone."""
    kind = type(module).__name__
    return kind == "Normalize" or (kind == "Dense" and module.module_input_name == "sentence_embedding")
