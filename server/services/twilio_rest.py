"""Twilio's REST API: new TwiML for a live call, its end, and text messages.

Made once at start, because two things in it would hold the hub for as long as it takes to say "one
moment": the library's own modules come in when they are first used (50 ms), and a TLS context reads
the authorities' certificates (30 ms). Afterwards each request waits in its own green thread, at most
`timeout_s`, name look-up included; the hub goes on.

A request is tried once more when nobody knows its fate or Twilio asks for patience, never after any
other refusal. So it is done at least once or an error says so: an answer lost on the way may mean
that a document begins twice, or that a text message comes twice.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from twilio.base.exceptions import TwilioException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from server import green
from server.config import Settings
from server.errors import CallIsGone, TwilioRestError
from server.faults import FAULTS
from server.logs import clean, mask

log = logging.getLogger(__name__)

API_URL = "https://api.twilio.com"
TIMEOUT_S = 5.0
ATTEMPT_SHARE = 0.45
"""Of the time-out, for each of the two tries."""
RETRY_PAUSE_S = 0.2
RETRY_NEEDS_S = 0.5
"""With less left, a second try could only disturb."""
MAX_TWIML_CHARS = 4000
"""twilio.com/docs/api/errors/32018"""
MAX_ANSWER_BYTES = 256 * 1024
"""A call as JSON is 2 kB. Much more is a page of somebody else's, and parsing it would hold the hub."""
IDLE_CONNECTIONS = 16

