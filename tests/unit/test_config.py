import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import (
    LATER,
    PLATFORM_HOSTS,
    CallMode,
    Settings,
    is_placeholder,
    mask,
    public_base_url,
    variables,
)
from server.config_defaults import DEFAULT_GREETING, DEFAULT_INSTRUCTIONS, SHUTDOWNS, VOICES
from server.errors import ConfigError, GatewayError
from server.faults import FAULTS

KEY = "sk-proj-Zq81mvT0bLkW3nRy7Hd5"
TOKEN = "5f1d9c3a7b2e4d6088aa11bb22cc33dd"
REALTIME_URL = "wss://api.openai.com/v1/realtime"


def read(**env: str) -> Settings:
    return Settings.from_env(env)


def refusal(**env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(env)
    return str(caught.value)


def field_of(variable: str) -> str:
    return next(spec.name for spec in variables() if spec.metadata["variable"] == variable)


DEFAULTS = {
    "PORT": 5000,
    "PUBLIC_BASE_URL": "",
    "TWILIO_ACCOUNT_SID": "",
    "TWILIO_AUTH_TOKEN": (),
    "ALLOW_UNSIGNED_AI": False,
    "ECHO_TEST": False,
    "CALL_MODE": "",
    "OPENAI_API_KEY": "",
    "OPENAI_REALTIME_URL": REALTIME_URL,
    "OPENAI_REALTIME_MODEL": "gpt-realtime-2.1",
    "OPENAI_BASE_URL": "",
    "STT_MODEL": "gpt-transcribe",
    "LLM_MODEL": "gpt-6-luna",
    "TTS_MODEL": "gpt-4o-mini-tts",
    "REALTIME_WARM": 0,
    "TRANSCRIPTION_MODEL": "gpt-transcribe",
    "REALTIME_DIALECT": "ga",
    "REALTIME_VOICE": "marin",
    "GREETING": "",
    "INSTRUCTIONS": "",
    "CALL_LANGUAGE": "he",
    "VOICE_THRESHOLD": 200,
    "MIN_CONSECUTIVE_VOICE_FRAMES": 5,
    "NOISE_GATE": True,
    "VOICE_DETECTOR": "rms",
    "BARGE_IN": "on",
    "MIN_SPEECH_MS": 200,
    "CALL_TRACE": False,
    "MAX_CALLS": 100,
    "MAX_CALL_SECONDS": 1800,
    "STILL_THERE_SECONDS": 10,
    "IDLE_SECONDS": 120,
    "BUSINESSES_FILE": "",
    "PERSON_NUMBER": "",
    "NOTIFY_NUMBER": "",
    "NOTIFY_URL": "",
    "TWILIO_API_URL": "https://api.twilio.com",
    "DATABASE_URL": "",
    "REDIS_URL": "",
    "WEB_CONCURRENCY": 1,
    "LOG_LEVEL": "info",
    "SIDECAR_DIR": "baileys",
}


# -- every variable


def test_every_variable_has_a_default_that_is_told_here():
    assert {spec.metadata["variable"] for spec in variables()} == set(DEFAULTS)


@pytest.mark.parametrize("variable", DEFAULTS)
@pytest.mark.parametrize("text", [None, "", "   "])
def test_a_variable_unset_or_blank_has_its_default(variable, text):
    settings = Settings.from_env({} if text is None else {variable: text})
    assert getattr(settings, field_of(variable)) == DEFAULTS[variable]
    assert settings.warnings == ()
    assert variable not in settings.sources


def test_every_variable_is_explained():
    for spec in variables():
        assert spec.metadata["doc"].endswith("."), spec.metadata["variable"]


def test_what_may_hold_a_secret_is_secret():
    secret = {spec.metadata["variable"] for spec in variables() if spec.metadata["secret"]}
    assert secret == {"TWILIO_AUTH_TOKEN", "OPENAI_API_KEY", "DATABASE_URL", "REDIS_URL"}


VALID = [
    ("PORT", "0", 0),
    ("PORT", " 8080 ", 8080),
    ("PORT", "65535", 65535),
    ("PUBLIC_BASE_URL", "my-app.example", "https://my-app.example"),
    ("TWILIO_ACCOUNT_SID", " AC1 ", "AC1"),
    ("TWILIO_AUTH_TOKEN", TOKEN, (TOKEN,)),
    ("TWILIO_AUTH_TOKEN", f" {TOKEN} , other,, ", (TOKEN, "other")),
    ("OPENAI_API_KEY", f" {KEY}\n", KEY),
    ("OPENAI_REALTIME_URL", "https://eu.api.openai.com/v1/realtime/", "wss://eu.api.openai.com/v1/realtime"),
    ("OPENAI_REALTIME_URL", "http://127.0.0.1:9000/v1/realtime", "ws://127.0.0.1:9000/v1/realtime"),
    ("OPENAI_REALTIME_URL", "ws://127.0.0.1:9000", "ws://127.0.0.1:9000"),
    (
        "OPENAI_REALTIME_URL",
        "my-res.openai.azure.com/openai/v1/realtime",
        "wss://my-res.openai.azure.com/openai/v1/realtime",
    ),
    (
        "OPENAI_REALTIME_URL",
        "wss://r.openai.azure.com/openai/realtime?api-version=2024-10-01-preview&deployment=d",
        "wss://r.openai.azure.com/openai/realtime?api-version=2024-10-01-preview&deployment=d",
    ),
    ("OPENAI_REALTIME_MODEL", " gpt-realtime-2 ", "gpt-realtime-2"),
    ("REALTIME_DIALECT", "BETA", "beta"),
    ("REALTIME_VOICE", "shimmer", "shimmer"),
    ("GREETING", " שלום לכם ", "שלום לכם"),
    ("INSTRUCTIONS", "Be kind.\nBe brief.", "Be kind.\nBe brief."),
    ("CALL_LANGUAGE", "EN", "en"),
    ("VOICE_THRESHOLD", "1", 1),
    ("VOICE_THRESHOLD", "20000", 20000),
    ("MIN_CONSECUTIVE_VOICE_FRAMES", "100", 100),
    ("MAX_CALLS", "10000", 10000),
    ("MAX_CALL_SECONDS", "86400", 86400),
    ("WEB_CONCURRENCY", "1", 1),
    ("LOG_LEVEL", "Debug", "debug"),
    ("SIDECAR_DIR", "side", "side"),
]


@pytest.mark.parametrize(("variable", "text", "value"), VALID)
def test_a_good_value_is_read_and_its_source_told(variable, text, value):
    settings = Settings.from_env({variable: text})
    assert getattr(settings, field_of(variable)) == value
    assert settings.sources == {variable: variable}


FLAGS = ["ALLOW_UNSIGNED_AI", "ECHO_TEST", "NOISE_GATE", "CALL_TRACE"]


@pytest.mark.parametrize("variable", FLAGS)
def test_flags_are_read_in_their_usual_spellings(variable):
    for text in ("1", "true", "TRUE", " yes ", "on"):
        assert getattr(Settings.from_env({variable: text}), field_of(variable)) is True
    for text in ("0", "false", "No", "off"):
        assert getattr(Settings.from_env({variable: text}), field_of(variable)) is False


INVALID = [
    *((flag, text) for flag in FLAGS for text in ("2", "maybe", "כן", "-1")),
    *(
        ("PORT", text)
        for text in ("-1", "65536", "http", "80.5", "0x50", "٣٣٣٣٣٣", "²", "--5", "9" * 5000, "8 0")
    ),
    *(("VOICE_THRESHOLD", text) for text in ("0", "-200", "20001", "loud")),
    *(("MIN_CONSECUTIVE_VOICE_FRAMES", text) for text in ("0", "101", "five")),
    *(("MAX_CALLS", text) for text in ("0", "10001", "")[:2]),
    *(("MAX_CALL_SECONDS", text) for text in ("0", "86401", "30m")),
    *(("WEB_CONCURRENCY", text) for text in ("0", "65", "auto")),
    ("CALL_MODE", "ai"),
    ("REALTIME_DIALECT", "preview"),
    ("CALL_LANGUAGE", "fr"),
    ("LOG_LEVEL", "verbose"),
    *(
        ("OPENAI_REALTIME_URL", text)
        for text in (
            "ftp://x",
            "wss://",
            "://",
            "wss:///v1",
            "file:///etc/passwd",
            "wss://x:99999",
            "wss://x:0",
        )
    ),
]


@pytest.mark.parametrize(("variable", "text"), INVALID)
def test_a_bad_value_stops_the_start_and_is_named(variable, text):
    message = refusal(**{variable: text})
    assert message.startswith("KAV-101 ")
    assert f"\n  {variable}=" in message
    assert len(message) < 700


def test_a_number_out_of_range_is_told_its_range():
    assert "not a whole number from 1 to 20000" in refusal(VOICE_THRESHOLD="0")


def test_a_wrong_word_is_told_the_right_ones():
    assert "not one of ga, beta" in refusal(REALTIME_DIALECT="preview")


def test_all_problems_come_in_one_message():
    message = refusal(
        PORT="http", NOISE_GATE="maybe", PUBLIC_BASE_URL="ftp://x", CALL_MODE="pipeline", WEB_CONCURRENCY="4"
    )
    problems = [line for line in message.splitlines() if line.startswith("  ")]
    assert len(problems) == 5
    for variable in ("PORT", "NOISE_GATE", "PUBLIC_BASE_URL", "CALL_MODE", "WEB_CONCURRENCY"):
        assert sum(variable in line for line in problems) == 1, variable


def test_a_config_error_is_one_of_ours():
    assert issubclass(ConfigError, GatewayError)


# -- the public address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://my-app.example", "https://my-app.example"),
        ("https://my-app.example/", "https://my-app.example"),
        ("https://my-app.example//", "https://my-app.example"),
        ("  https://my-app.example/ \n", "https://my-app.example"),
        ("my-app.example", "https://my-app.example"),
        ("my-app.example/", "https://my-app.example"),
        ("my-app.example:8443", "https://my-app.example:8443"),
        ("HTTPS://my-app.example", "https://my-app.example"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://my-app.example/kav/", "https://my-app.example/kav"),
        ("https://[2001:db8::1]:5000", "https://[2001:db8::1]:5000"),
        ("", ""),
        ("/", ""),
    ],
)
def test_the_public_address_has_a_scheme_and_no_slash_at_its_end(text, url):
    assert public_base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://my-app.example",
        "wss://my-app.example",
        "https://my-app.example/?x=1",
        "https://my-app.example/#top",
        "https:///path",
        "https://:5000",
        "https://[2001:db8",
        "mailto://",
        "https://a:99999",
        "https://a:0",
        "https://a:b",
    ],
)
def test_an_address_twilio_could_never_call_is_refused(text):
    with pytest.raises(ValueError):
        public_base_url(text)


