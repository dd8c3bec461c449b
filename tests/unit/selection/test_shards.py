import pytest

from llm_repair.selection.shards import LocalShards, spans


@pytest.mark.parametrize(("atoms", "shards"), [(0, 1), (1, 7), (7, 7), (10, 3), (100, 7), (5, 1)])
def test_spans_hold_every_atom_once_in_order_and_are_even(atoms: int, shards: int) -> None:
    cut = spans(atoms, shards)

    assert [atom for span in cut for atom in span] == list(range(atoms))
    assert all(span for span in cut)
    assert len(cut) == min(atoms, shards)
    assert not cut or max(map(len, cut)) - min(map(len, cut)) <= 1


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_mapped_shards_come_back_in_the_order_of_their_atoms(shards: int) -> None:
    parts = LocalShards(shards).map(list, 20)

    assert [atom for part in parts for atom in part] == list(range(20))
