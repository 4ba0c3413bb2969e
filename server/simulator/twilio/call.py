"""A whole call as Twilio makes it: webhook, TwiML verbs, media stream, action, end.

    report = TwilioCall(CallOptions("http://127.0.0.1:5000/webhook/incoming_call", audio=speech)).run()

Single-threaded and without global state: run as many calls at once as there are threads. A call with
`rest` can be given new TwiML, or ended, through Twilio's REST API while it runs.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import urlsplit

from server.audio.wav import parse_ulaw
from server.errors import AudioFileError
from server.logs import mask
from server.simulator.twilio import dialling, recording, twiml, verbs
from server.simulator.twilio.addresses import Addresses
from server.simulator.twilio.call_report import CallReport, report
from server.simulator.twilio.call_webhooks import CallWebhooks
from server.simulator.twilio.caller import Caller, CallerSide, Key
from server.simulator.twilio.dialling import DialOutcome
from server.simulator.twilio.live_call import Dialled, HangupRule, LiveCall, NewTwiml, NewUrl, Recording
from server.simulator.twilio.rest_server import RestServer
from server.simulator.twilio.stream import TwilioStream
from server.simulator.twilio.stream_socket import StreamFailed, open_stream
from server.simulator.twilio.virtual_line import VirtualLine
from server.simulator.twilio.webhooks import Answer, WebhookClient, WebhookFailed

HELD_S = 60.0
"""How long a caller bears a line on which nothing follows."""
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
    caller: CallerSide | None = None
    """Instead of these three."""
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
    """Empty: that of `rest`, else a new one."""
    rest: RestServer | None = None
    """Knows this call while it lives."""
    dial_outcomes: tuple[DialOutcome, ...] = (DialOutcome(),)
    """Of each `<Dial>` in turn; the last one of all that follow."""
    say_chars_per_s: float = 0.0
    """How fast Twilio reads a `<Say>`, about 12; 0: in no time, which makes a test quicker."""
    asks_action_after_update: bool = False
    """Whether the `action` of a `<Connect>` is requested although REST ended it; nobody has told yet."""
    asks_action: bool = True
    """False: it is not requested at all, and the caller stays on a silent line until REST ends the call."""


class TwilioCall:
    """One call. `run()` once; `hang_up()` from any thread ends it early."""

    def __init__(self, options: CallOptions) -> None:
        self.options = options
        self.call = LiveCall(
            call_sid=options.call_sid or _sid("CA"),
            account_sid=options.account_sid or (options.rest.account_sid if options.rest else _sid("AC")),
            caller=options.caller or Caller(options.audio, list(options.keys), options.speak_at_s),
            hangup=HangupRule(options.hangup_after_s, options.quiet_after_s, options.timeout_s),
        )
        addresses = Addresses(options.url, options.public_url)
        http = WebhookClient(addresses, options.auth_token, options.timeout_s)
        self._webhooks = CallWebhooks(self.call, http, addresses, options.from_number, options.to_number)
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
        call, rest = self.call, self.options.rest
        if rest is not None:
            rest.calls.register(call, self.options.from_number, self.options.to_number)
        try:
            document = self._first_document()
            while document is not None or (document := self._told_by_rest()) is not None:
                document = self._act_out(document)
        finally:
            call.next_instruction()  # whatever happened: REST is not to take a dead call for a live one
            self._webhooks.close()
        duration_ms = call.now_ms() if self._is_answered else 0.0
        call.line.clear(duration_ms)
        return report(call, self.options.url, duration_ms, self.options.first_audio_limit_s)

    def _first_document(self) -> verbs.Document | None:
        tally = self.call.tally
        try:
            answer = self._webhooks.ring(self.options.url)
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

    def _document(self, url: str, method: str, **extra: str) -> verbs.Document | None:
        """The TwiML that `url` answers with; None when the call ends with it."""
        answer = self._webhooks.ask(url, method, **extra)
        return None if answer is None else self._read(answer)

    def _told_by_rest(self) -> verbs.Document | None:
        """The document that a REST request gives or names; None ends the call."""
        self._documents = 0
        while (told := self.call.next_instruction()) is not None:
            match told:
                case NewTwiml(body):
                    document = self._judged(body, "text/xml", "")
                case NewUrl(url, method):
                    document = self._document(url, method)
                case _:
                    assert_never(told)
            if document is not None:
                return document
        return None

    def _read(self, answer: Answer) -> verbs.Document | None:
        """The document in an answer; None when it holds none, or leads nowhere."""
        call = self.call
        if not 200 <= answer.status < 300:
            call.findings.add(11200, f"{urlsplit(answer.url).path} answered {answer.status}")
            return None
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            call.findings.add(None, f"TwiML led to TwiML {MAX_DOCUMENTS} times; the call was ended")
            return None
        return self._judged(answer.body, answer.content_type, answer.url)

    def _judged(self, body: bytes, content_type: str | None, url: str) -> verbs.Document | None:
        """Judge the document; what comes after the caller has gone is not acted out any more."""
        call = self.call
        document = twiml.parse(body, content_type, url, is_loopback=self._webhooks.addresses.is_loopback)
        call.findings.extend(document.findings)
        for verb in document.verbs:
            if isinstance(verb, verbs.Connect):
                self._webhooks.addresses.adopt(verb.stream.url)
        return document if document.is_valid and not call.is_interrupted else None

    def _act_out(self, document: verbs.Document) -> verbs.Document | None:
        """Do each verb in turn; return the document that one of them leads to."""
        call = self.call
        for verb in document.verbs:
            if call.is_interrupted:
                return None
            call.tally.verbs.append(type(verb).__name__)
            call.tally.verbs_ms.append(call.now_ms())
            match verb:
                case verbs.Connect():
                    self._connect(verb)
                    if call.is_instructed and not self.options.asks_action_after_update:
                        return None
                    if not self.options.asks_action:
                        call.wait_until(call.now_ms() + HELD_S * 1000)
                        return None
                    if verb.action:
                        return self._document(verb.action, verb.method)
                case verbs.Say():
                    call.tally.said.append(verb.text)
                    if self.options.say_chars_per_s:
                        said_s = len(verb.text) / self.options.say_chars_per_s
                        call.wait_until(call.now_ms() + said_s * 1000)
                case verbs.Play():
                    self._play(verb)
                case verbs.Pause():
                    call.wait_until(call.now_ms() + verb.length_s * 1000)
                case verbs.Redirect():
                    return self._document(verb.url, verb.method)
                case verbs.Record():
                    made = recording.record(call, verb)
                    call.tally.recordings.append(made)
                    if not made.is_empty:
                        return self._recorded(verb, made)
                    self._webhooks.tell_recording(verb, made)
                case verbs.Hangup():
                    return None
                case verbs.Reject():
                    call.tally.notes.append(f"the call was rejected: {verb.reason}")
                    return None
                case verbs.Dial(numbers=()):
                    call.tally.notes.append("<Dial> to anything but a number is not acted out here")
                case verbs.Dial():
                    dialled = self._dial(verb)
                    if verb.action:
                        return self._document(verb.action, verb.method, **dialling.parameters(dialled))
                case verbs.Unsupported():
                    call.tally.notes.append(f"<{verb.name}> is not acted out here")
                case _:
                    assert_never(verb)
        return None

    def _connect(self, verb: verbs.Connect) -> None:
        """Open the stream and stay in it until it ends; tell the status callback of both."""
        call, stream = self.call, verb.stream
        if stream.is_refused:
            return
        stream_sid = _sid("MZ")
        url = stream.url
        if self.options.stream_path:
            url = urlsplit(url)._replace(path=self.options.stream_path).geturl()
        url = self._webhooks.addresses.signed(url)
        target = self._webhooks.addresses.target(url)
        if target.is_behind_proxy:
            self._note_once("TLS ends at a proxy in production; here the stream is reached by plain ws://")
        began_at = time.monotonic()
        try:
            socket = open_stream(
                target,
                self._webhooks.signature(url),
                offer_subprotocol=self.options.offer_subprotocol,
                timeout_s=self.options.timeout_s,
            )
        except StreamFailed as error:
            call.findings.add(error.code, str(error))
            call.tally.refused_status = error.status if error.status == 403 else 0
            self._webhooks.tell_stream(
                stream, stream_sid, "stream-error", StreamError=f"{error.code} {error}"
            )
            return
        call.tally.streams += 1
        if call.tally.streams == 1:
            call.tally.handshake_ms = (time.monotonic() - began_at) * 1000
            call.tally.subprotocol = socket.subprotocol
        self._webhooks.tell_stream(stream, stream_sid, "stream-started")
        call.tally.closed_by = TwilioStream(call, socket, stream_sid, dict(stream.parameters)).run()
        call.tally.stream_ends_ms.append(call.now_ms())
        self._webhooks.tell_stream(stream, stream_sid, "stream-stopped")

    def _play(self, verb: verbs.Play) -> None:
        call = self.call
        try:
            answer = self._webhooks.fetch(verb.url)
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
        if call.is_interrupted:
            call.line.clear(call.now_ms())

    def _dial(self, verb: verbs.Dial) -> Dialled:
        call, outcomes = self.call, self.options.dial_outcomes
        planned = outcomes[min(len(call.tally.dialled), len(outcomes) - 1)]
        own_numbers = (self.options.from_number, self.options.to_number)
        dialled = dialling.dial(call, verb, planned, own_numbers)
        call.tally.dialled.append(dialled)
        call.tally.notes.append(f"dialled {mask(dialled.number)}: {dialled.status}")
        return dialled

    def _recorded(self, verb: verbs.Record, made: Recording) -> verbs.Document | None:
        """Where a recording leads; its file is told of afterwards, as it is ready later."""
        call = self.call
        call.tally.notes.append(f"a recording of {made.duration_s} s was made")
        document = None
        if not call.is_instructed:
            document = self._document(
                verb.action, verb.method, **recording.parameters(made, call.account_sid)
            )
        self._webhooks.tell_recording(verb, made)
        return document

    def _note_once(self, text: str) -> None:
        if text not in self.call.tally.notes:
            self.call.tally.notes.append(text)


def _sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)
