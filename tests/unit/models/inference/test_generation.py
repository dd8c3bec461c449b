"""Batched generation against one-row-at-a-time generation by transformers itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_repair.core.errors import DatasetInvalid, ModelInvalid, PromptTooLong, StepCancelled
from llm_repair.core.evaluation import WeightFormat
from llm_repair.models.inference import generation
from llm_repair.models.inference.generation import Prompt, batches, generate
from llm_repair.models.inference.llama import FusedLlama
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import LanguageModel, load_causal_lm, load_language_model

SAMPLING = Sampling(draws=3, max_new_tokens=6, top_p=0.9, seed=11)
TEXTS = {"b": "hello there", "a": "x", "c": "a rather longer prompt, with a comma", "d": "née Ünïcode"}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<eos>": 0, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "llama":
        config = LlamaConfig(
            vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, bos_token_id=None, eos_token_id=0,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(path)
    else:
        gpt2 = GPT2Config(vocab_size=257, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2,
                          bos_token_id=0, eos_token_id=0)  # fmt: skip
        GPT2LMHeadModel(gpt2).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load_language_model(folder, weights=WeightFormat.FLOAT32)


def prompts(model: LanguageModel, names: str = "abcd") -> list[Prompt]:
    encoded = model.tokens.encode([TEXTS[name] for name in names])
    return [Prompt(name, text.ids) for name, text in zip(names, encoded, strict=True)]


def by_row(model: LanguageModel, asked: list[Prompt], sampling: Sampling) -> dict[tuple[str, int], tuple[str, int]]:
    made = [row for batch in generate(model, asked, sampling) for row in batch]
    return {(row.prompt_id, row.draw): (row.text, row.tokens) for row in made}


def test_llama_runs_on_the_fused_network(folder: Path, model: LanguageModel) -> None:
    assert isinstance(model.network, FusedLlama) == folder.name.startswith("llama")


def test_greedy_equals_transformers_one_prompt_at_a_time(folder: Path, model: LanguageModel) -> None:
    oracle = load_causal_lm(folder)
    rows = by_row(model, prompts(model), Sampling(draws=1, max_new_tokens=12, greedy=True))

    for prompt in prompts(model):
        ids = torch.tensor([prompt.ids])
        out = oracle.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=0
        )
        new = [token for token in out[0, len(prompt.ids) :].tolist() if token != 0]
        assert rows[prompt.id, 0] == (model.tokens.continuation_text(prompt.ids, new), len(new))


def test_samples_do_not_depend_on_the_batch(model: LanguageModel) -> None:
    together = by_row(model, prompts(model), SAMPLING)

    apart = {key: row for name in "dbca" for key, row in by_row(model, prompts(model, name), SAMPLING).items()}

    assert together == apart


def test_a_repeat_is_equal_and_another_seed_is_not(model: LanguageModel) -> None:
    first = by_row(model, prompts(model), SAMPLING)

    assert by_row(model, prompts(model)[::-1], SAMPLING) == first
    assert by_row(model, prompts(model), Sampling(draws=3, max_new_tokens=6, top_p=0.9, seed=12)) != first
    assert len(set(first.values())) > len(TEXTS)


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_every_number_of_threads_gives_the_same_bits(
    model: LanguageModel, with_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits of the logits, not only what is drawn: a batch is one of three rows, as many as draws."""
    monkeypatch.setattr(generation, "BATCH_ROWS", 3)
    seen: dict[int, set[bytes]] = {}
    draw = generation.sample

    def recorded(logits: torch.Tensor, *rest: object) -> torch.Tensor:
        seen[torch.get_num_threads(), threads].add(logits.numpy().tobytes())  # type: ignore[index]
        return draw(logits, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(generation, "sample", recorded)
    made = []
    for threads in (1, 2, 3):
        with_threads(threads)
        seen[1, threads] = set()  # type: ignore[index]
        made.append([row for batch in generate(model, prompts(model), SAMPLING) for row in batch])
        assert torch.get_num_threads() == threads

    assert made[0] == made[1] == made[2]
    assert [len(logits) for logits in seen.values()] == [len(TEXTS) * 6] * 3
    assert len(set(map(frozenset, seen.values()))) == 1


def test_cancelling_stops_all_threads(
    model: LanguageModel, with_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the cancellation before its first token, of 6 in each of 4 batches, and hears of it soon."""
    monkeypatch.setattr(generation, "BATCH_ROWS", 3)
    cancelled = threading.Event()
    prefill = model.network.prefill

    def waiting(*asked: object) -> object:
        assert cancelled.wait(30)
        return prefill(*asked)  # type: ignore[arg-type]

    def cancel() -> None:
        cancelled.set()
        raise StepCancelled

    monkeypatch.setattr(model.network, "prefill", waiting)
    drawn: list[int] = []
    draw = generation.sample
    monkeypatch.setattr(generation, "sample", lambda *asked: drawn.append(1) or draw(*asked))
    with_threads(2)

    with pytest.raises(StepCancelled):
        next(generate(model, prompts(model), SAMPLING, beat=cancel))
    assert len(drawn) <= 2
    assert torch.get_num_threads() == 2


def test_what_goes_wrong_in_a_thread_is_raised(
    model: LanguageModel, with_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*asked: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model.network, "prefill", defect)
    with_threads(2)

    with pytest.raises(ZeroDivisionError):
        next(generate(model, prompts(model), SAMPLING))
    assert torch.get_num_threads() == 2


def test_generations_come_ordered_by_prompt_and_draw(model: LanguageModel) -> None:
    rows = [(row.prompt_id, row.draw) for batch in generate(model, prompts(model, "cab"), SAMPLING) for row in batch]

    assert rows == [(name, draw) for name in "abc" for draw in range(3)]


def test_a_continuation_ends_before_its_stop_token(folder: Path, model: LanguageModel) -> None:
    """With every id a stop token, nothing is left of any continuation."""
    everything = LanguageModel(model.network, type(model.tokens)(model.tokens.tokenizer, (), frozenset(range(257))))

    assert set(by_row(everything, prompts(model), SAMPLING).values()) == {("", 0)}


def test_batches_hold_whole_prompts_or_split_one_prompts_draws_evenly() -> None:
    asked = [Prompt(name, (1,)) for name in "edcba"]

    whole = [[prompt.id for prompt, _ in batch] for batch in batches(asked, draws=4, rows=8)]
    split = [(batch[0][0].id, batch[0][1]) for batch in batches(asked[:1], draws=10, rows=4)]

    assert whole == [["a", "b"], ["c", "d"], ["e"]]
    assert split == [("e", range(3)), ("e", range(3, 6)), ("e", range(6, 10))]


def test_too_long_prompts_are_named_before_anything_runs(model: LanguageModel) -> None:
    asked = [Prompt("fits", (1,) * 58), Prompt("too-long", (1,) * 59)]

    with pytest.raises(PromptTooLong, match=r"1 prompts with 6 new tokens exceed the context of 64 tokens: too-long$"):
        next(generate(model, asked, SAMPLING))


def test_empty_prompts_are_named(model: LanguageModel) -> None:
    with pytest.raises(DatasetInvalid, match="have no tokens: nothing"):
        next(generate(model, [Prompt("nothing", ())], SAMPLING))


def test_cancelling_stops_in_the_middle_of_a_batch(model: LanguageModel, with_threads: Callable[[int], None]) -> None:
    with_threads(1)  # several ask a few times a second, not at every token
    beats = 0

    def cancel_at_the_third_token() -> None:
        nonlocal beats
        beats += 1
        if beats == 4:
            raise StepCancelled

    with pytest.raises(StepCancelled):
        next(generate(model, prompts(model), SAMPLING, beat=cancel_at_the_third_token))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')

    with pytest.raises(ModelInvalid):
        load_causal_lm(tmp_path)
