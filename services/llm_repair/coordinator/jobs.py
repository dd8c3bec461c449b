"""The durable job store on SQLite.

One connection, owned by one thread, in rollback-journal mode with `synchronous=FULL`: an acknowledged repair
survives power loss, and the WAL-reset defect of SQLite before 3.51.3 cannot occur. Every write for a running
repair carries its fencing number, so that a coordinator whose lease was taken over can change nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from llm_repair.coordinator import wire
from llm_repair.coordinator.records import EventRecord, RepairRecord, StepRecord
from llm_repair.core.errors import AttemptFenced, IllegalTransition, RepairNotFound, RequestIdReused
from llm_repair.core.repairs import RepairState

T = TypeVar("T")
DatabaseError = sqlite3.Error
"""What every method raises when the database is full, locked or gone; it says nothing about a repair."""


@dataclasses.dataclass(frozen=True)
class Page:
    """A part of a list."""

    repairs: tuple[RepairRecord, ...]
    next_token: str
    """Empty at the end."""


class JobStore:
    """Repairs, steps and events; every method is one transaction."""

    def __init__(self, database: Path) -> None:
        """Opens the database, and creates it where there is none."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jobs")
        self._connection = self._thread.submit(_open, database).result()

    async def close(self) -> None:
        """Closes the database."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def is_reachable(self) -> bool:
        """Whether the database answers."""
        return await self._do(lambda connection: connection.execute("SELECT 1").fetchone() == (1,))

    async def create(self, record: RepairRecord, request_id: str, body_digest: str) -> RepairRecord:
        """Stores a repair durably; the same request again returns the repair it made.

        Raises:
          RequestIdReused: the id came with another body before.
        """

        def work(connection: sqlite3.Connection) -> str:
            project = _project(record.name)
            if request_id:
                row = connection.execute(
                    "SELECT body_digest, repair FROM requests WHERE project = ? AND request_id = ?",
                    (project, request_id),
                ).fetchone()
                if row and row[0] != body_digest:
                    raise RequestIdReused(request_id=request_id)
                if row:
                    return row[1]
                connection.execute(
                    "INSERT INTO requests VALUES (?, ?, ?, ?)", (project, request_id, body_digest, record.name)
                )
            connection.execute(
                "INSERT INTO repairs (name, project, spec, resolved, state, created) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.name,
                    project,
                    wire.spec_to_json(record.spec),
                    json.dumps(record.resolved),
                    record.state.name,
                    record.created,
                ),
            )
            for position, step in enumerate(record.steps):
                _put_step(connection, record.name, position, step)
            _append(connection, record.name, "state_changed", {"state": record.state.name})
            return record.name

        return await self.get(await self._do(work))

    async def find_request(self, project: str, request_id: str) -> tuple[str, str] | None:
        """Returns body digest and repair of an earlier request; None if the id is new."""
        return await self._do(
            lambda connection: connection.execute(
                "SELECT body_digest, repair FROM requests WHERE project = ? AND request_id = ?", (project, request_id)
            ).fetchone()
        )

    async def get(self, name: str) -> RepairRecord:
        """Returns a repair with its steps.

        Raises:
          RepairNotFound: there is none of this name.
        """
        return await self._do(lambda connection: _read(connection, name))

    async def list(self, project: str, *, size: int, after: str = "", states: Sequence[RepairState] = ()) -> Page:
        """Returns repairs, newest first, after the one named by the token."""

        def work(connection: sqlite3.Connection) -> Page:
            marks = ",".join("?" * len(states))
            in_states = f" AND state IN ({marks})" if states else ""
            newer = " AND (created, name) < (SELECT created, name FROM repairs WHERE name = ?)" if after else ""
            rows = connection.execute(
                "SELECT name FROM repairs WHERE project = ?"  # noqa: S608 - only literals are joined
                f"{in_states}{newer} ORDER BY created DESC, name DESC LIMIT ?",
                (project, *(state.name for state in states), *([after] if after else []), size + 1),
            ).fetchall()
            names = [row[0] for row in rows]
            token = names[size - 1] if len(names) > size else ""
            return Page(tuple(_read(connection, name) for name in names[:size]), token)

        return await self._do(work)

    async def claim(self, owner: str, lease_s: float) -> tuple[str, int] | None:
        """Takes a repair that has not ended and that nobody holds; returns its name and fencing number."""

        def work(connection: sqlite3.Connection) -> tuple[str, int] | None:
            now = datetime.now(UTC).timestamp()
            row = connection.execute(
                "UPDATE repairs SET fence = fence + 1, lease_owner = ?, lease_until = ? WHERE name = ("
                " SELECT name FROM repairs WHERE ended IS NULL AND state != 'PAUSED'"
                " AND (lease_until < ? OR lease_owner = '') ORDER BY created, name LIMIT 1)"
                " RETURNING name, fence",
                (owner, now + lease_s, now),
            ).fetchone()
            return (row[0], row[1]) if row else None

        return await self._do(work)

    async def renew(self, name: str, fence: int, lease_s: float) -> RepairState:
        """Keeps a claimed repair, and returns the state it is in.

        Raises:
          AttemptFenced: another coordinator took it.
        """
        until = datetime.now(UTC).timestamp() + lease_s

        def work(connection: sqlite3.Connection) -> RepairState:
            _guarded(connection, name, fence, "UPDATE repairs SET lease_until = ?", (until,))
            row = connection.execute("SELECT state FROM repairs WHERE name = ?", (name,)).fetchone()
            return RepairState[row[0]]

        return await self._do(work)

    async def release(self, name: str, fence: int) -> None:
        """Gives a claimed repair back at once, so that a successor need not wait for the lease to run out."""
        await self._do(lambda c: _guarded(c, name, fence, "UPDATE repairs SET lease_owner = '', lease_until = 0", ()))

    async def change_state(
        self,
        name: str,
        to: RepairState,
        *,
        unless: Collection[RepairState] = (),
        fence: int | None = None,
        error: dict[str, Any] | None = None,
    ) -> RepairRecord:
        """Moves a repair to another state and logs it; to the state it is in, or from one of `unless`, changes nothing.

        Raises:
          IllegalTransition: not allowed from where it is.
          AttemptFenced: `fence` is not the newest.
        """

        def work(connection: sqlite3.Connection) -> RepairRecord:
            record = _read(connection, name)
            if record.state is to or record.state in unless:
                return record
            record.state.advance(to)
            now = _now()
            sets, values = ["state = ?"], [to.name]
            if to is RepairState.RUNNING and not record.started:
                sets, values = [*sets, "started = ?"], [*values, now]
            if to.is_terminal:
                sets, values = [*sets, "ended = ?"], [*values, now]
            if error is not None:
                sets, values = [*sets, "error = ?"], [*values, json.dumps(error)]
            _guarded(connection, name, fence, f"UPDATE repairs SET {', '.join(sets)}", tuple(values))  # noqa: S608
            payload = {"state": to.name, "verdict": record.verdict, "error": error}
            _append(connection, name, "state_changed", payload)
            return _read(connection, name)

        return await self._do(work)

    async def put_steps(self, name: str, fence: int, records: Sequence[StepRecord]) -> None:
        """Stores the steps of a repair in their order, without an event."""

        def work(connection: sqlite3.Connection) -> None:
            _guarded(connection, name, fence, "UPDATE repairs SET fence = fence", ())
            for position, record in enumerate(records):
                _put_step(connection, name, position, record)

        await self._do(work)

    async def change_step(self, name: str, fence: int, record: StepRecord) -> None:
        """Stores a step and logs the change."""

        def work(connection: sqlite3.Connection) -> None:
            _guarded(connection, name, fence, "UPDATE repairs SET fence = fence", ())
            connection.execute(
                "UPDATE steps SET record = ? WHERE repair = ? AND name = ?",
                (json.dumps(record.to_json()), name, record.name),
            )
            _append(connection, name, "step_changed", record.to_json())

        await self._do(work)

    async def note(self, name: str, fence: int, step: str, phrase: str, fields: Any) -> None:
        """Logs a remark of a step."""

        def work(connection: sqlite3.Connection) -> None:
            _guarded(connection, name, fence, "UPDATE repairs SET fence = fence", ())
            _append(connection, name, "step_noted", {"step": step, "phrase": phrase, "fields": fields})

        await self._do(work)

    async def put_dossier(self, name: str, fence: int, digest: str, verdict: str) -> None:
        """Records what the report is made of, and the verdict it will show."""
        await self._do(
            lambda c: _guarded(c, name, fence, "UPDATE repairs SET dossier_digest = ?, verdict = ?", (digest, verdict))
        )

    async def events(self, name: str, after: int) -> tuple[EventRecord, ...]:
        """Returns the durable events after a sequence number."""

        def work(connection: sqlite3.Connection) -> tuple[EventRecord, ...]:
            rows = connection.execute(
                "SELECT sequence, time, kind, payload FROM events WHERE repair = ? AND sequence > ? ORDER BY sequence",
                (name, after),
            ).fetchall()
            return tuple(EventRecord(row[0], row[1], row[2], json.loads(row[3])) for row in rows)

        return await self._do(work)

    async def delete(self, name: str) -> None:
        """Removes a repair that has ended.

        Raises:
          IllegalTransition: it has not ended.
        """

        def work(connection: sqlite3.Connection) -> None:
            record = _read(connection, name)
            if not record.state.is_terminal:
                raise IllegalTransition("only a repair that has ended can be deleted", from_state=record.state.name)
            for table, column in (
                ("repairs", "name"),
                ("steps", "repair"),
                ("events", "repair"),
                ("requests", "repair"),
            ):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608 - literals

        await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def transaction() -> T:
            with self._connection:  # commits, or rolls back when `work` raises
                self._connection.execute("BEGIN IMMEDIATE")
                return work(self._connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def _open(database: Path) -> sqlite3.Connection:
    database.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(resources.files(__package__ or "").joinpath("jobs.sql").read_text(encoding="utf-8"))
    return connection


def _read(connection: sqlite3.Connection, name: str) -> RepairRecord:
    row = connection.execute(
        "SELECT name, spec, resolved, state, verdict, error, dossier_digest, created, started, ended, fence"
        " FROM repairs WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        raise RepairNotFound(f"there is no repair {name}", name=name)
    steps = connection.execute("SELECT record FROM steps WHERE repair = ? ORDER BY position", (name,)).fetchall()
    return RepairRecord(
        name=row[0],
        spec=wire.spec_from_json(row[1]),
        resolved=json.loads(row[2]),
        state=RepairState[row[3]],
        verdict=row[4],
        error=json.loads(row[5]) if row[5] else None,
        dossier_digest=row[6],
        created=row[7],
        started=row[8] or "",
        ended=row[9] or "",
        fence=row[10],
        steps=tuple(StepRecord.from_json(json.loads(step[0])) for step in steps),
    )


def _guarded(
    connection: sqlite3.Connection, name: str, fence: int | None, update: str, values: tuple[Any, ...]
) -> None:
    where, guard = (" AND fence = ?", (fence,)) if fence is not None else ("", ())
    changed = connection.execute(f"{update} WHERE name = ?{where}", (*values, name, *guard)).rowcount
    if not changed:
        raise AttemptFenced(repair=name)


def _put_step(connection: sqlite3.Connection, name: str, position: int, record: StepRecord) -> None:
    connection.execute(
        "INSERT INTO steps (repair, name, position, kind, record) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (repair, name) DO UPDATE SET position = excluded.position, record = excluded.record",
        (name, record.name, position, record.kind, json.dumps(record.to_json())),
    )


def _append(connection: sqlite3.Connection, name: str, kind: str, payload: Any) -> None:
    connection.execute(
        "INSERT INTO events (repair, sequence, time, kind, payload) VALUES"
        " (?, (SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE repair = ?), ?, ?, ?)",
        (name, name, _now(), kind, json.dumps(payload)),
    )


def _project(name: str) -> str:
    return name.split("/")[1]


def _now() -> str:
    return datetime.now(UTC).isoformat()