@pytest.mark.parametrize("text", ["https://", "http://", "https:/my-app.example", "https://my app.example"])
def test_half_an_address_is_refused(text):
    with pytest.raises(ValueError):
        public_base_url(text)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_an_address_without_slash_or_a_value_error(text):
    try:
        url = public_base_url(text)
    except ValueError:
        return
    assert url == "" or re.match(r"https?://.*[^/]\Z", url, re.DOTALL)
    assert not url.endswith("/")


@pytest.mark.parametrize("variable", PLATFORM_HOSTS)
def test_a_platform_tells_the_address_when_nobody_else_does(variable):
    settings = Settings.from_env({variable: "my-app.platform.example/"})
    assert settings.public_base_url == "https://my-app.platform.example"
    assert settings.sources["PUBLIC_BASE_URL"] == variable


@pytest.mark.parametrize("variable", PLATFORM_HOSTS)
def test_the_operators_address_wins_over_the_platforms(variable):
    settings = Settings.from_env({variable: "platform.example", "PUBLIC_BASE_URL": "https://mine.example"})
    assert settings.public_base_url == "https://mine.example"
    assert settings.sources["PUBLIC_BASE_URL"] == "PUBLIC_BASE_URL"


# -- what a call gets


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, CallMode.DEMO),
        ({"OPENAI_API_KEY": KEY}, CallMode.REALTIME),
        ({"OPENAI_API_KEY": "sk-..."}, CallMode.DEMO),
        ({"CALL_MODE": "realtime", "OPENAI_API_KEY": KEY}, CallMode.REALTIME),
        ({"CALL_MODE": "realtime", "OPENAI_API_KEY": "your-key-here"}, CallMode.DEMO),
        ({"CALL_MODE": "demo", "OPENAI_API_KEY": KEY}, CallMode.DEMO),
        ({"CALL_MODE": "echo", "OPENAI_API_KEY": KEY}, CallMode.ECHO),
        ({"CALL_MODE": "Echo"}, CallMode.ECHO),
        ({"CALL_MODE": "demo", "ECHO_TEST": "1"}, CallMode.ECHO),
        ({"CALL_MODE": "realtime", "ECHO_TEST": "1", "OPENAI_API_KEY": KEY}, CallMode.ECHO),
        ({"ECHO_TEST": "1", "OPENAI_API_KEY": KEY}, CallMode.ECHO),
        ({"ECHO_TEST": "0", "OPENAI_API_KEY": KEY}, CallMode.REALTIME),
        ({"CALL_MODE": "echo", "ECHO_TEST": "0"}, CallMode.ECHO),
    ],
)
def test_which_mode_a_call_gets(env, mode):
    assert Settings.from_env(env).call_mode is mode


