"""Who sees the token: TLS wherever a call leaves the machine."""

from __future__ import annotations

import datetime
import ipaddress

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llm_repair.client import RepairClient, Unavailable, repair_spec
from llm_repair.v1 import coordinator_pb2_grpc

SPEC = repair_spec(model="file:/m", prompts="file:/p")


def _certificate() -> tuple[bytes, bytes]:
    """Returns key and self-signed certificate of 127.0.0.1, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def short_retries(monkeypatch):
    monkeypatch.setattr("llm_repair.client._transport.RETRY_WINDOW_S", 0.3)


async def test_a_call_over_tls_trusts_the_given_authority_and_no_other(coordinator, token, short_retries):
    key, certificate = _certificate()
    server = grpc.aio.server()
    coordinator_pb2_grpc.add_RepairServiceServicer_to_server(coordinator, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    await server.start()
    try:
        async with RepairClient(f"127.0.0.1:{port}", token=token, root_certificates=certificate) as client:
            handle = await client.create_repair(SPEC)
        async with RepairClient(f"127.0.0.1:{port}", token=token, root_certificates=_certificate()[1]) as client:
            with pytest.raises(Unavailable):
                await client.create_repair(SPEC)
    finally:
        await server.stop(0)

    assert handle.name in coordinator.repairs
    assert len(coordinator.create_requests) == 1


async def test_a_token_leaves_the_machine_in_the_clear_only_on_request(coordinator, token, short_retries):
    elsewhere = coordinator.address.replace("127.0.0.1", "0.0.0.0")  # Reaches this machine, but says it does not.

    async with RepairClient(elsewhere, token=token) as client:
        with pytest.raises(Unavailable):
            await client.create_repair(SPEC)
    seen_without_asking = len(coordinator.create_requests)
    async with RepairClient(elsewhere, token=token, plaintext=True) as client:
        await client.create_repair(SPEC)

    assert seen_without_asking == 0
    assert len(coordinator.create_requests) == 1
