"""What did the operator ask for? The only reader of the environment.

`Settings.from_env(mapping)` takes any mapping, so a test passes a dict. It collects every problem
and raises one ConfigError that names them all; what is merely missing or odd becomes a warning
and a default, because a phone that answers as a demo beats one that does not start.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from server.errors import FAULTS, ConfigError


class CallMode(StrEnum):
    REALTIME = "realtime"
    ECHO = "echo"
    DEMO = "demo"


class Dialect(StrEnum):
    """Which shape of the Realtime protocol the endpoint speaks."""

    GA = "ga"
    BETA = "beta"
    """The flat shape, still spoken by Azure's preview endpoints."""


VOICES = ("alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse")

SHUTDOWNS = {
    "gpt-realtime": "2027-01-20",
    "gpt-realtime-2025-08-28": "2027-01-20",
    "gpt-realtime-mini": "2027-01-20",
    "gpt-4o-realtime-preview": "2027-01-20 at the latest",
    "gpt-4o-mini-realtime-preview": "2027-01-20 at the latest",
}
"""Models that OpenAI has announced the end of, by its deprecations page of 2026-11."""

PLATFORM_HOSTS = (
    "REPLIT_DEV_DOMAIN",
    "HEROKU_APP_DEFAULT_DOMAIN_NAME",
    "RENDER_EXTERNAL_URL",
    "RAILWAY_PUBLIC_DOMAIN",
)
"""Variables in which a platform tells an application its own public address."""

LATER = {
    "DATABASE_URL": "call records are not kept by this version",
    "REDIS_URL": "calls live in one process in this version",
    "RECORD_CALLS": "this version records nothing",
    "RETENTION_DAYS": "this version keeps nothing",
    "IDLE_SECONDS": "idle calls end by MAX_CALL_SECONDS in this version",
    "OPENAI_BASE_URL": "the pipelined mode is not part of this version",
}
"""Known names without effect yet: set, they are told so instead of being ignored in silence."""

DEFAULT_GREETING = {
    "he": "שלום, הגעתם אלינו. איך אפשר לעזור?",
    "en": "Hello, thank you for calling. How can I help?",
}
DEFAULT_INSTRUCTIONS = {
    "he": "את עוזרת קולית של עסק קטן. דברי עברית, במשפטים קצרים וברורים, בטון חם ואדיב. "
    "אל תמציאי עובדות על העסק; אם אינך יודעת, הציעי לקחת הודעה. "
    "כשהשיחה הסתיימה, היפרדי והשתמשי בכלי end_call.",
    "en": "You are the voice assistant of a small business. Speak in short, clear, friendly sentences. "
    "Do not make up facts about the business; if you do not know, offer to take a message. "
    "When the conversation is over, say goodbye and use the tool end_call.",
}

_PLACEHOLDER = re.compile(
    r"x{4,}|\.\.\.|…|<.*>|your[-_ ]|changeme|replace|example|placeholder|^sk-?$", re.IGNORECASE
)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.strip().lstrip("-").isdigit() or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return read


def _flag(text: str) -> bool:
    if text.strip().lower() not in _TRUE + _FALSE:
        raise ValueError("neither 1 nor 0")
    return text.strip().lower() in _TRUE