@pytest.mark.parametrize(
    ("env", "may_spend", "served"),
    [
        ({}, False, CallMode.DEMO),
        ({"OPENAI_API_KEY": KEY}, False, CallMode.DEMO),
        ({"OPENAI_API_KEY": KEY, "TWILIO_AUTH_TOKEN": TOKEN}, True, CallMode.REALTIME),
        ({"OPENAI_API_KEY": KEY, "TWILIO_AUTH_TOKEN": " , "}, False, CallMode.DEMO),
        ({"OPENAI_API_KEY": KEY, "ALLOW_UNSIGNED_AI": "1"}, True, CallMode.REALTIME),
        ({"OPENAI_API_KEY": KEY, "ALLOW_UNSIGNED_AI": "0"}, False, CallMode.DEMO),
        ({"ECHO_TEST": "1", "OPENAI_API_KEY": KEY}, False, CallMode.ECHO),
        ({"ECHO_TEST": "1", "OPENAI_API_KEY": KEY, "TWILIO_AUTH_TOKEN": TOKEN}, True, CallMode.ECHO),
        ({"TWILIO_AUTH_TOKEN": TOKEN}, True, CallMode.DEMO),
    ],
)
def test_callers_nobody_vouches_for_reach_only_what_costs_nothing(env, may_spend, served):
    settings = Settings.from_env(env)
    assert (settings.may_spend, settings.served_mode) == (may_spend, served)


