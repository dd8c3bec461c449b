"""The same client for code without an event loop: the asynchronous core, run on one background thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from llm_repair.client._client import RepairClient
from llm_repair.client._handle import RepairHandle, Update
from llm_repair.client._selection import Selection
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2

T = TypeVar("T")


class _Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-repair-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs to the end; an interrupt of the waiting thread cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yields what an asynchronous generator yields, and closes it when the loop over it ends early."""
        try:
            while True:
                try:
                    item = self.run(_next(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.run(items.aclose())

    def close(self) -> None:
        """Ends the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


class SyncRepairHandle:
    """A repair on the server, as `RepairHandle`, for threads."""

    def __init__(self, handle: RepairHandle, loop: _Loop) -> None:
        """Wraps a handle; `SyncRepairClient` makes them."""
        self._handle = handle
        self._loop = loop

    @property
    def name(self) -> str:
        """The resource name."""
        return self._handle.name

    def __repr__(self) -> str:
        return f"SyncRepairHandle({self.name!r})"

    def get(self) -> pb.Repair:
        """Returns the repair as it is now."""
        return self._loop.run(self._handle.get())

    def watch(self, after_sequence: int = 0) -> Iterator[Update]:
        """Yields durable events and progress to the end; see `RepairHandle.watch`."""
        return self._loop.iterate(self._handle.watch(after_sequence))

    def result(self) -> pb.Repair:
        """Waits for the end; raises `RepairFailed` or `RepairCancelled`."""
        return self._loop.run(self._handle.result())

    def pause(self) -> pb.Repair:
        """Asks the repair to save its state and free its worker; see `RepairHandle.pause`."""
        return self._loop.run(self._handle.pause())

    def resume(self) -> pb.Repair:
        """Has a paused repair go on; see `RepairHandle.resume`."""
        return self._loop.run(self._handle.resume())

    def cancel(self) -> pb.Repair:
        """Asks the repair to stop."""
        return self._loop.run(self._handle.cancel())

    def report(self, into: Path) -> Path:
        """Downloads the report into a folder."""
        return self._loop.run(self._handle.report(into))

    def selection(self) -> Selection:
        """Returns the selected samples; see `RepairHandle.selection`."""
        return self._loop.run(self._handle.selection())

    def selected_rows(self, into: Path) -> Path:
        """Writes the selected rows of the pool into a file; see `RepairHandle.selected_rows`."""
        return self._loop.run(self._handle.selected_rows(into))

    def model(self, into: Path) -> Path:
        """Downloads the repaired model into a folder."""
        return self._loop.run(self._handle.model(into))

    def partial_model(self, into: Path) -> Path:
        """Downloads what a cancelled repair had reached; see `RepairHandle.partial_model`."""
        return self._loop.run(self._handle.partial_model(into))


class SyncRepairClient:
    """Talks to one coordinator, as `RepairClient`, from any thread; close it, or use it as a context."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        root_certificates: bytes | None = None,
        plaintext: bool = False,
        project: str = "default",
    ) -> None:
        """Starts the background thread; the arguments are those of `RepairClient`."""
        self._loop = _Loop()

        async def make() -> RepairClient:
            return RepairClient(
                address, token=token, root_certificates=root_certificates, plaintext=plaintext, project=project
            )

        self._client = self._loop.run(make())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls, the connection and the thread; repairs go on."""
        self._loop.run(self._client.close())
        self._loop.close()

    def create_repair(
        self, spec: pb.RepairSpec, request_id: str | None = None, validate_only: bool = False
    ) -> SyncRepairHandle:
        """Starts a repair; see `RepairClient.create_repair`."""
        handle = self._loop.run(self._client.create_repair(spec, request_id, validate_only))
        return SyncRepairHandle(handle, self._loop)

    def foresee(self, spec: pb.RepairSpec) -> pb.CreateRepairResponse:
        """Returns what a request would take; see `RepairClient.foresee`."""
        return self._loop.run(self._client.foresee(spec))

    def repair(self, name: str) -> SyncRepairHandle:
        """Returns a handle for a repair by its resource name or bare id."""
        return SyncRepairHandle(self._client.repair(name), self._loop)

    def list_repairs(self, *, states: Iterable[pb.RepairState] = (), page_size: int = 50) -> Iterator[pb.Repair]:
        """Yields repairs, newest first."""
        return self._loop.iterate(self._client.list_repairs(states=states, page_size=page_size))

    def get_report(self, name: str) -> pb.GetReportResponse:
        """Returns the verdict, the metrics and where the report lies."""
        return self._loop.run(self._client.get_report(name))

    def evaluate_gate(self, name: str, policy: pb.GatePolicy | None = None) -> pb.GateResult:
        """Judges an existing report by a policy."""
        return self._loop.run(self._client.evaluate_gate(name, policy))

    def download(self, digest: str, into: Path) -> Path:
        """Fetches an artifact; see `RepairClient.download`."""
        return self._loop.run(self._client.download(digest, into))

    def upload(self, path: Path) -> types_pb2.Artifact:
        """Stores a file or folder; see `RepairClient.upload`."""
        return self._loop.run(self._client.upload(path))
