"""A whole call as Twilio makes it: webhook, TwiML verbs, media stream, action, end.

    report = TwilioCall(CallOptions("http://127.0.0.1:5000/webhook/incoming_call", audio=speech)).run()

Single-threaded and without global state: run as many calls at once as there are threads.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never
from urllib.parse import urlsplit

from server.audio.wav import parse_ulaw
from server.errors import AudioFileError
from server.simulator.twilio import twiml
from server.simulator.twilio.addresses import Addresses
from server.simulator.twilio.call_report import CallReport, report
from server.simulator.twilio.caller import Caller, Key
from server.simulator.twilio.live_call import HangupRule, LiveCall
from server.simulator.twilio.stream import TwilioStream
from server.simulator.twilio.stream_socket import StreamFailed, open_stream
from server.simulator.twilio.virtual_line import VirtualLine
from server.simulator.twilio.webhooks import Answer, WebhookClient, WebhookFailed

MAX_DOCUMENTS = 20
"""TwiML that leads to TwiML: more of it is a loop."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Who calls whom, and what the caller does."""

    url: str
    """Of the voice webhook."""
    audio: bytes = b""
    """What the caller says: G.711 μ-law, 8 kHz mono."""
    keys: tuple[Key, ...] = ()
    speak_at_s: float | None = 0.0
    """When the audio and the keys begin, since the stream opened; None: when the agent has spoken first."""
    auth_token: str = ""
    """Signs webhooks and upgrade; empty: unsigned."""
    public_url: str = ""
    """The gateway's address as Twilio knows it, when `url` leads to it by another way."""
    from_number: str = "+972501234567"
    to_number: str = "+97231234567"
    offer_subprotocol: bool = True
    stream_path: str = ""
    """Instead of the path in <Stream url>."""
    hangup_after_s: float | None = None
    quiet_after_s: float = 1.5
    timeout_s: float = 15.0
    """For each HTTP answer, for the upgrade, and for the first sound after the caller's last word."""
    first_audio_limit_s: float | None = None
    """The report fails when the first sound comes later."""
    call_sid: str = ""
    account_sid: str = ""


