"""A business's own computers, asked by the model: HTTP tools, and messages that were taken.

Made once at start. `run` waits in its own green thread, name look-up, connection and answer together no
longer than the tool's `timeout_s`, and never raises for what the other side does. Nothing is tried twice:
an order that was placed twice is worse than one that has to be asked for again.

docs/tools.md tells receivers what they get.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError
from urllib3.exceptions import TimeoutError as HttpTimeout

from server import green
from server.business import Business
from server.business_tools import HttpTool
from server.logs import clean, mask
from server.services.openai_realtime_client import tls_context
from server.services.public_pools import AddressRefused, PublicPools, Resolve, addresses_of, split
from server.services.signed_request import sign
from server.services.tool_answer import MAX_ERROR_CHARS, Outcome, ToolAnswer

MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 64 * 1024
MAX_TARGET_BYTES = 8000
"""Of a GET's path with its query: common servers take no more."""
NOTIFY_S = 8.0
_CHARSET = re.compile(r"charset=\"?([a-z0-9_-]+)")
_CHARSETS = {
    "utf-8": "utf-8-sig",
    "utf8": "utf-8-sig",
    "us-ascii": "utf-8-sig",
    "windows-1255": "cp1255",
    "iso-8859-8": "iso8859-8",
    "iso-8859-8-i": "iso8859-8",
    "windows-1252": "cp1252",
    "iso-8859-1": "cp1252",
}
"""Those that are met with Hebrew and English; among Python's others are some that take minutes."""

# It writes whole addresses on its debug lines, with a hook's secret and a caller's words in the query.
logging.getLogger("urllib3").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool is asked."""

    call_id: str
    """The tool call's, as the model names it."""
    call_sid: str
    business: Business
    caller: str
    """The number that calls, as Twilio told it."""


class HttpToolClient:
    """Any green thread may call it, several at once; a callback of the hub must not."""

    def __init__(self, tls: ssl.SSLContext | None = None, resolve: Resolve = addresses_of) -> None:
        """`tls`: a context that serves other clients as well; making one takes 30 ms."""
        context = tls or tls_context("wss://")
        assert context is not None, "it is None for plain addresses only"
        self._pools = PublicPools(context, resolve)

    def run(self, tool: HttpTool, arguments: object, context: ToolContext) -> ToolAnswer:
        """Ask the business. `arguments` are the model's, parsed but not to be trusted."""
        if problem := tool.schema.problem(arguments):
            return ToolAnswer(tool.name, Outcome.BAD_ARGUMENTS, clean(problem))
        assert isinstance(arguments, dict)
        # Some models count their calls anew in each answer, so two callers may have calls of one id.
        key = f"{context.call_id}-{secrets.token_hex(8)}"
        if tool.method == "GET":
            return self._send(
                tool.name,
                *("GET", _with_query(tool.url, arguments), None),
                *(tool.signing_key, key, tool.timeout_s),
            )
        payload = {
            "tool": tool.name,
            "arguments": arguments,
            "call_id": context.call_id,
            "call_sid": context.call_sid,
            "business": context.business.id,
            "caller": _shown(context.caller, context.business.share_caller),
        }
        return self._send(
            tool.name,
            *("POST", tool.url, _encoded(payload)),
            *(tool.signing_key, key, tool.timeout_s),
        )

    def notify(self, business: Business, message: Mapping[str, Any], message_id: str) -> ToolAnswer:
        """Hand a taken message to the business's `notify_url`. Blocks 8 s at most.

        `message_id` tells a receiver whether it has had this one.
        """
        payload = {"event": "message", "id": message_id, "business": business.id, "message": dict(message)}
        return self.post_signed(
            business.notify_url,
            payload,
            NOTIFY_S,
            signing_key=business.signing_key,
            idempotency_key=message_id,
            name="notify_url",
        )

    def post_signed(
        self,
        url: str,
        payload: Mapping[str, Any],
        timeout_s: float,
        *,
        signing_key: str,
        idempotency_key: str,
        name: str,
    ) -> ToolAnswer:
        """POST JSON as tools get it; `name` stands in the log for what was asked. Blocks `timeout_s`."""
        return self._send(name, "POST", url, _encoded(payload), signing_key, idempotency_key, timeout_s)

    def close(self) -> None:
        self._pools.close()

    def _send(
        self,
        name: str,
        method: str,
        url: str,
        body: bytes | None,
        signing_key: str,
        idempotency_key: str,
        timeout_s: float,
    ) -> ToolAnswer:
        began_at = time.monotonic()

        def answer(outcome: Outcome, detail: str, **more: Any) -> ToolAnswer:
            elapsed_ms = round((time.monotonic() - began_at) * 1000)
            return ToolAnswer(name, outcome, clean(mask(detail)), elapsed_ms=elapsed_ms, **more)

        try:
            target = split(url)
        except LocationValueError:
            return answer(Outcome.REFUSED, "its address cannot be read")
        if len(body or b"") > MAX_REQUEST_BYTES or len(target.request_uri) > MAX_TARGET_BYTES:
            return answer(Outcome.BAD_ARGUMENTS, "the arguments are too long")
        signed = body if body is not None else target.request_uri.encode("ascii")
        headers = _headers(
            signed, has_body=body is not None, key=signing_key, idempotency_key=idempotency_key
        )
        try:
            with green.deadline(timeout_s):
                response = self._pools.open(method, target, body, headers, timeout_s)
                data = _read(response)
        except AddressRefused as error:
            return answer(Outcome.REFUSED, str(error))
        except NewConnectionError as error:  # to urllib3 a kind of time-out
            return answer(Outcome.UNREACHABLE, f"{target.host}: {_root_of(error)}")
        except (TimeoutError, HttpTimeout):
            return answer(Outcome.TIMEOUT, f"no answer in {timeout_s:g} s")
        except (HTTPError, OSError, ValueError) as error:  # ValueError: TLS on a socket closed meanwhile
            return answer(Outcome.UNREACHABLE, f"{target.host}: {_root_of(error)}")
        return answer(**_judged(response, data))


