"""What may the model ask of the business's own computers? One HTTP tool, as it is written in the file.

A tool's address is its allow-list: requests go to exactly this host, and nowhere that it redirects.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from server.config import is_placeholder
from server.toml_table import Table
from server.tool_schema import ArgumentsSchema

OUR_TOOLS = ("end_call", "transfer_call", "take_message", "send_dtmf")
MAX_TIMEOUT_S = 8.0
"""A caller who hears nothing for longer hangs up."""
MIN_SECRET_CHARS = 16
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class HttpTool:
    name: str
    description: str
    """For the model: what the tool does and when to use it."""
    url: str = field(repr=False)
    """May hold a secret of the receiver's, as web hooks do."""
    schema: ArgumentsSchema = field(repr=False, compare=False)
    method: str = "POST"
    timeout_s: float = MAX_TIMEOUT_S
    """For the whole of it: name resolution, connection, answer."""
    says_while_waiting: str = ""
    """Spoken to the caller meanwhile; empty: nothing."""
    signing_key: str = field(default="", repr=False)
    """Empty: requests are not signed."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of the arguments, as the model gets it."""
        return self.schema.parameters


def read_tool(table: Table, signing_key: str) -> HttpTool:
    """One [[business.tools]]; what is wrong with it is noted in the table."""
    tool = HttpTool(
        name=table.read("name", "", tool_name),
        description=table.text("description", ""),
        url=table.read("url", "", receiver_url),
        schema=_schema(table),
        method=table.read("method", "POST", _method),
        timeout_s=table.number("timeout_s", MAX_TIMEOUT_S, 0.5, MAX_TIMEOUT_S),
        says_while_waiting=table.text("says_while_waiting", ""),
        signing_key=table.read("secret", signing_key, secret),
    )
    for key in ("name", "description", "url"):
        if not str(table.raw(key) or "").strip():
            table.problem(key, "missing")
    table.finish()
    return tool


def _schema(table: Table) -> ArgumentsSchema:
    parameters = table.raw("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        table.problem("parameters", "not a table")
    elif parameters is not None:
        try:
            return ArgumentsSchema(parameters)
        except ValueError as error:
            for line in str(error).splitlines():
                table.problem("", line)
    return ArgumentsSchema(_NO_ARGUMENTS)


def _method(text: str) -> str:
    if text.strip().upper() not in ("POST", "GET"):
        raise ValueError("neither POST nor GET")
    return text.strip().upper()


def tool_name(text: str) -> str:
    """What OpenAI takes as a function's name, as long as it is not a tool of the gateway's own."""
    if not _NAME.fullmatch(text):
        raise ValueError("not 1 to 64 Latin letters, digits, _ and -")
    if text in OUR_TOOLS:
        raise ValueError("a tool of the gateway itself: choose another name")
    return text


def secret(text: str) -> str:
    if len(text.strip()) < MIN_SECRET_CHARS or is_placeholder(text):
        raise ValueError(
            f"shorter than {MIN_SECRET_CHARS} characters, or a sample text; `openssl rand -hex 32` makes one"
        )
    return text.strip()


def derived_key(auth_token: str, business_id: str) -> str:
    """The key that signs a business's requests when its file names none; empty without a token.

    Each business has its own, so that one receiver cannot speak for us to another's. An operator gets
    it where the token is known: `printf 'kav signing key ID' | openssl dgst -sha256 -hmac "$TOKEN"`.
    """
    if not auth_token:
        return ""
    message = f"kav signing key {business_id}".encode()
    return hmac.new(auth_token.encode("utf-8"), message, hashlib.sha256).hexdigest()


def receiver_url(text: str) -> str:
    """An address that requests may go to, kept to the letter: a slash at its end may matter.

    Raises ValueError unless it is https, or http on this very machine, and no address of a network
    of one's own. What a name leads to is checked when it is connected to.
    """
    text = text.strip()
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\\]", text):
        raise ValueError("not an address such as https://crm.shop.example/kav")
    if not parts.hostname.isascii():
        raise ValueError("a host in letters of its own: write it as xn--…")
    if parts.username is not None or parts.fragment:
        raise ValueError("neither a user before @ nor a part after # may be in it")
    if parts.port == 0:  # reading it raises ValueError for what is no port
        raise ValueError("no port has the number 0")
    if names_loopback(parts.hostname):
        return text
    if parts.scheme != "https":
        raise ValueError("not https, which only this machine itself (127.0.0.1, localhost) may leave out")
    if (address := _literal(parts.hostname)) is not None and not is_public(address):
        raise ValueError("an address of a private network")
    return text


def names_loopback(host: str) -> bool:
    """Whether a host, as written, is this machine."""
    address = _literal(host)
    return address.is_loopback if address is not None else host.lower() == "localhost"


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet at large, also by way of what it stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_unspecified


def _literal(host: str) -> Address | None:
    """The address that a host is, when it is written as one."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
