"""Scenario files: what they may hold, and what is refused, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.simulator.realtime.turn import Speech, ToolCall, Transcript, Wait
from server.simulator.scenario.expectations import Need
from server.simulator.scenario.scenario import Scenario, find_files, parse_scenario, read_scenario
from server.simulator.scenario.steps import HangUp
from server.simulator.scenario.yaml_text import ScenarioError
from server.simulator.twilio.dialling import DialOutcome

SHORT = "caller: [hang_up]\nexpect: [{clears: 0}]\n"


def parse(text: str) -> Scenario:
    return parse_scenario(text, Path("talks/talk.yaml"))


def test_the_shortest_scenario() -> None:
    scenario = parse(SHORT)
    assert (scenario.name, scenario.about, scenario.language) == ("talk", "", "he")
    assert scenario.max_seconds == 60
    assert scenario.model is None and scenario.businesses_toml is None and scenario.variables == {}
    assert [step.deed for step in scenario.steps] == [HangUp()]
    assert scenario.own_gateway_lines == ()


def test_arguments_that_are_a_text_go_out_as_they_are() -> None:
    model = parse("model:\n  answers: [{call: order, arguments: '{\"count\": '}]\n" + SHORT).model
    assert model is not None and model.script.answers == ((ToolCall("order", '{"count": '),),)


def test_a_scenario_with_everything() -> None:
    scenario = parse("""\
name: פתיחה
about: What a bakery's caller hears
language: en
max_seconds: 12.5
gateway:
  NOISE_GATE: off
  PERSON_NUMBER: +972501112222
  GREETING: "שלום: מאפיית לחם"
  STILL_THERE_SECONDS: 4
businesses_toml: |
  [[business]]
  number = "+97231234567"
model:
  dialect: beta
  faults: [slow=1.5, slow_after=1:3]
  speed: 20
  delta_bytes: [1, 320]
  after_last: repeat
  answers:
    - greeting
    - [he/one_moment, {say: human_command, transcript: go, delta_bytes: 160}]
    - delay: 1.5
      parts: [{call: end_call, arguments: {why: סוף}}, {wait: 2}, {replay: true}]
    -
  match:
    - when: still there|עדיין
      answer: still_there
      times: 2
  hears: [כן, "", ~, {fail: true}, {text: no, delay: 0.5}]
twilio:
  from: "+972509999999"
  to: +97239999999
  dial: [busy, {status: answered, talks_s: 3}]
  rest_faults: [once:500]
  offer_subprotocol: false
  asks_action_after_update: true
caller:
  - hang_up
expect:
  - heard: greeting
  - sms: שלום
  - model_sessions: 1
