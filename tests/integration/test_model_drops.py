"""The model's socket breaks in the middle of a call, in five ways, at moments drawn by lot.

Whoever is on the phone at that moment — in the greeting, in their own words, waiting, in the answer — gets
their answer all the same, from the same agent, who knows what was said. Many calls at a time on one gateway.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.fault_cases import DROPS, MID_CALL_S, NOTICED_MS
from bench.fault_rig import GREETING, QUESTION, FaultyCall, Rig, known_clips
from bench.fault_story import Story, tell
from tests.integration.calls import eventually
from tests.integration.gunicorn_process import http_status

POINTS = 20
AT_ONCE = 5
"""Of each way."""
GONE = "KAV-1(35|47)"
SLACK_MS = 500.0
"""For a machine that has other work too."""
SILENCE_MS = 2000.0
BLACK_HOLE_MS = 6000.0
KNOWN_SOUNDS = {"agent: greeting", "agent: answer", "agent: goes on", "prompt: one_moment"}

Played = tuple[FaultyCall, Story]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    known_clips()
    with Rig() as rig:
        yield rig


def play(rig: Rig, breaks: list[tuple[str, float]]) -> list[Played]:
    """Calls at once, each broken in its way and at its moment, which are given from the last to the first."""
    eventually(lambda: http_status(rig.gateway.port, "/readyz") == 200, 20)
    calls = [rig.call().begin() for _ in breaks]  # one after another: so that each knows its own connection

    def go_on(call: FaultyCall, how: str, point_s: float) -> Played:
        assert call.wait_until(point_s), "the call ended before it was broken"
        call.broken_now()
        DROPS[how](call)
        return call, tell(call.end(), known_clips(), GONE)

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(go_on, call, *of) for call, of in zip(calls, breaks, strict=True)]
        return [future.result() for future in running]


@pytest.fixture(scope="module")
def played(rig: Rig) -> dict[str, list[Played]]:
    """Twenty calls for each way: five of each at once."""
    rig.seen.clear()
    dice = random.Random("drops")
    found: dict[str, list[Played]] = {how: [] for how in DROPS}
    for _ in range(POINTS // AT_ONCE):
        breaks = [(how, dice.uniform(*MID_CALL_S)) for how in DROPS for _ in range(AT_ONCE)]
        breaks.sort(key=lambda pair: -pair[1])  # a call that has just begun can be broken sooner
        for (how, _), of in zip(breaks, play(rig, breaks), strict=True):
            found[how].append(of)
    return found


def told_of(story: Story) -> str:
    return f"broken at {story.fault_ms:.0f} ms: {', '.join(map(str, story.heard))}"


def answers(story: Story) -> list[float]:
    """When each answer began; one that is taken up again has not begun anew."""
    begun = [sound for sound in story.heard if sound.name == "agent: answer"]
    return [
        sound.start_ms
        for before, sound in zip([None, *begun], begun, strict=False)
        if before is None or sound.start_ms - before.end_ms > 300
    ]


def check_each(rig: Rig, of: list[Played], how: str, check: Callable[[FaultyCall, Story], None]) -> None:
    """One that fails is played once more, as it was: a hundred calls at once are a load of their own."""
    for at, (call, story) in enumerate(of):
        try:
            check(call, story)
        except AssertionError as error:
            print(f"played again: {error}")
            (of[at],) = play(rig, [(how, story.fault_ms / 1000)])
            check(*of[at])


def test_each_new_session_knows_what_was_said(rig: Rig, played: dict[str, list[Played]]) -> None:
    first = {call.connection for of in played.values() for call, _ in of}
    assert len(first) == POINTS * len(DROPS)
    told: dict[int, list[str]] = {}
    for seen in list(rig.seen):
        if seen.direction == "in" and seen.event["type"] == "conversation.item.create":
            texts = told.setdefault(seen.session, [])
            texts.append(f"{seen.event['item']['role']}: {seen.event['item']['content'][0]['text']}")
    later = {seen.session for seen in list(rig.seen)} - first
    assert len(later) == len(first), "one more for each call: no storm"
    assert not first & set(told)
    for session in later:
        assert told[session][0].startswith("assistant: "), told[session]
        assert GREETING.text.startswith(told[session][0].removeprefix("assistant: ").rstrip("…")), told[
            session
        ]
    knowing = [texts for texts in told.values() if f"user: {QUESTION.words}" in texts]
    assert len(knowing) > len(later) // 4, "those that broke after the first question"


@pytest.mark.parametrize("how", list(DROPS))
def test_a_call_survives_its_model_at_any_moment(rig: Rig, played: dict[str, list[Played]], how: str) -> None:
    limit_ms = BLACK_HOLE_MS if how == "black-hole" else SILENCE_MS

    def check(call: FaultyCall, story: Story) -> None:
        told = told_of(story)
        assert story.noticed_ms is not None, told
        assert story.noticed_ms <= NOTICED_MS.get(how, 200.0) + SLACK_MS, (story.noticed_ms, told)
        assert story.silence_ms <= limit_ms + SLACK_MS, (story.silence_ms, told)
        assert {sound.name for sound in story.heard} <= KNOWN_SOUNDS, told
        assert call.twilio.call.tally.verbs == ["Connect"], told

    check_each(rig, played[how], how, check)


@pytest.mark.parametrize("how", list(DROPS))
def test_every_question_is_answered_once_whenever_it_was_asked(
    rig: Rig, played: dict[str, list[Played]], how: str
) -> None:
    """Also the one of which the broken session heard the first half, or nothing at all."""

    def check(call: FaultyCall, story: Story) -> None:
        asked = [span.end_ms - call.start_ms for span in call.caller.spoken()]
        assert len(asked) == 2
        for end_ms, next_ms in zip(asked, [*asked[1:], float("inf")], strict=True):
            got = [at_ms for at_ms in answers(story) if end_ms - 300 <= at_ms < next_ms]
            if not got and end_ms < story.fault_ms < next_ms:
                # The answer's first sound had come, and was not heard: the agent goes on with it.
                got = [sound.start_ms for sound in story.heard if sound.name == "agent: goes on"][:1]
            assert len(got) == 1, (asked, told_of(story))

    check_each(rig, played[how], how, check)


def test_sockets_that_break_together_are_all_taken_up_again(
    rig: Rig, played: dict[str, list[Played]]
) -> None:
    """As when a provider moves its calls: it is no outage, and nobody is sent to the answering machine."""
    calls = [rig.call(rounds=1).begin() for _ in range(8)]
    assert calls[-1].wait_until(3.0)
    for call in calls:
        call.broken_now()
    rig.model_wire.reset()  # also what the black holes kept
    for call in calls:
        story = tell(call.end(), known_clips(), GONE)
        assert story.silence_ms <= SILENCE_MS + SLACK_MS, told_of(story)
        assert call.twilio.call.tally.verbs == ["Connect"], told_of(story)
        assert len(answers(story)) == 1, told_of(story)
    assert not any("KAV-142" in line for line in rig.gateway.lines)
    eventually(lambda: rig.model.sessions_open == 0, 5.0)


def test_a_model_that_is_gone_for_good_is_tried_three_times(rig: Rig) -> None:
    call = rig.call(rounds=1).begin()
    assert call.wait_until(2.5)
    connections = rig.model_wire.counts.connections
    rig.model_wire.refuse()
    try:
        call.broken_now()
        DROPS["reset"](call)
        story = tell(call.end(), known_clips(), GONE)
    finally:
        rig.model_wire.serve()
    assert story.silence_ms <= SILENCE_MS + SLACK_MS, told_of(story)
    assert story.served_by == "recording" and story.served_ms is not None, told_of(story)
    tries = [line.split("in_s=")[1].split()[0] for line in call.log() if "next=realtime" in line]
    assert tries == ["0.2", "1.0", "3.0"]
    assert rig.model_wire.counts.connections == connections