def _choice(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.strip().lower() not in values:
            raise ValueError(f"not one of {', '.join(values)}")
        return text.strip().lower()

    return read


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(token.strip() for token in text.split(",") if token.strip())


def public_base_url(text: str) -> str:
    """An address without its trailing slash; https when no scheme is given.

    Raises ValueError for what Twilio could never call: no host, another scheme, a query.
    """
    text = text.strip()
    if not text.rstrip("/"):
        return ""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("http", "https") or not _is_host(parts.netloc) or parts.query or parts.fragment:
        raise ValueError("not an address such as https://my-app.example")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _realtime_url(text: str) -> str:
    parts = urlsplit(text.strip() if "://" in text else f"wss://{text.strip()}")
    scheme = {"https": "wss", "http": "ws"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not _is_host(parts.netloc):
        raise ValueError("not an address such as wss://api.openai.com/v1/realtime")
    return parts._replace(scheme=scheme, path=parts.path.rstrip("/")).geturl()


def _is_host(netloc: str) -> bool:
    """A host, with a port or without; not half of an address."""
    return bool(netloc) and netloc[0] != ":" and netloc[-1] != ":" and not re.search(r"\s", netloc)


def _variable(
    name: str, default: Any, read: Callable[[str], Any], doc: str, *, unit: str = "", is_secret: bool = False
) -> Any:
    metadata = {"variable": name, "read": read, "doc": doc, "unit": unit, "secret": is_secret}
    return field(default=default, repr=not is_secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every variable, read and checked once at start."""

    port: int = _variable("PORT", 5000, _number(0, 65535), "The port that is listened on.")
    public_base_url: str = _variable(
        "PUBLIC_BASE_URL",
        "",
        public_base_url,
        "How Twilio reaches us. Empty: the platform's own variable, else the request's host.",
    )
    twilio_account_sid: str = _variable(
        "TWILIO_ACCOUNT_SID", "", str.strip, "The account whose calls these are."
    )
    twilio_auth_tokens: tuple[str, ...] = _variable(
        "TWILIO_AUTH_TOKEN",
        (),
        _tokens,
        "Checks that webhooks and streams come from Twilio; several, comma separated, while rotating.",
        is_secret=True,
    )
    allow_unsigned_ai: bool = _variable(
        "ALLOW_UNSIGNED_AI",
        False,
        _flag,
        "1: without a Twilio token, callers may spend on the AI (tests, benches).",
    )
    echo_test: bool = _variable("ECHO_TEST", False, _flag, "1: every call hears itself; wins over CALL_MODE.")
    call_mode_asked: str = _variable(
        "CALL_MODE",
        "",
        _choice("realtime", "echo", "demo", "pipeline"),
        "realtime, echo or demo. Empty: realtime with a key, else demo.",
    )
    openai_api_key: str = _variable("OPENAI_API_KEY", "", str.strip, "Pays for the model.", is_secret=True)
    openai_realtime_url: str = _variable(
        "OPENAI_REALTIME_URL",
        "wss://api.openai.com/v1/realtime",
        _realtime_url,
        "The model's WebSocket; any that speaks the protocol.",
    )
    openai_realtime_model: str = _variable(
        "OPENAI_REALTIME_MODEL", "gpt-realtime-2.1", str.strip, "The model; on Azure the deployment."
    )
    realtime_dialect: str = _variable(
        "REALTIME_DIALECT",
        "ga",
        _choice("ga", "beta"),
        "beta for Azure's preview endpoints, ga for all others.",
    )
    realtime_voice: str = _variable("REALTIME_VOICE", "marin", str.strip, "One voice for the whole call.")
    greeting: str = _variable(
        "GREETING", "", str.strip, "What the caller hears first. Empty: a short one in the call's language."
    )
    instructions: str = _variable("INSTRUCTIONS", "", str.strip, "Who the agent is and what it may do.")
    call_language: str = _variable(
        "CALL_LANGUAGE",
        "he",
        _choice("he", "en"),
        "The language of prompts and of what is said for the model.",
    )
    voice_threshold: int = _variable(
        "VOICE_THRESHOLD",
        200,
        _number(1, 20000),
        "Louder than this is voice; 150 to 250 fits telephones.",
        unit="RMS, 16-bit scale",
    )
    min_consecutive_voice_frames: int = _variable(
        "MIN_CONSECUTIVE_VOICE_FRAMES",
        5,
        _number(1, 100),
        "So many loud frames in a row are speech.",
        unit="frames of 20 ms",
    )
    noise_gate: bool = _variable("NOISE_GATE", True, _flag, "0: the model hears line noise too.")
    call_trace: bool = _variable("CALL_TRACE", False, _flag, "1: a log line for every frame.")
    max_calls: int = _variable("MAX_CALLS", 100, _number(1, 10000), "Live calls; more hear a busy tone.")
    max_call_seconds: int = _variable(
        "MAX_CALL_SECONDS", 1800, _number(1, 86400), "The longest call.", unit="s"
    )
    web_concurrency: int = _variable(
        "WEB_CONCURRENCY", 1, _number(1, 64), "Workers. This version keeps calls in one."
    )
    log_level: str = _variable(
        "LOG_LEVEL",
        "info",
        _choice("debug", "info", "warning", "error"),
        "debug names every event of the model.",
    )
    sidecar_dir: str = _variable(
        "SIDECAR_DIR",
        "baileys",
        str.strip,
        "A Node side-car that start_all.sh starts with us, if it is there.",
    )

    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Variable to where its value came from: its own name, or a platform's variable."""
    warnings: tuple[str, ...] = ()
    """One line each, with what to do."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read `env`. Raises ConfigError naming every value that cannot be used."""
        problems: list[str] = []
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for spec in variables():
            name = spec.metadata["variable"]
            text, source = env.get(name, ""), name
            if not text.strip() and spec.name == "public_base_url":
                source = next((host for host in PLATFORM_HOSTS if env.get(host, "").strip()), name)
                text = env.get(source, "")
            if not text.strip():
                continue
            try:
                values[spec.name] = spec.metadata["read"](text)
                sources[name] = source
            except ValueError as error:
                problems.append(f"{name}={_shown(text, spec.metadata['secret'])}: {error}")
        if values.get("call_mode_asked") == "pipeline":
            problems.append("CALL_MODE=pipeline: not part of this version; use realtime, echo or demo")
        if values.get("web_concurrency", 1) > 1:
            problems.append(
                "WEB_CONCURRENCY: more than one worker needs Redis, which this version does not use; set 1"
            )
        needs_key = values.get("call_mode_asked") == "realtime" and not values.get("echo_test")
        if needs_key and not env.get("OPENAI_API_KEY", "").strip():
            problems.append(
                "CALL_MODE=realtime without OPENAI_API_KEY: set the key, or leave CALL_MODE empty (demo)"
            )
        if problems:
            raise ConfigError(FAULTS["KAV-101"].line("\n  " + "\n  ".join(problems) + "\n "))
        settings = cls(**values, sources=sources)
        return dataclasses.replace(settings, warnings=tuple(_warnings(settings, env)))

    @property
    def has_usable_key(self) -> bool:
        return bool(self.openai_api_key) and not is_placeholder(self.openai_api_key)

    @property
    def call_mode(self) -> CallMode:
        """What a call gets when it may spend on the AI."""
        if self.echo_test:
            return CallMode.ECHO
        asked = self.call_mode_asked or (CallMode.REALTIME if self.openai_api_key else CallMode.DEMO)
        if asked == CallMode.REALTIME and not self.has_usable_key:
            return CallMode.DEMO
        return CallMode(asked)

    @property
    def may_spend(self) -> bool:
        """Callers are known to be Twilio's, or the operator said that it does not matter."""
        return bool(self.twilio_auth_tokens) or self.allow_unsigned_ai

    @property
    def served_mode(self) -> CallMode:
        """What a call really gets: unsigned callers reach only what costs nothing."""
        mode = self.call_mode
        return mode if mode is not CallMode.REALTIME or self.may_spend else CallMode.DEMO

    @property
    def voice(self) -> str:
        """The voice to ask for: an unknown one would make OpenAI refuse the whole session."""
        return self.realtime_voice if self._knows_voice() else "marin"

    def _knows_voice(self) -> bool:
        is_openai = (urlsplit(self.openai_realtime_url).hostname or "").endswith("openai.com")
        return not is_openai or self.realtime_voice in VOICES or self.realtime_voice.startswith("voice_")

    @property
    def greeting_text(self) -> str:
        return self.greeting or DEFAULT_GREETING[self.call_language]

    @property
    def instructions_text(self) -> str:
        return self.instructions or DEFAULT_INSTRUCTIONS[self.call_language]


def variables() -> list[dataclasses.Field[Any]]:
    """The fields that stand for a variable, in the order they are explained."""
    return [spec for spec in dataclasses.fields(Settings) if "variable" in spec.metadata]


def is_placeholder(secret: str) -> bool:
    """Whether a secret is the text of some example instead."""
    return bool(_PLACEHOLDER.search(secret)) or len(secret) < 8


def mask(secret: str) -> str:
    """A secret as it may be shown."""
    return f"set, {len(secret)} chars, …{secret[-4:]}" if len(secret) > 12 else f"set, {len(secret)} chars"


def _shown(text: str, is_secret: bool) -> str:
    return mask(text) if is_secret else repr(text[:80])


def _warnings(settings: Settings, env: Mapping[str, str]) -> list[str]:
    lines = []
    if settings.openai_api_key and not settings.has_usable_key:
        lines.append(FAULTS["KAV-102"].line(mask(settings.openai_api_key)))
    if not settings._knows_voice():
        lines.append(FAULTS["KAV-103"].line(f"{settings.realtime_voice!r}, so marin speaks"))
    if (day := SHUTDOWNS.get(settings.openai_realtime_model)) and settings.call_mode is CallMode.REALTIME:
        lines.append(FAULTS["KAV-105"].line(f"{settings.openai_realtime_model} ends {day}"))
    known = [spec.metadata["variable"] for spec in variables()]
    for name in sorted(env):
        if env[name].strip() and name in LATER:
            lines.append(f"{name} is set, but {LATER[name]}")
        elif (
            name not in known
            and name not in LATER
            and (close := difflib.get_close_matches(name, known, 1, 0.86))
        ):
            lines.append(FAULTS["KAV-104"].line(f"{name}: did you mean {close[0]}?"))
    return lines
