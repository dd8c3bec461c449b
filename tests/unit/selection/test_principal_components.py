"""PCA against singular vectors, and what it promises about places, shards and degenerate pools."""

import numpy as np
import pytest

from llm_repair.selection.principal_components import project
from llm_repair.selection.shards import LocalShards


def test_pca_is_that_of_an_independent_oracle() -> None:
    """Singular vectors of the centred matrix; equal up to the sign of each component."""
    matrix = np.random.default_rng(1).normal(size=(300, 8)) @ np.diag([9, 7, 5, 4, 3, 2, 1, 0.5])
    centred = matrix - matrix.mean(axis=0)
    _, _, vectors = np.linalg.svd(centred, full_matrices=False)

    points = project(matrix.astype(np.float32), 3)

    expected = centred @ vectors[:3].T
    assert np.allclose(np.abs(points), np.abs(expected), atol=1e-3)


def test_a_mean_far_from_the_origin_costs_no_digits() -> None:
    """Moments about the origin would lose 10 of 16 digits here, and the smaller component with them."""
    matrix = np.random.default_rng(2).normal(size=(5000, 3)) * [1, 0.1, 0.01]
    far = (matrix + 4096).astype(np.float32)

    points = project(far, 3)

    # A float32 at 4096 is good to 0.0002, which adds to a standard deviation of 0.01.
    assert points.std(axis=0) == pytest.approx([1, 0.1, 0.01], rel=0.05)


def test_pca_turns_the_sign_so_that_the_leading_weight_is_positive() -> None:
    """All variance lies along the first axis, so the first component is +x and never -x."""
    matrix = np.array([[-4.0, 0.1], [0.0, -0.1], [4.0, 0.0]], dtype=np.float32)

    assert project(matrix, 1)[:, 0].tolist() == pytest.approx([-4, 0, 4], abs=0.02)
    assert project(-matrix, 1)[:, 0].tolist() == pytest.approx([4, 0, -4], abs=0.02)


@pytest.mark.parametrize("shards", [2, 7])
def test_any_number_of_shards_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    monkeypatch.setattr("llm_repair.selection.atoms.ATOM_ROWS", 32)
    matrix = np.random.default_rng(3).normal(3, 1, size=(1001, 20)).astype(np.float32)

    assert project(matrix, 6, LocalShards(shards)).tobytes() == project(matrix, 6).tobytes()


def test_the_size_of_an_atom_shows_in_the_last_digits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(2).normal(size=(101, 7)).astype(np.float32)
    whole = project(matrix, 4)

    monkeypatch.setattr("llm_repair.selection.atoms.ATOM_ROWS", 13)

    assert np.allclose(project(matrix, 4), whole, atol=1e-5)


@pytest.mark.parametrize("width", [383, 384])
def test_equal_rows_are_equal_points_wherever_they_stand(width: int) -> None:
    """Places in a block, and the one row of a last block, must not show, not even in components without variance."""
    rng = np.random.default_rng(4)
    texts = rng.normal(size=(37, width)).astype(np.float32)
    which = rng.integers(37, size=2 * 2048 + 1)

    points = project(texts[which], 50)

    for text in range(37):
        assert len(np.unique(points[which == text], axis=0)) == 1


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (5, 1), (60, 5)])
def test_pca_is_capped_by_rows_and_width(shape: tuple[int, int]) -> None:
    points = project(np.ones(shape, dtype=np.float32), 50)

    assert points.shape == (shape[0], min(shape))
    assert not points.any()  # no variance
