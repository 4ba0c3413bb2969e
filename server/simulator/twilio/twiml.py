"""What does Twilio do with this answer to its webhook?

TwiML is read as Twilio reads it: first the content type, then the size, then the XML, then verbs
and attributes against its schema. What Twilio would log is a finding with its number [1]; what it
would do is a list of verbs, in order.

[1] twilio.com/docs/voice/twiml and /docs/api/errors
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

from server.simulator.twilio.findings import Finding
from server.simulator.twilio.verbs import (
    ANY_KEY,
    E164,
    Connect,
    Dial,
    Document,
    Hangup,
    Pause,
    Play,
    Record,
    Redirect,
    Reject,
    Say,
    Stream,
    Unsupported,
    Verb,
)

MAX_BYTES = 64 * 1024
PARAMETER_LIMIT = 500
REFUSED = frozenset({31922, 31923, 31941})
TWIML_TYPES = frozenset({"text/xml", "application/xml", "text/html"})


_CALLBACK = ("recordingStatusCallback", "recordingStatusCallbackEvent", "recordingStatusCallbackMethod")
_ATTRIBUTES: dict[str, frozenset[str]] = {
    "Connect": frozenset({"action", "method"}),
    "Stream": frozenset({"url", "connectorName", "name", "track", "statusCallback", "statusCallbackMethod"}),
    "Parameter": frozenset({"name", "value"}),
    "Say": frozenset({"voice", "loop", "language"}),
    "Play": frozenset({"loop", "digits"}),
    "Pause": frozenset({"length"}),
    "Hangup": frozenset(),
    "Reject": frozenset({"reason"}),
    "Redirect": frozenset({"method"}),
    "Record": frozenset(
        {"action", "method", "timeout", "finishOnKey", "maxLength", "playBeep", "trim", "recordingTrack"}
        | {"transcribe", "transcribeCallback", *_CALLBACK}
    ),
    "Dial": frozenset(
        {"action", "answerOnBridge", "callerId", "callReason", "events", "hangupOnStar", "method", "record"}
        | {"recordingTrack", "referMethod", "referUrl", "ringTone", "sequential", "timeLimit", "timeout"}
        | {"trim", *_CALLBACK}
    ),
    "Number": frozenset(
        {"url", "method", "sendDigits", "byoc", "machineDetection", "machineDetectionTimeout"}
        | {"machineDetectionSpeechThreshold", "machineDetectionSpeechEndThreshold"}
        | {"machineDetectionSilenceTimeout", "amdStatusCallback", "amdStatusCallbackMethod"}
        | {"statusCallback", "statusCallbackEvent", "statusCallbackMethod"}
    ),
}
_OTHER_NOUNS_OF_DIAL = frozenset({"Application", "Client", "Conference", "Queue", "Sim", "Sip", "WhatsApp"})
_OTHER_VERBS = frozenset(
    {"Gather", "Enqueue", "Leave", "Pay", "Prompt", "Queue", "Refer", "Sms", "Start", "Stop", "Message"}
)


def parse(body: bytes, content_type: str | None, url: str, *, is_loopback: bool = False) -> Document:
    """Read the answer that came from `url`. A loopback gateway may use plain `ws://`."""
    kind = (content_type or "").split(";")[0].strip().lower()
    if kind.startswith("audio/"):
        return Document((Play(url), Hangup()))
    if kind not in TWIML_TYPES and kind != "text/plain":
        return _invalid(12300, f"Content-Type {kind[:60] or 'missing'}, not text/xml")
    if len(body) > MAX_BYTES:
        return _invalid(11750, f"an answer of {len(body):,} bytes")
    root = _root(body)
    if isinstance(root, str):
        if kind == "text/plain" and body.strip():
            return Document((Say(body.decode("utf-8", "replace").strip()),))
        return _invalid(12100, root)
    return _Reader(url, is_loopback).document(root)


def _invalid(code: int, text: str) -> Document:
    return Document((), (Finding(code, text),), is_valid=False)


def _root(body: bytes) -> ET.Element | str:
    """The `<Response>`, or why there is none."""
    if not body:
        return "an empty document"
    if body.startswith(b"\xef\xbb\xbf"):
        return "a byte order mark before <?xml"
    try:
        root = ET.fromstring(body)
    except (ET.ParseError, ValueError, LookupError) as error:
        return f"no well-formed XML: {error}"
    return root if root.tag == "Response" else f"the root is <{root.tag[:40]}>, not <Response>"


class _Reader:
    """Turns elements into verbs and collects what the schema forbids."""

    def __init__(self, url: str, is_loopback: bool) -> None:
        self._url = url
        self._is_loopback = is_loopback
        self._findings: list[Finding] = []
        self._readers: dict[str, Callable[[ET.Element], Verb | None]] = {
            "Connect": self._connect,
            "Say": lambda e: Say(_text(e), e.get("language", ""), e.get("voice", "")),
            "Play": lambda e: Play(self._absolute(_text(e))),
            "Pause": lambda e: Pause(self._integer(e, "length", 1)),
            "Hangup": lambda _: Hangup(),
            "Reject": lambda e: Reject(e.get("reason", "rejected")),
            "Redirect": lambda e: Redirect(self._absolute(_text(e)), self._method(e)),
            "Record": self._record,
            "Dial": self._dial,
        }

    def document(self, root: ET.Element) -> Document:
        verbs = [verb for element in root if (verb := self._verb(element)) is not None]
        return Document(tuple(verbs), tuple(self._findings))

    def _verb(self, element: ET.Element) -> Verb | None:
        if element.tag in _OTHER_VERBS:
            return Unsupported(element.tag)
        reader = self._readers.get(element.tag)
        if reader is None:
            self._find(12200, f"unknown verb <{element.tag[:40]}>")
            return None
        self._check_attributes(element)
        return reader(element)

    def _connect(self, element: ET.Element) -> Verb | None:
        nouns = [noun.tag for noun in element]
        stream = element.find("Stream")
        if len(nouns) != 1:
            self._find(12200, f"<Connect> holds {len(nouns)} nouns, not one")
        if stream is None:
            return Unsupported(f"Connect {' '.join(nouns)[:40]}".strip())
        self._check_attributes(stream)
        return Connect(self._stream(stream), self._action(element), self._method(element))

    def _stream(self, element: ET.Element) -> Stream:
        found_before = len(self._findings)
        url = self._stream_url(element.get("url", ""))
        track = element.get("track", "")
        if track not in ("", "inbound_track"):
            self._find(31941, f"<Stream track> is {track[:40]!r}")
        is_refused = any(f.code in REFUSED for f in self._findings[found_before:])
        callback = element.get("statusCallback", "")
        if callback and not callback.startswith(("http://", "https://")):
            self._find(None, "<Stream statusCallback> is not an absolute address")
        parameters = []
        for child in element:
            if child.tag != "Parameter":
                self._find(12200, f"<{child.tag[:40]}> inside <Stream>")
                continue
            self._check_attributes(child)
            name, value = child.get("name", ""), child.get("value", "")
            if not name:
                self._find(12200, "<Parameter> without a name")
            if len(name) + len(value) >= PARAMETER_LIMIT:
                size = len(name) + len(value)
                self._find(None, f"<Parameter {name[:40]}> of {size} characters; name and value share 499")
            parameters.append((name, value))
        return Stream(
            url=url,
            name=element.get("name", ""),
            track=track,
            status_callback=self._absolute(callback),
            status_callback_method=self._method(element, "statusCallbackMethod"),
            parameters=tuple(parameters),
            is_refused=is_refused,
        )

    def _stream_url(self, url: str) -> str:
        """Absolute and without its query, which Twilio drops."""
        if url.startswith("/"):
            host = urlsplit(self._url).netloc
            scheme = "ws" if self._is_loopback else "wss"
            url = f"{scheme}://{host}{url}"
        try:
            parts = urlsplit(url)
            has_port = parts.port != 0
        except ValueError:  # brackets that do not match, a port over 65535
            has_port = False
        if not has_port:
            self._find(31923, f"<Stream url> is malformed: {url[:80]!r}")
            return ""
        if parts.scheme == "ws" and not self._is_loopback:
            self._find(31922, "<Stream url> begins with ws://")
        elif parts.scheme not in ("ws", "wss"):
            self._find(31922 if parts.netloc else 31923, f"<Stream url> is no wss:// address: {url[:80]!r}")
        elif not parts.hostname:
            self._find(31923, f"<Stream url> names no host: {url[:80]!r}")
        if parts.query:
            self._find(31920, "<Stream url> has a query, which Twilio strips; use <Parameter>")
        return parts._replace(query="", fragment="").geturl()

    def _record(self, element: ET.Element) -> Verb:
        finish_on_key = element.get("finishOnKey", ANY_KEY)
        if set(finish_on_key) - set(ANY_KEY):
            self._find(12200, "<Record finishOnKey> holds more than keys of a telephone")
        events = element.get("recordingStatusCallbackEvent", "completed").split()
        for event in sorted(set(events) - {"in-progress", "completed", "absent"}):
            self._find(12200, f"<Record recordingStatusCallbackEvent> knows no {event[:40]!r}")
        return Record(
            action=self._action(element) or self._url,
            method=self._method(element),
            timeout_s=self._integer(element, "timeout", 5),
            max_length_s=self._integer(element, "maxLength", 3600),
            finish_on_key=finish_on_key,
            status_callback=self._absolute(element.get("recordingStatusCallback", "")),
            status_callback_method=self._method(element, "recordingStatusCallbackMethod"),
            status_callback_events=tuple(events),
        )

    def _dial(self, element: ET.Element) -> Verb:
        caller_id = element.get("callerId", "")
        if caller_id and not E164.fullmatch(caller_id):
            self._find(13214, "<Dial callerId> is no E.164 number")
        return Dial(
            numbers=self._numbers(element),
            action=self._action(element),
            method=self._method(element),
            timeout_s=self._integer(element, "timeout", 30, code=13212, least=1),
            time_limit_s=self._integer(element, "timeLimit", 14400, code=13216, least=1),
            caller_id=caller_id,
            answer_on_bridge=self._boolean(element, "answerOnBridge"),
        )

    def _numbers(self, element: ET.Element) -> tuple[str, ...]:
        """Whom to ring: the text of `<Dial>` itself, or its `<Number>`s."""
        bare = (element.text or "").strip()
        numbers = [bare] if bare else []
        if bare and len(element):
            self._find(12200, "<Dial> holds a number and nouns")
        for noun in element:
            if noun.tag == "Number":
                self._check_attributes(noun)
                self._method(noun)
                numbers.append(_text(noun))
            elif noun.tag not in _OTHER_NOUNS_OF_DIAL:
                self._find(13215, f"<{noun.tag[:40]}> inside <Dial>")
        if not numbers and not len(element):
            self._find(12200, "<Dial> names nobody to ring")
        for number in numbers:
            if not E164.fullmatch(number):
                self._find(13224, f"<Dial> rings {number[:20]!r}, which is no E.164 number")
        return tuple(numbers)

    def _action(self, element: ET.Element) -> str:
        return self._absolute(element.get("action", ""))

    def _absolute(self, url: str) -> str:
        try:
            return urljoin(self._url, url) if url else ""
        except ValueError:
            return url  # malformed: the request for it will say so

    def _method(self, element: ET.Element, name: str = "method") -> str:
        method = element.get(name, "POST").upper()
        if method in ("GET", "POST"):
            return method
        self._find(12200, f"<{element.tag} {name}> is neither GET nor POST")
        return "POST"

    def _integer(
        self, element: ET.Element, name: str, default: int, *, code: int = 12200, least: int = 0
    ) -> int:
        text = element.get(name, str(default))
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least:
            return int(text)
        self._find(code, f"<{element.tag} {name}> is not a whole number{' above 0' if least else ''}")
        return default

    def _boolean(self, element: ET.Element, name: str) -> bool:
        text = element.get(name, "false")
        if text not in ("true", "false"):
            self._find(12200, f"<{element.tag} {name}> is neither true nor false")
        return text == "true"

    def _check_attributes(self, element: ET.Element) -> None:
        for name in sorted(set(element.keys()) - _ATTRIBUTES[element.tag]):
            self._find(12200, f"unknown attribute {name[:40]} of <{element.tag}>")

    def _find(self, code: int | None, text: str) -> None:
        self._findings.append(Finding(code, text))


def _text(element: ET.Element) -> str:
    return "".join(element.itertext()).strip()
