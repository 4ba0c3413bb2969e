"""The tools of one call that have to be run: taking a message, and the business's own.

Each blocks its own green thread until its deadline and answers in words for the model; none raises for
what a far end does, and none touches the audio.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from server import green
from server.business import Business
from server.call_services import CallServices
from server.errors import TwilioRestError
from server.faults import FAULTS
from server.logs import clean
from server.services.http_tools import ToolContext
from server.store.caller_messages import CallerMessage
from server.store.live_calls import CallFacts
from server.turns.tools import TAKE_MESSAGE, Tool, built_in

log = logging.getLogger(__name__)

MAX_MESSAGE_CHARS = 2000
MAX_NAME_CHARS = 100
MAX_SMS_CHARS = 600


class CallTools:
    """What the agent of one call may use."""

    def __init__(self, services: CallServices, business: Business, call_sid: str, call_tag: str) -> None:
        self._services = services
        self._business = business
        self._call_sid = call_sid
        self._tag = call_tag
        self._http = {tool.name: tool for tool in business.tools}

    @property
    def offered(self) -> tuple[Tool, ...]:
        """All tools, as the model is told of them."""
        own = (Tool(tool.name, tool.description, tool.parameters) for tool in self._business.tools)
        return (*built_in(self._business.transfers), *own)

    @property
    def names(self) -> frozenset[str]:
        """Of those that `run` knows."""
        return frozenset((TAKE_MESSAGE, *self._http))

    def run(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The tool's answer for the model. Blocks 8 s at most."""
        began_at = time.monotonic()
        if name == TAKE_MESSAGE:
            answer = self._take_message(arguments)
        else:
            context = ToolContext(call_id, self._call_sid, self._business, self._facts.caller)
            told = self._services.http_tools.run(self._http[name], dict(arguments), context)
            if not told.is_ok:
                log.warning("%s call=%s", told.log_line(), self._tag)
            answer = told.for_model()
        took_ms = (time.monotonic() - began_at) * 1000
        log.info("[TOOL] %s took_ms=%d call_sid=%s", name, took_ms, self._tag)
        return answer

    @property
    def _facts(self) -> CallFacts:
        return self._services.calls.facts(self._call_sid)

    def _take_message(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        text = _told(arguments, "message", MAX_MESSAGE_CHARS)
        if not text:
            return {"error": "the message is empty; ask the caller what it shall say"}
        message = CallerMessage(
            call_sid=self._call_sid,
            business_id=self._business.id,
            name=_told(arguments, "name", MAX_NAME_CHARS),
            number=_told(arguments, "phone", MAX_NAME_CHARS) or self._facts.caller,
            text=text,
            noted_at=time.time(),
        )
        self._services.store.note_message(message)
        log.info("[MESSAGE] noted chars=%d call_sid=%s", len(text), self._tag)
        tell_of(self._services, self._business, message, self._tag)
        return {"ok": True, "note": "the message was written down; read it back to the caller"}


def _told(arguments: Mapping[str, Any], key: str, max_chars: int) -> str:
    """Models write null for what a caller did not say, and telephone numbers as numbers."""
    value = arguments.get(key)
    return clean(str(value).strip(), max_chars) if isinstance(value, str | int) else ""


def tell_of(services: CallServices, business: Business, message: CallerMessage, call_tag: str) -> None:
    """Begin to tell the business of a message. Returns at once; a process that ends waits for it."""
    services.notifications.begin(call_tag, partial(notify, services, business, message, call_tag))


def notify(services: CallServices, business: Business, message: CallerMessage, call_tag: str) -> None:
    """Tell the business of a message, where it asked to be told: by both ways at once. Blocks 8 s at most,
    and never raises."""
    texting = green.spawn(_text, services, business, message, call_tag)
    try:
        if business.notify_url:
            told = services.http_tools.notify(business, dataclasses.asdict(message), secrets.token_hex(8))
            if not told.is_ok:
                log.warning("%s call=%s", told.log_line(), call_tag)
    except Exception:
        log.exception("%s call=%s", FAULTS["KAV-199"].line("notify"), call_tag)
    texting.wait()


def _text(services: CallServices, business: Business, message: CallerMessage, call_tag: str) -> None:
    """The text message. Never raises."""
    try:
        if business.notify_number and services.rest is not None:
            sender = services.calls.facts(message.call_sid).called
            services.rest.send_sms(business.notify_number, sender, _sms(message, business.language))
    except TwilioRestError as error:
        log.warning("%s call=%s", FAULTS[error.fault_id].line(clean(str(error))), call_tag)
    except Exception:
        log.exception("%s call=%s", FAULTS["KAV-199"].line("notify"), call_tag)


def _sms(message: CallerMessage, language: str) -> str:
    who = message.name or ("לא נמסר שם" if language == "he" else "no name")
    lead = "הודעה טלפונית" if language == "he" else "Telephone message"
    return f"{lead}\n{who} {message.number}\n{message.text or message.recording_url}"[:MAX_SMS_CHARS]
