"""The pipelined mode's leg of a call: what it says, remembers and reports when one of its services fails."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from server import green
from server.audio.g711 import SILENCE
from server.audio.tones import dtmf
from server.config import Dialect
from server.errors import SpeechError, SpeechRefused, SpeechUnreachable
from server.realtime import events
from server.realtime.commands import Commands, SessionSettings
from server.realtime.words import WORDS
from server.services.chat_deltas import Done, TextDelta, ToolCall
from server.services.pipeline_client import INAUDIBLE, MAX_ANSWER_CHARS, MAX_SENTENCE_MS, PipelineClient
from server.simulator.openai_http import checks

QUESTION = dtmf("123456789")
"""A second or so of something loud, and the silence that ends an utterance."""
TTS_SECOND = bytes(2 * 24000)
REFUSED = SpeechRefused("KAV-176", "HTTP 400 language: not supported", code="http_400")
BROKEN_OFF = SpeechUnreachable("KAV-177", "broken off", code="broken_off")


def anew(error: SpeechError) -> SpeechError:
    """Raised itself, one that outlives its test would keep alive all that its traceback leads to."""
    return type(error)(error.fault_id, str(error), code=error.code)


class Stream:
    """A chat's or a voice's answer: what it yields, raises, or waits for."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = deque(parts)
        self._awaited: green.Signal | None = None
        self.is_closed = False

    def __iter__(self) -> Iterator[Any]:
        while self._parts and not self.is_closed:
            part = self._parts.popleft()
            if isinstance(part, SpeechError):
                raise anew(part)
            if isinstance(part, green.Signal):
                self._awaited = part
                part.wait()
            else:
                yield part

    def close(self) -> None:
        self.is_closed = True
        if self._awaited is not None:
            self._awaited.set()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Services:
    """Answers in the order in which it was told them; a voice takes a second for each sentence."""

    def __init__(self) -> None:
        self.hears: list[str | SpeechError] = []
        self.chats: list[Sequence[Any]] = []
        self.voices: list[Sequence[Any]] = []
        self.messages: list[list[dict[str, Any]]] = []
        self.spoken: list[str] = []
        self.streams: list[Stream] = []

    def transcribe(self, _pcm: bytes, _language: str) -> str:
        heard = self.hears.pop(0)
        if isinstance(heard, SpeechError):
            raise anew(heard)
        return heard

    def chat(self, messages: list[dict[str, Any]], _tools: Any, **_: Any) -> Stream:
        self.messages.append(messages)
        return self._begun(self.chats.pop(0))

    def speak(self, text: str, _voice: str, _language: str) -> Stream:
        self.spoken.append(text)
        return self._begun(self.voices.pop(0) if self.voices else [TTS_SECOND])

    def _begun(self, parts: Sequence[Any]) -> Stream:
        self.streams.append(Stream(parts))
        return self.streams[-1]


class Call:
    """A client, its services, and what it told."""

    def __init__(self) -> None:
        self.services = Services()
        self.events: list[events.Event] = []
        self.commands = Commands(Dialect.GA)
        self.client = PipelineClient(
            self.services,  # type: ignore[arg-type]
            lambda _, event: self.events.append(event),
            "CA123456",
            voice_threshold=200,
            min_voice_frames=5,
        )
        self.client.configure(SessionSettings(voice="marin", instructions="be kind", language="he"))

    def hear(self, words: str | SpeechError) -> None:
        self.services.hears.append(words)
        n_events = len(self.of(events.CallerTranscript))
        self.client.append_audio(QUESTION + SILENCE * 8 * 1200)
        until(lambda: len(self.of(events.CallerTranscript)) > n_events)

    def answer(self, *chat: Any, voices: Sequence[Sequence[Any]] = ()) -> events.ResponseDone:
        """Ask plainly; returns how the response ended."""
        n_events = len(self.of(events.ResponseDone))
        self.begin(*chat, voices=voices)
        until(lambda: len(self.of(events.ResponseDone)) > n_events)
        return self.of(events.ResponseDone)[-1]

    def begin(self, *chat: Any, voices: Sequence[Sequence[Any]] = ()) -> None:
        self.services.chats = [chat]
        self.services.voices = list(voices)
        self.client.send(self.commands.create_response())

    def told(self) -> str:
        """The agent's words by the events, as a history would have them."""
        words: dict[str, str] = {}
        for event in self.events:
            match event:
                case events.AudioDelta():
                    words.setdefault(event.item_id, "")
                case events.AgentWords() if event.item_id in words:
                    words[event.item_id] += event.text
                case events.AgentTranscript() if event.item_id in words:
                    words[event.item_id] = event.text
        return "|".join(words.values())

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        green.sleep(0.005)
    raise AssertionError("not so within 2 s")


