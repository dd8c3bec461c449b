"""Runs the coordinator: `python -m llm_repair.coordinator --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator.artifact_servicer import ArtifactServicer
from llm_repair.coordinator.dossier import DossierWriter
from llm_repair.coordinator.jobs import JobStore
from llm_repair.coordinator.reconcile import Reconciler
from llm_repair.coordinator.repair_book import RepairBook
from llm_repair.coordinator.servicer import RepairServicer
from llm_repair.coordinator.settings import CoordinatorSettings, read_settings
from llm_repair.rpc.configuration import Configuration
from llm_repair.rpc.server import configure_logging, serve
from llm_repair.rpc.step_client import StepClient
from llm_repair.v1 import artifact_pb2_grpc, coordinator_pb2_grpc


def main() -> None:
    """Runs until told to stop."""
    parser = argparse.ArgumentParser(prog="llm_repair.coordinator")
    parser.add_argument("--config", type=Path, required=True, help="TOML configuration file")
    settings = read_settings(Configuration.read(parser.parse_args().config))
    configure_logging("coordinator")
    asyncio.run(_run(settings))


async def _run(settings: CoordinatorSettings) -> None:
    service = settings.service
    store = ArtifactStore(service.store.url, project=service.store.project, cache_dir=service.store.cache_dir)
    resolver = ReferenceResolver(service.workers.allowed_roots, service.workers.allowed_schemes, store)
    jobs = JobStore(settings.database)
    client = StepClient(settings.addresses, service.token)
    dossiers = DossierWriter(store)
    reconciler = Reconciler(jobs, client, dossiers, store.partials, slots=settings.slots, lease_s=settings.lease_s)
    book = RepairBook(jobs, resolver, reconciler, dossiers, store.get_result, precision=settings.training_precision)
    driving = asyncio.create_task(reconciler.run())

    async def ready() -> bool:
        return not driving.done() and await jobs.is_reachable() and await asyncio.to_thread(store.is_reachable)

    async def close() -> None:
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
        await reconciler.close()
        await client.close()
        await jobs.close()

    await serve(
        service,
        CollectorRegistry(),
        [
            (
                "llm_repair.v1.RepairService",
                lambda server: coordinator_pb2_grpc.add_RepairServiceServicer_to_server(RepairServicer(book), server),
            ),
            (
                "llm_repair.v1.ArtifactService",
                lambda server: artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactServicer(store), server),
            ),
        ],
        ready=ready,
        close=close,
    )


if __name__ == "__main__":
    main()
