"""Fixtures that several layers of tests use."""

import os
import sys
from pathlib import Path

import pytest

# Two shared cores: threads that spin while they wait would ruin every test beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

from tiny_assets import TinyAssets, make_tiny_assets


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyAssets:
    """Tiny real models and data, made once for all tests."""
    return make_tiny_assets(tmp_path_factory.mktemp("tiny"))
