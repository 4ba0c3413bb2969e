import pytest
from twilio.base.exceptions import TwilioRestException, TwilioServiceException

from server.config import Settings
from server.errors import CallIsGone, GatewayError, TwilioRestError
from server.faults import FAULTS
from server.services.twilio_rest import API_URL, TIMEOUT_S, TwilioRest, _refusal

ACCOUNT = "AC" + "0" * 32
ENV = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "new-token, old-token"}


@pytest.mark.parametrize("missing", ENV)
def test_without_an_account_or_its_token_nothing_is_built(missing):
    env = {name: value for name, value in ENV.items() if name != missing}
    assert TwilioRest.from_settings(Settings.from_env(env)) is None


def test_settings_make_a_client_of_the_real_api():
    assert TwilioRest.from_settings(Settings.from_env(ENV)) is not None
    assert Settings.from_env(ENV).twilio_api_url == API_URL
    assert TIMEOUT_S == 5


def test_twiml_that_twilio_would_refuse_for_its_length_is_not_sent():
    rest = TwilioRest(ACCOUNT, "token", "http://127.0.0.1:1")  # where nobody listens
    with pytest.raises(TwilioRestError) as refused:
        rest.update_call("CA1", "א" * 4001)
    assert (refused.value.fault_id, refused.value.code) == ("KAV-157", 32018)
    assert not refused.value.is_retryable


@pytest.mark.parametrize("call_sid", ["", "CA", "CA1/../../Messages", "CA1?x=1", "unknown", "CA1\n"])
def test_what_is_no_call_sid_becomes_no_address(call_sid):
    rest = TwilioRest(ACCOUNT, "token", "http://127.0.0.1:1")
    with pytest.raises(TwilioRestError) as refused:
        rest.hang_up(call_sid)
    assert refused.value.fault_id == "KAV-158"


def test_an_error_says_what_it_is_and_whether_to_try_again():
    error = TwilioRestError("KAV-155", "500/20500 oops", code=20500, status=500, is_retryable=True)
    assert isinstance(error, GatewayError)
    assert (error.fault_id, error.code, error.status, error.is_retryable) == ("KAV-155", 20500, 500, True)
    assert (
        FAULTS[error.fault_id]
        .line(str(error))
        .startswith("KAV-155 Twilio's REST API has a fault of its own: ")
    )
    assert issubclass(CallIsGone, TwilioRestError)


def test_a_refusal_is_safe_to_log():
    words = "The number +972501234567 is unverified.\nTrial accounts \u202e cannot send"
    error = _refusal(TwilioRestException(400, "/Messages.json", words, 21608))
    assert str(error) == "400/21608 The number +972•••4567 is unverified. Trial accounts � cannot send"
    assert (error.fault_id, error.code, error.status) == ("KAV-158", 21608, 400)


def test_a_refusal_in_the_newer_shape_of_errors_is_read_too():
    newer = TwilioServiceException("https://t.example/20429", "Too many requests", 429, 20429, detail="wait")
    error = _refusal(newer)
    assert (error.fault_id, error.code, error.status, error.is_retryable) == ("KAV-154", 20429, 429, True)
    assert str(error) == "429/20429 wait"
