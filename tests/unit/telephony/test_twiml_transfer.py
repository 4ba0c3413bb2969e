import xml.etree.ElementTree as ET

import pytest

from server.services.twilio_rest import MAX_TWIML_CHARS
from server.simulator.twilio import twiml as twilio
from server.simulator.twilio import verbs
from server.telephony.twiml import SPEECH
from server.telephony.twiml_transfer import dial, is_e164

ACTION = "https://app.example/webhook/transfer_ended?call=1&turn=2"
PERSON, SHOP = "+972501234567", "+97231234567"


def elements(text: str) -> list[ET.Element]:
    return list(ET.fromstring(text))


@pytest.mark.parametrize("language", ["he", "en"])
def test_a_person_is_rung_and_who_is_passed_by_hears_an_apology(language):
    assert is_e164(PERSON)
    rung, said, end = elements(dial(PERSON, ACTION, SHOP, language))
    assert rung.tag == "Dial"
    assert rung.attrib == {
        "action": ACTION,
        "method": "POST",
        "timeout": "20",
        "timeLimit": "14400",
        "answerOnBridge": "true",
        "callerId": SHOP,
    }
    assert [(noun.tag, noun.text) for noun in rung] == [("Number", PERSON)]
    assert (said.tag, said.text) == ("Say", SPEECH[language].apology)
    assert said.attrib == {"language": SPEECH[language].language, "voice": SPEECH[language].voice}
    assert end.tag == "Hangup"


def test_a_line_is_spoken_before_it_rings():
    line = 'רגע אחד, אני מעבירה אתכם ל"רותי" <b>& בניה</b>'
    said, rung, *_ = elements(dial(PERSON, ACTION, SHOP, "he", ring_line=line))
    assert (said.tag, said.text, said.get("language")) == ("Say", line, "he-IL")
    assert rung.tag == "Dial"


def test_without_a_number_to_show_twilio_shows_the_callers():
    assert "callerId" not in elements(dial(PERSON, ACTION, "", "he"))[0].attrib


def test_times_are_the_operators():
    rung = elements(dial(PERSON, ACTION, SHOP, "he", timeout_s=45, time_limit_s=600))[0]
    assert (rung.get("timeout"), rung.get("timeLimit")) == ("45", "600")


def test_twilio_takes_it_without_a_finding():
    text = dial(PERSON, ACTION, SHOP, "he", ring_line="רגע אחד")
    document = twilio.parse(text.encode(), "text/xml", "")
    assert document.findings == ()
    assert document.verbs[1] == verbs.Dial((PERSON,), ACTION, "POST", 20, 14400, SHOP, True)


def test_the_longest_line_that_one_breath_speaks_still_fits_into_a_request():
    assert len(dial(PERSON, ACTION, SHOP, "he", ring_line="א" * 500)) < MAX_TWIML_CHARS


@pytest.mark.parametrize(
    "number",
    [
        *("", "0501234567", "972501234567", "+0501234567", "+9725012345678901", "+97250-1234567"),
        *("+٩٧٢٥٠١٢٣٤٥٦٧", "+972501234567</Number><Number>+1900", "+972501234567\n", "anonymous"),
    ],
)
def test_only_e164_is_rung_or_shown(number):
    assert not is_e164(number)
    with pytest.raises(ValueError, match=r"^number is no E\.164"):
        dial(number, ACTION, SHOP, "he")
    if number:
        with pytest.raises(ValueError, match=r"^caller_id is no E\.164"):
            dial(PERSON, ACTION, number, "he")


@pytest.mark.parametrize("url", ["", "/webhook/ended", "app.example/ended", "javascript:alert(1)"])
def test_the_action_is_absolute(url):
    with pytest.raises(ValueError, match="absolute"):
        dial(PERSON, url, SHOP, "he")


@pytest.mark.parametrize(("timeout_s", "time_limit_s"), [(4, 60), (601, 60), (20, 0)])
def test_times_that_twilio_does_not_take(timeout_s, time_limit_s):
    with pytest.raises(ValueError, match="ringing"):
        dial(PERSON, ACTION, SHOP, "he", timeout_s=timeout_s, time_limit_s=time_limit_s)
