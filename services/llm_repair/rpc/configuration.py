"""The one configuration file of a deployment: TOML, shared by all services, read once at the start.

Each service's `settings.py` takes its own section and the shared ones from here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.fields import FieldChecks

T = TypeVar("T", str, int, float, bool)


class Section:
    """One table of the configuration, read with types; every wrong or unknown key is an error with its path."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = name
        self._values = dict(values)
        self._read: set[str] = set()

    def get(self, key: str, default: T) -> T:
        """Returns the value of `key`, which must have the type of `default`."""
        self._read.add(key)
        value: Any = self._values.get(key, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise InvalidFields([FieldViolation(f"{self._name}.{key}", f"must be {type(default).__name__}")])
        return cast(T, value)

    def need(self, key: str) -> str:
        """Returns the text of `key`, which must be there and not be empty."""
        value = self.get(key, "")
        if not value:
            raise InvalidFields([FieldViolation(f"{self._name}.{key}", "is required")])
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Returns the list of texts at `key`; empty if absent."""
        self._read.add(key)
        value: list[Any] = self._values.get(key, [])
        if type(value) is not list or any(type(item) is not str for item in value):
            raise InvalidFields([FieldViolation(f"{self._name}.{key}", "must be a list of texts")])
        return tuple(value)

    def refuse_unknown(self) -> None:
        """Raises when the section has keys that nobody read."""
        unknown = sorted(set(self._values) - self._read)
        if unknown:
            raise InvalidFields([FieldViolation(f"{self._name}.{key}", "is not a setting") for key in unknown])


@dataclass(frozen=True)
class ListenSettings:
    """Where a service listens."""

    listen: str
    """`host:port` of the gRPC server."""
    metrics_listen: str
    """`host:port` of Prometheus `/metrics`; empty for none."""
    health_listen: str
    """`host:port` of a second, plain server with the health service only, for probes; empty for none."""
    reflection: bool
    """Whether server reflection is on."""
    drain_s: float
    """Seconds a stopping server lets calls end."""


@dataclass(frozen=True)
class StoreSettings:
    """Which artifact store, and whose part of it."""

    url: str
    project: str
    cache_dir: Path | None


@dataclass(frozen=True)
class WorkerSettings:
    """How heavy work runs."""

    threads: int
    """Threads of numerical libraries in a worker."""
    heartbeat_s: float
    """Longest silence of a worker's stream, in seconds."""
    idle_s: float
    """A warm worker without work ends after so many seconds."""
    allowed_roots: tuple[Path, ...]
    """Folders that `file:` references may lie under."""
    allowed_schemes: tuple[str, ...]
    """Schemes that references may have."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("workers.threads", self.threads, low=1)
            check.within("workers.heartbeat_s", self.heartbeat_s, low=0, high=5, low_open=True)
            check.within("workers.idle_s", self.idle_s, low=0)


@dataclass(frozen=True)
class ServiceSettings:
    """What every service needs to start."""

    name: str
    listen: ListenSettings
    store: StoreSettings
    workers: WorkerSettings
    token: str
    """Bearer token of every call; empty only with `auth.insecure = true`."""


class Configuration:
    """A parsed configuration file."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables

    @staticmethod
    def read(path: Path) -> Configuration:
        """Reads a TOML file."""
        return Configuration(tomllib.loads(path.read_text(encoding="utf-8")))

    def section(self, name: str) -> Section:
        """Returns a table; an absent one is empty."""
        return Section(name, self._tables.get(name, {}))

    def service(self, name: str, section: Section) -> ServiceSettings:
        """Reads what every service needs: its own section and the shared ones."""
        section.get("address", "")  # where others dial it, read by the coordinator; listening needs no address
        return ServiceSettings(
            name=name,
            listen=ListenSettings(
                listen=section.need("listen"),
                metrics_listen=section.get("metrics_listen", ""),
                health_listen=section.get("health_listen", ""),
                reflection=section.get("reflection", False),
                drain_s=section.get("drain_s", 5.0),
            ),
            store=self._store(),
            workers=self._workers(),
            token=self._token(),
        )

    def _store(self) -> StoreSettings:
        section = self.section("store")
        cache = section.get("cache_dir", "")
        settings = StoreSettings(
            url=section.need("url"),
            project=section.get("project", "default"),
            cache_dir=Path(cache) if cache else None,
        )
        section.refuse_unknown()
        return settings

    def _workers(self) -> WorkerSettings:
        workers, references = self.section("workers"), self.section("references")
        settings = WorkerSettings(
            threads=workers.get("threads", 2),
            heartbeat_s=workers.get("heartbeat_s", 2.0),
            idle_s=workers.get("idle_s", 120.0),
            allowed_roots=tuple(Path(root) for root in references.texts("allowed_roots")),
            allowed_schemes=references.texts("allowed_schemes") or ("hf", "file", "pypi", "artifact", "s3"),
        )
        workers.refuse_unknown()
        references.refuse_unknown()
        return settings

    def _token(self) -> str:
        section = self.section("auth")
        insecure, token_file = section.get("insecure", False), section.get("token_file", "")
        section.refuse_unknown()
        if insecure:
            return ""
        if not token_file:
            raise InvalidFields([FieldViolation("auth.token_file", "is required unless auth.insecure is true")])
        token = Path(token_file).read_text(encoding="ascii").strip()
        if len(token) < 32:
            raise InvalidFields([FieldViolation("auth.token_file", "must hold a token of at least 32 characters")])
        return token