def test_the_pipelined_mode_needs_a_key_as_well():
    assert "CALL_MODE=pipeline without OPENAI_API_KEY" in refusal(CALL_MODE="pipeline")
    settings = read(CALL_MODE="pipeline", OPENAI_API_KEY=KEY, TWILIO_AUTH_TOKEN=TOKEN)
    assert settings.served_mode is CallMode.PIPELINE
    assert read(CALL_MODE="pipeline", OPENAI_API_KEY=KEY).served_mode is CallMode.DEMO


def test_the_pipelined_modes_models_are_warned_of_before_they_end():
    pipeline = {"CALL_MODE": "pipeline", "OPENAI_API_KEY": KEY, "ALLOW_UNSIGNED_AI": "1"}
    (warning,) = read(**pipeline).warnings
    assert "TTS_MODEL=gpt-4o-mini-tts ends 2027-01-06" in warning
    assert read(**pipeline, TTS_MODEL="my-voice").warnings == ()


@pytest.mark.parametrize(
    ("env", "is_told"),
    [
        ({"OPENAI_API_KEY": KEY}, True),
        ({"OPENAI_API_KEY": KEY, "OPENAI_REALTIME_URL": "wss://api.x.example/v1/realtime"}, False),
        (
            {
                "OPENAI_API_KEY": KEY,
                "OPENAI_REALTIME_URL": "wss://api.x.example/v1/realtime",
                "OPENAI_BASE_URL": "https://api.x.example/v1",
            },
            True,
        ),
        ({"OPENAI_API_KEY": KEY, "CALL_MODE": "echo"}, False),
        ({}, False),
    ],
)
def test_the_models_that_realtime_calls_fall_back_to_are_warned_of_too(env, is_told):
    told = [line for line in read(**env, STT_MODEL="whisper-1").warnings if line.startswith("KAV-179 ")]
    assert len(told) == 2 * is_told
    assert not told or "STT_MODEL=whisper-1 ends" in told[0]


