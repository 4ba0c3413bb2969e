"""A simulated call that is told something by REST while it runs: transfer, hang-up, and the races."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from server.audio.g711 import BYTES_PER_MS, rms
from server.errors import CallIsGone, TwilioRestError
from server.services.twilio_rest import TwilioRest
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.caller import keys
from server.simulator.twilio.dialling import RING_HZ, TALK_HZ, DialOutcome
from server.simulator.twilio.live_call import CallStatus
from server.simulator.twilio.rest_server import RestServer
from server.telephony.twiml_transfer import dial as dial_twiml
from tests.integration.calls import calling, eventually
from tests.integration.tiny_gateway import FarStream, Request, TinyGateway, mute, tone

PERSON, SHOP, CALLER = "+972521112222", "+97231234567", "+972501234567"


@pytest.fixture
def gateway() -> Iterator[TinyGateway]:
    with TinyGateway() as running:
        yield running


@pytest.fixture
def twilio() -> Iterator[RestServer]:
    with RestServer() as server:
        yield server


@pytest.fixture
def rest(twilio: RestServer) -> Iterator[TwilioRest]:
    client = TwilioRest(twilio.account_sid, twilio.auth_token, twilio.url)
    yield client
    client.close()


def new_call(gateway: TinyGateway, twilio: RestServer, **options: Any) -> TwilioCall:
    return TwilioCall(CallOptions(gateway.webhook_url, rest=twilio, **options))


def run(gateway: TinyGateway, twilio: RestServer, **options: Any) -> CallReport:
    with calling(new_call(gateway, twilio, **options)) as reports:
        pass_until_ended(reports)
    [report] = reports
    return report


def pass_until_ended(reports: list[CallReport]) -> None:
    eventually(lambda: bool(reports), 15)


def transfers(rest: TwilioRest, gateway: TinyGateway) -> Any:
    """A stream that speaks, and then hands its caller to a person."""

    def script(stream: FarStream) -> None:
        start = stream.until("start")["start"]
        stream.play(tone(5000))
        stream.until("media", 10)
        rest.update_call(start["callSid"], dial_twiml(PERSON, f"{gateway.url}/dialled", SHOP, "he"))
        mute(stream)

    return script


def pitch_hz(audio: bytes) -> float:
    """Of a tone: half the changes of sign in a second. 0 for silence."""
    if rms(audio) < 50:
        return 0.0
    signs = [byte < 0x80 for byte in audio]
    changes = sum(a != b for a, b in pairwise(signs))
    return changes / 2 / (len(audio) / 8000)


# A transfer


def test_a_caller_is_transferred_in_the_middle_of_a_stream(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    gateway.on_stream = transfers(rest, gateway)
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        gateway.connect('action="/ended"') + "<Say>must not be heard</Say>"
    )
    gateway.replies["/dialled"] = gateway.twiml('<Say language="he-IL">הקו תפוס, להשאיר הודעה?</Say>')
    report = run(gateway, twilio, dial_outcomes=(DialOutcome("busy", rings_s=0.3),))

    stream = gateway.streams.get(timeout=5)
    assert [message["event"] for message in stream.received].count("stop") == 1
    assert stream.received[-1]["event"] == "stop"
    assert stream.received[-1]["stop"]["callSid"] == report.call_sid
    assert report.closed_by == "update"
    assert report.close_code in (1000, 1005)
    assert report.verbs == ("Connect", "Dial", "Say")
    assert report.said == ("הקו תפוס, להשאיר הודעה?",)
    assert gateway.requests_of("/ended") == [], "Connect's action is not asked after an update"
    [dialled] = report.dialled
    assert (dialled.number, dialled.caller_id, dialled.status) == (PERSON, SHOP, "busy")
    [asked] = gateway.requests_of("/dialled")
    assert asked.method == "POST"
    form = asked.form
    assert (form["DialCallStatus"], form["DialBridged"]) == ("busy", "false")
    assert form["DialCallSid"] == dialled.call_sid
    assert "DialCallDuration" not in form
    assert (form["CallStatus"], form["CallSid"]) == ("in-progress", report.call_sid)
    assert report.updates == 1
    assert report.findings == ()
    assert report.unplayed_ms > 4000, "the agent's queued speech was never heard"
    assert [r.form["StreamEvent"] for r in gateway.requests_of("/status")] == [
        *("stream-started", "stream-stopped")
    ]


def test_the_stream_stops_within_frames_of_the_update(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    frames_after: list[int] = []

    def script(stream: FarStream) -> None:
        start = stream.until("start")["start"]
        stream.until("media", 10)
        rest.update_call(start["callSid"], "<Response><Hangup/></Response>")
        frames = [message["event"] for message in stream.messages()]
        frames_after.append(frames.index("stop"))

    gateway.on_stream = script
    report = run(gateway, twilio)
    assert report.verbs == ("Connect", "Hangup")
    assert frames_after[0] <= 25, "the wait for the answer's own way included"


def test_a_person_who_answers_is_heard_and_their_end_is_told(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    gateway.on_stream = transfers(rest, gateway)
    gateway.replies["/dialled"] = gateway.twiml("<Hangup/>")
    call = new_call(gateway, twilio, dial_outcomes=(DialOutcome("answered", rings_s=0.4, talks_s=1.2),))
    with calling(call) as reports:
        pass_until_ended(reports)
    [report] = reports
    [dialled] = report.dialled
    assert (dialled.status, dialled.duration_s) == ("completed", 1)
    [asked] = gateway.requests_of("/dialled")
    assert asked.form["DialCallStatus"] == "completed"
    assert asked.form["DialBridged"] == "true"
    assert asked.form["DialCallDuration"] == "1"
    assert report.verbs == ("Connect", "Dial", "Hangup")
    heard = call.line.heard()
    conversation, ring = heard[-1100 * BYTES_PER_MS : -100 * BYTES_PER_MS], heard[-1550 * BYTES_PER_MS :]
    assert pitch_hz(conversation) == pytest.approx(TALK_HZ, rel=0.05)
    assert pitch_hz(ring[: 200 * BYTES_PER_MS]) == pytest.approx(RING_HZ, rel=0.1)
    assert report.underruns == 0


def test_each_dial_has_its_own_outcome_and_the_last_one_holds(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    gateway.on_stream = transfers(rest, gateway)
    again = dial_twiml("+972523334444", f"{gateway.url}/dialled", SHOP, "he")
    documents = [(200, "text/xml", again.encode())] * 2 + [gateway.twiml("<Say>די</Say>")]
    gateway.replies["/dialled"] = lambda _: documents.pop(0)
    outcomes = (DialOutcome("no-answer", rings_s=0.1), DialOutcome("busy", rings_s=0.1))
    report = run(gateway, twilio, dial_outcomes=outcomes)
    assert [dialled.status for dialled in report.dialled] == ["no-answer", "busy", "busy"]
    assert [dialled.number for dialled in report.dialled] == [PERSON, "+972523334444", "+972523334444"]
    assert report.said == ("די",)
    assert any("dialled +972•••2222: no-answer" in note for note in report.notes)


def test_a_caller_who_hangs_up_while_it_rings_cancels_the_dial(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    gateway.on_stream = transfers(rest, gateway)
    gateway.replies["/dialled"] = gateway.twiml("<Say>too late</Say>")
    call = new_call(gateway, twilio, dial_outcomes=(DialOutcome("answered", rings_s=15),))
    with calling(call) as reports:
        eventually(lambda: "Dial" in call.call.tally.verbs)
        call.hang_up()
    [report] = reports
    assert report.dialled[0].status == "canceled"
    [asked] = gateway.requests_of("/dialled")
    assert (asked.form["DialCallStatus"], asked.form["CallStatus"]) == ("canceled", "completed")
    assert report.said == ()


def test_the_verbs_own_timeout_ends_the_ringing(gateway: TinyGateway, twilio: RestServer):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        f'<Dial timeout="1" action="/dialled">{PERSON}</Dial>'
    )
    gateway.replies["/dialled"] = gateway.twiml("")
    report = run(gateway, twilio, dial_outcomes=(DialOutcome("answered", rings_s=60),))
    assert report.dialled[0].status == "no-answer"
    assert report.dialled[0].caller_id == CALLER, "without callerId Twilio shows the caller's own"
    assert 900 <= report.duration_ms <= 2500


def test_a_number_that_is_none_fails_at_once(gateway: TinyGateway, twilio: RestServer):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml("<Dial>050-1234567</Dial><Say>הלאה</Say>")
    report = run(gateway, twilio, dial_outcomes=(DialOutcome("answered"),))
    assert (report.dialled[0].status, report.said) == ("failed", ("הלאה",))
    assert [finding.code for finding in report.findings] == [13224]


# Other updates


def test_status_completed_ends_the_line_and_nothing_else_is_done(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    def script(stream: FarStream) -> None:
        start = stream.until("start")["start"]
        rest.hang_up(start["callSid"])
        mute(stream)

    gateway.on_stream = script
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect() + "<Say>no</Say>")
    report = run(gateway, twilio)
    assert gateway.streams.get(timeout=5).received[-1]["event"] == "stop"
    assert (report.verbs, report.said, report.closed_by) == (("Connect",), (), "update")
    known = twilio.calls.get(report.call_sid)
    assert known is not None
    assert known.call.status is CallStatus.COMPLETED
    with pytest.raises(CallIsGone):
        rest.update_call(report.call_sid, "<Response/>")
    assert rest.hang_up(report.call_sid).is_already_gone


def test_an_address_instead_of_a_document_is_asked_with_the_calls_parameters(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    def script(stream: FarStream) -> None:
        start = stream.until("start")["start"]
        rest._clients[0].calls(start["callSid"]).update(url=f"{gateway.url}/next?x=1", method="GET")
        mute(stream)

    gateway.on_stream = script
    gateway.replies["/next"] = gateway.twiml("<Say>דרך הכתובת</Say>")
    report = run(gateway, twilio)
    assert report.said == ("דרך הכתובת",)
    [asked] = gateway.requests_of("/next")
    assert (asked.method, asked.form["CallStatus"], asked.form["x"]) == ("GET", "in-progress", "1")


def test_whether_connects_action_is_asked_after_an_update_is_an_option(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    def script(stream: FarStream) -> None:
        start = stream.until("start")["start"]
        rest.update_call(start["callSid"], "<Response><Say>חדש</Say></Response>")
        mute(stream)

    gateway.on_stream = script
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect('action="/ended"'))
    gateway.replies["/ended"] = gateway.twiml("<Say>ישן</Say>")
    report = run(gateway, twilio, asks_action_after_update=True)
    assert len(gateway.requests_of("/ended")) == 1
    assert report.said == ("חדש",), "asked, and not obeyed"


def test_an_update_in_the_middle_of_a_dial_asks_its_action_and_does_the_new_document(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    gateway.on_stream = transfers(rest, gateway)
    gateway.replies["/dialled"] = gateway.twiml("<Say>ישן</Say>")
    call = new_call(gateway, twilio, dial_outcomes=(DialOutcome("answered", rings_s=0.1, talks_s=30),))
    with calling(call) as reports:
        eventually(lambda: call.line.playing_until_ms > 20_000)  # it was dialled
        eventually(lambda: call.call.now_ms() > call.line.arrivals[-1].start_ms + 300)  # and they talk
        rest.update_call(call.call.call_sid, "<Response><Say>חזרנו</Say></Response>")
        pass_until_ended(reports)
    [report] = reports
    [asked] = gateway.requests_of("/dialled")
    assert asked.form["DialCallStatus"] == "completed"
    assert report.said == ("חזרנו",)
    assert report.updates == 2
    assert report.duration_ms < 5000


@pytest.mark.parametrize("verb", ["<Pause length='30'/>", "<Record action='/x' timeout='20'/>"])
def test_an_update_interrupts_whatever_runs(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest, verb: str
):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(verb + "<Say>ישן</Say>")
    call = new_call(gateway, twilio)
    with calling(call) as reports:
        eventually(lambda: bool(call.call.tally.verbs))
        rest.update_call(call.call.call_sid, "<Response><Say>חדש</Say></Response>")
        pass_until_ended(reports)
    assert reports[0].said == ("חדש",)
    assert reports[0].duration_ms < 3000
    assert gateway.requests_of("/x") == []


def test_a_relative_address_in_a_document_by_rest_leads_nowhere(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    def script(stream: FarStream) -> None:
        start = stream.until("start")["start"]
        rest.update_call(start["callSid"], "<Response><Redirect>/next</Redirect></Response>")
        mute(stream)

    gateway.on_stream = script
    report = run(gateway, twilio)
    assert [finding.code for finding in report.findings] == [11100]


def test_an_answer_that_says_the_call_is_gone_never_leaves_a_document_behind(
    gateway: TinyGateway, twilio: RestServer, rest: TwilioRest
):
    """The caller hangs up while the update is on its way: each is told the truth."""

    def script(stream: FarStream) -> None:
        stream.until("start")
        mute(stream)

    gateway.on_stream = script
    call = new_call(gateway, twilio, hangup_after_s=1.0)
    outcomes: list[str] = []
    with calling(call) as reports:

        def tell() -> bool:
            has_ended = bool(reports)
            try:
                rest.update_call(call.call.call_sid, "<Response><Pause length='9'/></Response>")
                outcomes.append("taken")
            except TwilioRestError as error:
                outcomes.append(error.fault_id)
            return has_ended

        eventually(tell, 10)
    assert set(outcomes) == {"taken", "KAV-156"}
    assert outcomes[-1] == "KAV-156"
    assert reports[0].updates == outcomes.count("taken")


# Recording


def test_a_message_is_kept_and_both_callbacks_are_told(gateway: TinyGateway, twilio: RestServer):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        '<Record action="/recorded" timeout="1" recordingStatusCallback="/file"/><Say>לא נאמר דבר</Say>'
    )
    gateway.replies["/recorded"] = gateway.twiml("<Say>תודה</Say>")
    gateway.replies["/file"] = (204, None, b"")
    call = new_call(gateway, twilio, audio=tone(700), speak_at_s=0.2)
    report = call.run()
    assert report.said == ("תודה",)
    [kept] = call.call.tally.recordings
    assert tone(700)[: 690 * BYTES_PER_MS] in kept.audio
    assert kept.duration_s == 2
    [facts] = report.recordings
    assert (facts.sid, facts.digits) == (kept.sid, "")
    assert facts.speech_ms == pytest.approx(700, abs=20)
    [recorded], [file] = gateway.requests_of("/recorded"), gateway.requests_of("/file")
    assert recorded.form["RecordingDuration"] == "2"
    assert file.form["RecordingSid"] == recorded.form["RecordingSid"] == kept.sid
    assert file.form["RecordingUrl"] == recorded.form["RecordingUrl"]
    assert (file.form["RecordingStatus"], file.form["RecordingSource"]) == ("completed", "RecordVerb")
    assert file.form["RecordingChannels"] == "1"


def test_a_key_ends_a_recording(gateway: TinyGateway, twilio: RestServer):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml('<Record action="/recorded" finishOnKey="#"/>')
    gateway.replies["/recorded"] = gateway.twiml("")
    report = run(gateway, twilio, audio=tone(3000), keys=tuple(keys("1#", 0.2)))
    [recorded] = gateway.requests_of("/recorded")
    assert recorded.form["Digits"] == "#"
    assert report.recordings[0].speech_ms == pytest.approx(450, abs=80)


@pytest.mark.parametrize("events", ["", 'recordingStatusCallbackEvent="completed absent"'])
def test_a_caller_who_says_nothing_leaves_no_recording_and_the_next_verb_is_done(
    gateway: TinyGateway, twilio: RestServer, events: str
):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        f'<Record action="/recorded" timeout="1" recordingStatusCallback="/file" {events}/>'
        "<Say>לא נאמר דבר</Say>"
    )
    gateway.replies["/file"] = (204, None, b"")
    report = run(gateway, twilio)
    assert report.said == ("לא נאמר דבר",)
    assert gateway.requests_of("/recorded") == []
    told = [request.form for request in gateway.requests_of("/file")]
    assert [form["RecordingStatus"] for form in told] == (["absent"] if events else [])
    assert all("RecordingUrl" not in form for form in told)


def test_a_caller_who_hangs_up_in_a_message_has_left_it(gateway: TinyGateway, twilio: RestServer):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml('<Record action="/recorded"/>')

    def recorded(request: Request) -> Any:
        assert request.form["CallStatus"] == "completed"
        return gateway.twiml("<Say>too late</Say>")

    gateway.replies["/recorded"] = recorded
    report = run(gateway, twilio, audio=tone(5000), hangup_after_s=0.8)
    assert [r.form["Digits"] for r in gateway.requests_of("/recorded")] == ["hangup"]
    assert report.said == ()
    assert report.recordings[0].speech_ms == pytest.approx(800, abs=100)
