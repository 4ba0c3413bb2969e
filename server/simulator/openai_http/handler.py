"""One connection: requests in, answers or faults out.

While it waits or streams it watches for the client's leaving, as a service that is paid by the second
does; `Served` tells when that was noticed.
"""

from __future__ import annotations

import io
import json
import logging
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser

from server.logs import clean
from server.simulator.openai_http import chat_stream, checks
from server.simulator.openai_http.checks import Refused
from server.simulator.openai_http.faults import Faults
from server.simulator.openai_http.script import Persona
from server.simulator.openai_http.voice import BYTES_PER_MS, Voice

log = logging.getLogger(__name__)

PATHS = {
    "/v1/audio/transcriptions": "transcriptions",
    "/v1/chat/completions": "chat",
    "/v1/audio/speech": "speech",
}
MAX_BODY_BYTES = 25 << 20
MAX_REMEMBERED = 10_000
CHUNK_MS = 100
EVENT_S = 0.04
"""Between two events of an answer at real time: 25 a second, slower than any model."""
_STATUSES = {
    "400": (400, "unsupported_value", "This value is not supported."),
    "401": (401, "invalid_api_key", "Incorrect API key provided."),
    "404": (404, "model_not_found", "The model does not exist or you do not have access to it."),
    "409": (409, "conflict", "The resource is busy; try again."),
    "429": (429, "rate_limit_exceeded", "Rate limit reached for requests."),
    "500": (500, "server_error", "The server had an error while processing your request."),
    "503": (503, "overloaded", "The engine is currently overloaded, please try again later."),
    "quota": (429, "insufficient_quota", "You exceeded your current quota, please check your plan."),
}
_ERROR = {"message": "Something went wrong.", "type": "server_error", "param": None, "code": "server_error"}
_BODIES = {
    "html": ("text/html; charset=utf-8", b"<!doctype html><html><body><h1>It works!</h1></body></html>"),
    "json": ("application/json", json.dumps({"error": _ERROR}).encode()),
    "text": ("text/plain; charset=utf-8", "תקלה זמנית, נסו שוב".encode()),
}
_TYPES = {
    "transcriptions": "application/json",
    "chat": "text/event-stream; charset=utf-8",
    "speech": "audio/pcm",
}


@dataclass(slots=True)
class Served:
    """One request, as the server saw it."""

    endpoint: str
    request: dict[str, Any]
    """The JSON, or the fields of the form."""
    authorization: str
    status: int = 0
    sent_bytes: int = 0
    """Of the answer's body."""
    is_whole: bool = False
    left_at_s: float | None = None
    """When the client was noticed to have left, on the monotonic clock."""


@dataclass(slots=True)
class Terms:
    """What all connections of a server share."""

    persona: Persona
    voice: Voice
    faults: Faults
    speed: float
    """Multiple of real time at which speech and text go out."""
    served: deque[Served] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))


class ClientLeft(OSError):
    pass


