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
MEDIA_PATH = "/ws/twilio-media"


@dataclass(frozen=True, slots=True)
class Speech:
    """One language's voice at Twilio, and what it says when we cannot."""

    language: str
    voice: str
    apology: str
    moment: str


SPEECH = {
    "he": Speech(
        "he-IL",
        "Google.he-IL-Standard-A",
        "סליחה, יש לנו תקלה. אנא התקשרו שוב בעוד מספר דקות.",
        "רגע אחד, בבקשה.",
    ),
    "en": Speech(
        "en-US",
        "Google.en-US-Standard-C",
        "Sorry, we have a problem. Please call again in a few minutes.",
        "One moment, please.",
    ),
}


def media_url(base_url: str) -> str:
    """The stream's address. Always wss: Twilio speaks nothing else (31922)."""
    parts = urlsplit(base_url)
    return f"wss://{parts.netloc}{parts.path}{MEDIA_PATH}"


def connect(base_url: str, parameters: dict[str, str], language: str, greeting_url: str | None = None) -> str:
    """Answer a call with its stream. `parameters` come back in the stream's `start` message."""
    response = VoiceResponse()
    if greeting_url:
        response.play(greeting_url)
    verb = Connect(action=base_url + STREAM_ENDED_PATH, method="POST")
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


def ask_again(base_url: str, language: str) -> str:
    """Keep the caller a moment and ask once more: the process that takes over will answer."""
    response = VoiceResponse()
    speech = SPEECH[language]
    response.say(speech.moment, language=speech.language, voice=speech.voice)
    response.redirect(base_url + INCOMING_CALL_PATH, method="POST")
    return str(response)


def _apologise(response: VoiceResponse, language: str) -> None:
    speech = SPEECH[language]
    response.say(speech.apology, language=speech.language, voice=speech.voice)
    response.hangup()
