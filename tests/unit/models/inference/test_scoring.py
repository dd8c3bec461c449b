"""Log-likelihood sums against predictions of transformers' own forward, one token at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from llm_repair.core.errors import StepCancelled
from llm_repair.models.inference import scoring
from llm_repair.models.inference.decoding import Decoding, Network, TransformersNetwork
from llm_repair.models.inference.llama import FusedLlama
from llm_repair.models.inference.scoring import Document, score

GENERATOR = torch.Generator().manual_seed(5)
DOCUMENTS = [
    Document(f"doc-{length:03d}-{given}", tuple(torch.randint(0, 97, (length,), generator=GENERATOR).tolist()), given)
    for length, given in (
        (1, 1),
        (2, 1),
        (3, 1),
        (16, 1),
        (17, 1),
        (18, 1),
        (33, 1),
        (50, 1),
        (0, 1),
        (30, 20),
        (50, 49),
    )
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


def stride_ends(document: Document, window: int, stride: int) -> list[int]:
    """Returns for every predicted token where its stride ends; the first is as long as the window.

    With given = 1, window 4, stride 2 and ten tokens: 1 to 4 end at 5, 5 and 6 at 7, 7 and 8 at 9, 9 at 10.
    """
    length = len(document.ids)
    ends: list[int] = []
    while document.given + len(ends) < length:
        start = document.given + len(ends)
        end = min(max(start + stride, window + 1), length)
        ends += [end] * (end - start)
    return ends


def by_hand(model: PreTrainedModel, document: Document, window: int, stride: int) -> tuple[float, bool]:
    """Predicts token by token, each by a forward of its own from as far back as its stride's last input allows."""
    nll, greedy = 0.0, True
    for position, end in enumerate(stride_ends(document, window, stride), start=document.given):
        seen = document.ids[max(0, end - 1 - window) : position]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([seen])).logits[0, -1].double()
        nll -= float(logits.log_softmax(dim=0)[document.ids[position]])
        greedy = greedy and int(logits.argmax()) == document.ids[position]
    return nll, greedy


def test_strides_are_those_worked_out_by_hand() -> None:
    assert stride_ends(Document("d", tuple(range(10))), 4, 2) == [5] * 4 + [7] * 2 + [9] * 2 + [10]
    assert list(scoring.strides(10, 1, 4, 2)) == [range(1, 5), range(5, 7), range(7, 9), range(9, 10)]
    assert list(scoring.strides(10, 1, 4, None)) == [range(1, 5), range(5, 9), range(9, 10)]
    assert list(scoring.strides(10, 7, 4, 2)) == [range(7, 9), range(9, 10)]
    assert list(scoring.strides(5, 1, 4, 1)) == [range(1, 5)]
    assert list(scoring.strides(1, 1, 4, None)) == list(scoring.strides(0, 1, 4, None)) == []


def test_the_last_window_looks_back_as_far_as_the_others() -> None:
    (first, last) = scoring.all_windows([Document("d", tuple(range(7)))], 4, None)

    assert (first.inputs, first.targets) == ((0, 1, 2, 3), (1, 2, 3, 4))
    assert (last.inputs, last.targets) == ((2, 3, 4, 5), (5, 6))


@pytest.mark.parametrize(("window", "stride"), [(16, 16), (16, 5), (48, 48), (3, 1)])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_sums_equal_predictions_made_one_by_one(
    make: Callable[[], tuple[Network, PreTrainedModel]], window: int, stride: int
) -> None:
    network, model = make()

    scores = list(score(network, DOCUMENTS, window, stride_tokens=stride))

    assert [made.document_id for made in scores] == sorted(document.id for document in DOCUMENTS)
    by_id = {document.id: document for document in DOCUMENTS}
    for made in scores:
        document = by_id[made.document_id]
        nll, greedy = by_hand(model, document, window, stride)
        assert made.tokens == max(len(document.ids) - document.given, 0)
        assert (made.nll, made.greedy) == (pytest.approx(nll, rel=1e-5), greedy)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_what_the_model_would_say_itself_is_greedy(make: Callable[[], tuple[Network, PreTrainedModel]]) -> None:
    network, model = make()
    prompt = DOCUMENTS[3].ids
    with torch.inference_mode():
        said = model.generate(torch.tensor([prompt]), max_new_tokens=3, do_sample=False)[0].tolist()  # type: ignore[operator]
    other = [*said[:-1], (said[-1] + 1) % 97]

    scores = score(
        network, [Document("a", tuple(said), len(prompt)), Document("b", tuple(other), len(prompt))], window_tokens=48
    )

    assert [(made.tokens, made.greedy) for made in scores] == [(3, True), (3, False)]