class _Ended(Exception):
    """A fault ends the connection."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "kav-simulator"
    sys_version = ""
    terms: Terms
    """Set by the server's own subclass."""
    _served: Served
    _faults: dict[str, float | None]

    def log_message(self, format: str, *args: Any) -> None:
        """Each request has its line at its end."""

    def do_GET(self) -> None:
        self._served = Served("", {}, "")
        self._refuse(Refused(f"Invalid URL (GET {clean(self.path, 80)})", status=404))

    def do_POST(self) -> None:
        endpoint = PATHS.get(self.path.partition("?")[0], "")
        self._served = Served(endpoint, {}, self.headers.get("Authorization", ""))
        began_at = time.monotonic()
        try:
            body = self._body()
            if not endpoint:
                raise Refused(f"Invalid URL (POST {clean(self.path, 80)})", status=404)
            self.terms.served.append(self._served)
            self._faults = self.terms.faults.take(endpoint)
            if not self._served.authorization.startswith("Bearer ") and not self.headers.get("api-key"):
                raise Refused("You didn't provide an API key.", status=401)
            getattr(self, f"_{endpoint}")(body)
        except Refused as refusal:
            self._refuse(refusal)
        except (_Ended, OSError) as end:
            if not isinstance(end, _Ended):
                self._served.left_at_s = time.monotonic()
            self.close_connection = True
        log.info(
            "%s %d bytes=%d whole=%s faults=%s ms=%d",
            *(endpoint or "?", self._served.status, self._served.sent_bytes, self._served.is_whole),
            *(" ".join(getattr(self, "_faults", {})) or "-", (time.monotonic() - began_at) * 1000),
        )

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            raise Refused("a Content-Length is needed", status=411)
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            raise Refused("Maximum content size limit exceeded", status=413)
        return self.rfile.read(int(length))

    def _transcriptions(self, body: bytes) -> None:
        kind = self.headers.get("Content-Type", "")
        fields, file = _form(kind, body)
        self._served.request = fields
        utterance = checks.transcription(fields, file)
        ear, words = self.terms.persona.hear(utterance)
        self._pause(words.delay_s)
        answer: dict[str, Any] = {"text": words.text}
        if utterance.model == "gpt-transcribe":
            answer["languages"] = [{"code": utterance.language}] if utterance.language else []
        counts = {"input_tokens": utterance.ms // 100, "output_tokens": len(words.text) // 4}
        answer["usage"] = {"type": "tokens", **counts, "total_tokens": sum(counts.values())}
        self._answer(
            "transcriptions", [json.dumps(answer, ensure_ascii=False).encode()], {"x-simulator-ear": ear}
        )

    def _chat(self, body: bytes) -> None:
        request = self._served.request = _json(body)
        answer = self.terms.persona.answer(checks.chat(request))
        seed = len(self.terms.served)
        self._answer("chat", chat_stream.events(answer, request, seed), {}, EVENT_S / self.terms.speed)

    def _speech(self, body: bytes) -> None:
        request = self._served.request = _json(body)
        text, _ = checks.speech(request)
        sound, made_by = self.terms.voice.speak(text)
        size = CHUNK_MS * BYTES_PER_MS
        pieces = [sound[at : at + size] for at in range(0, len(sound), size)]
        pause_s = CHUNK_MS / 1000 / self.terms.speed
        self._answer("speech", pieces, {"x-simulator-voice": made_by}, pause_s)

    def _answer(
        self, endpoint: str, pieces: Iterable[bytes | float], headers: dict[str, str], pause_s: float = 0.0
    ) -> None:
        """The pieces, a pause before each (a number among them is one more), or what faults make of it."""
        faults = self._faults
        if "slow" in faults:
            self._pause(faults["slow"] or 0.0)
        if "never" in faults:
            self._pause(float("inf"))
        if "drop" in faults:
            raise _Ended
        if refusal := next((name for name in _STATUSES if name in faults), None):
            status, code, message = _STATUSES[refusal]
            wait_s = faults[refusal]
            more = {} if wait_s is None else {"Retry-After": f"{wait_s:g}"}
            self._refuse(Refused(message, None, code, status), more)
            return
        kind, body = next((_BODIES[name] for name in _BODIES if name in faults), (_TYPES[endpoint], None))
        if "disguised" in faults:
            body = _BODIES["json"][1]
        if "empty" in faults:
            body = b""
        self._begin(kind, headers)
        self._stream(list(pieces) if body is None else [body], pause_s)

    def _stream(self, pieces: list[bytes | float], pause_s: float) -> None:
        is_broken = "cut" in self._faults or "stall" in self._faults
        if is_broken and len(pieces) == 1 and isinstance(pieces[0], bytes):
            pieces = [pieces[0][: len(pieces[0]) // 2], b""]
        for number, piece in enumerate(pieces[: len(pieces) // 2] if is_broken else pieces):
            if isinstance(piece, bytes):
                self._pause(pause_s if number else 0.0)
                self._send(piece)
            else:
                self._pause(piece)
        if "stall" in self._faults:
            self._pause(float("inf"))
        if is_broken:
            raise _Ended
        self.wfile.write(b"0\r\n\r\n")
        self._served.is_whole = True

    def _begin(self, kind: str, headers: dict[str, str]) -> None:
        self._served.status = 200
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Transfer-Encoding": "chunked", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self._served.sent_bytes += len(data)

    def _pause(self, seconds: float) -> None:
        """Raises ClientLeft as soon as the client has, or the server itself has hung up."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], min(left_s, 3600.0))
            if readable and self._has_left():
                raise ClientLeft
            if readable:
                time.sleep(min(left_s, 0.01))  # the next request has come early

    def _has_left(self) -> bool:
        if isinstance(self.connection, ssl.SSLSocket):
            return True  # a client that waits has nothing else to say
        return not self.connection.recv(1, socket.MSG_PEEK)

    def _refuse(self, refusal: Refused, headers: dict[str, str] | None = None) -> None:
        kind = "invalid_request_error" if refusal.status < 500 else "server_error"
        error = {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}
        body = json.dumps({"error": error}, ensure_ascii=False).encode()
        served = self._served
        served.status, served.sent_bytes, served.is_whole = refusal.status, len(body), True
        self.send_response(refusal.status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise Refused("We could not parse the JSON body of your request.")
    return request


def _form(kind: str, body: bytes) -> tuple[dict[str, str], tuple[str, bytes] | None]:
    """The fields, and the file's name and bytes."""
    media_type, _, parameters = kind.partition(";")
    options = dict(part.strip().split("=", 1) for part in parameters.split(";") if "=" in part)
    if media_type.strip().lower() != "multipart/form-data" or "boundary" not in options:
        raise Refused("Invalid Content-Type: multipart/form-data with a boundary is needed")
    options["boundary"] = options["boundary"].strip('"')

    try:
        _, form, files = FormDataParser(silent=False).parse(
            io.BytesIO(body), "multipart/form-data", len(body), options
        )
    except (ValueError, HTTPException) as error:
        raise Refused(f"Could not parse multipart form: {clean(str(error), 100)}") from error
    if (file := files.get("file")) is None:
        return dict(form.items()), None
    with closing(file):
        return dict(form.items()), (file.filename or "", file.read())