class TwilioCall:
    """One call. `run()` once; `hang_up()` from any thread ends it early."""

    def __init__(self, options: CallOptions) -> None:
        self.options = options
        self.call = LiveCall(
            call_sid=options.call_sid or _sid("CA"),
            account_sid=options.account_sid or _sid("AC"),
            caller=Caller(options.audio, list(options.keys), options.speak_at_s),
            hangup=HangupRule(options.hangup_after_s, options.quiet_after_s, options.timeout_s),
        )
        self._addresses = Addresses(options.url, options.public_url)
        self._http = WebhookClient(self._addresses, options.auth_token, options.timeout_s)
        self._documents = 0
        self._is_answered = False

    @property
    def line(self) -> VirtualLine:
        """What the caller hears, live and afterwards."""
        return self.call.line

    def caller_track(self) -> bytes:
        """What the caller said, aligned with `line.heard()`."""
        return self.call.caller.track()

    def hang_up(self) -> None:
        self.call.hung_up.set()

    def run(self) -> CallReport:
        """Make the call and judge it. Blocks until it has ended; raises nothing that a far end causes."""
        call = self.call
        try:
            document = self._first_document()
            while document is not None:
                document = self._act_out(document)
        finally:
            self._http.close()
        duration_ms = call.now_ms() if self._is_answered else 0.0
        call.line.clear(duration_ms)
        return report(call, self.options.url, duration_ms, self.options.first_audio_limit_s)

    def _first_document(self) -> twiml.Document | None:
        tally = self.call.tally
        try:
            answer = self._http.send(self.options.url, self._parameters("ringing"))
        except WebhookFailed as error:
            tally.unreachable = f"{error} ({error.code})"
            return None
        tally.webhook_ms, tally.webhook_status = answer.took_ms, answer.status
        self.call.answer()
        self._is_answered = True
        if answer.status == 403:
            tally.refused_status = 403
            return None
        return self._read(answer)

    def _document(self, url: str, method: str, **extra: str) -> twiml.Document | None:
        """The TwiML that `url` answers with; None when the call ends with it."""
        try:
            answer = self._http.send(url, self._parameters(self._status(), **extra), method)
        except WebhookFailed as error:
            self.call.findings.add(error.code, str(error))
            return None
        if answer.status == 204 or (answer.status < 300 and not answer.body.strip()):
            return None
        return self._read(answer)

    def _read(self, answer: Answer) -> twiml.Document | None:
        """Judge the document; what comes after the caller has gone is not acted out any more."""
        call = self.call
        if not 200 <= answer.status < 300:
            call.findings.add(11200, f"{urlsplit(answer.url).path} answered {answer.status}")
            return None
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            call.findings.add(None, f"TwiML led to TwiML {MAX_DOCUMENTS} times; the call was ended")
            return None
        is_loopback = self._addresses.is_loopback
        document = twiml.parse(answer.body, answer.content_type, answer.url, is_loopback=is_loopback)
        call.findings.extend(document.findings)
        for verb in document.verbs:
            if isinstance(verb, twiml.Connect):
                self._addresses.adopt(verb.stream.url)
        return document if document.is_valid and not call.hung_up.is_set() else None

    def _act_out(self, document: twiml.Document) -> twiml.Document | None:
        """Do each verb in turn; return the document that one of them leads to."""
        call = self.call
        for verb in document.verbs:
            if call.hung_up.is_set():
                return None
            call.tally.verbs.append(type(verb).__name__)
            match verb:
                case twiml.Connect():
                    self._connect(verb)
                    if verb.action:
                        return self._document(verb.action, verb.method)
                case twiml.Say():
                    call.tally.said.append(verb.text)
                case twiml.Play():
                    self._play(verb)
                case twiml.Pause():
                    call.wait_until(call.now_ms() + verb.length_s * 1000)
                case twiml.Redirect():
                    return self._document(verb.url, verb.method)
                case twiml.Record():
                    return self._record(verb)
                case twiml.Hangup():
                    return None
                case twiml.Reject():
                    call.tally.notes.append(f"the call was rejected: {verb.reason}")
                    return None
                case twiml.Dial():
                    call.tally.notes.append("<Dial> was taken as not answered")
                    if verb.action:
                        return self._document(verb.action, verb.method, DialCallStatus="no-answer")
                case twiml.Unsupported():
                    call.tally.notes.append(f"<{verb.name}> is not acted out here")
                case _:
                    assert_never(verb)
        return None

    def _connect(self, verb: twiml.Connect) -> None:
        """Open the stream and stay in it until it ends; tell the status callback of both."""
        call, stream = self.call, verb.stream
        if stream.is_refused:
            return
        stream_sid = _sid("MZ")
        url = stream.url
        if self.options.stream_path:
            url = urlsplit(url)._replace(path=self.options.stream_path).geturl()
        url = self._addresses.signed(url)
        target = self._addresses.target(url)
        if target.is_behind_proxy:
            self._note_once("TLS ends at a proxy in production; here the stream is reached by plain ws://")
        began_at = time.monotonic()
        try:
            socket = open_stream(
                target,
                self._http.signature(url),
                offer_subprotocol=self.options.offer_subprotocol,
                timeout_s=self.options.timeout_s,
            )
        except StreamFailed as error:
            call.findings.add(error.code, str(error))
            call.tally.refused_status = error.status if error.status == 403 else 0
            self._tell_status(stream, stream_sid, "stream-error", StreamError=f"{error.code} {error}")
            return
        call.tally.streams += 1
        if call.tally.streams == 1:
            call.tally.handshake_ms = (time.monotonic() - began_at) * 1000
            call.tally.subprotocol = socket.subprotocol
        self._tell_status(stream, stream_sid, "stream-started")
        call.tally.closed_by = TwilioStream(call, socket, stream_sid, dict(stream.parameters)).run()
        self._tell_status(stream, stream_sid, "stream-stopped")

    def _tell_status(self, stream: twiml.Stream, stream_sid: str, event: str, **extra: str) -> None:
        """The Stream's own status callback, whose answer steers nothing."""
        if not stream.status_callback:
            return
        params = {
            "AccountSid": self.call.account_sid,
            "CallSid": self.call.call_sid,
            "StreamSid": stream_sid,
            "StreamName": stream.name or stream_sid,
            "StreamEvent": event,
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **extra,
        }
        try:
            answer = self._http.send(stream.status_callback, params, stream.status_callback_method)
        except WebhookFailed as error:
            self.call.findings.add(error.code, f"status callback {event}: {error}")
            return
        if answer.status >= 400:
            self.call.findings.add(15003, f"status callback {event} was answered with {answer.status}")

    def _play(self, verb: twiml.Play) -> None:
        call = self.call
        try:
            answer = self._http.send(verb.url, {}, "GET")
        except WebhookFailed as error:
            call.findings.add(error.code, f"<Play>: {error}")
            return
        if answer.status >= 300:
            call.findings.add(11200, f"<Play>: {urlsplit(verb.url).path} answered {answer.status}")
            return
        try:
            audio = parse_ulaw(answer.body, urlsplit(verb.url).path)
        except AudioFileError as error:
            call.tally.notes.append(f"<Play> was not played here: {error}")
            return
        call.line.media(audio, call.now_ms())
        call.wait_until(call.line.playing_until_ms)
        if call.hung_up.is_set():
            call.line.clear(call.now_ms())

    def _record(self, verb: twiml.Record) -> twiml.Document | None:
        """The caller says the rest, then is silent until Twilio's timeout ends the recording."""
        call = self.call
        began_ms = call.now_ms()
        silent_ms = max(call.caller.end_ms, began_ms) + verb.timeout_s * 1000
        call.wait_until(min(silent_ms, began_ms + verb.max_length_s * 1000))
        length_s = round((call.now_ms() - began_ms) / 1000)
        call.tally.notes.append(f"a recording of {length_s} s was made")
        recording_sid = _sid("RE")
        return self._document(
            verb.action,
            verb.method,
            RecordingSid=recording_sid,
            RecordingUrl=f"https://api.twilio.com/2010-04-01/Accounts/{call.account_sid}/Recordings/{recording_sid}",
            RecordingDuration=str(length_s),
        )

    def _status(self) -> str:
        return "completed" if self.call.hung_up.is_set() else "in-progress"

    def _parameters(self, status: str, **extra: str) -> dict[str, str]:
        """What every voice webhook carries, and then some."""
        options = self.options
        return {
            "AccountSid": self.call.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self.call.call_sid,
            "CallStatus": status,
            "Called": options.to_number,
            "Caller": options.from_number,
            "Direction": "inbound",
            "From": options.from_number,
            "To": options.to_number,
            **extra,
        }

    def _note_once(self, text: str) -> None:
        if text not in self.call.tally.notes:
            self.call.tally.notes.append(text)


def _sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)
