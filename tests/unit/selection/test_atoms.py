import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.selection import atoms
from llm_repair.selection.atoms import atoms_of, rows_of, tree_sum
from llm_repair.selection.shards import LocalShards


def test_atoms_hold_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atoms, "ATOM_ROWS", 4)

    for rows in range(1, 14):
        matrix = list(range(rows))
        assert [row for atom in range(atoms_of(rows)) for row in matrix[rows_of(atom)]] == matrix
        assert all(matrix[rows_of(atom)] for atom in range(atoms_of(rows)))


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_order_of_addition_depends_on_the_number_of_atoms_only(count: int, shards: int) -> None:
    """With an addition that writes down what it adds."""

    def added(shards: int) -> str:
        return tree_sum(str, count, LocalShards(shards), lambda left, right: f"({left} {right})")

    assert added(shards) == added(1)
    assert added(1).replace("(", "").replace(")", "").split() == [str(atom) for atom in range(count)]


def test_seven_atoms_are_added_as_four_two_and_one() -> None:
    """From the right: (4 5) and 6 first, since no later atom can join them."""
    written = tree_sum(str, 7, LocalShards(3), lambda left, right: f"({left} {right})")

    assert written == "(((0 1) (2 3)) ((4 5) 6))"
