"""Settings of the selection service."""

from __future__ import annotations

from llm_repair.rpc.configuration import Configuration, ServiceSettings


def read_settings(configuration: Configuration) -> ServiceSettings:
    """Reads `[selection]` and the shared sections."""
    section = configuration.section("selection")
    settings = configuration.service("selection", section)
    section.refuse_unknown()
    return settings