class OneState:
    """A network of five tokens whose logits are given; its state is the number of the token."""

    vocabulary, context_tokens, parallel = 5, 16, False

    def __init__(self, logits: Sequence[float]) -> None:
        self._logits = torch.tensor([logits])

    def read(self, inputs: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.zeros(sum(map(len, inputs)), 1)

    def logits(self, states: torch.Tensor, vocabulary: slice = slice(None)) -> torch.Tensor:
        return self._logits.repeat(len(states), 1)[:, vocabulary].clone()

    def prefill(self, prompts: Sequence[Sequence[int]], draws: int, room: int) -> tuple[Decoding, torch.Tensor]:
        raise NotImplementedError


@pytest.mark.parametrize("narrowest", [1, 2, 256])
def test_logits_that_no_float_could_sum_are_losses_still(monkeypatch: pytest.MonkeyPatch, narrowest: int) -> None:
    """ln(e^900 + e^890 + ...) - 890 = 10 + ln(1 + e^-10 + 3 e^-1800) = 10.0000454; and a loss of nothing is 0."""
    monkeypatch.setattr(scoring, "CHUNK_LOGITS", 1)
    monkeypatch.setattr(scoring, "_NARROWEST", narrowest)
    network = OneState([-900.0, 890.0, 900.0, -900.0, float("-inf")])

    scores = [next(score(network, [Document("d", (0, token))], 8)) for token in range(5)]

    assert scores[1].nll == pytest.approx(10.0000454, abs=1e-7)
    assert scores[2].nll == pytest.approx(4.54e-5, abs=1e-7)
    assert scores[0].nll == pytest.approx(1800.0000454, abs=1e-4)
    assert scores[4].nll == float("inf")
    assert [made.greedy for made in scores] == [False, False, True, False, False]


def test_a_token_that_shares_the_largest_logit_is_not_greedy() -> None:
    network = OneState([1.0, 2.0, 2.0, 0.0, 0.0])

    assert not next(score(network, [Document("d", (0, 1))], 8)).greedy


def test_logits_that_are_no_numbers_make_no_number() -> None:
    network = OneState([float("nan")] * 5)

    made = next(score(network, [Document("d", (0, 1))], 8))

    assert math.isnan(made.nll)
    assert not made.greedy


@pytest.mark.parametrize("make", [llama, gpt2])
def test_batches_and_stretches_of_the_vocabulary_change_nothing(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], tuple[Network, PreTrainedModel]]
) -> None:
    network, _ = make()
    together = list(score(network, DOCUMENTS, 16))

    monkeypatch.setattr(scoring, "BATCH_TOKENS", 20)
    monkeypatch.setattr(scoring, "CHUNK_LOGITS", 97 * 3)
    monkeypatch.setattr(scoring, "_NARROWEST", 10)
    alone = [next(score(network, [document], 16)) for document in DOCUMENTS]

    for one, other in zip(sorted(alone, key=lambda made: made.document_id), together, strict=True):
        assert one.document_id == other.document_id
        assert one.nll == pytest.approx(other.nll, rel=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_how_many_threads_read_shows_in_no_bit(
    threads: int, make: Callable[[], tuple[Network, PreTrainedModel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = make()
    assert network.parallel
    alone = list(score(network, DOCUMENTS, 16))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    assert list(score(network, DOCUMENTS, 16)) == alone


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_model_that_changes_its_rotation_as_it_reads_is_read_by_one_thread(kind: str) -> None:
    rotation = {"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0}
    if kind == "longrope":
        rotation |= {"long_factor": [2.0] * 4, "short_factor": [1.0] * 4, "original_max_position_embeddings": 32}
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=64, rope_parameters=rotation,
    )  # fmt: skip

    assert not TransformersNetwork(LlamaForCausalLM(config).eval(), 64).parallel


@pytest.mark.parametrize("threads", [1, 2])
def test_the_beat_hears_of_all_tokens_in_the_end(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = llama()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    heard: list[int] = []

    made = list(score(network, DOCUMENTS, 16, beat=heard.append))

    assert heard == sorted(heard)
    assert heard[-1] == sum(one.tokens for one in made)


def test_scoring_stops_when_cancelled() -> None:
    network, _ = llama()

    def cancel(_: int) -> None:
        raise StepCancelled

    with pytest.raises(StepCancelled):
        list(score(network, DOCUMENTS, 16, beat=cancel))
