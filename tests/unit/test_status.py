import pytest

from server import status
from server.config import Settings
from server.status import checklist

KEY, TOKEN = "sk-proj-Zq81mvT0bLkW3nRy7Hd5", "5f1d9c3a7b2e4d6088aa11bb22cc33dd"
LANGUAGES = ["he", "en"]


def checks(language="en", **env: str):
    return checklist(Settings.from_env(env), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_bare_machine_answers_as_a_demo_and_says_what_to_set(language):
    agent, security, address = checks(language)
    assert not (agent.is_on or security.is_on or address.is_on)
    assert "OPENAI_API_KEY" in agent.step
    assert "TWILIO_AUTH_TOKEN" in security.step
    assert "PUBLIC_BASE_URL" in address.step


@pytest.mark.parametrize("language", LANGUAGES)
def test_when_all_is_set_no_step_is_left(language):
    all_set = checks(
        language, OPENAI_API_KEY=KEY, TWILIO_AUTH_TOKEN=TOKEN, PUBLIC_BASE_URL="https://my-app.example/"
    )
    assert [(check.is_on, check.step) for check in all_set] == [(True, "")] * 3
    assert all_set[2].state == "https://my-app.example"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pipelined_mode_is_an_agent_too(language):
    agent, *_ = checks(language, CALL_MODE="pipeline", OPENAI_API_KEY=KEY, TWILIO_AUTH_TOKEN=TOKEN)
    assert (agent.is_on, agent.step) == (True, "")
    held_back, *_ = checks(language, CALL_MODE="pipeline", OPENAI_API_KEY=KEY)
    assert "TWILIO_AUTH_TOKEN" in held_back.step


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_key_that_unsigned_callers_may_not_spend_is_called_so(language):
    agent, *_ = checks(language, OPENAI_API_KEY=KEY)
    assert not agent.is_on
    assert "TWILIO_AUTH_TOKEN" in agent.step


def test_a_key_held_back_is_not_the_same_as_no_key():
    assert checks(OPENAI_API_KEY=KEY)[0].state != checks()[0].state


def test_unsigned_callers_may_spend_when_the_operator_said_so():
    agent, security, _ = checks(OPENAI_API_KEY=KEY, ALLOW_UNSIGNED_AI="1")
    assert (agent.is_on, security.is_on) == (True, False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_echo_test_is_turned_off_by_its_own_variable(language):
    agent, *_ = checks(language, ECHO_TEST="1", OPENAI_API_KEY=KEY, TWILIO_AUTH_TOKEN=TOKEN)
    assert not agent.is_on
    assert "ECHO_TEST" in agent.step


@pytest.mark.parametrize(
    "env", [{}, {"OPENAI_API_KEY": KEY}, {"ECHO_TEST": "1"}, {"TWILIO_AUTH_TOKEN": TOKEN}]
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_line_is_on_or_has_a_step(env, language):
    for check in checks(language, **env):
        assert check.name and check.state
        assert check.is_on == (check.step == "")
        assert KEY not in check.state and TOKEN not in check.state


def test_both_languages_say_the_same_things():
    assert set(status._HE) == set(status._EN)
    assert all(status._HE.values()) and all(status._EN.values())
