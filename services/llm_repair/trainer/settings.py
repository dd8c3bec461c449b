"""Settings of the trainer service."""

from __future__ import annotations

from llm_repair.rpc.configuration import Configuration, ServiceSettings


def read_settings(configuration: Configuration) -> ServiceSettings:
    """Reads `[trainer]` and the shared sections."""
    section = configuration.section("trainer")
    settings = configuration.service("trainer", section)
    section.refuse_unknown()
    return settings
