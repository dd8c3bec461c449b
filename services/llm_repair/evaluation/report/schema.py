"""The published JSON schema of `report.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from llm_repair.core.execution import Json


def report_schema() -> Mapping[str, Json]:
    """Returns the schema (JSON Schema 2020-12)."""
    return json.loads(Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
