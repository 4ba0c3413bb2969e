"""Twilio's REST answers as JSON: errors, calls, messages.

The fields are those from which Twilio's own library makes its objects; what a simulator cannot know
(prices, billed seconds) is null, as it is at Twilio for a call that goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from server.simulator.twilio.rest_calls import KnownCall

VERSION = "2010-04-01"
_SMS_SEPTETS, _SMS_UNITS = 160, 70
_PARTS_SEPTETS, _PARTS_UNITS = 153, 67


@dataclass(frozen=True, slots=True)
class Message:
    """A text message that was taken for sending."""

    sid: str
    to: str
    from_: str
    body: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def error(status: int, code: int, message: str) -> dict[str, Any]:
    return {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }


def call(known: KnownCall) -> dict[str, Any]:
    live = known.call
    path = f"/{VERSION}/Accounts/{live.account_sid}/Calls/{live.call_sid}"
    return {
        "sid": live.call_sid,
        "account_sid": live.account_sid,
        "api_version": VERSION,
        "parent_call_sid": None,
        "phone_number_sid": None,
        "direction": "inbound",
        "status": live.status,
        "from": known.from_number,
        "from_formatted": known.from_number,
        "to": known.to_number,
        "to_formatted": known.to_number,
        "date_created": _date(known.created_at),
        "date_updated": _date(datetime.now(UTC)),
        "start_time": _date(known.created_at),
        "end_time": None,
        "duration": None,
        "annotation": None,
        "answered_by": None,
        "caller_name": None,
        "forwarded_from": None,
        "group_sid": None,
        "price": None,
        "price_unit": "USD",
        "queue_time": "0",
        "trunk_sid": None,
        "uri": f"{path}.json",
        "subresource_uris": {
            name: f"{path}/{name.capitalize()}.json" for name in ("notifications", "recordings", "streams")
        },
    }


def message(sent: Message, account_sid: str) -> dict[str, Any]:
    path = f"/{VERSION}/Accounts/{account_sid}/Messages/{sent.sid}"
    return {
        "sid": sent.sid,
        "account_sid": account_sid,
        "api_version": VERSION,
        "messaging_service_sid": None,
        "to": sent.to,
        "from": sent.from_,
        "body": sent.body,
        "status": "queued",
        "direction": "outbound-api",
        "num_segments": str(segments(sent.body)),
        "num_media": "0",
        "date_created": _date(sent.at),
        "date_updated": _date(sent.at),
        "date_sent": None,
        "error_code": None,
        "error_message": None,
        "price": None,
        "price_unit": "USD",
        "uri": f"{path}.json",
        "subresource_uris": {"media": f"{path}/Media.json"},
    }


def segments(body: str) -> int:
    """Text messages it takes: 160 characters of plain ASCII, 70 of anything else, Hebrew for one."""
    units = len(body.encode("utf-16-le")) // 2
    whole, part = (_SMS_SEPTETS, _PARTS_SEPTETS) if body.isascii() else (_SMS_UNITS, _PARTS_UNITS)
    return 1 if units <= whole else -(-units // part)


def _date(at: datetime) -> str:
    return format_datetime(at.replace(microsecond=0))
