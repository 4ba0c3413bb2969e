"""Every way down: realtime, pipeline, a person, a message, an apology — heard on the line, and timed.

The cases are those of `python -m bench.faults`, whose promises stand with them. Each has a gateway of its own
(a breaker that one case trips is no business of the next); several run at a time, and the tests read the
results.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from bench.fault_cases import CASES, Case
from bench.fault_rig import PERSON, FaultyCall, Rig, Setting, known_clips
from bench.fault_story import Story, tell
from bench.faults import broken_promises, play
from server.telephony.twiml import SPEECH
from tests.integration.calls import eventually

T = TypeVar("T")
AT_ONCE = 8
SLACK_MS = 700.0
"""For a machine that has other work too: each of the gateways wants its share of it."""
FATAL_MS = 2000.0
ALL = {case.name: case for cases in CASES.values() for case in cases}
LEFT_TO_OTHERS = {"reset", "fin", "close-1011", "black-hole", "garbage", "gone-message"}
"""In test_model_drops, a hundred times."""
NAMES = [name for name in ALL if name not in LEFT_TO_OTHERS]


@dataclass
class Whole:
    """One case, and what was left when its call had ended."""

    case: Case
    story: Story = field(init=False)
    verbs: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    recorded_ms: list[int] = field(default_factory=list)
    findings: list[int | None] = field(default_factory=list)
    sessions: int = 0
    log: list[str] = field(default_factory=list)
    told: list[dict[str, str]] = field(default_factory=list)
    stored: list[tuple[str, ...]] = field(default_factory=list)

    def play(self) -> Whole:
        self.story = play(self.case, 0, self.look)
        return self

    def look(self, rig: Rig, call: FaultyCall) -> None:
        tally = call.twilio.call.tally
        self.verbs, self.said = tally.verbs, tally.said
        self.dialled = [dialled.number for dialled in tally.dialled]
        self.recorded_ms = [len(made.audio) // 8 for made in tally.recordings if not made.is_empty]
        self.findings = [finding.code for finding in call.twilio.call.findings.all()]
        self.sessions = rig.model_wire.counts.connections
        if self.recorded_ms:
            eventually(lambda: len(rig.told) == 1 and len(messages(rig)) == 1)
        self.told = [request.said["message"] for request in rig.told]
        self.stored = messages(rig)
        self.log = list(rig.gateway.lines)


def messages(rig: Rig) -> list[tuple[str, ...]]:
    """What the store keeps: who called, and where the recording is."""
    with closing(sqlite3.connect(rig.database)) as database:
        return database.execute("SELECT call_sid, recording_url FROM kav_messages").fetchall()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    known_clips()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


class Played:
    """All of them, begun at once; what a test failed on is played anew when it is run again."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._storm = pool.submit(play_storm)  # takes longest
        self._wholes = {name: pool.submit(Whole(ALL[name]).play) for name in NAMES}

    def whole(self, name: str, *, anew: bool) -> Whole:
        if anew:
            self._wholes[name] = self._alone(Whole(ALL[name]).play)
        return self._wholes[name].result()

    def storm(self, *, anew: bool) -> Storm:
        if anew:
            self._storm = self._alone(play_storm)
        return self._storm.result()

    def _alone(self, play_it: Callable[[], T]) -> Future[T]:
        """Once the others are done."""
        wait([self._storm, *self._wholes.values()])
        done: Future[T] = Future()
        done.set_result(play_it())
        return done


@pytest.fixture(scope="module")
def played(pool: ThreadPoolExecutor) -> Played:
    return Played(pool)


def is_again(request: pytest.FixtureRequest) -> bool:
    return getattr(request.node, "execution_count", 1) > 1


@pytest.fixture
def whole(request: pytest.FixtureRequest, played: Played, name: str) -> Whole:
    return played.whole(name, anew=is_again(request))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_promised_is_heard(whole: Whole, name: str) -> None:
    """A voice within 6 s, no long silence, and somebody who serves the caller in the end."""
    assert broken_promises(whole.case, whole.story, SLACK_MS) == [], whole.story.heard
    assert not any("Traceback" in line for line in whole.log)
    assert not any(sound.name == "a sound not known here" for sound in whole.story.heard), whole.story.heard
    breaks_the_line = name in ("media-reset",)
    assert whole.findings == ([31903] if breaks_the_line else []), whole.findings