@pytest.fixture
def call() -> Iterator[Call]:
    call = Call()
    yield call
    call.client.close()
    for stream in call.services.streams:
        stream.close()  # nobody waits on after the test
    green.sleep(0)


TWO = [TextDelta("המשפט הראשון כאן. "), TextDelta("המשפט השני כאן. "), Done("stop")]


# An answer that breaks


@pytest.mark.parametrize(
    ("chat", "voices"),
    [
        ([TWO[0], TextDelta("ה"), BROKEN_OFF], ()),
        (TWO, [[TTS_SECOND], [SpeechUnreachable("KAV-171", "HTTP 500", code="http_500")]]),
    ],
    ids=["chat", "voice"],
)
def test_an_answer_that_broke_after_its_first_sentence_is_gone_on_with(call, chat, voices):
    call.hear("שאלה")
    assert call.answer(*chat, voices=voices).status == "failed"
    assert call.answer(TextDelta("והנה ההמשך."), Done("stop")).status == "completed"
    assert call.services.messages[-1][1:] == [
        {"role": "user", "content": "שאלה"},
        {"role": "assistant", "content": "המשפט הראשון כאן."},
        {"role": "system", "content": WORDS["he"].continuing},
    ]
    assert call.services.spoken[-1] == "והנה ההמשך."


def test_it_is_owed_until_it_was_said(call):
    call.hear("שאלה")
    call.answer(TWO[0], TextDelta("ה"), BROKEN_OFF)
    assert call.answer(SpeechUnreachable("KAV-178", "silent", code="timeout")).status == "failed"
    call.answer(TextDelta("והנה ההמשך."), Done("stop"))
    assert call.services.spoken[-1] == "והנה ההמשך."
    n_asked = len(call.services.messages)
    call.answer()
    assert len(call.services.messages) == n_asked, "nobody waits for an answer any more"


def test_whoever_speaks_meanwhile_is_answered_instead(call):
    call.hear("שאלה")
    call.answer(TWO[0], TextDelta("ה"), BROKEN_OFF)
    call.hear("שאלה אחרת")
    call.answer(TextDelta("תשובה אחרת."), Done("stop"))
    assert call.services.messages[-1][-1] == {"role": "user", "content": "שאלה אחרת"}


def test_of_a_sentence_that_broke_off_only_what_was_spoken_is_remembered(call):
    call.hear("שאלה")
    sentence = " ".join(["אחת", "שתיים", "שלוש", "ארבע"] * 10) + "."
    call.answer(TextDelta(sentence), Done("stop"), voices=[[TTS_SECOND, BROKEN_OFF]])
    call.answer(TextDelta("המשך."), Done("stop"))
    told = call.services.messages[-1][-2]["content"]
    assert sentence.startswith(told)
    assert len("אחת שתיים") <= len(told) < len(sentence) / 4
    assert call.told().startswith(f"{told}|")


def test_what_is_written_after_the_voice_failed_is_not_waited_for(call):
    call.hear("שאלה")
    never = green.Signal()
    done = call.answer(TWO[0], TWO[1], never, ToolCall("call_1", "end_call", "{}"), voices=[[BROKEN_OFF]])
    never.set()
    green.sleep(0.02)
    assert done.status == "failed"
    assert call.answer(TextDelta("שוב."), Done("stop")).function_calls == ()
    assert call.services.spoken[-1] == "שוב."


# An interruption


