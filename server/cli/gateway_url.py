"""Which gateway is meant by the address that somebody typed?"""

from __future__ import annotations

from urllib.parse import urlsplit

import click
from click.core import ParameterSource

VOICE_WEBHOOK = "/webhook/incoming_call"


def webhook_url(url: str) -> str:
    """The voice webhook of a gateway given by its address, or that webhook itself. Raises UsageError."""
    url = http_url(url, "URL")
    return url if urlsplit(url).path not in ("", "/") else url.rstrip("/") + VOICE_WEBHOOK


def http_url(url: str, name: str) -> str:
    """`url` if HTTP can reach it. Raises UsageError."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise click.UsageError(
            f"{name} {url!r} is no http:// or https:// address; write for example http://127.0.0.1:5000"
        )
    return url


def public_url_of(ctx: click.Context, public_url: str, webhook: str) -> str:
    """`--public-url`, if it is about this webhook: PUBLIC_BASE_URL from the environment speaks of the gateway
    on this machine, of no other. Raises UsageError."""
    from server.simulator.twilio.addresses import is_loopback

    is_given = ctx.get_parameter_source("public_url") is ParameterSource.COMMANDLINE
    if not public_url or not (is_given or is_loopback(urlsplit(webhook).hostname or "")):
        return ""
    if "://" not in public_url:
        public_url = f"https://{public_url}"
    return http_url(public_url, "--public-url")
