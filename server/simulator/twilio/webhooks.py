"""Twilio's HTTP client: form in, signature on, TwiML out.

Signed by Twilio's own validator, so that the gateway's check is held against the original. As
Twilio does it, redirects are followed, cookies kept, and an answer is waited for 15 s.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped,unused-ignore]

from server.errors import GatewayError
from server.simulator.twilio.addresses import Addresses, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_S = 10
READ_LIMIT_BYTES = 16 * 1024 * 1024


class WebhookFailed(GatewayError):
    """No HTTP answer. Carries Twilio's code for it."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    url: str
    """As Twilio knows it, without the redirects on the way: TwiML's relative addresses start here."""
    status: int
    content_type: str | None
    body: bytes
    took_ms: float


class WebhookClient:
    """One call's requests. Not for several threads; each call makes its own."""

    def __init__(self, addresses: Addresses, auth_token: str, timeout_s: float) -> None:
        self._addresses = addresses
        self._validator = RequestValidator(auth_token) if auth_token else None
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.auth = lambda request: request  # never a password from ~/.netrc
        self._session.headers.clear()
        self._session.headers.update(
            {"User-Agent": "TwilioProxy/1.1", "Accept": "*/*", "Connection": "close"}
        )

    def close(self) -> None:
        self._session.close()

    def signature(self, url: str, params: Mapping[str, str] | None = None) -> dict[str, str]:
        """The header that proves a request for `url` is Twilio's; empty without a token."""
        if self._validator is None:
            return {}
        return {"X-Twilio-Signature": str(self._validator.compute_signature(url, dict(params or {})))}

    def send(self, url: str, params: Mapping[str, str], method: str = "POST") -> Answer:
        """Request `url` with Twilio's parameters. Raises WebhookFailed when no answer comes."""
        try:
            signed_url = self._addresses.signed(url)
            if method == "GET" and params:
                separator = "&" if urlsplit(signed_url).query else "?"
                signed_url += separator + urlencode(params)
            target = self._addresses.target(signed_url)
        except ValueError:
            raise WebhookFailed(11100, f"{url[:80]!r} is no address") from None
        form = dict(params) if method == "POST" else None
        headers = self.signature(signed_url, form)
        if target.host:
            headers["Host"] = target.host
        if target.is_behind_proxy:
            headers["X-Forwarded-Proto"] = "https"
        # A loopback gateway is not reached through the proxy that this machine may use outwards.
        proxies = {"http": "", "https": ""} if is_loopback(urlsplit(target.url).hostname or "") else None
        self._session.close()  # drops kept connections, not cookies: one may die just as it is used
        started_at = time.monotonic()
        try:
            response = self._session.request(
                method,
                target.url,
                data=form,
                headers=headers,
                proxies=proxies,
                timeout=(min(CONNECT_TIMEOUT_S, self._timeout_s), self._timeout_s),
                stream=True,
            )
            with response:
                body = response.raw.read(READ_LIMIT_BYTES, decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _failure(target.url, error) from error
        return Answer(
            url=signed_url,
            status=response.status_code,
            content_type=response.headers.get("Content-Type"),
            body=body,
            took_ms=(time.monotonic() - started_at) * 1000,
        )


def _failure(url: str, error: Exception) -> WebhookFailed:
    """Twilio's number for what the HTTP library met."""
    where = urlsplit(url).netloc
    causes = _causes(error)
    if isinstance(error, ValueError):  # also requests' own errors about addresses
        return WebhookFailed(11100, f"{url[:80]!r} is no address")
    if isinstance(error, requests.TooManyRedirects):
        return WebhookFailed(11215, f"{where} redirects without end")
    if isinstance(error, requests.exceptions.SSLError):
        return WebhookFailed(11220, f"{where} has no certificate to trust")
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return WebhookFailed(11205, f"{where} took the request and did not answer in time")
    if isinstance(error, requests.ConnectTimeout):
        return WebhookFailed(11205, f"{where} did not take the connection in time")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return WebhookFailed(11205, f"the host name of {where} is not known")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return WebhookFailed(11205, f"nothing listens on {where}")
    return WebhookFailed(11205, f"{where} broke off the connection")


def _causes(error: BaseException) -> list[BaseException]:
    """The error, what it was raised from, and what libraries hide in `args` and `reason`."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found
