"""Settings of the evaluation service."""

from __future__ import annotations

from llm_repair.rpc.configuration import Configuration, ServiceSettings


def read_settings(configuration: Configuration) -> ServiceSettings:
    """Reads `[evaluation]` and the shared sections."""
    section = configuration.section("evaluation")
    settings = configuration.service("evaluation", section)
    section.refuse_unknown()
    return settings