@pytest.mark.parametrize(
    ("env", "base_url"),
    [
        ({}, "https://api.openai.com/v1"),
        ({"OPENAI_REALTIME_URL": "wss://x.openai.azure.com/openai/v1/realtime"}, ""),
        ({"OPENAI_REALTIME_URL": "ws://127.0.0.1:9"}, ""),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1/"}, "http://127.0.0.1:9/v1"),
    ],
)
def test_nobodys_key_is_shown_to_another_service(env, base_url):
    assert read(**env).speech_base_url == base_url


AZURE = "wss://x.openai.azure.com/openai/v1/realtime"


def test_a_pipeline_without_an_address_is_refused_at_the_start_and_not_call_by_call():
    env = {"CALL_MODE": "pipeline", "OPENAI_API_KEY": "sk-" + "a" * 40, "OPENAI_REALTIME_URL": AZURE}
    assert "set OPENAI_BASE_URL" in refusal(**env)
    assert read(**env, OPENAI_BASE_URL="https://x.openai.azure.com/openai/v1").speech_base_url


@pytest.mark.parametrize("workers", ["2", "4", "64"])
def test_more_than_one_worker_is_refused_with_its_reason(workers):
    assert "set 1" in refusal(WEB_CONCURRENCY=workers)
    assert "does not use" not in refusal(WEB_CONCURRENCY=workers, REDIS_URL="redis://127.0.0.1")


def test_realtime_without_a_key_is_refused():
    assert "OPENAI_API_KEY" in refusal(CALL_MODE="realtime")


@pytest.mark.parametrize("asked", ["realtime", "demo"])
def test_an_echo_test_needs_no_key_whatever_mode_is_asked_for(asked):
    assert read(ECHO_TEST="1", CALL_MODE=asked).call_mode is CallMode.ECHO


# -- keys, voices, models, names


@pytest.mark.parametrize(
    "key",
    [
        "sk-...",
        "sk-…",
        "sk-xxxxxxxxxxxxxxxx",
        "sk-XXXXXXXXXXXX",
        "<your key>",
        "your-api-key",
        "your_openai_key_here",
        "changeme-changeme",
        "replace-me-please",
        "sk-example-key",
        "placeholder-key",
        "sk-",
        "sk",
        "short",
    ],
)
def test_a_sample_key_is_no_key_and_is_told_so(key):
    assert is_placeholder(key)
    settings = read(OPENAI_API_KEY=key)
    assert not settings.has_usable_key
    (warning,) = settings.warnings
    assert warning.startswith("KAV-102 ")


@pytest.mark.parametrize(
    "key", [KEY, "sk-abcdefgh12345678", "3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c", "test-key-1"]
)
def test_a_real_key_is_no_placeholder(key):
    assert not is_placeholder(key)
    assert read(OPENAI_API_KEY=key).has_usable_key


@pytest.mark.parametrize("voice", VOICES)
def test_every_known_voice_speaks(voice):
    settings = read(REALTIME_VOICE=voice)
    assert (settings.voice, settings.warnings) == (voice, ())


@pytest.mark.parametrize("voice", ["alloy-ha-fast", "nova", "onyx", "Marin", "קול"])
def test_an_unknown_voice_is_replaced_and_told(voice):
    settings = read(REALTIME_VOICE=voice)
    assert settings.voice == "marin"
    (warning,) = settings.warnings
    assert warning.startswith("KAV-103 ")
    assert voice in warning


def test_a_voice_of_ones_own_and_the_voices_of_other_vendors_pass():
    assert read(REALTIME_VOICE="voice_123").voice == "voice_123"
    elsewhere = read(REALTIME_VOICE="eve", OPENAI_REALTIME_URL="wss://api.x.example/v1/realtime")
    assert (elsewhere.voice, elsewhere.warnings) == ("eve", ())


@pytest.mark.parametrize("model", SHUTDOWNS)
def test_a_model_about_to_end_is_told_only_when_it_is_used(model):
    (warning,) = read(OPENAI_REALTIME_MODEL=model, OPENAI_API_KEY=KEY, TTS_MODEL="my-voice").warnings
    assert warning.startswith("KAV-105 ")
    assert "2027-01-20" in warning
    assert read(OPENAI_REALTIME_MODEL=model).warnings == ()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PUBLIC_BASE_URI", "PUBLIC_BASE_URL"),
        ("TWILIO_AUTH_TOKENS", "TWILIO_AUTH_TOKEN"),
        ("OPEN_AI_API_KEY", "OPENAI_API_KEY"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("VOICE_TRESHOLD", "VOICE_THRESHOLD"),
        ("MAX_CALL_SECOND", "MAX_CALL_SECONDS"),
        ("CALLMODE", "CALL_MODE"),
        ("REALTIME_VOISE", "REALTIME_VOICE"),
    ],
)
def test_a_name_nearly_ours_is_asked_about_without_its_value(name, meant):
    (warning,) = Settings.from_env({name: "sk-a-secret-perhaps"}).warnings
    assert warning.startswith("KAV-104 ")
    assert f"{name}: did you mean {meant}?" in warning
    assert "secret" not in warning


