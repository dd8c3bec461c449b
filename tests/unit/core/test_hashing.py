import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core import hashing
from llm_repair.core.hashing import derived_seed, order_by_hash, order_of_hashes, seeded_hashes

NAMES = st.lists(st.text(max_size=20), unique=True, max_size=30)
WORD = 2**64


def mixed(word: int) -> int:
    """The finaliser of SplitMix64, as published: shifts 30, 27, 31."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % WORD
    return word ^ (word >> 31)


def hashed_one_by_one(name: str, seed: int, purpose: str) -> int:
    """The same hash in plain integers: the key, the length, then the bytes, eight at a time, little end first."""
    key = int.from_bytes(hashlib.sha256(f"{seed}\0{purpose}\0".encode("utf-8", "surrogatepass")).digest()[:8], "big")
    data = name.encode("utf-8", "surrogatepass")
    golden = 0x9E3779B97F4A7C15
    state = mixed((len(data) * golden % WORD) ^ key)
    for start in range(0, len(data), 8):
        state = mixed(((state ^ int.from_bytes(data[start : start + 8], "little")) + golden) % WORD)
    return state >> 32


@given(st.lists(st.text(max_size=20) | st.sampled_from(["", "\0", "a\0", "\0\0a", "\ud800", "é" * 9]), max_size=20))
def test_hashes_are_those_of_an_oracle_one_by_one(names: list[str]) -> None:
    assert seeded_hashes(names, 7, "p").tolist() == [hashed_one_by_one(name, 7, "p") for name in names]


def test_hashes_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{'x' * (row % 13)}{row}" for row in range(200)]
    whole = seeded_hashes(names, 7, "p")

    monkeypatch.setattr(hashing, "_BLOCK_NAMES", 17)

    assert np.array_equal(seeded_hashes(names, 7, "p"), whole)


@given(NAMES, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_given(names: list[str], chance: object) -> None:
    shuffled = list(names)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    assert [names[i] for i in order_by_hash(names, 3, "p")] == [shuffled[i] for i in order_by_hash(shuffled, 3, "p")]


@given(NAMES, st.text(max_size=8))
def test_a_further_name_leaves_the_order_of_the_others_alone(names: list[str], further: str) -> None:
    others = [name for name in names if name != further]
    with_it = [*others, further]

    kept = [with_it[i] for i in order_by_hash(with_it, 3, "p") if with_it[i] != further]

    assert kept == [others[i] for i in order_by_hash(others, 3, "p")]


def test_equal_hashes_are_ordered_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes 5, 5, 1, 5, 1 of d, a, e, c, b: first b and e, then a, c and d."""
    monkeypatch.setattr(hashing, "seeded_hashes", lambda *_: np.array([5, 5, 1, 5, 1], dtype=np.uint32))

    assert order_by_hash(["d", "a", "e", "c", "b"], 0, "p").tolist() == [4, 2, 1, 3, 0]


@given(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3), max_size=50))
def test_hashes_are_sorted_stably(hashes: list[int]) -> None:
    expected = sorted(range(len(hashes)), key=hashes.__getitem__)

    assert order_of_hashes(np.array(hashes, dtype=np.uint32)).tolist() == expected


def test_first_places_are_uniform() -> None:
    """2,000 seeds over 4 names: expected 500 each, standard deviation 19.4; 5 deviations are 97."""
    counts = [0, 0, 0, 0]
    for seed in range(2000):
        counts[order_by_hash(["a", "b", "c", "d"], seed, "p")[0]] += 1

    assert all(abs(count - 500) < 97 for count in counts)


@pytest.mark.parametrize("shift", [0, 8, 24])
def test_hashes_of_numbered_names_are_uniform(shift: int) -> None:
    """100,000 names that differ in digits only, in 256 bins by one byte: chi-square has mean 255, deviation 22.6."""
    hashes = seeded_hashes([f"sample-{row:07d}" for row in range(100_000)], 1, "p")

    counts = np.bincount((hashes >> shift) & 0xFF, minlength=256)

    expected = 100_000 / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * 22.6


@pytest.mark.parametrize("length", [7, 8, 9, 16, 40])
def test_every_character_changes_half_of_the_bits(length: int) -> None:
    """Of 32 bits 16 differ on average; over 2,000 names the mean is within 5 * 2.83 / sqrt(2000) = 0.32."""
    names = [f"{row:0{length}d}"[-length:] for row in range(2_000)]
    for place in {0, length // 2, length - 1}:
        changed = [name[:place] + chr(ord(name[place]) ^ 1) + name[place + 1 :] for name in names]

        flipped = np.bitwise_count(seeded_hashes(names, 1, "p") ^ seeded_hashes(changed, 1, "p"))

        assert abs(flipped.mean() - 16) < 0.32


def test_two_seeds_and_two_purposes_give_independent_orders() -> None:
    """Of 20,000 places the rank correlation deviates by 1 / sqrt(20,000) = 0.007."""
    names = [f"sample-{row:07d}" for row in range(20_000)]
    places = [np.argsort(order_by_hash(names, seed, purpose)) for seed, purpose in [(1, "p"), (2, "p"), (1, "q")]]

    correlations = np.corrcoef([np.arange(20_000), *places])[np.triu_indices(4, 1)]

    assert np.abs(correlations).max() < 5 * 0.0071


def test_seeds_of_two_purposes_and_of_two_jobs_differ_and_fit_31_bits() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(100) for purpose in ("a", "b")}

    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)
