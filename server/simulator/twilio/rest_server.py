"""Twilio's REST API on a port of this machine: calls are changed, text messages are kept.

    with RestServer() as rest:
        call = TwilioCall(CallOptions(url, rest=rest))     # can be told things while it runs
        TwilioRest(rest.account_sid, rest.auth_token, rest.url).update_call(call_sid, twiml)

What Twilio refuses is refused here, with Twilio's number [1], and faults can be asked for
(`rest_faults`). A request that means another account is not found, like one for an unknown call.

[1] twilio.com/docs/usage/twilios-response and /docs/api/errors
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from server.simulator.twilio import rest_answers
from server.simulator.twilio.rest_answers import VERSION, Message
from server.simulator.twilio.rest_calls import CallRegistry, Refused
from server.simulator.twilio.rest_faults import FaultPlan
from server.simulator.twilio.rest_http import Asked, RestHttpServer, Said
from server.simulator.twilio.verbs import E164

MAX_SMS_CHARS = 1600
_PATH = re.compile(rf"/{VERSION}/Accounts/(AC\w+)/(?:(Messages)|Calls/(CA\w+))\.json", re.ASCII)
_SENDER_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_PAGE = b"<!doctype html><title>Welcome</title><h1>It works!</h1>"


class RestServer:
    """Listens from `start()` to `stop()`, or inside `with`; may be started once.

    `faults` are words of `rest_faults`. `on_change` hears one line about each thing that was done.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        account_sid: str = "",
        auth_token: str = "",
        faults: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        """Raises ConfigError for a word that is no fault."""
        self.account_sid = account_sid or "AC" + secrets.token_hex(16)
        self.auth_token = auth_token or secrets.token_hex(16)
        self.host = host
        self.port = port
        """The real one once started."""
        self.faults = FaultPlan(faults)
        self.calls = CallRegistry(self.account_sid)
        self.messages: list[Message] = []
        """Text messages taken for sending."""
        self._tls = tls
        self._on_change = on_change or (lambda line: None)
        self._server: RestHttpServer | None = None

    @property
    def url(self) -> str:
        """What TWILIO_API_URL has to be."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def requests(self) -> list[Asked]:
        """Every one that could be read so far, whatever became of it."""
        return list(self._server.asked) if self._server else []

    @property
    def connections_total(self) -> int:
        """TCP connections taken so far."""
        return self._server.connections_total if self._server else 0

    def start(self) -> Self:
        """Return when requests are taken. Raises OSError when the port is not to be had."""
        self._server = RestHttpServer((self.host, self.port), self._answer, self.faults, self._tls)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.run, name="twilio-rest", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, asked: Asked, fault: str) -> Said:
        if fault == "html":
            return Said(200, _PAGE, "text/html; charset=utf-8")
        if fault == "429":
            return _error(429, 20429, "Too Many Requests")
        if fault == "500":
            return _error(500, 20500, "An internal server error has occurred")
        if fault == "401" or not self._is_authorised(asked.authorization):
            challenge = ("WWW-Authenticate", 'Basic realm="Twilio API"')
            return _error(401, 20003, "Authenticate", challenge)
        try:
            return self._do(asked)
        except LookupError:
            return _error(404, 20404, f"The requested resource {asked.path} was not found")
        except Refused as refused:
            self._on_change(f"refused with {refused.status}/{refused.code}: {refused}")
            return _error(refused.status, refused.code, str(refused))

    def _is_authorised(self, header: str) -> bool:
        pair = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        return hmac.compare_digest(header.encode(), f"Basic {pair}".encode())

    def _do(self, asked: Asked) -> Said:
        """Raises Refused, and LookupError for what is not there."""
        match = _PATH.fullmatch(asked.path)
        if match is None or match[1] != self.account_sid:
            raise LookupError(asked.path)
        _, messages, call_sid = match.groups()
        if asked.method == "POST" and not asked.is_form:
            raise Refused(400, 20001, "The body is no form")
        if messages and asked.method == "POST":
            sent = self._send(asked.form)
            return _json(201, rest_answers.message(sent, self.account_sid))
        if call_sid and asked.method == "POST":
            known = self.calls.update(call_sid, asked.form)
            what = ", ".join(sorted(name for name, value in asked.form.items() if value))
            self._on_change(f"{call_sid} was told {what}")
            return _json(200, rest_answers.call(known))
        if call_sid and asked.method == "GET":
            found = self.calls.get(call_sid)
            if found is None:
                raise LookupError(call_sid)
            return _json(200, rest_answers.call(found))
        raise Refused(405, 20004, "Method not allowed")

    def _send(self, form: Mapping[str, str]) -> Message:
        """Take a text message. Raises Refused."""
        to, from_, body = (form.get(name, "") for name in ("To", "From", "Body"))
        if not to:
            raise Refused(400, 21604, "A 'To' phone number is required.")
        if not E164.fullmatch(to):
            raise Refused(400, 21211, "The 'To' number is not a valid phone number.")
        if not from_:
            raise Refused(400, 21603, "A 'From' phone number is required.")
        if not E164.fullmatch(from_) and not _SENDER_NAME.fullmatch(from_):
            raise Refused(400, 21212, "The 'From' number is not a valid phone number.")
        if not body:
            raise Refused(400, 21602, "Message body is required.")
        if len(body) > MAX_SMS_CHARS:
            raise Refused(
                400, 21617, f"The concatenated message body exceeds the {MAX_SMS_CHARS} character limit."
            )
        sent = Message("SM" + secrets.token_hex(16), to, from_, body)
        self.messages.append(sent)
        self._on_change(f"a text message of {len(body)} characters was taken")
        return sent


def _error(status: int, code: int, message: str, *headers: tuple[str, str]) -> Said:
    return Said(status, _body(rest_answers.error(status, code, message)), headers=headers)


def _json(status: int, value: dict[str, Any]) -> Said:
    return Said(status, _body(value))


def _body(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8")
