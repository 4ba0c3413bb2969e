"""What does an answer other than 200 mean, and may the same request be made once more?

The words are OpenAI's: `{"error": {"message", "type", "code", "param"}}`. Proxies in between answer in
words of their own, so the status decides and the code only tells apart. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from server.errors import SpeechError, SpeechRefused, SpeechUnreachable
from server.logs import clean, mask

LONGEST_RETRY_AFTER_S = 2.0
"""A caller waits no longer in silence; then the request has failed."""
USUAL_PAUSE_S = 0.3
NO_MONEY = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"}
)


@dataclass(frozen=True, slots=True)
class Refusal:
    error: SpeechError
    retry_after_s: float | None
    """None: the same request would be refused again, or too late."""


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """`headers` are looked up without regard to case by whoever made them."""
    code, message = _error(body)
    seen = clean(mask(" ".join(filter(None, (f"HTTP {status}", code, message)))))
    pause_s = _retry_after_s(headers)
    if code in NO_MONEY:
        return Refusal(SpeechRefused("KAV-173", seen, code=code), None)
    if status in (401, 403):
        return Refusal(SpeechRefused("KAV-172", seen, code=code or "invalid_api_key"), None)
    if status == 404:
        return Refusal(SpeechRefused("KAV-174", seen, code=code or "not_found"), None)
    if status == 429:
        return Refusal(SpeechRefused("KAV-175", seen, code=code or "rate_limit_exceeded"), pause_s)
    if status in (408, 409) or status >= 500:
        return Refusal(SpeechUnreachable("KAV-171", seen, code=code or f"http_{status}"), pause_s)
    return Refusal(SpeechRefused("KAV-176", seen, code=code or f"http_{status}"), None)


def _error(body: bytes) -> tuple[str, str]:
    """Code, and message with the field it is about; of a page that is no JSON, its beginning."""
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        return "", " ".join(text.split())
    if isinstance(error, dict):
        error = error.get("error", error)
    if isinstance(error, dict):
        code = error.get("code") or error.get("type") or ""
        param = error.get("param")
        field = f"{param}: " if isinstance(param, str) and param else ""
        return clean(code, 60) if isinstance(code, str) else "", field + str(error.get("message") or "")
    return "", str(error)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, or None for what is too long, or a date. Without the header: a short pause."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (text := headers.get(name)) is not None:
            try:
                pause_s = float(text) * unit_s
            except ValueError:
                return None
            return pause_s if 0 <= pause_s <= LONGEST_RETRY_AFTER_S else None
    return USUAL_PAUSE_S