def test_only_words_that_were_heard_are_remembered_though_the_sentence_was_still_being_made(call):
    call.hear("שאלה")
    sentence = " ".join(["אחת", "שתיים", "שלוש", "ארבע"] * 6) + "."
    voice_goes_on = green.Signal()
    call.begin(
        TextDelta(sentence), Done("stop"), voices=[[TTS_SECOND, TTS_SECOND, voice_goes_on, TTS_SECOND]]
    )
    until(lambda: len(call.of(events.AudioDelta)) == 2)
    item_id = call.of(events.AudioDelta)[0].item_id
    made = call.told()
    assert sentence.startswith(made)
    assert len(made) < len(sentence) / 3
    call.client.send(call.commands.cancel_response("resp"))
    call.client.send(call.commands.truncate(item_id, 1000))
    voice_goes_on.set()
    call.hear("רגע")
    call.answer(TextDelta("כן?"), Done("stop"))
    heard = call.services.messages[-1][-2]["content"].removesuffix("…")
    assert made.startswith(heard)
    assert 0 < len(heard) <= len(made) / 2


def test_a_sentence_that_was_made_whole_is_told_whole(call):
    call.hear("שאלה")
    call.answer(*TWO)
    assert call.told() == "המשפט הראשון כאן.|המשפט השני כאן."


# What wants an answer


def test_who_speaks_before_the_greeting_is_answered_after_it(call):
    call.client.append_audio(QUESTION + SILENCE * 8 * 100)
    call.services.hears.append("יש לכם חלה?")
    call.client.send(call.commands.create_response("say it", verbatim="שלום, המאפייה."))
    until(lambda: bool(call.of(events.ResponseDone)))
    call.client.append_audio(SILENCE * 8 * 1200)
    until(lambda: bool(call.of(events.CallerTranscript)))
    call.answer(TextDelta("יש."), Done("stop"))
    assert call.services.spoken == ["שלום, המאפייה.", "יש."]


def test_what_is_said_while_an_answer_is_spoken_wants_one_of_its_own(call):
    call.hear("שאלה")
    goes_on = green.Signal()
    call.begin(TWO[0], TWO[1], Done("stop"), voices=[[TTS_SECOND], [goes_on, TTS_SECOND]])
    until(lambda: bool(call.of(events.AudioDelta)))
    call.hear("ועוד שאלה")
    goes_on.set()
    until(lambda: bool(call.of(events.ResponseDone)))
    call.answer(TextDelta("הנה."), Done("stop"))
    assert call.services.spoken[-1] == "הנה."


def test_what_an_old_sessions_tool_answered_wants_an_answer(call):
    call.client.send(call.commands.say_as_caller("יש חלה?"))
    call.client.send(call.commands.say_as_agent('[tool] check_stock({}) = {"ok": true}'))
    call.answer(TextDelta("יש."), Done("stop"))
    assert call.services.spoken == ["יש."]


def test_an_answer_that_was_stopped_on_its_way_may_be_asked_for_again(call):
    call.hear("שאלה")
    stalls = green.Signal()
    call.begin(*TWO, voices=[[TTS_SECOND], [stalls]])
    until(lambda: bool(call.of(events.AudioDelta)))
    call.client.send(call.commands.cancel_response("resp"))
    stalls.set()
    until(lambda: bool(call.of(events.ResponseDone)))
    call.answer(TextDelta("המשפט השני."), Done("stop"))
    assert call.services.spoken[-1] == "המשפט השני."


def test_a_model_that_says_nothing_may_be_asked_again(call):
    call.hear("שאלה")
    call.answer(Done("stop"))
    call.answer(TextDelta("תשובה."), Done("stop"))
    assert call.services.spoken == ["תשובה."]


# An answer that does not come to its end


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_why_an_answer_was_cut_short_is_told(call, reason):
    call.hear("שאלה")
    done = call.answer(TextDelta("מה שהספקתי"), Done(reason))
    assert (done.status, done.reason) == ("incomplete", reason)
    assert call.services.spoken == ["מה שהספקתי"]


def test_an_answer_without_an_end_is_ended(call):
    call.hear("שאלה")
    goes_on = (TextDelta("ועוד משפט אחד. " * 100) for _ in range(1000))
    done = call.answer(*goes_on)
    assert (done.status, done.reason) == ("incomplete", "max_answer_chars")
    assert sum(map(len, call.services.spoken)) <= MAX_ANSWER_CHARS


