"""May this request open a Realtime session, and if not, which HTTP answer says why?

The request's text in, a decision out. Only the presence of a key is judged: the simulator knows no
keys, so that a real one can be left in the environment and no fake one need look real.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from server.simulator.realtime.dialects import GA, Dialect
from server.wire import handshake

GA_PATHS = ("/v1/realtime", "/openai/v1/realtime")
BETA_PATHS = ("/v1/realtime", "/openai/realtime")
"""The second of each is Azure's; its preview names the model `deployment`."""
MAX_REQUEST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Accepted:
    model: str
    response: bytes
    """The 101 answer."""
    wants_beta: bool
    """The client sent `OpenAI-Beta: realtime=v1`."""


@dataclass(frozen=True, slots=True)
class Refused:
    status: HTTPStatus
    code: str
    response: bytes


REFUSALS = {
    401: ("invalid_api_key", "Incorrect API key provided."),
    404: ("model_not_found", "The model does not exist or you do not have access to it."),
    429: (
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
}
"""What can be asked for: code and words by HTTP status."""


def judge(
    request: bytes, dialect: Dialect, *, refuse: int | None = None, is_full: bool = False
) -> Accepted | Refused:
    """Decide on everything up to and including the blank line. `refuse`: one of REFUSALS."""
    try:
        method, target, version, headers = _parse(request)
    except ValueError as error:
        return _refused(HTTPStatus.BAD_REQUEST, "bad_request", str(error))
    url = urlsplit(target)
    paths = GA_PATHS if dialect is GA else BETA_PATHS
    if url.path.rstrip("/") not in paths:
        return _refused(HTTPStatus.NOT_FOUND, "not_found", f"Nothing at {url.path[:100]}; try {paths[0]}.")
    if (refusal := handshake.refuse(method, version, headers)) is not None:
        return _refused(refusal.status, "bad_handshake", refusal.reason)
    if not _key(headers):
        return _refused(
            HTTPStatus.UNAUTHORIZED,
            "missing_api_key",
            "You didn't provide an API key: send Authorization: Bearer KEY, or api-key: KEY.",
        )
    if refuse is not None:
        return _refused(HTTPStatus(refuse), *REFUSALS[refuse])
    query = parse_qs(url.query)
    model = (query.get("model") or query.get("deployment") or [""])[0]
    if not model:
        return _refused(HTTPStatus.BAD_REQUEST, "missing_model", "You must provide a model parameter.")
    if is_full:
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_sessions", "The simulator is full.")
    wants_beta = "realtime=v1" in headers.get("openai-beta", "")
    return Accepted(model, handshake.response(headers, _subprotocol(headers)), wants_beta)


def _parse(request: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, target, version and headers by lower-case name. Raises ValueError."""
    first, *lines = request.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise ValueError("not an HTTP request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    return words[0], words[1], words[2], headers


def _key(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return (key.strip() if scheme.lower() == "bearer" else "") or headers.get("api-key", "")


def _subprotocol(headers: Mapping[str, str]) -> str | None:
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    return "realtime" if "realtime" in offered else None


def _refused(status: HTTPStatus, code: str, message: str) -> Refused:
    error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
    body = json.dumps({"error": error}).encode("utf-8")
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return Refused(status, code, head.encode("ascii") + body)
