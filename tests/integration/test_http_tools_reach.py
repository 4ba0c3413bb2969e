"""Where the requests of HTTP tools may go: names and what they lead to, TLS and whom it trusts."""

from __future__ import annotations

import socket
import ssl

import pytest

from server.business import Businesses
from server.business_tools import HttpTool
from server.config import Settings
from server.services import public_pools
from server.services.http_tools import HttpToolClient, ToolContext
from server.services.public_pools import AddressRefused, PublicPools, split
from server.services.tool_answer import Outcome, ToolAnswer
from server.tool_schema import ArgumentsSchema
from tests.integration.papers import make_papers
from tests.integration.receivers import http, receiver

TLS = ssl.create_default_context()
ANYTHING = ArgumentsSchema({"type": "object"})
BUSINESS = Businesses.from_settings(Settings.from_env({}), None).default


def ask(url: str, resolve=public_pools.addresses_of, tls: ssl.SSLContext = TLS) -> ToolAnswer:
    """The answer of a client that is made for this one question."""
    client = HttpToolClient(tls, resolve)
    try:
        tool = HttpTool("stock", "d", url, ANYTHING, timeout_s=3.0)
        return client.run(tool, {}, ToolContext("call_1", "CA0123", BUSINESS, ""))
    finally:
        client.close()


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        got = ask(f"http://127.0.0.1:{free.getsockname()[1]}/SECRET")
    assert (got.outcome, got.fault_id) == (Outcome.UNREACHABLE, "KAV-162")
    assert "refused" in got.detail and "SECRET" not in got.log_line()


def test_a_name_that_does_not_exist():
    def resolve(host, port):
        raise socket.gaierror("Name or service not known")

    assert ask("https://nowhere.example/x", resolve).outcome is Outcome.UNREACHABLE
    assert ask("https://nowhere.example/x", lambda host, port: []).outcome is Outcome.UNREACHABLE
    assert ask("https://nowhere.example/x", lambda host, port: ["?"]).outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["fd00::1"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_leads_into_our_own_network_is_not_connected_to(addresses, scheme):
    """Not even when it leads elsewhere as well: which it will be is not ours to say."""
    with receiver(http("{}")) as there:
        got = ask(f"{scheme}://rebind.example:{there.port}/x", lambda host, port: addresses)
        assert (got.outcome, got.fault_id) == (Outcome.REFUSED, "KAV-164")
        assert there.connections == 0


def test_the_address_that_was_checked_is_the_one_that_is_connected_to():
    """A name server that changes its mind between the check and the connection changes nothing."""
    asked: list[str] = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    with receiver(http("[2]"), host="127.0.0.2") as there:
        assert ask(f"http://localhost:{there.port}/x", resolve).answer == [2]
    assert asked == ["localhost"]


def test_the_peer_that_was_reached_is_looked_at_as_well(monkeypatch):
    """A machine's routing may lead a public address home: here it is a connect that goes elsewhere."""
    with receiver(http("{}")) as there:
        monkeypatch.setattr(
            public_pools.connection,
            "create_connection",
            lambda address, *args, **kwargs: socket.create_connection(("127.0.0.1", there.port), 2),
        )
        pools = PublicPools(TLS, lambda host, port: ["93.184.216.34"])
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
            pools.open("POST", split("http://shop.example/x"), b"{}", {}, 2.0)
        assert there.requests == []


def test_a_host_that_names_this_machine_leads_nowhere_else():
    assert ask("http://localhost:9/x", lambda host, port: ["93.184.216.34"]).outcome is Outcome.REFUSED


def test_localhost_by_name_is_reached():
    with receiver(http("[1]")) as there:
        assert ask(f"http://localhost:{there.port}/x").answer == [1]


def test_an_address_that_nobody_answers_at_is_passed_over():
    with receiver(http("[1]")) as there:
        url = f"http://localhost:{there.port}/x"
        assert ask(url, lambda host, port: ["127.0.0.9", "::1", "127.0.0.1"]).answer == [1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_papers(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server_tls(authority):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.certificate, authority.key)
    return server


@pytest.fixture(scope="module")
def trusting(authority):
    return ssl.create_default_context(cafile=str(authority.ca))


def test_tls_with_an_authority_that_is_known(trusting, server_tls):
    with receiver(http('{"a": "ב"}'), tls=server_tls) as there:
        assert there.url.startswith("https://127.0.0.1")
        assert ask(there.url, tls=trusting).answer == {"a": "ב"}


def test_tls_with_a_certificate_of_nobody(server_tls):
    with receiver(http("{}"), tls=server_tls) as there:
        got = ask(there.url)
        assert (got.outcome, there.requests) == (Outcome.UNREACHABLE, [])
    assert "certificate" in got.detail.lower()


def test_tls_with_the_certificate_of_another_name(trusting, server_tls):
    with receiver(http("{}"), tls=server_tls) as there:
        got = ask(f"https://localhost:{there.port}/x", tls=trusting)
        assert (got.outcome, there.requests) == (Outcome.UNREACHABLE, [])
    assert "certificate" in got.detail.lower()
