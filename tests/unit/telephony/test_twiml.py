import xml.etree.ElementTree as ET

import pytest

from server.config import public_base_url
from server.telephony import twiml

BASE = "https://my-app.example"
LANGUAGES = ["he", "en"]


def verbs(text: str) -> list[ET.Element]:
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>')
    root = ET.fromstring(text)
    assert root.tag == "Response"
    return list(root)


def connected(base=BASE, parameters=None, language="he", **rest) -> list[ET.Element]:
    return verbs(twiml.connect(base, parameters or {}, language, **rest))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_call_goes_straight_to_its_stream(language):
    connect, *_ = connected(parameters={"call_sid": "CA1", "token": "t"}, language=language)
    assert connect.tag == "Connect"
    assert connect.attrib == {"action": BASE + "/webhook/stream_ended", "method": "POST"}
    (stream,) = connect
    assert stream.tag == "Stream"
    assert stream.attrib == {
        "url": "wss://my-app.example/ws/twilio-media",
        "statusCallback": BASE + "/webhook/stream_status",
        "statusCallbackMethod": "POST",
    }
    assert [(p.tag, p.attrib) for p in stream] == [
        ("Parameter", {"name": "call_sid", "value": "CA1"}),
        ("Parameter", {"name": "token", "value": "t"}),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_whatever_becomes_of_the_stream_words_and_a_hangup_follow(language):
    _, say, hangup = connected(language=language)
    speech = twiml.SPEECH[language]
    assert (say.tag, say.text, say.get("language"), say.get("voice")) == (
        "Say",
        speech.apology,
        speech.language,
        speech.voice,
    )
    assert (hangup.tag, hangup.attrib) == ("Hangup", {})


def test_a_greeting_is_played_before_the_stream():
    play, connect, *_ = connected(greeting_url="https://my-app.example/static/a.wav?x=1&y=2")
    assert (play.tag, play.text) == ("Play", "https://my-app.example/static/a.wav?x=1&y=2")
    assert connect.tag == "Connect"


@pytest.mark.parametrize(
    "value",
    [
        "מאפייה של דנה",
        "a & b",
        "<Say>hello</Say>",
        "a > b < c",
        'say "hi"',
        "it's",
        "]]>",
        "<!-- -->",
        "&amp;",
        "🙂",
        "\u202eabc",
        "",
    ],
)
def test_parameters_come_through_as_they_are_and_never_as_markup(value):
    connect, *rest = connected(parameters={"business": value})
    (parameter,) = connect[0]
    assert parameter.attrib == {"name": "business", "value": value}
    assert [verb.tag for verb in rest] == ["Say", "Hangup"]


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("https://my-app.example", "wss://my-app.example/ws/twilio-media"),
        ("https://my-app.example/", "wss://my-app.example/ws/twilio-media"),
        ("https://my-app.example///", "wss://my-app.example/ws/twilio-media"),
        ("http://my-app.example", "wss://my-app.example/ws/twilio-media"),
        ("my-app.example", "wss://my-app.example/ws/twilio-media"),
        ("https://my-app.example:8443/", "wss://my-app.example:8443/ws/twilio-media"),
        ("https://my-app.example/kav/", "wss://my-app.example/kav/ws/twilio-media"),
    ],
)
def test_the_stream_is_always_wss_and_slashes_never_double(variable, url):
    base = public_base_url(variable)
    assert twiml.media_url(base) == url
    text = twiml.connect(base, {}, "he")
    addresses = [value for element in ET.fromstring(text).iter() for value in element.attrib.values()]
    assert not any("//" in address.partition("://")[2] for address in addresses if "://" in address)
    assert "ws://" not in text


@pytest.mark.parametrize(
    "path", [twiml.INCOMING_CALL_PATH, twiml.STREAM_STATUS_PATH, twiml.STREAM_ENDED_PATH]
)
def test_webhooks_have_their_prefix_once(path):
    assert path.count("/webhook") == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_apology_says_so_and_hangs_up(language):
    say, hangup = verbs(twiml.apology(language))
    assert (say.tag, say.text, hangup.tag) == ("Say", twiml.SPEECH[language].apology, "Hangup")


def test_a_hangup_is_only_that():
    assert [verb.tag for verb in verbs(twiml.hangup())] == ["Hangup"]


def test_busy_is_a_rejection_so_that_nobody_is_billed():
    (reject,) = verbs(twiml.busy())
    assert (reject.tag, reject.attrib) == ("Reject", {"reason": "busy"})


@pytest.mark.parametrize("language", LANGUAGES)
def test_asking_again_keeps_the_caller_and_comes_back(language):
    say, redirect = verbs(twiml.ask_again(BASE, language, twiml.INCOMING_CALL_PATH))
    assert (say.text, say.get("language")) == (twiml.SPEECH[language].moment, twiml.SPEECH[language].language)
    assert (redirect.tag, redirect.text) == ("Redirect", BASE + "/webhook/incoming_call")
    assert redirect.get("method") == "POST"


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_asks_for_the_last_time_is_kept_until_a_process_has_started(language):
    parts = verbs(twiml.ask_again(BASE, language, twiml.STREAM_ENDED_PATH, is_last=True))
    assert [part.tag for part in parts] == ["Say", "Pause", "Say", "Pause", "Redirect"]
    assert [part.get("length") for part in parts if part.tag == "Pause"] == ["2", "2"], "no longer silence"
    assert parts[-1].text == BASE + "/webhook/stream_ended"


def test_how_often_a_stream_broke_comes_back_in_the_address_that_is_asked():
    (verb, *_) = verbs(twiml.connect(BASE, {}, "he", resumes=2))
    assert verb.get("action") == BASE + "/webhook/stream_ended?resumes=2"
    (verb, *_) = verbs(twiml.connect(BASE, {}, "he"))
    assert verb.get("action") == BASE + "/webhook/stream_ended"


def test_hebrew_is_spoken_by_a_voice_that_exists_for_hebrew():
    assert twiml.SPEECH["he"].language == "he-IL"
    assert twiml.SPEECH["he"].voice.startswith("Google.he-IL-")


def test_every_answer_is_far_below_twilios_64_kilobytes():
    largest = twiml.connect(BASE, {f"p{n}": "ש" * 400 for n in range(20)}, "he", BASE + "/static/a.wav")
    assert len(largest.encode()) < 64_000


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("is_told", [True, False])
def test_a_message_is_recorded_and_nobody_is_left_in_silence_after_it(language, is_told):
    found = verbs(twiml.record(BASE, language, is_told=is_told))
    assert [verb.tag for verb in found] == [*([] if is_told else ["Say"]), "Record", "Say", "Hangup"]
    recorded = found[-3]
    assert recorded.get("action") == BASE + "/webhook/message_left"
    assert 0 < int(recorded.get("maxLength")) <= 600
    assert recorded.get("playBeep") == "true"


@pytest.mark.parametrize("language", LANGUAGES)
def test_whoever_left_a_message_is_thanked(language):
    assert [verb.tag for verb in verbs(twiml.thanks(language))] == ["Say", "Hangup"]
