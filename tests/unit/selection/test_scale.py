"""Large pools in a small process: a million embeddings are 1.5 GB, and nothing may hold them twice."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WIDTH = 384
"""Of all-MiniLM-L6-v2."""
LIMIT_BYTES = 4 * 2**30
_BLOCK = 16_384


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A matrix of a million distinct rows, made of one block whose columns move on from copy to copy."""
    path = tmp_path_factory.mktemp("scale") / "embeddings.npy"
    rng = np.random.default_rng(0)
    block = rng.normal(0, 0.05, (_BLOCK, WIDTH)).astype(np.float32)
    block += 0.05 * rng.normal(size=(16, WIDTH)).astype(np.float32)[rng.integers(16, size=_BLOCK)]
    rows = 1_000_000
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, _BLOCK):
            file.write(np.roll(block, start // _BLOCK, axis=1)[: rows - start].tobytes())
    yield path
    path.unlink()  # pytest keeps the folders of three runs


_SELECT = """
import json, resource, sys
import numpy as np
from llm_repair.core import selection
from llm_repair.selection.features import Features
from llm_repair.selection.strategies import strategy_of

path, kind, parameters = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
rows, places = int(sys.argv[4]), int(sys.argv[5])
ids = [f"sample-{row:07}" for row in range(rows)]
hardness = np.random.default_rng(1).random(rows)
features = Features(ids, embeddings=np.load(path, mmap_mode="r")[:rows], hardness=hardness)
choice = selection.SelectionStrategy(getattr(selection, kind)(**parameters))
ranking = strategy_of(choice).rank(features, seed=1, places=places)
picked = ranking.rows[:places]
print(json.dumps({
    "picked": len(set(picked.tolist())),
    "smallest": int(picked.min()),
    "largest": int(picked.max()),
    "clusters": ranking.clusters.sizes() if ranking.clusters else [],
    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
}))
"""


def selected(path: Path, rows: int, places: int, kind: str, **parameters: float) -> dict[str, Any]:
    """Ranks in a process of its own; its peak counts pages of the mapped file as well."""
    arguments = [str(path), kind, json.dumps(parameters), str(rows), str(places)]
    done = subprocess.run([sys.executable, "-c", _SELECT, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["RandomStrategy", "CcsStrategy", "SapsStrategy"])
def test_a_million_samples_are_ranked_in_less_than_four_gib(million: Path, kind: str) -> None:
    found = selected(million, 1_000_000, 100_000, kind)

    assert found["picked"] == 100_000
    assert 0 <= found["smallest"] < found["largest"] < 1_000_000
    assert sum(found["clusters"]) == (1_000_000 if kind == "SapsStrategy" else 0)
    assert found["peak_bytes"] < LIMIT_BYTES


def test_a_thousand_centres_of_a_hundred_thousand_are_picked_in_less_than_four_gib(million: Path) -> None:
    found = selected(million, 100_000, 1_000, "KCenterStrategy", pca_components=0)

    assert found["picked"] == 1_000
    assert found["peak_bytes"] < LIMIT_BYTES
