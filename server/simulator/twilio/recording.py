"""What does a `<Record>` keep of this caller, and what ends it?

In real time, as on the stream: the caller goes on speaking frame by frame until silence, a key, the
longest length, or an interruption [1].

[1] twilio.com/docs/voice/twiml/record
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from email.utils import format_datetime

from server.audio.g711 import FRAME_MS, rms
from server.simulator.twilio.caller import SPEECH_RMS
from server.simulator.twilio.live_call import LiveCall, Recording
from server.simulator.twilio.verbs import Record


def record(call: LiveCall, verb: Record) -> Recording:
    """Listen until the recording ends. Blocks for as long."""
    caller, began_ms = call.caller, call.now_ms()
    first = caller.begin(began_ms)
    audio, frames, digits = bytearray(), 0, ""
    heard_until_ms = began_ms
    is_empty = True
    while not (digits or call.is_interrupted):
        now_ms = call.now_ms()
        while (due_ms := began_ms + frames * FRAME_MS) <= now_ms:
            caller.listen(first + frames, now_ms, call.line.audible_until_ms)
            payload = caller.frame(first + frames)
            audio += payload
            frames += 1
            if rms(payload) > SPEECH_RMS:
                is_empty, heard_until_ms = False, due_ms + FRAME_MS
        digits = next((key.digit for key in caller.due_keys(now_ms) if key.digit in verb.finish_on_key), "")
        is_silent = verb.timeout_s > 0 and now_ms - heard_until_ms >= verb.timeout_s * 1000
        if is_silent or now_ms - began_ms >= verb.max_length_s * 1000:
            break
        call.nap(max(0.0, due_ms - call.now_ms()))
    if call.hung_up.is_set():
        digits = "hangup"
    return Recording("RE" + secrets.token_hex(16), bytes(audio), digits, is_empty)


def parameters(recording: Recording, account_sid: str) -> dict[str, str]:
    """What the `action` of `<Record>` gets beside a webhook's parameters."""
    found = {
        "RecordingSid": recording.sid,
        "RecordingUrl": f"https://api.twilio.com/2010-04-01/Accounts/{account_sid}/Recordings/{recording.sid}",
        "RecordingDuration": str(recording.duration_s),
    }
    return found | ({"Digits": recording.digits} if recording.digits else {})


def status_parameters(recording: Recording, account_sid: str, call_sid: str) -> dict[str, str]:
    """What `recordingStatusCallback` gets, when the file is there or when there is none."""
    found = {
        "AccountSid": account_sid,
        "CallSid": call_sid,
        "RecordingSid": recording.sid,
        "RecordingStatus": "absent" if recording.is_empty else "completed",
        "RecordingChannels": "1",
        "RecordingSource": "RecordVerb",
        "RecordingStartTime": format_datetime(datetime.now(UTC)),
    }
    if recording.is_empty:
        return found
    of_file = parameters(recording, account_sid)
    return found | {name: of_file[name] for name in ("RecordingUrl", "RecordingDuration")}