def test_a_voice_without_an_end_is_ended(call):
    call.hear("שאלה")
    done = call.answer(TextDelta("משפט."), Done("stop"), voices=[[TTS_SECOND] * 1000])
    assert done.status == "failed" and "does not end" in done.error.message
    seconds = sum(len(event.payload) for event in call.of(events.AudioDelta)) / 8000
    assert seconds * 1000 <= MAX_SENTENCE_MS


# Tools


def test_a_call_made_while_something_is_said_is_told_as_the_service_wants_it(call):
    call.hear("יש חלה?")
    lookup = ToolCall("call_1", "check_stock", "{}")
    call.answer(TextDelta("רגע, אבדוק."), lookup, Done("tool_calls"))
    call.client.send(call.commands.function_output("call_1", {"ok": True}))
    call.answer(TextDelta("יש."), Done("stop"))
    checks.chat({"model": "gpt-4o-mini", "messages": call.services.messages[-1], "stream": True})
    assert [message["role"] for message in call.services.messages[-1][1:]] == [
        "user", "assistant", "assistant", "tool",
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", "call_0"])
def test_every_call_has_an_id_of_its_own_whatever_the_service_gives(call, given):
    ids = []
    for _ in range(2):
        call.hear("שאלה")
        done = call.answer(
            ToolCall(given, "lookup", "{}"), ToolCall(given, "lookup", "{}"), Done("tool_calls")
        )
        ids += [made.call_id for made in done.function_calls]
        for made in done.function_calls:
            call.client.send(call.commands.function_output(made.call_id, {}))
    assert len(set(ids)) == 4
    call.answer(TextDelta("הנה."), Done("stop"))
    outputs = [m["tool_call_id"] for m in call.services.messages[-1] if m["role"] == "tool"]
    assert outputs == ids


# What the log says, and one utterance that is refused


@pytest.mark.parametrize("fault_id", ["KAV-171", "KAV-174", "KAV-175", "KAV-176", "KAV-178"])
def test_every_fault_is_logged_under_its_own_number(call, caplog, fault_id):
    def error() -> SpeechError:
        return SpeechRefused(fault_id, "as seen", code="code")

    with caplog.at_level(logging.WARNING):
        call.hear(error())
        call.client.send(call.commands.delete_item(call.of(events.CallerTranscript)[0].item_id))
        call.hear("שאלה")
        call.answer(error())
    lines = [record.getMessage() for record in caplog.records if fault_id in record.getMessage()]
    assert len(lines) == 2
    assert all("as seen" in line and "Fix: " in line and "call=CA123456" in line for line in lines)


def test_who_could_not_be_written_down_is_asked_to_say_it_again(call):
    call.hear(REFUSED)
    done = call.answer(TextDelta("לא שמעתי, אפשר שוב?"), Done("stop"))
    assert done.status == "completed"
    assert call.services.messages[-1][-1] == {"role": "user", "content": INAUDIBLE}
    call.hear("שאלה")
    assert call.answer(*TWO).status == "completed"


def test_a_service_that_refuses_every_utterance_is_no_service(call, caplog):
    call.hear(REFUSED)
    call.answer(TextDelta("אפשר שוב?"), Done("stop"))
    call.hear(REFUSED)
    call.services.hears.append(REFUSED)
    done = call.answer()
    assert done.status == "failed"
    assert done.error.message == str(REFUSED)
    assert "KAV-178" not in caplog.text, "the error is the service's own"


def test_words_that_come_when_they_were_dismissed_stay_dismissed(call):
    call.client.append_audio(QUESTION + SILENCE * 8 * 1200)
    call.services.hears.append("אהה")
    call.client.send(call.commands.delete_item(call.of(events.SpeechStopped)[0].item_id))
    until(lambda: bool(call.of(events.CallerTranscript)))
    call.answer()
    assert call.services.messages == []


def test_a_limit_of_rate_keeps_the_words_for_the_next_try(call):
    limited = SpeechRefused("KAV-175", "HTTP 429", code="rate_limit_exceeded")
    call.hear(limited)
    call.services.hears.append(limited)
    assert call.answer().error.code == "rate_limit_exceeded"
    call.services.hears.append("שאלה")
    assert call.answer(*TWO).status == "completed"
    assert call.services.messages[-1][-1] == {"role": "user", "content": "שאלה"}
