"""A Redis behind TLS, as hosted ones are: a real redis-server with a certificate of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.fault_proxy import FaultProxy
from tests.integration.papers import need_openssl
from tests.integration.store_process import HUB_MS, StoreProcess, lateness_ms, until
from tests.integration.tiny_gateway import closed_port


@dataclass(frozen=True)
class TlsRedis:
    port: int
    authority: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    need_openssl()
    folder = tmp_path_factory.mktemp("redis")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=digitalSignature,keyCertSign"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    port = closed_port()
    command = ["redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        give_up_at = time.monotonic() + 10
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > give_up_at:
                process.kill()
                pytest.skip(f"this redis-server speaks no TLS: {process.communicate()[0][-300:]}")
            time.sleep(0.02)
        yield TlsRedis(port, certificate)
    finally:
        process.kill()
        process.communicate()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_connecting_again_and_again_leaves_the_hub_free(server: TlsRedis) -> None:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_cert_reqs=none"  # the system's authorities are read
        with StoreProcess("sqlite://", url) as process:

            def reconnect(number: int) -> None:
                for _ in range(20):
                    proxy.reset()
                    assert not process.ask("take", sid="CAunknown")[0]

            seen_ms = lateness_ms(process, reconnect)
            assert proxy.counts.connections >= 20
            assert min(seen_ms) < HUB_MS, seen_ms
            assert "KAV" not in process.output()


def test_a_certificate_of_a_named_authority_is_taken(server: TlsRedis) -> None:
    url = f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={server.authority}"
    with StoreProcess("sqlite://", url) as process:
        process.ask("put", sid="CA0")
        assert process.ask("flush")
        assert process.ask("take", sid="CA0")[0]
        assert "KAV" not in process.output()


def test_a_certificate_of_an_unknown_authority_is_refused(server: TlsRedis) -> None:
    with StoreProcess("sqlite://", f"rediss://127.0.0.1:{server.port}/0") as process:
        process.wait_for_line("KAV-186 .*certificate verify failed")
        process.ask("put", sid="CA1")
        assert process.ask("take", sid="CA1")[0]


def test_a_certificate_nobody_asks_for_is_taken(server: TlsRedis) -> None:
    url = f"rediss://localhost:{server.port}/0?ssl_cert_reqs=none"
    with StoreProcess("sqlite://", url) as process, StoreProcess("sqlite://", url) as other:
        process.ask("put", sid="CA1")
        assert process.ask("flush")
        until(lambda: other.ask("take", sid="CA1")[0])
