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

from server.config_defaults import DEFAULT_GREETING, DEFAULT_INSTRUCTIONS, SHUTDOWNS, VOICES
from server.config_shutdowns import shutdown_warning
from server.config_values import (
    choice,
    exact_web_url,
    flag,
    number,
    phone_number,
    public_base_url,
    realtime_url,
    tokens,
    web_url,
)
from server.errors import ConfigError
from server.faults import FAULTS


class CallMode(StrEnum):
    REALTIME = "realtime"
    PIPELINE = "pipeline"
    ECHO = "echo"
    DEMO = "demo"


class Dialect(StrEnum):
    """Which shape of the Realtime protocol the endpoint speaks."""

    GA = "ga"
    BETA = "beta"
    """The flat shape, still spoken by Azure's preview endpoints."""


PLATFORM_HOSTS = (
    "REPLIT_DEV_DOMAIN",
    "HEROKU_APP_DEFAULT_DOMAIN_NAME",
    "RENDER_EXTERNAL_URL",
    "RAILWAY_PUBLIC_DOMAIN",
)
"""Variables in which a platform tells an application its own public address."""

LATER = {
    "RECORD_CALLS": "this version records nothing",
    "RETENTION_DAYS": "this version keeps messages until you delete them (docs/stored-data.md)",
}
"""Known names without effect yet: set, they are told so instead of being ignored in silence."""

_PLACEHOLDER = re.compile(
    r"x{4,}|\.\.\.|…|<.*>|your[-_ ]|changeme|replace|example|placeholder|^sk-?$", re.IGNORECASE
)


