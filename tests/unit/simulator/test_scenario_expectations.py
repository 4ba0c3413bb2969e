"""Expectations judged on a call made of the simulator's pure parts: each holds, and each can fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from server.audio.tones import dtmf
from server.simulator.realtime.event_log import SeenEvent
from server.simulator.scenario.acting import ActingCaller
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.evidence import Evidence, ModelRecord
from server.simulator.scenario.expectations import difference, read_expectations
from server.simulator.scenario.receivers import Request
from server.simulator.scenario.scenario import KINDS
from server.simulator.scenario.steps import read_steps
from server.simulator.scenario.yaml_text import ScenarioError, read_yaml
from server.simulator.twilio.call_report import report
from server.simulator.twilio.live_call import Dialled, HangupRule, LiveCall, Recording
from server.simulator.twilio.rest_answers import Message

PATH = Path("talk.yaml")
SHELF = ClipShelf(Path(), "he")
GREETING, LONG, BUSY = SHELF.get("greeting_short"), SHELF.get("human_long"), SHELF.get("busy")
END_MS = 12_000.0
STEPS = """
- {at: 3, say: hebrew_barge_in}
- {at: 9, keys: "1"}
- {at: 11.9, hang_up: }
"""


class Call:
    """A call whose every moment is laid down by the test.

    The caller speaks from 3.0 to 4.64 s, presses a key at 9 s, and hangs up at 11.9 s.
    """

    def __init__(self, *, first_ms: float = 100) -> None:
        self.caller = ActingCaller(read_steps(read_yaml(STEPS, PATH), SHELF))
        self.live = LiveCall("CA1", "AC1", self.caller, HangupRule(), clock=lambda: END_MS / 1000)
        self.live.tally.start_sent_ms = 0.0
        self.caller.meet(self.live.line, self.live.tally.clears_ms, lambda: None)
        self.events: list[SeenEvent] = []
        self.left_open = 0
        self.log: tuple[str, ...] = ("WS_CONNECTED", "WS_END call=CA1")
        self.messages: list[Message] = []
        self.requests: list[Request] = []
        self.verb("Connect", 10)
        self.live.tally.closed_by = "caller"
        self.caller.begin(first_ms)

    def play(self, payload: bytes, at_ms: float) -> None:
        for at in range(0, len(payload), 160):
            self.live.line.media(payload[at : at + 160], at_ms)

    def clear(self, at_ms: float) -> None:
        self.live.line.clear(at_ms)
        self.live.tally.clears_ms.append(at_ms)

    def verb(self, name: str, at_ms: float) -> None:
        self.live.tally.verbs.append(name)
        self.live.tally.verbs_ms.append(at_ms)

    def event(self, direction: Literal["in", "out"], kind: str, at_ms: float = 500, **fields: Any) -> None:
        self.events.append(SeenEvent(1, direction, at_ms / 1000, {"type": kind} | fields))

    def failures(self, *expectations: str) -> list[str]:
        text = "\n".join(f"- {{{one}}}" for one in expectations)
        read = read_expectations(read_yaml(text, PATH), KINDS, SHELF)
        evidence = self.evidence()
        return [told for one in read if (told := one.failure(evidence))]

    def evidence(self) -> Evidence:
        self.caller.elsewhere(END_MS)
        told = report(self.live, "http://127.0.0.1", END_MS, None)
        model = ModelRecord(tuple(self.events), 1, self.left_open)
        return Evidence(self.live, told, self.caller, SHELF, model, self.log, self.messages, self.requests)


def normal() -> Call:
    """Greeted at 0.4 s, answered at 5.5 s, and after the key at 10 s."""
    call = Call()
    call.play(GREETING.payload, 400)
    call.play(BUSY.payload, 5500)
    call.play(GREETING.payload, 10_000)
    return call


def interrupted() -> Call:
    """A long sentence from 1.0 s, silenced at 3.2 s, and another one from 5.5 s."""
    call = Call()
    call.play(LONG.payload, 1000)
    call.clear(3200)
    call.play(BUSY.payload, 5500)
    return call


@pytest.mark.parametrize(
    ("holds", "fails", "told"),
    [
        ("heard: greeting_short", "heard: goodbye", "he/goodbye was expected, whole; he/goodbye was not"),
        ("heard: greeting_short, times: 2", "heard: busy, times: 2", "twice, whole; heard: 5.50–8.50 s"),
        ("heard: goodbye, times: 0", "heard: busy, times: 0", "he/busy was expected never"),
        ("heard: [greeting_short, busy]", "heard: [busy, busy]", "whole and in this order"),
        ("heard: busy, by_s: 6", "heard: busy, by_s: 5", "whole by 5 s; heard: 5.50–8.50 s"),
        ("heard: busy, from_s: 5", "heard: busy, from_s: 7", "from 7 s on"),
        ("heard: busy, at_least_ms: 3000", "heard: busy, at_most_ms: 2000", "its first at most 2000 ms"),
        ("not_heard: goodbye", "not_heard: [goodbye, busy]", "was not to be heard, and was at 5.50 s"),
        ("first_voice_within_ms: 500", "first_voice_within_ms: 300", "it came after 400 ms"),
        ("answer: 1, within_ms: 900", "answer: 1, within_ms: 800", "stop at 4.64 s, it began 860 ms later"),
        ("answer: 1, within_ms: 900", "answer: 2, within_ms: 800", "words were spoken 1 time(s)"),
        ("silence_at_most_ms: 1100", "silence_at_most_ms: 900", "after “press 1” it lasted 1000 ms"),
        (
            "silence_at_most_ms: 1600, from_s: 5, until_s: 12",
            "silence_at_most_ms: 1400, from_s: 5, until_s: 12",
            "it lasted 1500 ms, from 8.50 s",
        ),
        ("clears: 0", "clears: 1", "1 clear(s) were expected, 0 came"),
        ("duration_s: [11, 13]", "duration_s: [1, 11.5]", "it took 12.00 s"),
        ("underruns_at_most: 0", "barge_in: 1, silent_within_ms: 500", "spoke over the agent 0 time(s)"),
        ("verbs: [Connect]", "verbs: [Connect, Say]", "there were Connect at 0.01 s"),
        ("verbs_include: []", "verbs_include: [Hangup]", "in this order; there were Connect"),
        ("ended_by: caller", "ended_by: gateway", "the caller hung up, and the call ended at 12.00 s"),
        ("dialled: []", "dialled: '+97231112222'", "+97231112222 was to be rung; it was nobody"),
        ("recordings: 0", "recordings: 1", "there were none"),
        ("not_said: סליחה", "said: סליחה", 'to say "סליחה"; it said nothing'),
        ("log: WS_END .*CA1", "log: KAV-131", "its last lines: WS_CONNECTED | WS_END"),
        ("not_log: KAV", "not_log: WS_CONN", 'one is "WS_CONNECTED"'),
        ("log: WS_, times: 2", "log: WS_, times: 1", "once; 2 did"),
        ("model_sessions: 1", "model_sessions: 2", "2 model session(s) were expected, 1 were opened"),
        ("model_sessions_closed: true", "findings: [31921]", "there were no findings"),
    ],
)  # fmt: skip
def test_of_a_plain_call(holds: str, fails: str, told: str) -> None:
    call = normal()
    assert call.failures(holds) == []
    (failure,) = call.failures(fails)
    assert told in failure and failure.startswith("line 1: ")


@pytest.mark.parametrize(
    ("holds", "fails", "told"),
    [
        ("heard: human_long, at_least_ms: 1800, at_most_ms: 2000", "heard: human_long", "(its first 1900 of"),
        ("barge_in: 1, silent_within_ms: 300", "barge_in: 1, silent_within_ms: 100", "it took 200 ms"),
        ("clears: 1", "clears: 0", "0 clear(s) were expected, 1 came: at 3.20 s"),
        ("not_heard: human_long", "not_heard: greeting_short", None),
    ],
)  # fmt: skip
def test_of_an_interrupted_one(holds: str, fails: str, told: str | None) -> None:
    call = interrupted()
    if told is None:
        assert call.failures(holds) and not call.failures(fails)
    else:
        assert call.failures(holds) == []
        assert told in call.failures(fails)[0]


def test_a_sentence_that_goes_on_after_a_stop() -> None:
    call = Call()
    call.play(LONG.payload, 0)
    call.clear(2000)
    call.play(LONG.payload[1980 * 8 :], 3100)
    assert call.failures("heard: human_long, resumed_within_ms: 1200") == []
    assert "one stop of at most 1000 ms" in call.failures("heard: human_long, resumed_within_ms: 1000")[0]
    assert call.failures("heard: human_long"), "whole means without such a stop"
    whole = Call()
    whole.play(LONG.payload, 0)
    assert whole.failures("heard: human_long, resumed_within_ms: 1200"), "it never stopped"


def test_a_sentence_that_goes_on_after_each_of_two_stops() -> None:
    call = Call()
    call.play(LONG.payload, 0)
    call.clear(1500)
    call.play(LONG.payload[1500 * 8 :], 2100)
    call.clear(3300)
    call.play(LONG.payload[2700 * 8 :], 4300)
    assert call.failures("heard: human_long, resumed_within_ms: 1100, stops: 2") == []
    assert (
        "2 stops of at most 900 ms" in call.failures("heard: human_long, resumed_within_ms: 900, stops: 2")[0]
    )
    assert call.failures("heard: human_long, resumed_within_ms: 1100"), "it stopped twice"
    assert call.failures("heard: human_long, resumed_within_ms: 1100, stops: 3")


def test_a_line_on_which_nothing_was_heard() -> None:
    call = Call()
    assert call.failures("nothing_heard: true") == []
    for one in ("first_voice_within_ms: 9000", "answer: 1, within_ms: 9000", "silence_at_most_ms: 2000"):
        assert call.failures(one)
    call.play(GREETING.payload, 700)
    assert call.failures("nothing_heard: true") == [
        "line 1: nothing was to be heard; there was sound at 0.70 s"
    ]


def test_words_of_twilio_s_own_voice_end_a_silence_too() -> None:
    call = Call()
    call.play(GREETING.payload, 400)
    assert call.failures("silence_at_most_ms: 3000"), "nobody answered"
    call.verb("Say", 5000)
    call.verb("Hangup", 5000)
    call.live.tally.said.append("סליחה, יש לנו תקלה")
    assert call.failures("said: תקלה", "verbs: [Connect, Say, Hangup]", "verbs_include: [Say]") == []
    assert call.failures("silence_at_most_ms: 3100") == [], "only the key was not answered"


def test_holes_inside_speech() -> None:
    call = Call()
    call.play(LONG.payload[: 2000 * 8], 0)
    call.play(LONG.payload[2000 * 8 :], 2150)
    assert "150 ms at 2.00 s" in call.failures("underruns_at_most: 0")[0]
    assert call.failures("underruns_at_most: 1", "heard: human_long") == [], "too short for a stop"


def deltas(call: Call, item_id: str, payload: bytes) -> None:
    for at in range(0, len(payload), 4000):
        delta = base64.b64encode(payload[at : at + 4000]).decode()
        call.event("out", "response.output_audio.delta", item_id=item_id, delta=delta)


@pytest.mark.parametrize(
    ("told_ms", "is_right"), [(2200, True), (2215, True), (2180, True), (2221, False), (0, False)]
)
def test_a_truncate_is_held_against_what_the_line_played(told_ms: int, is_right: bool) -> None:
    call = interrupted()
    deltas(call, "item_1", LONG.payload)
    call.event(
        "in", "conversation.item.truncate", 3250, item_id="item_1", content_index=0, audio_end_ms=told_ms
    )
    failures = call.failures("truncated_within_ms: 20")
    assert (failures == []) is is_right
    if failures:
        assert f"at 3.25 s the model was told {told_ms} ms, and 2200 ms of it were played" in failures[0]


def test_a_truncate_that_never_came_and_one_of_what_nobody_heard() -> None:
    call = interrupted()
    assert "none came" in call.failures("truncated_within_ms: 20")[0]
    call.event("in", "conversation.item.truncate", item_id="item_9", content_index=0, audio_end_ms=5)
    assert "none of it was heard" in call.failures("truncated_within_ms: 20")[0]


def with_tools(answers: Iterable[str]) -> Call:
    call = normal()
    item = {"type": "function_call", "name": "take_message", "call_id": "call_1"}
    arguments = json.dumps({"text": "שלום", "urgent": True})
    call.event("out", "response.output_item.done", item=item | {"arguments": arguments})
    for output in answers:
        answer = {"type": "function_call_output", "call_id": "call_1", "output": output}
        call.event("in", "conversation.item.create", item=answer)
    return call


def test_calls_of_tools_and_their_answers() -> None:
    call = with_tools(['{"ok": true, "id": 7}'])
    assert not call.failures(
        "tool_called: take_message, times: 1, with: {text: ~שלו, urgent: true}, output: {ok: true}",
        "tool_calls_answered: once",
        "tool_called: end_call, times: 0",
    )
    failures = call.failures(
        "tool_called: end_call",
        "tool_called: take_message, with: {urgent: false}",
        "tool_called: take_message, output: {ok: false}",
    )
    assert 'the model called take_message {"text": "שלום", "urgent": true} at 0.50 s' in failures[0]
    assert 'with {"urgent": false} was expected' in failures[1]
    assert 'it gave {"ok": true, "id": 7}' in failures[2]


@pytest.mark.parametrize("answers", [[], ["{}", "{}"]])
def test_a_call_is_answered_once_and_not_twice(answers: list[str]) -> None:
    assert f"it was {len(answers)} times" in with_tools(answers).failures("tool_calls_answered: once")[0]


def test_an_output_without_a_call() -> None:
    call = normal()
    answer = {"type": "function_call_output", "call_id": "call_9", "output": "{}"}
    call.event("in", "conversation.item.create", item=answer)
    assert "belong to no call" in call.failures("tool_calls_answered: once")[0]


def test_what_the_model_received() -> None:
    call = normal()
    call.event("in", "session.update", session={"audio": {"output": {"voice": "marin"}}, "tools": [1, 2]})
    call.event("in", "response.create", 700, response={"instructions": "אמרי שלום"})
    call.event("out", "response.cancel")
    assert not call.failures(
        "model_received: session.update, with: {session: {audio: {output: {voice: marin}}}}, times: 1",
        "model_received: response.create, with: {response: {instructions: ~שלום$}}",
        "model_received: response.cancel, times: 0",
    )
    failures = call.failures(
        "model_received: session.update, with: {session: {audio: {output: {voice: shimmer}}}}",
        "model_received: response.cancel",
        "model_received: response.create, times: 2",
    )
    assert 'at 0.50 s one where session.audio.output.voice is "marin"' in failures[0]
    assert "it received none; there were response.create, session.update" in failures[1]
    assert "twice; it received 1: at 0.70 s" in failures[2]


def test_sessions_that_stay_open() -> None:
    call = normal()
    call.left_open = 1
    assert "1 stood open after the call" in call.failures("model_sessions_closed: true")[0]


def test_who_was_rung_what_was_recorded_and_what_was_sent() -> None:
    call = normal()
    call.live.tally.dialled.append(Dialled("+97231112222", "+972501234567", "busy", 0, "CA2"))
    call.live.tally.recordings += [Recording("RE1", b"\xff" * 16000), Recording("RE2", b"", is_empty=True)]
    call.messages.append(Message("SM1", "+97235556666", "+97231234567", "הודעה חדשה: דנה"))
    assert not call.failures(
        "dialled: '+97231112222'", "recordings: 1", "sms: הודעה, to: '+97235556666', times: 1", "sms: דנה"
    )
    failures = call.failures("dialled: []", "recordings: 2", "sms: הודעה, to: '+1'", "sms: זהו")
    assert "nobody was to be rung; it was +97231112222" in failures[0]
    assert "there were 2 s" in failures[1]
    assert 'sent: "הודעה חדשה: דנה" to +97235556666' in failures[2]
    assert len(failures) == 4


def test_keys_that_sound_on_the_line() -> None:
    call = Call()
    call.play(GREETING.payload, 400)
    assert "heard: none" in call.failures("keys_heard: '1'")[0]
    call.play(dtmf("12#"), 9000)
    assert call.failures("keys_heard: '12#'") == []
    assert "keys 12 were expected on the line; heard: 12#" in call.failures("keys_heard: '12'")[0]
    with pytest.raises(ScenarioError, match="no key of a telephone: x"):
        call.failures("keys_heard: 1x")


def test_what_the_receivers_were_asked() -> None:
    call = normal()
    call.requests.append(Request("stock", "/kav", {"tool": "check", "arguments": {"product": "חלה"}}, 1.0))
    assert not call.failures(
        "received: stock",
        "received: stock, with: {arguments: {product: ~חל}}, times: 1",
        "received: stock, with: {tool: order}, times: 0",
        "received: hours, times: 0",
    )
    failures = call.failures(
        "received: hours", "received: stock, times: 2", "received: stock, with: {tool: x}"
    )
    assert failures[0] == "line 1: hours was to be asked; it got no request"
    assert 'stock was to be asked twice; it got {"tool": "check"' in failures[1]
    assert 'asked with {"tool": "x"}; it got' in failures[2]


def test_broken_arguments_are_a_call_too() -> None:
    call = normal()
    item = {"type": "function_call", "name": "order", "call_id": "call_1", "arguments": '{"count": '}
    call.event("out", "response.output_item.done", item=item)
    assert call.failures("tool_called: order, times: 1") == []
    assert call.failures("tool_called: order, with: {count: 1}")


def test_the_whole_line_is_told_by_clips() -> None:
    call = interrupted()
    call.play(b"\x10\x90" * 4000, 9000)
    told = call.evidence().told_line()
    assert told == (
        "heard: 1.30–3.20 s human_long (its first 1900 of 4800 ms), 5.50–8.50 s he/busy, "
        "9.00–10.00 s a sound not known here"
    )


@pytest.mark.parametrize(
    ("wanted", "got", "told"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": {"b": "~^x"}}, {"a": {"b": "xyz"}}, ""),
        ({"a": {"b": "~^x"}}, {"a": {"b": "yx"}}, 'a.b is "yx"'),
        ({"a": 1}, {}, "there is no a"),
        ({"a": 1}, [], "it is []"),
        ([1, {"a": 2}], [1, {"a": 2, "b": 3}], ""),
        ([1], [1, 2], "it is [1, 2]"),
        ([1, 2], [1, 3], "[1] is 3"),
        ({"a": True}, {"a": 1}, "a is 1"),
        ({"a": 1}, {"a": 1.0}, ""),
        ({"a": None}, {"a": None}, ""),
        ({"a": "~x"}, {"a": 5}, "a is 5"),
    ],
)
def test_what_is_lacking_is_named_by_its_place(wanted: Any, got: Any, told: str) -> None:
    assert difference(wanted, got) == told
