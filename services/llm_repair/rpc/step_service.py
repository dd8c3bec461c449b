"""The frame of the three services that run steps; their `__main__` is a list of parts put into it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.rpc.configuration import Configuration, ServiceSettings
from llm_repair.rpc.executions import Executions
from llm_repair.rpc.server import configure_logging, serve
from llm_repair.rpc.worker_pool import WorkerPool

AddServicer = Callable[[Executions, grpc.aio.Server], None]


def run_step_service(
    name: str,
    full_name: str,
    read_settings: Callable[[Configuration], ServiceSettings],
    entries: Mapping[str, str],
    add_servicer: AddServicer,
) -> None:
    """Runs a service that executes steps, until it is told to stop.

    Args:
      name: Of the service in logs.
      full_name: Of the gRPC service.
      read_settings: Takes the service's settings from the configuration.
      entries: `module:function` of the code of each step kind.
      add_servicer: Registers the servicer.
    """
    parser = argparse.ArgumentParser(prog=f"llm_repair.{name}")
    parser.add_argument("--config", type=Path, required=True, help="TOML configuration file")
    settings = read_settings(Configuration.read(parser.parse_args().config))
    configure_logging(name)
    asyncio.run(_run(settings, full_name, entries, add_servicer))


async def _run(
    settings: ServiceSettings, full_name: str, entries: Mapping[str, str], add_servicer: AddServicer
) -> None:
    registry = CollectorRegistry()
    store = ArtifactStore(settings.store.url, project=settings.store.project, cache_dir=settings.store.cache_dir)
    workers = WorkerPool(settings)
    executions = Executions(store, workers, entries, registry, heartbeat_s=settings.workers.heartbeat_s)

    async def ready() -> bool:
        return await asyncio.to_thread(store.is_reachable)

    await serve(
        settings,
        registry,
        [(full_name, lambda server: add_servicer(executions, server))],
        ready=ready,
        close=executions.close,
    )
