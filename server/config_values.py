"""How one variable's text becomes a value. Each raises ValueError with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.strip().lstrip("-").isdigit() or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return read


def flag(text: str) -> bool:
    if text.strip().lower() not in _TRUE + _FALSE:
        raise ValueError("neither 1 nor 0")
    return text.strip().lower() in _TRUE


def choice(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.strip().lower() not in values:
            raise ValueError(f"not one of {', '.join(values)}")
        return text.strip().lower()

    return read


def phone_number(text: str) -> str:
    """E.164, written with spaces and dashes or without."""
    digits = re.sub(r"[\s().-]", "", text)
    if digits and not re.fullmatch(r"\+[1-9][0-9]{6,14}", digits):
        raise ValueError("not a telephone number such as +97231234567")
    return digits


def tokens(text: str) -> tuple[str, ...]:
    return tuple(token.strip() for token in text.split(",") if token.strip())


def public_base_url(text: str) -> str:
    """An address without its trailing slash; https when no scheme is given.

    Raises ValueError for what Twilio could never call: no host, another scheme, a query.
    """
    text = text.strip()
    if not text.rstrip("/"):
        return ""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("http", "https") or not _is_host(parts) or parts.query or parts.fragment:
        raise ValueError("not an address such as https://my-app.example")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def web_url(text: str) -> str:
    """An http or https address that requests go to; a trailing slash is taken away."""
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not _is_host(parts):
        raise ValueError("not an address such as https://my-app.example/path")
    return parts.geturl().rstrip("/")


def exact_web_url(text: str) -> str:
    """The same to the letter: to somebody else's server a slash at the end may matter."""
    web_url(text)
    return text.strip()


def realtime_url(text: str) -> str:
    parts = urlsplit(text.strip() if "://" in text else f"wss://{text.strip()}")
    scheme = {"https": "wss", "http": "ws"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not _is_host(parts):
        raise ValueError("not an address such as wss://api.openai.com/v1/realtime")
    return parts._replace(scheme=scheme, path=parts.path.rstrip("/")).geturl()


def _is_host(parts: SplitResult) -> bool:
    """A host, with a port or without; not half of an address."""
    netloc = parts.netloc
    if not netloc or netloc[0] == ":" or netloc[-1] == ":" or re.search(r"\s", netloc):
        return False
    try:
        return parts.port != 0  # reading it raises ValueError for what is no port
    except ValueError:
        return False
