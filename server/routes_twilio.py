"""Twilio's webhooks: signature in, TwiML out.

Each answers at once from memory: no database, no outside call, no DNS. A stream follows
`incoming_call`; what follows a stream is decided in `stream_ended`.
"""

from __future__ import annotations

import logging
import time
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request

from server import green
from server.admission import is_expected, why_full
from server.business import Business
from server.endings import GOES_ON, EndReason
from server.faults import FAULTS
from server.gateway import Gateway
from server.logs import call_tag, clean
from server.store.caller_messages import CallerMessage
from server.store.live_calls import MAX_NUMBER_CHARS, CallFacts, FollowUp
from server.telephony import twiml
from server.telephony.signature import HEADER

log = logging.getLogger(__name__)

MAX_FORM_BYTES = 12 * 1024
MAX_FORM_FIELDS = 300
"""Twilio sends some thirty, of 2 kB in all. Whoever posts is served before a signature can be checked, and
64 kB of short fields held up every call for 65 ms."""
MAX_SID_CHARS = 64
MAX_URL_CHARS = 300
BODY_WITHIN_S = 5.0
RINGING = "ringing"
"""Twilio's CallStatus of a call that nobody has answered yet, as it is when it comes here first."""
RESUMES, BEGUN_UNKNOWN = "resumes", "begun_unknown"
"""What one process tells the next in the address that Twilio is to ask: how many streams of the call broke,
and that it knows of none that began."""
OVER = ("completed", "busy", "failed", "no-answer", "canceled")
"""Words of Twilio's CallStatus for a call that has ended."""


def take_body() -> Response | None:
    """Before every request: its whole body, within a size and a time, or an answer that says why not."""
    if "Transfer-Encoding" in request.headers:
        return Response("411 send the body's length\n", 411, content_type="text/plain")
    if (request.content_length or 0) > MAX_FORM_BYTES:
        return Response(f"413 over {MAX_FORM_BYTES} bytes\n", 413, content_type="text/plain")
    if request.content_length:
        try:
            with green.deadline(BODY_WITHIN_S):
                request.get_data(cache=True, parse_form_data=False)
        except TimeoutError:
            return Response(
                f"408 the body did not come in {BODY_WITHIN_S:.0f} s\n", 408, content_type="text/plain"
            )
        if request.get_data().count(b"&") >= MAX_FORM_FIELDS:
            return Response(f"413 over {MAX_FORM_FIELDS} fields\n", 413, content_type="text/plain")
    return None


def public_base_url(gateway: Gateway) -> str:
    """How Twilio reached us: as configured, else as the request says (a proxy's scheme included)."""
    if gateway.settings.public_base_url:
        return gateway.settings.public_base_url
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme).split(",")[0].strip()
    return f"{'https' if scheme == 'https' else 'http'}://{request.host}"


