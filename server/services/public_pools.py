"""May a request connect to where this name leads? Connection pools that look before they connect.

The host of a receiver is written by the operator, but what its name leads to is said by whoever runs its
DNS, at the moment it is asked: it could be this machine's own metadata service. So a name is resolved
once, every address it has must be public, the connection is made to one of these very addresses and not
to the name again, and the peer's address is read back from the socket before a byte is sent. A redirect
would start anew from another's words, and is never followed.

Only a host written as `localhost`, `127.…` or `[::1]` leads to this machine, and to nowhere else.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util import connection, parse_url
from urllib3.util.url import Url

from server.business_tools import is_public, names_loopback

NEXT_ADDRESS_S = 2.0
"""So long an address is waited for while the name has others: an IPv6 that leads nowhere, mostly."""
IDLE_CONNECTIONS = 4
RECEIVERS = 50
MAX_ADDRESSES = 8

Resolve = Callable[[str, int], Sequence[str]]


class AddressRefused(HTTPError):
    """A name leads to where no request may go. urllib3 hands it on as it is."""


def addresses_of(host: str, port: int) -> list[str]:
    """What the system's resolver says, in its order. Raises OSError. In the worker it waits without
    holding the hub."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class PublicPools:
    """The pools of all receivers. One TLS context for all of them, and no retries."""

    def __init__(self, tls: ssl.SSLContext, resolve: Resolve = addresses_of) -> None:
        self._manager = urllib3.PoolManager(RECEIVERS, maxsize=IDLE_CONNECTIONS, ssl_context=tls)
        self._manager.pool_classes_by_scheme = _pool_classes(resolve)

    def open(
        self, method: str, url: Url, body: bytes | None, headers: dict[str, str], timeout_s: float
    ) -> urllib3.BaseHTTPResponse:
        """Send the request and return its answer, body unread. Raises what urllib3 raises, AddressRefused
        and OSError. An idle connection is taken when there is one that the other side keeps open."""
        pool = self._manager.connection_from_host(url.host, url.port, url.scheme)
        return pool.urlopen(
            method,
            url.request_uri,
            body,
            headers,
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            preload_content=False,
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._manager.clear()


def split(url: str) -> Url:
    """An address as it goes over the wire: its `request_uri` is what a server sees."""
    return parse_url(url)


def _pool_classes(resolve: Resolve) -> dict[str, Any]:
    """urllib3's own, but for how a socket comes about."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, self._dns_host, resolve)

    class TlsConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, self._dns_host, resolve)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}


def _connected(made_for: HTTPConnection, host: str, resolve: Resolve) -> socket.socket:
    """A socket to an allowed address of `host`, the first that answers. TLS, if any, follows: it still
    asks for the name's certificate."""
    try:
        addresses = list(resolve(host.strip("[]"), made_for.port))[:MAX_ADDRESSES]
    except (socket.gaierror, UnicodeError) as error:
        raise NameResolutionError(host, made_for, socket.gaierror(str(error))) from error
    for address in addresses:
        _check(address, host)
    timeout_s = float(made_for.timeout or NEXT_ADDRESS_S)
    failure: OSError = OSError("the name has no address")
    for at, address in enumerate(addresses, 1):
        patience_s = timeout_s if at == len(addresses) else min(timeout_s, NEXT_ADDRESS_S)
        try:
            sock = connection.create_connection(
                (address, made_for.port), patience_s, socket_options=made_for.socket_options
            )
        except OSError as error:
            failure = error
            continue
        try:
            _check(sock.getpeername()[0], host)
            sock.settimeout(timeout_s)
        except BaseException:
            sock.close()
            raise
        return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(made_for, f"{host} does not answer") from failure
    raise NewConnectionError(made_for, str(failure)) from failure


def _check(address: str, host: str) -> None:
    """Raise AddressRefused unless `host`, as it was written, may lead there."""
    parsed = ipaddress.ip_address(address)
    if names_loopback(host):
        if not parsed.is_loopback:
            raise AddressRefused(f"{host} leads to another machine")
    elif not is_public(parsed):
        raise AddressRefused(f"{host} leads to {address}, which is not on the public Internet")
