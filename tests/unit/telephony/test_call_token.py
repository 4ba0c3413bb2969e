import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.telephony import call_token
from server.telephony.call_token import CLOCK_SLACK_S, VALID_S, CallTokens, TokenVerdict

NOW = 1_800_000_000.0
GOOD, MISSING, FORGED, EXPIRED, USED = (
    TokenVerdict.GOOD,
    TokenVerdict.MISSING,
    TokenVerdict.FORGED,
    TokenVerdict.EXPIRED,
    TokenVerdict.USED,
)


def tokens() -> CallTokens:
    return CallTokens(b"a secret of this test")


def test_a_token_is_good_for_its_call_and_once():
    ours = tokens()
    token = ours.issue("CA1", NOW)
    assert ours.take(token, "CA1", NOW + 1) is GOOD
    assert ours.take(token, "CA1", NOW + 2) is USED


def test_each_stream_of_a_call_gets_a_token_of_its_own():
    ours = tokens()
    first, second = ours.issue("CA1", NOW), ours.issue("CA1", NOW)
    assert first != second
    assert [ours.take(second, "CA1", NOW), ours.take(first, "CA1", NOW)] == [GOOD, GOOD]


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_missing(token):
    assert tokens().take(token, "CA1", NOW) is MISSING


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [
        (0, GOOD),
        (VALID_S, GOOD),
        (VALID_S + CLOCK_SLACK_S, GOOD),
        (VALID_S + CLOCK_SLACK_S + 1, EXPIRED),
        (1e6, EXPIRED),
    ],
)
def test_a_token_expires_after_its_time_and_some_slack(age_s, verdict):
    ours = tokens()
    assert ours.take(ours.issue("CA1", NOW), "CA1", NOW + age_s) is verdict


@pytest.mark.parametrize("back_s", [1, 60, 3600])
def test_a_clock_that_was_set_back_refuses_nobody(back_s):
    ours = tokens()
    assert ours.take(ours.issue("CA1", NOW), "CA1", NOW - back_s) is GOOD


def test_the_token_of_another_call_is_forged_and_stays_good_for_its_own():
    ours = tokens()
    token = ours.issue("CA1", NOW)
    assert ours.take(token, "CA2", NOW) is FORGED
    assert ours.take(token, "CA1", NOW) is GOOD


def test_the_token_of_another_secret_is_forged():
    assert tokens().take(CallTokens(b"theirs").issue("CA1", NOW), "CA1", NOW) is FORGED


def test_no_part_of_a_token_can_be_changed():
    ours = tokens()
    token = ours.issue("CA1", NOW)
    for at, letter in enumerate(token):
        changed = token[:at] + ("1" if letter != "1" else "2") + token[at + 1 :]
        assert ours.take(changed, "CA1", NOW) is FORGED, at
    assert ours.take(token, "CA1", NOW) is GOOD


@pytest.mark.parametrize(
    "token",
    [
        ".",
        "..",
        "...",
        "a.b.c",
        "-1.b.c",
        "1e9.b.c",
        "٣٣٣.b.c",
        "²²².b.c",
        "9" * 5000 + ".b.c",
        "9" * 15 + ".b.c",
        "1800000120.nonce.",
        "1800000120",
        "1800000120.שלום.תודה",
        "1800000120.a\0b.c",
        "x" * 1_000_000,
        "1800000120." + "n" * 1_000_000 + ".m",
    ],
)
def test_garbage_is_forged(token):
    assert tokens().take(token, "CA1", NOW) is FORGED


@pytest.mark.parametrize("token", ["\ud800", "1800000120.\ud800.mac", "1800000120.nonce.\udfff"])
def test_half_a_letter_is_garbage_too(token):
    """JSON can carry a lone surrogate, which no encoding can write."""
    assert tokens().take(token, "CA1", NOW) is FORGED


@given(token=st.text(max_size=80), expires=st.integers(0, 10**12), call_sid=st.text(max_size=20))
@settings(deadline=None)
def test_no_text_is_ever_good_by_chance(token, expires, call_sid):
    for guess in (token, f"{expires}.{token}", f"{expires}.n.{token}"):
        assert tokens().take(guess, call_sid, NOW) in (FORGED, MISSING)


def test_a_used_token_stays_used_until_it_would_be_expired():
    ours = tokens()
    token = ours.issue("CA1", NOW)
    ours.take(token, "CA1", NOW)
    for n in range(100):
        ours.take(ours.issue("CA2", NOW + n), "CA2", NOW + n)
        assert ours.take(token, "CA1", NOW + n) is USED
    assert ours.take(token, "CA1", NOW + VALID_S + CLOCK_SLACK_S) is USED
    assert ours.take(token, "CA1", NOW + VALID_S + CLOCK_SLACK_S + 1) is EXPIRED


def test_used_tokens_are_forgotten_once_expired():
    ours = tokens()
    for n in range(1000):
        ours.take(ours.issue("CA1", NOW + n), "CA1", NOW + n)
    assert len(ours._used) <= VALID_S + CLOCK_SLACK_S + 2


def test_a_flood_of_calls_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(call_token, "MAX_REMEMBERED", 100)
    ours = tokens()
    for _ in range(1000):
        assert ours.take(ours.issue("CA1", NOW), "CA1", NOW) is GOOD
    assert len(ours._used) <= 100


def test_refused_tokens_are_not_remembered():
    ours = tokens()
    for n in range(100):
        ours.take(f"1800000120.n{n}.mac", "CA1", NOW)
        ours.take(ours.issue("CA1", NOW - 1000), "CA1", NOW)
    assert len(ours._used) == 0


def test_processes_of_one_deployment_take_each_others_tokens():
    one, other = CallTokens.for_deployment(("secret", "older")), CallTokens.for_deployment(("secret",))
    assert other.take(one.issue("CA1", NOW), "CA1", NOW) is GOOD


def test_without_twilios_token_each_process_has_a_secret_of_its_own():
    one, other = CallTokens.for_deployment(()), CallTokens.for_deployment(())
    assert other.take(one.issue("CA1", NOW), "CA1", NOW) is FORGED


def test_the_secret_is_not_in_the_token():
    token = CallTokens.for_deployment(("twilio-auth-token",)).issue("CA1", NOW)
    assert "twilio" not in token
    assert token.isascii()
    assert len("call_token" + token) < 500, "name and value of a <Parameter> together"