@pytest.mark.parametrize("name", ["401", "429", "quota", "404", "update-refused"])
def test_what_a_second_try_would_not_change_is_not_tried(whole: Whole) -> None:
    assert whole.story.heard[0].name == "prompt: leave_message"
    assert whole.story.heard[0].start_ms < FATAL_MS
    assert not any("next=realtime" in line for line in whole.log)
    assert whole.sessions <= 2, "once ahead of the call, and once by the call itself"


@pytest.mark.parametrize("name", ["both-down-message", "nobody-answers", "all-down", "mute", "connect-hangs"])
def test_a_message_is_recorded_kept_and_told(whole: Whole) -> None:
    assert whole.story.names()[-3:-1] == ["prompt: leave_message", "recording"]
    assert whole.said == [SPEECH["he"].thanks]
    (recorded_ms,) = whole.recorded_ms
    assert recorded_ms > 2000
    (kept,) = whole.stored
    assert whole.told[0]["recording_url"] == kept[1] and kept[1].startswith("https://api.twilio.com/")
    assert whole.told[0]["number"] == "+972501234567"


@pytest.mark.parametrize("name", ["silent-message"])
def test_a_caller_who_says_nothing_after_the_beep_hears_an_apology(whole: Whole) -> None:
    assert whole.verbs == ["Connect", "Record", "Say", "Hangup"]
    assert whole.said == [SPEECH["he"].apology]
    assert whole.stored == [] and whole.told == []


@pytest.mark.parametrize("name", ["person", "both-down-person", "rest-500", "rest-hangs"])
def test_a_person_is_rung(whole: Whole) -> None:
    assert whole.dialled == [PERSON]
    assert whole.verbs[-1] == "Hangup", "when the two have talked"
    assert whole.story.names()[-2] == "prompt: one_moment" or "Twilio" in whole.story.names()[-1]


@pytest.mark.parametrize("name", ["nobody-answers", "all-down"])
def test_a_person_who_did_not_answer_is_not_rung_again(whole: Whole) -> None:
    assert whole.dialled == [PERSON]
    assert whole.verbs == ["Connect", "Dial", "Connect", "Record", "Say", "Hangup"]


@pytest.mark.parametrize("name", ["pipeline", "gone-pipeline"])
def test_the_pipeline_answers_in_the_place_of_the_model(whole: Whole) -> None:
    assert whole.verbs == ["Connect"]
    assert [sound.name for sound in whole.story.heard][-1] == "pipeline: answer"


@pytest.mark.parametrize("name", ["media-reset"])
def test_a_broken_media_socket_is_followed_by_another(whole: Whole) -> None:
    assert whole.verbs == ["Connect", "Connect"]
    assert whole.story.served_by == "agent: goes on"
    assert whole.story.served_ms is not None and whole.story.served_ms < 3000 + SLACK_MS


def test_a_model_that_fails_every_call_is_left_alone_for_a_while(
    request: pytest.FixtureRequest, played: Played
) -> None:
    """Each try costs a caller seconds: after five failures the next callers are served without it."""
    told = played.storm(anew=is_again(request))
    assert told.failures == [3, 2, 0], "of the first callers, and of the next"
    assert told.dials_by_next == 0, "not even ahead of the call"
    assert told.warnings == 1
    assert told.story.first_ms is not None and told.story.first_ms < 1000 + SLACK_MS
    assert "pipeline: answer" in [sound.name for sound in told.story.heard]


@dataclass
class Storm:
    failures: list[int]
    dials_by_next: int
    warnings: int
    story: Story


def play_storm() -> Storm:
    """Two callers whose model refuses connections, and a third."""
    with Rig(Setting(model_door="refused", services=())) as rig:
        calls = [rig.call(rounds=1).begin().end() for _ in range(2)]
        dials = count_dials(rig)
        calls.append(rig.call(rounds=1).begin().end())
        failures = [len([line for line in call.log() if "KAV-131" in line]) for call in calls]
        warnings = sum("KAV-142" in line for line in rig.gateway.lines)
        return Storm(failures, count_dials(rig) - dials, warnings, tell(calls[-1], known_clips()))


def count_dials(rig: Rig) -> int:
    time.sleep(0.1)  # the log is written beside the calls
    return sum("ECONNREFUSED" in line or "Connection refused" in line for line in rig.gateway.lines)
