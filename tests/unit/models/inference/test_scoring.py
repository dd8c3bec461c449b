"""Log-likelihood sums against transformers' own loss, one window at a time."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from llm_repair.core.errors import StepCancelled
from llm_repair.models.inference import scoring
from llm_repair.models.inference.decoding import Network, TransformersNetwork
from llm_repair.models.inference.llama import FusedLlama
from llm_repair.models.inference.scoring import Document, score

GENERATOR = torch.Generator().manual_seed(5)
DOCUMENTS = [
    Document(f"doc-{length:03d}", tuple(torch.randint(0, 97, (length,), generator=GENERATOR).tolist()))
    for length in (1, 2, 3, 16, 17, 18, 33, 50, 0)
]


def llama() -> tuple[Network, PreTrainedModel]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    return FusedLlama(model, torch.float32), model


def gpt2() -> tuple[Network, PreTrainedModel]:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)
    model = GPT2LMHeadModel(config).eval()
    return TransformersNetwork(model, 64), model


def oracle_nll(model: PreTrainedModel, ids: tuple[int, ...], window: int) -> float:
    """Sums transformers' loss over windows that start every `window` tokens and share one token."""
    total = 0.0
    for start in range(0, len(ids) - 1, window):
        piece = torch.tensor([ids[start : start + window + 1]])
        with torch.inference_mode():
            logits = model(input_ids=piece).logits[0, :-1].double()
        total += float(torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum"))
    return total


@pytest.mark.parametrize("window", [16, 48])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_sums_equal_an_unbatched_oracle(make: object, window: int) -> None:
    network, model = make()  # type: ignore[operator]

    scores = {score.document_id: score for score in score_all(network, window)}

    assert list(scores) == sorted(document.id for document in DOCUMENTS)
    for document in DOCUMENTS:
        made = scores[document.id]
        assert made.tokens == max(len(document.ids) - 1, 0)
        assert made.nll == pytest.approx(oracle_nll(model, document.ids, window), rel=1e-5)


def score_all(network: Network, window: int) -> list[scoring.DocumentScore]:
    return list(score(network, DOCUMENTS, window))


def test_small_batches_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = llama()
    whole = score_all(network, 16)

    monkeypatch.setattr(scoring, "BATCH_TOKENS", 20)
    monkeypatch.setattr(scoring, "CHUNK_LOGITS", 97 * 3)

    for one, other in zip(score_all(network, 16), whole, strict=True):
        assert one.nll == pytest.approx(other.nll, rel=1e-5)


def test_scoring_stops_when_cancelled() -> None:
    network, _ = llama()

    def cancel(_: int) -> None:
        raise StepCancelled

    with pytest.raises(StepCancelled):
        list(score(network, DOCUMENTS, 16, beat=cancel))