def _headers(signed: bytes, *, has_body: bool, key: str, idempotency_key: str) -> dict[str, str]:
    headers = {
        "User-Agent": "Kav",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # what is packed could unpack to anything
        "Idempotency-Key": re.sub(r"[^\x21-\x7e]", "", idempotency_key)[:128],
    }
    if has_body:
        headers["Content-Type"] = "application/json; charset=utf-8"
    if key:
        timestamp = str(int(time.time()))
        headers |= {"X-Kav-Timestamp": timestamp, "X-Kav-Signature": sign(key, timestamp, signed)}
    return headers


def _encoded(payload: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; half a character, which a model may write, becomes a question mark."""
    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")


def _with_query(url: str, arguments: Mapping[str, Any]) -> str:
    """The arguments as a query: text as it is, all else as JSON."""
    pairs = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in arguments.items()
    ]
    if not pairs:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs, errors='replace')}"


def _shown(caller: str, is_shared: bool) -> str:
    """The caller's number: whole, or its last four digits; empty when there is none."""
    digits = re.sub(r"\D", "", caller)
    if not re.fullmatch(r"\+?\d{7,15}", caller.strip()):
        return ""
    return caller.strip() if is_shared else f"…{digits[-4:]}"


def _read(response: BaseHTTPResponse) -> bytes:
    """The body as it came, or its beginning when it is too long: then the connection is closed."""
    data = b""
    try:
        while len(data) <= MAX_ANSWER_BYTES:
            piece = response.read(MAX_ANSWER_BYTES + 1 - len(data), decode_content=False)
            if not piece:  # only a read that gets nothing tells of a body that was cut short
                break
            data += piece
    finally:
        response.close()  # nothing to close when all was read: the pool has the connection by then
    return data


def _judged(response: BaseHTTPResponse, data: bytes) -> dict[str, Any]:
    """Outcome, detail and answer of what came."""
    status = response.status
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    seen: dict[str, Any] = {"status": status, "detail": f"HTTP {status}"}
    if 300 <= status < 400:
        return seen | {"outcome": Outcome.REFUSED, "detail": f"HTTP {status}: it redirects elsewhere"}
    if len(data) > MAX_ANSWER_BYTES:
        return seen | {"outcome": Outcome.TOO_LARGE, "detail": f"more than {MAX_ANSWER_BYTES} bytes"}
    is_packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    charset = _CHARSET.search(response.headers.get("Content-Type", "").lower())
    is_known, content = False, None
    if not is_packed:
        is_known, content = _content(kind, charset[1] if charset else "utf-8", data)
    if status >= 400:
        if isinstance(content, str) and (kind != "text/plain" or len(content) > MAX_ERROR_CHARS):
            content = None  # a server's error page
        return seen | {"outcome": Outcome.HTTP_ERROR, "answer": content}
    if not is_known:
        return seen | {
            "outcome": Outcome.UNREADABLE,
            "detail": f"neither JSON nor text but {kind or 'nothing'}",
        }
    return seen | {"outcome": Outcome.OK, "answer": content}


def _content(kind: str, charset: str, data: bytes) -> tuple[bool, Any]:
    """(whether it can be read, JSON or text). No body at all is an answer too."""
    if not data:
        return True, None
    is_json = kind == "application/json" or kind.endswith("+json") or not kind
    if charset not in _CHARSETS or not (is_json or kind.startswith("text/")):
        return False, None
    try:
        text = data.decode(_CHARSETS[charset])
        return True, json.loads(text, parse_constant=str) if is_json else text
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return False, None


def _root_of(error: BaseException) -> str:
    """What the innermost layer met; the outer ones repeat the address."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return f"{type(error).__name__}: {error}"
