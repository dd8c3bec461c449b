"""Stores to run the contract against: a folder, and a bucket served on loopback."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from llm_repair.artifacts.store import ArtifactStore


@pytest.fixture(scope="session")
def bucket_endpoint() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def bucket(bucket_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket, with the environment a deployment would have."""
    for name, value in _bucket_environment(bucket_endpoint).items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=bucket_endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return name


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a bucket behind a port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for name, value in _bucket_environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    return "s3://nowhere/store"


@pytest.fixture(params=["folder", "bucket"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return (tmp_path / "store").as_uri()
    return f"s3://{request.getfixturevalue('bucket')}/deployment"


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(store_url, cache_dir=tmp_path / "cache")


@pytest.fixture
def folder_store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "store").as_uri())


def _bucket_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
