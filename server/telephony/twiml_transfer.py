"""The TwiML that connects a caller to a person.

It is handed to a call by Twilio's REST API while its stream runs, and replaces the document the call is
in. Twilio asks `action` when the dialled call has ended or never began [1], with DialCallStatus; should
it go past the verb instead, the caller hears an apology rather than nothing.

[1] twilio.com/docs/voice/twiml/dial
"""

from __future__ import annotations

import re

from twilio.twiml.voice_response import Dial, VoiceResponse

from server.telephony.twiml import SPEECH

RING_S = 20
"""Four to five rings: most mailboxes answer later, and nobody waits longer for a person."""
TALK_S = 4 * 3600
"""Twilio's own limit."""
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def is_e164(number: str) -> bool:
    return _E164.fullmatch(number) is not None


def dial(
    number: str,
    action_url: str,
    caller_id: str,
    language: str,
    *,
    timeout_s: int = RING_S,
    ring_line: str = "",
    time_limit_s: int = TALK_S,
) -> str:
    """Ring `number` and show `caller_id`, which is one of this call's two numbers or verified at Twilio.

    Empty, Twilio shows the caller's own. `ring_line` is spoken before it rings. `action_url` is absolute:
    a document that came by REST has no address to start from (11100). Raises ValueError for numbers that
    are not E.164, and for times that Twilio does not take.
    """
    for name, text in (("number", number), ("caller_id", caller_id or number)):
        if not is_e164(text):
            raise ValueError(f"{name} is no E.164 telephone number")
    if not action_url.startswith(("https://", "http://")):
        raise ValueError("action_url is not absolute")
    if not 5 <= timeout_s <= 600 or time_limit_s < 1:
        raise ValueError(f"ringing {timeout_s} s (of 5 to 600) and talking {time_limit_s} s")
    speech = SPEECH[language]
    response = VoiceResponse()
    if ring_line:
        response.say(ring_line, language=speech.language, voice=speech.voice)
    verb = Dial(
        action=action_url,
        method="POST",
        timeout=timeout_s,
        answer_on_bridge=True,
        time_limit=time_limit_s,
        caller_id=caller_id or None,
    )
    verb.number(number)
    response.append(verb)
    response.say(speech.apology, language=speech.language, voice=speech.voice)
    response.hangup()
    return str(response)