def create_blueprint(gateway: Gateway, greeting_path: str | None) -> Blueprint:
    """The three webhooks. `greeting_path`: a sound file of ours to play before the stream, if any."""
    bp = Blueprint("twilio", __name__, url_prefix="/webhook")
    settings, counters = gateway.settings, gateway.counters

    def is_signed() -> bool:
        if HEADER not in request.headers:
            return False
        url = public_base_url(gateway) + request.full_path.rstrip("?")
        return gateway.signature.is_signed(url, request.form, request.headers.get(HEADER))

    def is_trusted() -> bool:
        """Signed; or nothing can be, because no token is configured."""
        return not gateway.signature.is_on or is_signed()

    @bp.post("/incoming_call")
    def incoming_call() -> Response:
        counters.webhooks["incoming_call"] += 1
        if not is_trusted():
            counters.refused["KAV-111"] += 1
            seen = "no signature" if HEADER not in request.headers else f"not for {public_base_url(gateway)}"
            log.warning("%s", FAULTS["KAV-111"].line(seen))
            return Response(FAULTS["KAV-111"].line(), 403, content_type="text/plain; charset=utf-8")
        call_sid = clean(request.form.get("CallSid", ""), MAX_SID_CHARS)
        base_url = public_base_url(gateway)
        if gateway.is_draining:
            log.info("INCOMING_CALL call=%s sent to the next process: draining", call_tag(call_sid))
            return ask_again(base_url, settings.call_language, twiml.INCOMING_CALL_PATH)
        business = gateway.businesses.for_number(request.form.get("To", ""))
        if (full := why_full(gateway)) is not None and not is_expected(gateway, call_sid):
            fault_id, seen = full
            counters.refused[fault_id] += 1
            log.warning("%s call=%s", FAULTS[fault_id].line(seen), call_tag(call_sid))
            if request.form.get("CallStatus", RINGING) == RINGING:
                return _twiml(twiml.busy())
            return _twiml(twiml.record(base_url, business.language, is_told=False))  # they were answered
        log.info(
            "INCOMING_CALL call=%s mode=%s business=%s",
            *(call_tag(call_sid), settings.served_mode, business.id),
        )
        greeting_url = base_url + greeting_path if greeting_path else None
        return connect(call_sid, base_url, business, greeting_url=greeting_url)

    def ask_again(base_url: str, language: str, path: str) -> Response:
        return _twiml(twiml.ask_again(base_url, language, path, is_last=gateway.is_leaving))

    def note_facts(call_sid: str, base_url: str) -> None:
        """The numbers stand in each of the call's webhooks; this may be the first one that comes here."""
        caller, called = (clean(request.form.get(name, ""), MAX_NUMBER_CHARS) for name in ("From", "To"))
        gateway.calls.answered(call_sid, CallFacts(caller, called, base_url))

    def connect(
        call_sid: str,
        base_url: str,
        business: Business,
        *,
        greeting_url: str | None = None,
        resume: str = "",
        resumes: int = 0,
        may_be_new: bool = False,
    ) -> Response:
        """The TwiML that opens the call's stream. `resume`: how the call comes back to the agent, if it does
        and is not `may_be_new`; `resumes`: how many of its streams broke."""
        note_facts(call_sid, base_url)
        has_session = resume == twiml.RESUME and (
            call_sid in gateway.parked or call_sid in gateway.streams_by_call
        )
        if gateway.signature.is_on:  # nobody but Twilio makes us dial before its stream, or keep a place
            gateway.calls.expected(call_sid, time.monotonic())
            if not has_session:
                gateway.expect_call()
        facts = gateway.calls.facts(call_sid)
        parameters = {
            "call_sid": call_sid,
            "token": gateway.tokens.issue(call_sid, time.time()),
            "business": business.id,
            "resume": resume,
            twiml.MAY_BE_NEW: "1" if may_be_new else "",
            twiml.CALLER: facts.caller,
            twiml.CALLED: facts.called,
        }
        parameters = {name: value for name, value in parameters.items() if value}
        document = twiml.connect(base_url, parameters, business.language, greeting_url, resumes=resumes)
        return _twiml(document)

    @bp.post("/stream_status")
    def stream_status() -> Response:
        counters.webhooks["stream_status"] += 1
        form = request.form
        event = form.get("StreamEvent") or form.get("Status", "")
        log.info(
            "STREAM_STATUS call=%s stream=%s event=%s%s",
            clean(call_tag(form.get("CallSid"))),
            clean(form.get("StreamSid", ""), 64),
            clean(event, 64),
            f" error={clean(form['StreamError'])}" if form.get("StreamError") else "",
        )
        return Response(status=204)

    @bp.post("/stream_ended")
    def stream_ended() -> Response:
        counters.webhooks["stream_ended"] += 1
        form = request.form
        call_sid = clean(form.get("CallSid", ""), MAX_SID_CHARS)
        status = form.get("CallStatus") or form.get("Status", "")
        follow_up = FollowUp.NOTHING
        is_twilio = is_trusted()
        if is_twilio and status == "in-progress" and gateway.signature.is_on:  # a call of another process
            gateway.calls.inherited(call_sid, _resumes_so_far(), has_begun=BEGUN_UNKNOWN not in request.args)
        if is_twilio:
            gateway.calls.asked(call_sid)
        if status in OVER and is_twilio:
            gateway.forget_call(call_sid)
        elif status == "in-progress" and is_twilio:
            follow_up = gateway.calls.follow_up(call_sid) or FollowUp.APOLOGY
            if follow_up is FollowUp.RESUME and gateway.is_draining:
                follow_up = FollowUp.ASK_AGAIN
        log.info(
            "STREAM_ENDED call=%s stream=%s status=%s follow_up=%s",
            clean(call_tag(call_sid)),
            clean(form.get("StreamSid", ""), 64),
            clean(status, 64),
            follow_up,
        )
        base_url = public_base_url(gateway)
        business = gateway.businesses.for_number(form.get("To", ""))
        language = business.language
        match follow_up:
            case FollowUp.APOLOGY:
                return _twiml(twiml.apology(language))
            case FollowUp.HANGUP:
                return _twiml(twiml.hangup())
            case FollowUp.ASK_AGAIN:
                known = {
                    RESUMES: gateway.calls.resumes(call_sid),
                    BEGUN_UNKNOWN: int(not gateway.calls.has_begun(call_sid)),
                }
                query = urlencode({name: value for name, value in known.items() if value})
                return ask_again(base_url, language, f"{twiml.STREAM_ENDED_PATH}?{query}".rstrip("?"))
            case FollowUp.RESUME:
                may_be_new = not gateway.calls.has_begun(call_sid)
                resumes = gateway.calls.resumed(call_sid)
                return connect(
                    *(call_sid, base_url, business),
                    resume=twiml.RESUME,
                    resumes=resumes,
                    may_be_new=may_be_new,
                )
            case FollowUp.RECORD:
                if gateway.calls.end_reason(call_sid) in GOES_ON:
                    log.warning("%s call=%s", FAULTS["KAV-144"].line(), clean(call_tag(call_sid)))
                is_told = gateway.calls.end_reason(call_sid) is EndReason.TAKE_MESSAGE
                return _twiml(twiml.record(base_url, language, is_told=is_told))
            case FollowUp.TRANSFER:
                return _twiml(gateway.calls.transfer_of(call_sid))
            case FollowUp.NOTHING:
                return Response(status=204)

    @bp.post("/dial_ended")
    def dial_ended() -> Response:
        """A person was rung. Whoever did not reach them is brought back to the agent, who knows why."""
        counters.webhooks["dial_ended"] += 1
        form = request.form
        call_sid = clean(form.get("CallSid", ""), MAX_SID_CHARS)
        outcome = clean(form.get("DialCallStatus") or request.args.get("outcome", ""), 40)
        log.info("DIAL_ENDED call=%s outcome=%s", clean(call_tag(call_sid)), outcome)
        if not is_trusted():
            return Response(status=204)
        status = form.get("CallStatus", "in-progress")
        if status in OVER:
            gateway.forget_call(call_sid)
        if status != "in-progress":
            return Response(status=204)
        if gateway.signature.is_on:
            gateway.calls.inherited(call_sid)
        base_url, business = public_base_url(gateway), gateway.businesses.for_number(form.get("To", ""))
        is_reached = outcome in ("completed", "answered")
        if gateway.is_draining and not is_reached:  # the next process takes the caller back, and is told why
            path = f"{twiml.DIAL_ENDED_PATH}?outcome={quote(outcome)}"
            return ask_again(base_url, business.language, path)
        gateway.calls.transfer_over(call_sid)
        if is_reached:
            gateway.forget_call(call_sid)
            return _twiml(twiml.hangup())
        return connect(call_sid, base_url, business, resume=f"transfer:{outcome}")

    @bp.post("/message_left")
    def message_left() -> Response:
        """The caller has spoken after the beep."""
        counters.webhooks["message_left"] += 1
        form = request.form
        call_sid = clean(form.get("CallSid", ""), MAX_SID_CHARS)
        url = clean(form.get("RecordingUrl", ""), MAX_URL_CHARS)
        log.info(
            "MESSAGE_LEFT call=%s seconds=%s",
            clean(call_tag(call_sid)),
            clean(form.get("RecordingDuration", ""), 8),
        )
        if not is_trusted() or not url.startswith("https://"):
            return Response(status=204)
        business = gateway.businesses.for_number(form.get("To", ""))
        number = clean(form.get("From", ""), MAX_NUMBER_CHARS)
        note_facts(call_sid, public_base_url(gateway))  # the business is told from the number that was called
        gateway.on_message(
            CallerMessage("", call_sid, business.id, time.time(), number=number, recording_url=url)
        )
        return _twiml(twiml.thanks(business.language))

    return bp


def _resumes_so_far() -> int:
    """As another process wrote it into the address that is asked."""
    return max(0, request.args.get(RESUMES, 0, int))


def _twiml(text: str) -> Response:
    return Response(text, 200, content_type="text/xml; charset=utf-8", headers={"Cache-Control": "no-store"})
