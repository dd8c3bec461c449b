"""The asynchronous client of a coordinator."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from llm_repair.client import _artifacts
from llm_repair.client._handle import RepairHandle
from llm_repair.client._transport import CREATE_DEADLINE_S, Transport
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2


class RepairClient:
    """Talks to one coordinator, on the event loop it was made on; close it, or use it as a context.

    Every unary call has a deadline. Only UNAVAILABLE is tried again, which is safe for CreateRepair because each
    call carries a request id. Not for use by several threads or across a fork: `SyncRepairClient` is.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        root_certificates: bytes | None = None,
        plaintext: bool = False,
        project: str = "default",
    ) -> None:
        """Prepares a channel; the first call connects.

        Args:
          address: `host:port`.
          token: Bearer token of every call.
          root_certificates: PEM of the authority that signed the server's certificate. Without it, a loopback
            address or a call without a token goes in the clear, and anything else trusts the system's authorities.
          plaintext: Sends the token in the clear to an address that is not loopback; only for a network that encrypts.
          project: Whose repairs.
        """
        self._transport = Transport(address, token=token, root_certificates=root_certificates, plaintext=plaintext)
        self._parent = f"projects/{project}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and the connection; repairs go on."""
        await self._transport.close()

    async def create_repair(
        self, spec: pb.RepairSpec, request_id: str | None = None, validate_only: bool = False
    ) -> RepairHandle:
        """Starts a repair; once this returns, the repair is durable and will end.

        Args:
          spec: What to do; `repair_spec` and `load_spec` make one.
          request_id: UUID; the same id and spec give the same repair, however often they are sent. Made if None.
          validate_only: Checks everything and starts nothing; the handle then has no name.

        Raises:
          InvalidRequest: with all violations at once; nothing was started.
        """
        request = pb.CreateRepairRequest(
            parent=self._parent,
            spec=spec,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        create = self._transport.repairs.CreateRepair
        response = await self._transport.unary(create, request, deadline_s=CREATE_DEADLINE_S)
        return RepairHandle(self._transport, response.repair.name)

    async def foresee(self, spec: pb.RepairSpec) -> pb.CreateRepairResponse:
        """Returns what a request would take, with the steps whose results are there already; starts nothing.

        Raises:
          InvalidRequest: with all violations at once.
        """
        request = pb.CreateRepairRequest(parent=self._parent, spec=spec, validate_only=True)
        create = self._transport.repairs.CreateRepair
        return await self._transport.unary(create, request, deadline_s=CREATE_DEADLINE_S)

    def repair(self, name: str) -> RepairHandle:
        """Returns a handle for a repair by its resource name or bare id, without asking whether it exists."""
        return RepairHandle(self._transport, name if "/" in name else f"{self._parent}/repairs/{name}")

    async def list_repairs(
        self, *, states: Iterable[pb.RepairState] = (), page_size: int = 50
    ) -> AsyncGenerator[pb.Repair, None]:
        """Yields repairs, newest first, over all pages.

        Args:
          states: Only repairs in one of these; all if empty.
          page_size: How many to fetch at once, [1, 100].
        """
        request = pb.ListRepairsRequest(parent=self._parent, states=list(states), page_size=page_size)
        while True:
            response = await self._transport.unary(self._transport.repairs.ListRepairs, request)
            for repair in response.repairs:
                yield repair
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def get_report(self, name: str) -> pb.GetReportResponse:
        """Returns the verdict, the metrics and where the report lies."""
        request = pb.GetReportRequest(name=self.repair(name).name)
        return await self._transport.unary(self._transport.repairs.GetReport, request)

    async def evaluate_gate(self, name: str, policy: pb.GatePolicy | None = None) -> pb.GateResult:
        """Judges an existing report by a policy; by the default policy if None."""
        request = pb.EvaluateGateRequest(name=self.repair(name).name, policy=policy)
        response = await self._transport.unary(self._transport.repairs.EvaluateGate, request)
        return response.gate

    async def download(self, digest: str, into: Path) -> Path:
        """Fetches a blob into a file, or a tree into a folder, every byte verified, and returns `into`.

        What is there already is kept, what was half fetched is continued, and `into` appears only when it is whole.

        Raises:
          DataLoss: bytes do not have their digest.
          FileExistsError: `into` holds something else.
        """
        return await _artifacts.download(self._transport, digest, into)

    async def upload(self, path: Path) -> types_pb2.Artifact:
        """Stores a file as a blob, or a folder's files as a tree; what the store has already is not sent again."""
        return await _artifacts.upload(self._transport, path)