""")
    assert scenario.name == "פתיחה" and scenario.language == "en" and scenario.max_seconds == 12.5
    assert scenario.variables == {
        "NOISE_GATE": "off",
        "PERSON_NUMBER": "+972501112222",
        "GREETING": "שלום: מאפיית לחם",
        "STILL_THERE_SECONDS": "4",
    }
    assert scenario.businesses_toml == '[[business]]\nnumber = "+97231234567"\n'
    model = scenario.model
    assert model is not None
    assert (model.dialect, model.faults) == ("beta", ("slow=1.5", "slow_after=1:3"))
    assert (model.speed, model.delta_bytes) == (20, (1, 320))
    script = model.script
    greeting = scenario.shelf.get("en/greeting")
    assert script.answers[0] == (Speech(greeting.payload, greeting.words),)
    assert [part.transcript for part in script.answers[1] if isinstance(part, Speech)] == ["רגע אחד.", "go"]
    assert script.answers[1][1].delta_bytes == (160,)  # type: ignore[union-attr]
    assert script.answers[2][:3] == (Wait(1.5), ToolCall("end_call", '{"why": "סוף"}'), Wait(2.0))
    assert script.answers[3] == () and script.after_last == "repeat"
    assert script.rules[0].times == 2 and script.rules[0].pattern.search("אתם עדיין כאן")
    assert script.hears == (
        Transcript("כן"),
        Transcript(""),
        None,
        Transcript("", has_failed=True),
        Transcript("no", 0.5),
    )
    assert scenario.twilio.from_number == "+972509999999" and scenario.twilio.to_number == "+97239999999"
    assert scenario.twilio.dial == (DialOutcome("busy"), DialOutcome("answered", talks_s=3.0))
    assert scenario.twilio.rest_faults == ("once:500",) and not scenario.twilio.offer_subprotocol
    assert scenario.twilio.asks_action_after_update
    assert [e.need for e in scenario.expectations] == [Need.CALL, Need.GATEWAY, Need.MODEL]
    assert [what for _, what in scenario.own_gateway_lines] == [
        "gateway:",
        "businesses_toml:",
        "model:",
        "rest_faults",
        "sms",
        "model_sessions",
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("gatway: {}\n" + SHORT, 1, "unknown key 'gatway' of a scenario; did you mean gateway?"),
        (SHORT + "expect: []", 3, "'expect' stands here twice"),
        ("caller: []", 1, "'expect' is missing"),
        ("expect: []", 1, "'caller' is missing"),
        ("language: hebrew\n" + SHORT, 1, "'hebrew' is not known here; there are he, en"),
        ("max_seconds: soon\n" + SHORT, 1, "a number was expected"),
        ("gateway:\n  GREETNG: x\n" + SHORT, 2, "unknown variable 'GREETNG'; did you mean GREETING?"),
        ("gateway:\n  greeting: x\n" + SHORT, 2, "did you mean GREETING?"),
        ("gateway:\n  PORT: 80\n" + SHORT, 2, "PORT is set by the runner itself"),
        ("gateway:\n  GREETING: [x]\n" + SHORT, 2, "a text was expected, not a list"),
        ("model: {dialect: gaa}\n" + SHORT, 1, "did you mean ga?"),
        ("model: {faults: [slwo=2]}\n" + SHORT, 1, "no fault 'slwo'"),
        ("model: {delta_bytes: [9, 1]}\n" + SHORT, 1, "[smallest, largest]"),
        ("model:\n  answers:\n    - greting\n" + SHORT, 3, "no clip 'greting'; did you mean greeting?"),
        ("model:\n  answers:\n    - {sya: x}\n" + SHORT, 3, "unknown key 'sya' of an answer's part"),
        ("model:\n  answers:\n    - {call: f, say: x}\n" + SHORT, 3, "unknown key 'say' of a call"),
        ("model:\n  answers:\n    - {delay: 2}\n" + SHORT, 3, "'parts' is missing"),
        ("model:\n  match: [{when: '(', answer: greeting}]\n" + SHORT, 2, "no regular expression"),
        ("model:\n  hears: [{txt: x}]\n" + SHORT, 2, "did you mean text?"),
        ("twilio: {dial: bussy}\n" + SHORT, 1, "did you mean busy?"),
        ("twilio: {rest_faults: slwo}\n" + SHORT, 1, "slwo"),
        ("twilio: {frm: x}\n" + SHORT, 1, "unknown key 'frm' of Twilio; did you mean from?"),
        (
            "caller: []\nexpect:\n  - {herd: x}",
            3,
            "unknown key 'herd' of an expectation; did you mean heard?",
        ),
        ("caller: []\nexpect:\n  - {clears: 0, times: 2}", 3, "unknown key 'times' ('clears' stands alone)"),
        ("caller: []\nexpect:\n  - {answer: 1, within: 2}", 3, "did you mean within_ms?"),
        ("caller: []\nexpect:\n  - {answer: 1}", 3, "'within_ms' is missing"),
        ("caller: []\nexpect:\n  - {}", 3, "an expectation says something"),
        ("caller: []\nexpect:\n  - {heard: hebrew_qestion}", 3, "did you mean hebrew_question?"),
        ("caller: []\nexpect:\n  - {heard: [greeting], times: 2}", 3, "'times' goes with one clip"),
        ("caller: []\nexpect:\n  - {verbs: [Conect]}", 3, "did you mean Connect?"),
        ("caller: []\nexpect:\n  - {ended_by: server}", 3, "'server' is not known here"),
        ("caller: []\nexpect:\n  - {duration_s: 3}", 3, "a list was expected"),
        ("caller: []\nexpect:\n  - {duration_s: [5, 3]}", 3, "3 is not from 5"),
        ("caller: []\nexpect:\n  - {log: '['}", 3, "no regular expression"),
        ("caller: []\nexpect:\n  - {model_sessions: 1}", 3, "'model_sessions' needs a `model:` section"),
        ("caller: []\nexpect:\n  - {tool_calls_answered: twice}", 3, "there are once"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_word(text: str, line: int, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.line == line


def test_files_are_those_named_and_those_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "notes.md"):
        (tmp_path / name).write_text(SHORT, "utf-8")
    assert find_files([tmp_path, tmp_path / "b.yaml"]) == [tmp_path / "a.yml", tmp_path / "b.yaml"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no scenario"):
        find_files([tmp_path / "empty"])
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_files([tmp_path / "c.yaml"])


def test_clips_stand_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.ulaw").write_bytes(b"\x01" * 800)
    path = tmp_path / "talk.yaml"
    path.write_text("model: {answers: [mine.ulaw]}\n" + SHORT, "utf-8")
    model = read_scenario(path).model
    assert model is not None
    (part,) = model.script.answers[0]
    assert isinstance(part, Speech) and part.payload == b"\x01" * 800


def test_what_is_no_text_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "talk.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        read_scenario(path)
    with pytest.raises(ScenarioError, match="No such file"):
        read_scenario(tmp_path / "nowhere.yaml")
