"""The TwiML that answers Twilio's webhooks.

A call goes straight to its stream. Whatever happens to that stream, a verb follows: Twilio asks
`action` when `<Connect>` ends, and where it does not, the verbs after `</Connect>` speak. A caller
who hears nothing at all is the one answer that is never given.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from twilio.twiml.voice_response import Connect, VoiceResponse

INCOMING_CALL_PATH = "/webhook/incoming_call"
STREAM_STATUS_PATH = "/webhook/stream_status"
STREAM_ENDED_PATH = "/webhook/stream_ended"
DIAL_ENDED_PATH = "/webhook/dial_ended"
MESSAGE_LEFT_PATH = "/webhook/message_left"
MEDIA_PATH = "/ws/twilio-media"
RESUME = "continue"
"""The stream's parameter `resume` in a call that goes on where its last stream broke."""
MAY_BE_NEW = "may_be_new"
"""The stream's parameter that goes with it where nobody knows whether there was such a stream: without a
record the call is a new one."""
CALLER, CALLED = "caller", "called"
"""The stream's parameters with the webhook's From and To, for another process may take the stream."""

PATIENCE_S = 2
"""Longer silence seems a dead line. With what is said that makes 6 s: a process starts in two or three."""
RECORD_MAX_S = 120
RECORD_SILENCE_S = 5


@dataclass(frozen=True, slots=True)
class Speech:
    """One language's voice at Twilio, and what it says when we cannot."""

    language: str
    voice: str
    apology: str
    moment: str
    leave_message: str
    thanks: str


SPEECH = {
    "he": Speech(
        "he-IL",
        "Google.he-IL-Standard-A",
        "סליחה, יש לנו תקלה. אנא התקשרו שוב בעוד מספר דקות.",
        "רגע אחד, בבקשה.",
        "אין אפשרות לענות כרגע. אנא השאירו הודעה אחרי הצפצוף.",
        "תודה, ההודעה נשמרה. להתראות.",
    ),
    "en": Speech(
        "en-US",
        "Google.en-US-Standard-C",
        "Sorry, we have a problem. Please call again in a few minutes.",
        "One moment, please.",
        "We cannot answer right now. Please leave a message after the beep.",
        "Thank you, your message was saved. Goodbye.",
    ),
}


def media_url(base_url: str) -> str:
    """The stream's address. Always wss: Twilio speaks nothing else (31922)."""
    parts = urlsplit(base_url)
    return f"wss://{parts.netloc}{parts.path}{MEDIA_PATH}"


def connect(
    base_url: str,
    parameters: dict[str, str],
    language: str,
    greeting_url: str | None = None,
    *,
    resumes: int = 0,
) -> str:
    """Answer a call with its stream. `parameters` come back in the stream's `start` message, `resumes`, how
    many streams broke before this one, in the address that is asked what follows it."""
    response = VoiceResponse()
    if greeting_url:
        response.play(greeting_url)
    query = f"?resumes={resumes}" if resumes else ""
    verb = Connect(action=base_url + STREAM_ENDED_PATH + query, method="POST")
    stream = verb.stream(
        url=media_url(base_url),
        status_callback=base_url + STREAM_STATUS_PATH,
        status_callback_method="POST",
    )
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    response.append(verb)
    _apologise(response, language)
    return str(response)


def apology(language: str) -> str:
    """Say that something went wrong, and end the call."""
    response = VoiceResponse()
    _apologise(response, language)
    return str(response)


def record(base_url: str, language: str, *, is_told: bool) -> str:
    """Take a message. `is_told`: the caller was asked for it before the stream ended.

    `action` is asked when it was left; a recording in which nobody spoke goes past the verb [1].
    [1] twilio.com/docs/voice/twiml/record
    """
    response = VoiceResponse()
    speech = SPEECH[language]
    if not is_told:
        response.say(speech.leave_message, language=speech.language, voice=speech.voice)
    response.record(
        action=base_url + MESSAGE_LEFT_PATH,
        method="POST",
        max_length=RECORD_MAX_S,
        timeout=RECORD_SILENCE_S,
        play_beep=True,
    )
    _apologise(response, language)
    return str(response)


def thanks(language: str) -> str:
    """The message was left."""
    response = VoiceResponse()
    speech = SPEECH[language]
    response.say(speech.thanks, language=speech.language, voice=speech.voice)
    response.hangup()
    return str(response)


def hangup() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def busy() -> str:
    """Refuse without answering: the caller hears a busy tone and is not billed. A 429 would be a
    fault to Twilio (11217), which knows no rate limits for its webhooks."""
    response = VoiceResponse()
    response.reject(reason="busy")
    return str(response)


def ask_again(base_url: str, language: str, path: str, *, is_last: bool = False) -> str:
    """Keep the caller a moment and ask once more, at `path`: the process that takes over will answer.

    `is_last`: it may have to start first. Who asks a port where nobody listens has lost the call.
    """
    response = VoiceResponse()
    speech = SPEECH[language]
    response.say(speech.moment, language=speech.language, voice=speech.voice)
    if is_last:
        response.pause(length=PATIENCE_S)
        response.say(speech.moment, language=speech.language, voice=speech.voice)
        response.pause(length=PATIENCE_S)
    response.redirect(base_url + path, method="POST")
    return str(response)


def _apologise(response: VoiceResponse, language: str) -> None:
    speech = SPEECH[language]
    response.say(speech.apology, language=speech.language, voice=speech.voice)
    response.hangup()