TOO_LONG, NOT_FOUND, NOT_IN_PROGRESS = 32018, 20404, 21220
_SID = re.compile(r"CA[0-9A-Za-z]{1,64}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Update:
    """What Twilio says of a call after it was told something."""

    call_sid: str
    status: str
    """Twilio's word: in-progress, or completed."""
    is_already_gone: bool = False
    """It was to be hung up and had ended before."""


class TwilioRest:
    """One account's. Any green thread may call it, several at once; a callback of the hub must not."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        api_url: str = API_URL,
        timeout_s: float = TIMEOUT_S,
        *,
        other_tokens: Sequence[str] = (),
    ) -> None:
        """`other_tokens`: tried in turn, one a request, when a token is refused: they are being rotated."""
        self.timeout_s = timeout_s
        self._host = urlsplit(api_url).netloc
        self._transport = _Transport(api_url, timeout_s * ATTEMPT_SHARE)
        self._clients = [self._client(account_sid, token) for token in (auth_token, *other_tokens)]
        self._current = 0  # of the client whose token was taken last

    @classmethod
    def from_settings(cls, settings: Settings) -> TwilioRest | None:
        """None without an account and its token: then nothing can be asked of Twilio."""
        if not settings.twilio_account_sid or not settings.twilio_auth_tokens:
            return None
        token, *others = settings.twilio_auth_tokens
        return cls(settings.twilio_account_sid, token, settings.twilio_api_url, other_tokens=others)

    def update_call(self, call_sid: str, twiml: str) -> Update:
        """Let a live call go on with this document instead of the one that runs; its stream is stopped.

        Blocks up to `timeout_s`. Raises CallIsGone when the call has ended, else TwilioRestError.
        """
        if len(twiml) > MAX_TWIML_CHARS:
            raise TwilioRestError("KAV-157", f"{len(twiml):,} characters", code=TOO_LONG)
        return self._update(call_sid, twiml=twiml)

    def hang_up(self, call_sid: str) -> Update:
        """End a call. That it has ended already is as good. Blocks and raises as `update_call`."""
        try:
            return self._update(call_sid, status="completed")
        except CallIsGone:
            return Update(call_sid, "completed", is_already_gone=True)

    def send_sms(self, to: str, from_: str, body: str) -> str:
        """Send a text message and return its SID. Blocks up to `timeout_s`. Raises TwilioRestError.

        Twilio has queued it then; whether it arrives is told to no one here.
        """
        message = self._ask("send_sms", lambda client: client.messages.create(to=to, from_=from_, body=body))
        return str(message.sid)

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.session.close()

    def _update(self, call_sid: str, **change: str) -> Update:
        if not _SID.fullmatch(call_sid):  # it becomes a part of the address
            raise TwilioRestError("KAV-158", f"{clean(call_sid, 40)!r} is no call's SID")
        try:
            call = self._ask("update_call", lambda client: client.calls(call_sid).update(**change))
        except TwilioRestError as error:
            if error.code in (NOT_FOUND, NOT_IN_PROGRESS):
                raise CallIsGone("KAV-156", str(error), code=error.code, status=error.status) from error
            raise
        return Update(call_sid, str(call.status))

    def _client(self, account_sid: str, token: str) -> Client:
        client = Client(account_sid, token, http_client=self._transport)
        _ = client.calls, client.messages  # imports their modules now
        return client

    def _ask(self, what: str, act: Callable[[Client], T]) -> T:
        """Do it within `timeout_s`, with a second try or another token where that makes sense."""
        ends_at = time.monotonic() + self.timeout_s
        client = self._current
        may_retry, may_change_token = True, len(self._clients) > 1
        while True:
            try:
                with green.deadline(max(0.01, ends_at - time.monotonic())):
                    answer = act(self._clients[client])
            except TwilioRestError as refusal:
                error = refusal
            except (
                TwilioException,
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
            ) as cause:
                error = self._typed(cause)
            else:
                self._current = client
                return answer
            left_s = ends_at - time.monotonic()
            if error.status == 401 and may_change_token:
                may_change_token = False
                client = (client + 1) % len(self._clients)
            elif error.is_retryable and may_retry and left_s > RETRY_NEEDS_S:
                may_retry = False
                time.sleep(RETRY_PAUSE_S)
            else:
                raise error
            log.info("TWILIO_REST %s once more after %s", what, FAULTS[error.fault_id].line(str(error)))

    def _typed(self, cause: Exception) -> TwilioRestError:
        """What a library met, in our words."""
        if isinstance(cause, TwilioException):
            return _refusal(cause)
        timeouts = (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError)
        if isinstance(cause, timeouts):
            return TwilioRestError("KAV-152", f"{self._host} in {self.timeout_s:g} s", is_retryable=True)
        root: BaseException = cause
        while inner := root.__cause__ or root.__context__:
            root = inner
        seen = clean(mask(f"{self._host}: {type(root).__name__}: {root}"))
        return TwilioRestError("KAV-151", seen, is_retryable=True)


def _refusal(answer: TwilioException) -> TwilioRestError:
    """An answer of 4xx or 5xx, in the shape that the library gave it."""
    status, code = int(getattr(answer, "status", 0) or 0), int(getattr(answer, "code", 0) or 0)
    words = getattr(answer, "msg", "") or getattr(answer, "detail", "") or getattr(answer, "title", "")
    seen = f"{status}/{code} {mask(clean(str(words)))}"
    if status == 401:
        return TwilioRestError("KAV-153", seen, code=code, status=status)
    if status == 429:
        return TwilioRestError("KAV-154", seen, code=code, status=status, is_retryable=True)
    if status >= 500:
        return TwilioRestError("KAV-155", seen, code=code, status=status, is_retryable=True)
    return TwilioRestError("KAV-158", seen, code=code, status=status)


class _Transport(TwilioHttpClient):  # type: ignore[misc]  # twilio ships no types
    """How the library's requests travel: one session with one TLS context, to any host, and unlogged."""

    def __init__(self, api_url: str, attempt_s: float) -> None:
        super().__init__(timeout=attempt_s)
        self._base = urlsplit(api_url)
        self._timeout = urllib3.Timeout(total=attempt_s)
        self._proxies = get_environ_proxies(api_url)  # as for the model's leg
        self.session = requests.Session()
        self.session.trust_env = False  # no password out of ~/.netrc instead of ours
        if self._base.scheme == "https":
            self.session.mount("https://", _Adapter(_tls_context()))
        self.session.mount("http://", HTTPAdapter(pool_maxsize=IDLE_CONNECTIONS))

    def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """Send it and read the whole answer.

        Raises what `requests` and urllib3 raise, and TwilioRestError when no Twilio answers.
        """
        asked: Any = {"params": params, "data": data, "headers": headers, "auth": auth}
        request = self.session.prepare_request(requests.Request(method.upper(), self._here(url), **asked))
        ends_at = time.monotonic() + self.timeout
        with self.session.send(
            request, timeout=self._timeout, allow_redirects=False, proxies=self._proxies, stream=True
        ) as answer:
            body = _body(answer, ends_at)
        status = answer.status_code
        text = body.decode("utf-8", "replace")
        says_itself = status >= 500 or status in (401, 429)  # proxies answer these with pages
        if not says_itself and (len(body) > MAX_ANSWER_BYTES or not _is_json_object(text)):
            kind = clean(answer.headers.get("Content-Type", "nothing"), 60)
            raise TwilioRestError(
                "KAV-159", f"{self._base.netloc} answered {status} with {kind}", status=status
            )
        return Response(status, text, answer.headers)

    def _here(self, url: str) -> str:
        """The library's address under the base that was asked for."""
        parts = urlsplit(url)
        base = self._base
        return parts._replace(scheme=base.scheme, netloc=base.netloc, path=base.path + parts.path).geturl()


class _Adapter(HTTPAdapter):
    """TLS with a context made before. `requests` would have the certificates read again for each
    connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_maxsize=IDLE_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: the context verifies, with the authorities it was given."""


def _body(answer: requests.Response, ends_at: float) -> bytes:
    """The body, or as much as shows that it is not Twilio's. Raises ReadTimeout.

    A socket's time-out begins anew with each byte, so whoever sends one now and then is timed here.
    """
    body = b""
    while len(body) <= MAX_ANSWER_BYTES and (piece := answer.raw.read1(65536, decode_content=True)):
        body += piece
        if time.monotonic() > ends_at:
            raise requests.ReadTimeout
    return body


def _tls_context() -> ssl.SSLContext:
    """The system's authorities, or certifi's where the system has none."""
    paths = ssl.get_default_verify_paths()
    has_authorities = bool(paths.cafile) or bool(paths.capath and any(Path(paths.capath).iterdir()))
    context = ssl.create_default_context(cafile=None if has_authorities else certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