def test_other_peoples_variables_are_none_of_our_business():
    env = dict.fromkeys(
        ["PATH", "HOME", "LANG", "PWD", "HOSTNAME", "PYTHONPATH", "DYNO", "REPL_ID", "GREETINGS_CARD"], "x"
    )
    assert Settings.from_env(env).warnings == ()


@pytest.mark.parametrize("name", LATER)
def test_a_variable_without_effect_yet_is_told_so(name):
    (warning,) = Settings.from_env({name: "1"}).warnings
    assert warning == f"{name} is set, but {LATER[name]}"
    assert Settings.from_env({name: " "}).warnings == ()


@pytest.mark.parametrize("language", ["he", "en"])
def test_words_have_a_default_in_each_language(language):
    settings = read(CALL_LANGUAGE=language)
    assert settings.greeting_text == DEFAULT_GREETING[language]
    assert settings.instructions_text == DEFAULT_INSTRUCTIONS[language]
    assert "end_call" in settings.instructions_text


def test_the_operators_words_win():
    settings = read(GREETING="היי", INSTRUCTIONS="be brief")
    assert (settings.greeting_text, settings.instructions_text) == ("היי", "be brief")


# -- secrets


@pytest.mark.parametrize("secret", [KEY, TOKEN, "x" * 13])
def test_a_masked_secret_shows_four_characters_at_most(secret):
    shown = mask(secret)
    assert shown == f"set, {len(secret)} chars, …{secret[-4:]}"
    assert secret[:-4] not in shown


@pytest.mark.parametrize("secret", ["", "a", "abcd", "abcdefghijkl"])
def test_a_short_secret_shows_nothing(secret):
    assert mask(secret) == f"set, {len(secret)} chars"


def test_no_message_shows_a_secret():
    secrets = {"OPENAI_API_KEY": KEY, "TWILIO_AUTH_TOKEN": f"{TOKEN},{TOKEN[::-1]}"}
    message = refusal(PORT="http", REALTIME_DIALECT="x", CALL_MODE="pipeline", **secrets)
    settings = read(
        REALTIME_VOICE="nova", OPENAI_REALTIME_MODEL="gpt-realtime", PUBLIC_BASE_URI="x", **secrets
    )
    placeholder = read(OPENAI_API_KEY="sk-xxxx" + KEY)
    for text in (message, *settings.warnings, *placeholder.warnings):
        assert KEY not in text
        assert TOKEN not in text
        assert TOKEN[::-1] not in text


def test_settings_can_be_shown_without_their_secrets():
    """A traceback or a log line may show the object as it stands."""
    shown = repr(read(OPENAI_API_KEY=KEY, TWILIO_AUTH_TOKEN=TOKEN))
    assert "marin" in shown
    assert KEY not in shown
    assert TOKEN not in shown


def test_settings_cannot_be_changed_after_the_start():
    with pytest.raises(AttributeError):
        read().port = 1


def test_where_files_do_not_outlive_a_restart_redis_keeps_messages_too():
    (spec,) = (spec for spec in variables() if spec.metadata["variable"] == "REDIS_URL")
    assert "messages" in spec.metadata["doc"]
    asked = json.loads((Path(__file__).resolve().parents[2] / "app.json").read_text("utf-8"))["env"]
    assert "messages" in asked["REDIS_URL"]["description"]
    assert "TWILIO_ACCOUNT_SID" in asked["NOTIFY_NUMBER"]["description"]
    assert "ssl_cert_reqs=none" in FAULTS["KAV-186"].fix


def test_the_readme_says_where_the_account_goes_and_how_the_commands_find_their_packages():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    assert "| `TWILIO_ACCOUNT_SID` |" in readme
    assert readme.index("`. .venv/bin/activate`") < readme.index(" python -m server ")
