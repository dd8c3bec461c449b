"""One repair as an object: look at it, follow it, wait for it, pause or stop it, fetch what it made."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final, cast

import grpc
from grpc import aio

from llm_repair.client._artifacts import download
from llm_repair.client._errors import (
    FailedPrecondition,
    RepairCancelled,
    RepairFailed,
    Unavailable,
    error_from_call,
    is_from_transport,
)
from llm_repair.client._selection import Selection, read_selection, write_selected_rows
from llm_repair.client._transport import Transport, delays
from llm_repair.v1 import coordinator_pb2 as pb

Update = pb.RepairEvent | pb.StepProgress

TERMINAL_STATES: Final = frozenset(
    {pb.REPAIR_STATE_SUCCEEDED, pb.REPAIR_STATE_FAILED, pb.REPAIR_STATE_CANCELLED},
)
# The server sends something at least every 15 s; four times that means that nobody is there any more.
_SILENCE_S: Final = 60.0
_OUTAGE_S: Final = 600.0
"""How long a watch goes on trying to reconnect before it raises `Unavailable`."""


class RepairHandle:
    """A repair on the server. Making a handle calls nobody; any number may exist for one repair."""

    def __init__(self, transport: Transport, name: str) -> None:
        """Attaches to a repair by its resource name; `RepairClient.repair` is the usual way."""
        self._transport = transport
        self.name = name

    def __repr__(self) -> str:
        return f"RepairHandle({self.name!r})"

    async def get(self) -> pb.Repair:
        """Returns the repair as it is now."""
        transport = self._transport
        response = await transport.unary(transport.repairs.GetRepair, pb.GetRepairRequest(name=self.name))
        return response.repair

    async def watch(self, after_sequence: int = 0) -> AsyncGenerator[Update, None]:
        """Yields durable events in order, each exactly once, and the latest progress between them, to the end.

        Reconnects by itself after a broken stream, from the last event it yielded. Breaking out of the loop or
        cancelling the task never cancels the repair.

        Args:
          after_sequence: Events up to and including this one are skipped; 0 for all.

        Raises:
          Unavailable: no contact for ten minutes.
          RepairClientError: any other refusal, such as `NotFound`.
        """
        cursor, pauses, lost_at = after_sequence, delays(), float("inf")
        ended = False
        while True:
            stream = _Stream(self._transport, self.name, cursor)
            try:
                async with contextlib.aclosing(stream.updates()) as updates:
                    async for update in updates:
                        pauses, lost_at = delays(), float("inf")
                        if isinstance(update, pb.RepairEvent):
                            if update.sequence <= cursor:
                                continue
                            cursor = update.sequence
                        if update is not None:
                            yield update
                        if isinstance(update, pb.RepairEvent) and update.state_changed.state in TERMINAL_STATES:
                            return
                if ended:
                    return
                # The stream ended in order without a last event: either the server went down between two events,
                # or the cursor was at the end from the start. Asked once more, an ended repair has nothing to add.
                ended = (await self.get()).state in TERMINAL_STATES
                if ended:
                    continue
            except (aio.AioRpcError, Unavailable) as error:
                lost_at = _lost_since(error, lost_at)
            await asyncio.sleep(next(pauses))

    async def result(self, *, on_update: Callable[[Update], None] | None = None) -> pb.Repair:
        """Waits for the end and returns the repair; a gate that says FAIL is a result, not an error.

        Raises:
          RepairFailed: with the reason and metadata stored on the repair.
          RepairCancelled: it was cancelled.
        """
        repair = await self.get()
        if repair.state not in TERMINAL_STATES:
            async with contextlib.aclosing(self.watch()) as updates:
                async for update in updates:
                    if on_update is not None:
                        on_update(update)
            repair = await self.get()
        if repair.state == pb.REPAIR_STATE_FAILED:
            raise RepairFailed(self.name, repair.error)
        if repair.state == pb.REPAIR_STATE_CANCELLED:
            raise RepairCancelled(self.name)
        return repair

    async def pause(self) -> pb.Repair:
        """Asks the repair to save its state and free its worker, and returns it; it is PAUSED a little later.

        Raises:
          FailedPrecondition: it is being cancelled, or has ended.
        """
        transport = self._transport
        response = await transport.unary(transport.repairs.PauseRepair, pb.PauseRepairRequest(name=self.name))
        return response.repair

    async def resume(self) -> pb.Repair:
        """Has a paused repair go on from where it stopped, and returns it.

        Raises:
          FailedPrecondition: it is still pausing, is being cancelled, or has ended.
        """
        transport = self._transport
        response = await transport.unary(transport.repairs.ResumeRepair, pb.ResumeRepairRequest(name=self.name))
        return response.repair

    async def cancel(self) -> pb.Repair:
        """Asks the repair to stop and returns it; best effort, it may still succeed."""
        transport = self._transport
        response = await transport.unary(transport.repairs.CancelRepair, pb.CancelRepairRequest(name=self.name))
        return response.repair

    async def report(self, into: Path) -> Path:
        """Downloads report.json, report.html and report.md into a folder and returns it."""
        transport = self._transport
        response = await transport.unary(transport.repairs.GetReport, pb.GetReportRequest(name=self.name))
        return await download(transport, response.report.digest, into)

    async def selection(self) -> Selection:
        """Returns the selected samples, which are there as soon as the step `select` is committed.

        Raises:
          FailedPrecondition: they are not there (yet).
        """
        return await read_selection(self._transport, await self.get())

    async def selected_rows(self, into: Path) -> Path:
        """Writes the selected rows of the pool into a file of JSON lines, in rank order, and returns it.

        Raises:
          FailedPrecondition: the selection is not there (yet).
        """
        repair = await self.get()
        selected = await read_selection(self._transport, repair)
        return await write_selected_rows(self._transport, repair, selected.ids, into)

    async def model(self, into: Path) -> Path:
        """Downloads the repaired model into a folder that transformers and vLLM load as it is.

        Raises:
          FailedPrecondition: the repair has no published model (yet).
        """
        repair = await self.get()
        if not repair.model.digest:
            raise _has_none(repair, "published model")
        return await download(self._transport, repair.model.digest, into)

    async def partial_model(self, into: Path) -> Path:
        """Downloads the best checkpoint that a cancelled repair had reached; it was never measured.

        Raises:
          FailedPrecondition: the repair was not cancelled (yet), or had not trained before.
        """
        repair = await self.get()
        if not repair.partial_model.digest:
            raise _has_none(repair, "partial model")
        return await download(self._transport, repair.partial_model.digest, into)


class _Stream:
    """One connection of a watch."""

    def __init__(self, transport: Transport, name: str, cursor: int) -> None:
        request = pb.WatchRepairRequest(name=name, after_sequence=cursor)
        self._call = transport.repairs.WatchRepair(request, metadata=transport.metadata)

    async def updates(self) -> AsyncGenerator[Update | None, None]:
        """Yields events and progress, and None for a sign of life; ends when the server ends the stream."""
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    message = await self._call.read()
                if message is aio.EOF:
                    return
                response = cast(pb.WatchRepairResponse, message)
                match response.WhichOneof("update"):
                    case "event":
                        yield response.event
                    case "progress":
                        yield response.progress
                    case _:
                        yield None
        except TimeoutError as error:
            details = f"nothing heard for {_SILENCE_S:.0f} s"
            raise aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), details) from error
        finally:
            self._call.cancel()


def _has_none(repair: pb.Repair, what: str) -> FailedPrecondition:
    state = pb.RepairState.Name(repair.state).removeprefix("REPAIR_STATE_")
    return FailedPrecondition(f"a repair that is {state} has no {what}", metadata={"state": state})


def _lost_since(error: aio.AioRpcError | Unavailable, lost_at: float) -> float:
    """Returns since when the server is lost; raises what reconnecting cannot mend."""
    if isinstance(error, aio.AioRpcError) and not _is_outage(error):
        raise error_from_call(error) from error
    now = time.monotonic()
    if now - lost_at > _OUTAGE_S:
        raise Unavailable(f"no contact for {_OUTAGE_S:.0f} s") from error
    return min(lost_at, now)


def _is_outage(error: aio.AioRpcError) -> bool:
    # A stream that a proxy or a dying server tore apart ends with one of these, and without our details.
    torn = (grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return error.code() is grpc.StatusCode.UNAVAILABLE or (error.code() in torn and is_from_transport(error))
