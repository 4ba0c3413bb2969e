"""Twilio's webhooks: signature in, TwiML out.

Each answers at once from memory: no database, no outside call, no DNS. A stream follows
`incoming_call`; what follows a stream is decided in `stream_ended`.
"""

from __future__ import annotations

import logging
import time

from flask import Blueprint, Response, request

from server import green
from server.errors import FAULTS
from server.gateway import Gateway
from server.logs import call_tag, clean
from server.store.live_calls import FollowUp
from server.telephony import twiml
from server.telephony.signature import HEADER

log = logging.getLogger(__name__)

MAX_FORM_BYTES = 64 * 1024
MAX_SID_CHARS = 64
BODY_WITHIN_S = 5.0
TAKES_OVER_S = 60.0
"""A process this young has likely replaced another, whose calls it answers anew."""


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
            return _twiml(twiml.ask_again(base_url, settings.call_language))
        if gateway.calls.live_count >= settings.max_calls:
            counters.refused["KAV-141"] += 1
            log.warning(
                "%s call=%s", FAULTS["KAV-141"].line(f"{settings.max_calls} calls"), call_tag(call_sid)
            )
            return _twiml(twiml.busy())
        gateway.calls.answered(call_sid)
        log.info("INCOMING_CALL call=%s mode=%s", call_tag(call_sid), settings.served_mode)
        parameters = {
            "call_sid": call_sid,
            "token": gateway.tokens.issue(call_sid, time.time()),
            "business": "1",
        }
        greeting_url = base_url + greeting_path if greeting_path else None
        return _twiml(twiml.connect(base_url, parameters, settings.call_language, greeting_url))

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
        if status == "in-progress" and is_trusted():
            known = gateway.calls.follow_up(call_sid)
            if known is not None:
                follow_up = known
            elif gateway.signature.is_on:  # a call of a process that is gone: do not leave it in silence
                is_new = time.monotonic() - gateway.started_at < TAKES_OVER_S
                follow_up = FollowUp.ASK_AGAIN if is_new else FollowUp.APOLOGY
        log.info(
            "STREAM_ENDED call=%s stream=%s status=%s follow_up=%s",
            clean(call_tag(call_sid)),
            clean(form.get("StreamSid", ""), 64),
            clean(status, 64),
            follow_up,
        )
        match follow_up:
            case FollowUp.APOLOGY:
                return _twiml(twiml.apology(settings.call_language))
            case FollowUp.HANGUP:
                return _twiml(twiml.hangup())
            case FollowUp.ASK_AGAIN:
                return _twiml(twiml.ask_again(public_base_url(gateway), settings.call_language))
            case FollowUp.NOTHING:
                return Response(status=204)

    return bp


def _twiml(text: str) -> Response:
    return Response(text, 200, content_type="text/xml; charset=utf-8", headers={"Cache-Control": "no-store"})
