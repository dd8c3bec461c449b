from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.hashing import derived_seed, order_by_hash

NAMES = st.lists(st.text(max_size=8), unique=True, max_size=30)


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


def test_first_places_are_uniform() -> None:
    """2,000 seeds over 4 names: expected 500 each, standard deviation 19.4; 5 deviations are 97."""
    counts = [0, 0, 0, 0]
    for seed in range(2000):
        counts[order_by_hash(["a", "b", "c", "d"], seed, "p")[0]] += 1

    assert all(abs(count - 500) < 97 for count in counts)


def test_seeds_of_two_purposes_and_of_two_jobs_differ_and_fit_31_bits() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(100) for purpose in ("a", "b")}

    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)