def _variable(
    name: str, default: Any, read: Callable[[str], Any], doc: str, *, unit: str = "", is_secret: bool = False
) -> Any:
    metadata = {"variable": name, "read": read, "doc": doc, "unit": unit, "secret": is_secret}
    return field(default=default, repr=not is_secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every variable, read and checked once at start."""

    port: int = _variable("PORT", 5000, number(0, 65535), "The port that is listened on.")
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
        tokens,
        "Checks that webhooks and streams come from Twilio; several, comma separated, while rotating.",
        is_secret=True,
    )
    allow_unsigned_ai: bool = _variable(
        "ALLOW_UNSIGNED_AI",
        False,
        flag,
        "1: without a Twilio token, callers may spend on the AI (tests, benches).",
    )
    echo_test: bool = _variable("ECHO_TEST", False, flag, "1: every call hears itself; wins over CALL_MODE.")
    call_mode_asked: str = _variable(
        "CALL_MODE",
        "",
        choice("realtime", "echo", "demo", "pipeline"),
        "realtime, pipeline, echo or demo. Empty: realtime with a key, else demo.",
    )
    openai_api_key: str = _variable("OPENAI_API_KEY", "", str.strip, "Pays for the model.", is_secret=True)
    openai_realtime_url: str = _variable(
        "OPENAI_REALTIME_URL",
        "wss://api.openai.com/v1/realtime",
        realtime_url,
        "The model's WebSocket; any that speaks the protocol.",
    )
    openai_realtime_model: str = _variable(
        "OPENAI_REALTIME_MODEL", "gpt-realtime-2.1", str.strip, "The model; on Azure the deployment."
    )
    openai_base_url: str = _variable(
        "OPENAI_BASE_URL",
        "",
        web_url,
        "Where the pipelined mode asks. Empty: OpenAI, where the Realtime URL is OpenAI's too.",
    )
    stt_model: str = _variable(
        "STT_MODEL", "gpt-transcribe", str.strip, "Pipelined mode: writes down what callers say."
    )
    llm_model: str = _variable("LLM_MODEL", "gpt-6-luna", str.strip, "Pipelined mode: finds the answer.")
    tts_model: str = _variable("TTS_MODEL", "gpt-4o-mini-tts", str.strip, "Pipelined mode: speaks it.")
    realtime_warm: int = _variable(
        "REALTIME_WARM",
        0,
        number(0, 50),
        "Connections to the model kept open ahead of the next call; one more is dialled for each call.",
        unit="connections",
    )
    transcription_model: str = _variable(
        "TRANSCRIPTION_MODEL",
        "gpt-transcribe",
        str.strip,
        "Writes down what callers say, which tells a yes from a mere uh-huh; off: nobody does.",
    )
    realtime_dialect: str = _variable(
        "REALTIME_DIALECT",
        "ga",
        choice("ga", "beta"),
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
        choice("he", "en"),
        "The language of prompts and of what is said for the model.",
    )
    voice_threshold: int = _variable(
        "VOICE_THRESHOLD",
        200,
        number(1, 20000),
        "Louder than this is voice; 150 to 250 fits telephones.",
        unit="RMS, 16-bit scale",
    )
    min_consecutive_voice_frames: int = _variable(
        "MIN_CONSECUTIVE_VOICE_FRAMES",
        5,
        number(1, 100),
        "So many loud frames in a row are speech.",
        unit="frames of 20 ms",
    )
    noise_gate: bool = _variable("NOISE_GATE", True, flag, "0: the model hears line noise too.")
    voice_detector: str = _variable(
        "VOICE_DETECTOR",
        "rms",
        choice("rms", "webrtc"),
        "What judges that somebody speaks: loudness over the line's noise, or WebRTC's detector as well.",
    )
    barge_in: str = _variable(
        "BARGE_IN",
        "on",
        choice("on", "off", "after_greeting"),
        "Whether callers may interrupt the agent: on, off, or after_greeting.",
    )
    min_speech_ms: int = _variable(
        "MIN_SPEECH_MS",
        200,
        number(0, 5000),
        "Shorter sounds, such as a cough, do not interrupt the agent.",
        unit="ms",
    )
    call_trace: bool = _variable("CALL_TRACE", False, flag, "1: a log line for every frame.")
    max_calls: int = _variable("MAX_CALLS", 100, number(1, 10000), "Live calls; more hear a busy tone.")
    max_call_seconds: int = _variable(
        "MAX_CALL_SECONDS", 1800, number(1, 86400), "The longest call.", unit="s"
    )
    still_there_seconds: int = _variable(
        "STILL_THERE_SECONDS",
        10,
        number(1, 3600),
        "So long a silence after the agent was heard, and it asks whether the caller is still there.",
        unit="s",
    )
    idle_seconds: int = _variable(
        "IDLE_SECONDS",
        120,
        number(3, 86400),
        "So long without a word, whatever noise there is, and the call ends with a goodbye.",
        unit="s",
    )
    businesses_file: str = _variable(
        "BUSINESSES_FILE",
        "",
        str.strip,
        "A TOML file with what differs from one called number to the next: see docs/businesses.md.",
    )
    person_number: str = _variable("PERSON_NUMBER", "", phone_number, "Rung when a caller wants a person.")
    notify_number: str = _variable(
        "NOTIFY_NUMBER", "", phone_number, "Gets a text message for each message a caller leaves."
    )
    notify_url: str = _variable(
        "NOTIFY_URL", "", exact_web_url, "Gets a signed POST for each message a caller leaves."
    )
    twilio_api_url: str = _variable(
        "TWILIO_API_URL",
        "https://api.twilio.com",
        web_url,
        "Twilio's REST API, which transfers and ends calls; another one in tests.",
    )
    database_url: str = _variable(
        "DATABASE_URL",
        "",
        str.strip,
        "Keeps messages and interrupted calls: sqlite:///path, sqlite:// for memory. Empty: ./kav.sqlite3.",
        is_secret=True,
    )
    redis_url: str = _variable(
        "REDIS_URL",
        "",
        str.strip,
        "Keeps messages and interrupted calls where files do not outlive a restart, as on Heroku.",
        is_secret=True,
    )
    web_concurrency: int = _variable(
        "WEB_CONCURRENCY", 1, number(1, 64), "Workers. This version keeps calls in one."
    )
    log_level: str = _variable(
        "LOG_LEVEL",
        "info",
        choice("debug", "info", "warning", "error"),
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
        if values.get("web_concurrency", 1) > 1:
            problems.append(
                "WEB_CONCURRENCY: a live call is known to one process only, for REDIS_URL shares nothing but "
                "interrupted calls and messages; set 1"
            )
        asked = values.get("call_mode_asked")
        needs_key = asked in ("realtime", "pipeline") and not values.get("echo_test")
        if needs_key and not env.get("OPENAI_API_KEY", "").strip():
            problems.append(
                f"CALL_MODE={asked} without OPENAI_API_KEY: set the key, or leave CALL_MODE empty (demo)"
            )
        settings = cls(**values, sources=sources)
        if settings.call_mode is CallMode.PIPELINE and not settings.speech_base_url:
            problems.append(
                "CALL_MODE=pipeline: nobody knows where OPENAI_REALTIME_URL has its speech services; "
                "set OPENAI_BASE_URL"
            )
        if problems:
            raise ConfigError(FAULTS["KAV-101"].line("\n  " + "\n  ".join(problems) + "\n "))
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
        if asked in (CallMode.REALTIME, CallMode.PIPELINE) and not self.has_usable_key:
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
        is_paid = mode in (CallMode.REALTIME, CallMode.PIPELINE)
        return CallMode.DEMO if is_paid and not self.may_spend else mode

    @property
    def speech_base_url(self) -> str:
        """Where the pipelined mode asks; empty where only a Realtime endpoint of somebody else's is known."""
        if self.openai_base_url:
            return self.openai_base_url
        is_openai = (urlsplit(self.openai_realtime_url).hostname or "").endswith("openai.com")
        return "https://api.openai.com/v1" if is_openai else ""

    @property
    def has_pipeline(self) -> bool:
        """Paid calls are served by the pipelined mode, or fall back to it when the realtime model is gone."""
        return self.call_mode in (CallMode.REALTIME, CallMode.PIPELINE) and bool(self.speech_base_url)

    @property
    def transcribes(self) -> bool:
        """Somebody writes down what callers say."""
        return self.transcription_model.lower() not in ("off", "none", "0")

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
    if settings.has_pipeline:
        for name in ("stt_model", "llm_model", "tts_model"):
            if line := shutdown_warning(name.upper(), getattr(settings, name)):
                lines.append(line)
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
