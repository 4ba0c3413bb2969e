"""What is on, what is off, and the one step that turns it on: for the banner and the home page."""

from __future__ import annotations

from dataclasses import dataclass

from server.config import CallMode, Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the list."""

    name: str
    is_on: bool
    state: str
    step: str
    """What turns it on; empty when it is."""


PAID = (CallMode.REALTIME, CallMode.PIPELINE)


def checklist(settings: Settings, language: str) -> list[Check]:
    """In the order in which somebody sets a phone up. `language`: he or en."""
    texts = _HE if language == "he" else _EN
    mode = settings.served_mode
    has_token = bool(settings.twilio_auth_tokens)
    is_paid = mode in PAID
    held_back = settings.call_mode in PAID and not is_paid
    return [
        Check(
            texts["agent"],
            is_paid,
            texts["mode_" + mode] if not held_back else texts["held_back"],
            ""
            if is_paid
            else texts["step_echo" if mode is CallMode.ECHO else "step_token" if held_back else "step_key"],
        ),
        Check(
            texts["twilio"],
            has_token,
            texts["signed" if has_token else "unsigned"],
            "" if has_token else texts["step_token"],
        ),
        Check(
            texts["address"],
            bool(settings.public_base_url),
            settings.public_base_url or texts["no_address"],
            "" if settings.public_base_url else texts["step_address"],
        ),
    ]


_EN = {
    "agent": "Agent",
    "twilio": "Security",
    "address": "Address",
    "mode_realtime": "realtime AI",
    "mode_pipeline": "AI in three steps: transcription, chat, speech",
    "mode_demo": "DEMO: greets, repeats what you say, reads the keys you press",
    "mode_echo": "ECHO: every caller hears themselves",
    "held_back": "DEMO: the key is set, but unsigned callers may not spend on it",
    "signed": "only calls signed by Twilio are answered",
    "unsigned": "anyone may call, and reaches only what costs nothing",
    "no_address": "as each request says",
    "step_key": "set OPENAI_API_KEY",
    "step_echo": "unset ECHO_TEST",
    "step_token": "set TWILIO_AUTH_TOKEN",
    "step_address": "set PUBLIC_BASE_URL to the https address Twilio calls",
}
_HE = {
    "agent": "סוכן",
    "twilio": "אבטחה",
    "address": "כתובת",
    "mode_realtime": "בינה מלאכותית בזמן אמת",
    "mode_pipeline": "בינה מלאכותית בשלושה שלבים: תמלול, שיחה, דיבור",
    "mode_demo": "הדגמה: מברך, חוזר על דבריכם ומקריא מקשים",
    "mode_echo": "הד: כל מתקשר שומע את עצמו",
    "held_back": "הדגמה: יש מפתח, אבל שיחות לא חתומות אינן רשאיות להשתמש בו",
    "signed": "נענות רק שיחות שחתומות על ידי Twilio",
    "unsigned": "כל אחד יכול להתקשר, ומגיע רק למה שאינו עולה כסף",
    "no_address": "לפי כל בקשה",
    "step_key": "הגדירו OPENAI_API_KEY",
    "step_echo": "בטלו את ECHO_TEST",
    "step_token": "הגדירו TWILIO_AUTH_TOKEN",
    "step_address": "הגדירו PUBLIC_BASE_URL לכתובת ה-https ש-Twilio פונה אליה",
}
