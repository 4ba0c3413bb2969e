"""How a scripted model is written down, and which of its answers fits."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from server.errors import AudioFileError, ConfigError
from server.prompts import load_prompts
from server.simulator.realtime.persona import ScriptPersona, script_personas
from server.simulator.realtime.turn import (
    Heard,
    Speech,
    Spoken,
    ToolCall,
    ToolOutput,
    Transcript,
    Turn,
    Typed,
    Wait,
)

DATA = Path(__file__).resolve().parents[2] / "data"
PROMPTS = load_prompts()
WORDS = Spoken(b"\x12\x34" * 8000, 1840)


def turn(*heard: Heard, own: str = "") -> Turn:
    """A request to answer; `own`: the instructions that came with it."""
    session = "You are a bakery's voice. Say goodbye before you hang up."
    return Turn(heard, own or session, None, frozenset(), own_instructions=own)


def words(persona: ScriptPersona, turn: Turn) -> list[str]:
    return [part.transcript for part in persona.answer(turn) if isinstance(part, Speech)]


def say(word: str) -> list[dict[str, Any]]:
    return [{"base64": base64.b64encode(word.encode()).decode(), "transcript": word}]


class TestScriptPersona:
    ONE, TWO = (Speech(b"\x01", "one"),), (Speech(b"\x02", "two"),)

    def test_goes_through_its_answers_and_repeats_the_last(self) -> None:
        persona = ScriptPersona([self.ONE, self.TWO])
        assert [persona.answer(turn()) for _ in range(4)] == [self.ONE, self.TWO, self.TWO, self.TWO]

    def test_or_falls_silent(self) -> None:
        persona = ScriptPersona([self.ONE], after_last="none")
        assert [persona.answer(turn()) for _ in range(3)] == [self.ONE, (), ()]
        assert ScriptPersona([]).answer(turn()) == ()

    def test_is_read_from_a_file(self, tmp_path: Path) -> None:
        shutil.copy(DATA / "human_command.wav", tmp_path / "reply.wav")
        script = {
            "answers": [
                [
                    {"audio": "reply.wav", "transcript": "go forward", "delta_bytes": [160, 1]},
                    {"call": "end_call", "arguments": {"why": "סוף"}},
                ],
                [{"prompt": "en/goodbye"}, {"replay": True}],
                [{"base64": base64.b64encode(b"\x55" * 9).decode(), "delta_bytes": 3}],
            ],
            "after_last": "none",
        }
        path = tmp_path / "script.json"
        path.write_text(json.dumps(script), "utf-8")
        persona = script_personas(path)()
        reply = (DATA / "human_command.ulaw").read_bytes()
        first = persona.answer(turn())
        assert first == (Speech(reply, "go forward", (160, 1)), ToolCall("end_call", '{"why": "סוף"}'))
        goodbye = PROMPTS.get("en", "goodbye")
        assert persona.answer(turn(WORDS)) == (
            Speech(goodbye.payload, goodbye.text),
            Speech(WORDS.payload, "[speech 1.8 s]"),
        )
        assert persona.answer(turn()) == (Speech(b"\x55" * 9, "", (3,)),)
        assert persona.answer(turn()) == ()

    def test_a_replay_with_nothing_heard_is_left_out(self) -> None:
        persona = ScriptPersona.from_json({"answers": [[{"replay": True}]]})
        assert persona.answer(turn()) == ()

    @pytest.mark.parametrize(
        ("script", "complaint"),
        [
            ([], "a script is"),
            ({"answers": [{}]}, "answer 1: a list"),
            ({"answers": [[5]]}, "answer 1: a part is an object"),
            ({"answers": [[], [{}]]}, "answer 2: a part needs one of audio"),
            ({"answers": [], "after_last": "again"}, "after_last"),
            ({"answers": [[{"base64": "AAAA", "delta_bytes": 0}]]}, "delta_bytes"),
            ({"answers": [[{"base64": "A"}]]}, "base64"),
            ({"answers": [[{"audio": "nowhere.ulaw"}]]}, "nowhere"),
            ({"answers": [], "hear": []}, "unknown 'hear'; there are answers"),
            ({"answers": [], "hears": "שלום"}, "hears: a list"),
            ({"answers": [], "hears": [{"words": "x"}]}, "hears 1: unknown 'words'"),
            ({"answers": [], "hears": [{"delay": True}]}, "hears 1: delay: True is no number"),
            ({"answers": [], "hears": [{"fail": "yes"}]}, "fail is true or false"),
            ({"answers": [{"delay": -1, "parts": []}]}, "answer 1: delay: -1 is no number"),
            ({"answers": [[{"wait": "2"}]]}, "wait: '2' is no number"),
            ({"answers": [[{"prompt": "he/goodbye", "wait_s": 1}]]}, "unknown 'wait_s'"),
            ({"answers": [], "match": [{"when": "(", "answer": []}]}, "match 1: '\\(' is no regular"),
            ({"answers": [], "match": [{"answer": []}]}, "match 1"),
            ({"answers": [], "match": [{"when": "x", "answer": [], "times": 0}]}, "times"),
            ({"answers": [], "match": [{"when": "x"}]}, "match 1: a list of parts"),
        ],
    )
    def test_says_what_is_wrong_with_a_script(self, script: Any, complaint: str) -> None:
        with pytest.raises((ConfigError, AudioFileError), match=complaint):
            ScriptPersona.from_json(script)

    def test_a_file_that_is_no_script(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            script_personas(tmp_path / "nowhere.json")
        (tmp_path / "bad.json").write_text("{")
        with pytest.raises(ConfigError, match="not JSON"):
            script_personas(tmp_path / "bad.json")

    def test_an_answer_may_be_slow_and_may_pause(self) -> None:
        answer = {"delay": 2, "parts": [{"call": "look_up"}, {"wait": 0.5}, *say("later")]}
        got = ScriptPersona.from_json({"answers": [answer]}).answer(turn())
        assert got == (Wait(2.0), ToolCall("look_up", "{}"), Wait(0.5), Speech(b"later", "later"))


class TestRules:
    SCRIPT = {
        "answers": [say("first"), say("second")],
        "match": [
            {"when": "goodbye|להתראות", "answer": say("bye")},
            {"when": "still there", "answer": say("hello?"), "times": 1},
            {"when": r"\[keys\] 0", "answer": say("person")},
            {"when": '"ok": false', "answer": say("sorry")},
        ],
    }

    def test_what_the_client_asks_for_goes_before_the_list_and_takes_nothing_from_it(self) -> None:
        persona = ScriptPersona.from_json(self.SCRIPT)
        assert words(persona, turn(own="Say exactly: «להתראות»")) == ["bye"]
        assert words(persona, turn()) == ["first"]
        assert words(persona, turn(own="say goodbye now")) == ["bye"]
        assert words(persona, turn(WORDS)) == ["second"]

    def test_a_rule_may_be_used_up(self) -> None:
        persona = ScriptPersona.from_json(self.SCRIPT)
        ask = turn(own="ask whether they are still there")
        assert [words(persona, ask) for _ in range(2)] == [["hello?"], ["first"]]

    def test_typed_text_and_outputs_of_tools_count_too(self) -> None:
        persona = ScriptPersona.from_json(self.SCRIPT)
        assert words(persona, turn(Typed("[keys] 0"))) == ["person"]
        assert words(persona, turn(ToolOutput("call_1", '{"ok": false}'))) == ["sorry"]

    def test_the_session_s_own_instructions_do_not(self) -> None:
        assert words(ScriptPersona.from_json(self.SCRIPT), turn()) == ["first"]


class TestHears:
    def test_the_words_of_the_utterances_in_order_and_none_after_the_last(self) -> None:
        hears = ["מתי אתם פתוחים?", "", None, {"fail": True}, {"text": "yes", "delay": 1.5}]
        persona = ScriptPersona.from_json({"answers": [], "hears": hears})
        assert [persona.transcript(WORDS) for _ in range(7)] == [
            Transcript("מתי אתם פתוחים?"),
            Transcript(""),
            None,
            Transcript("", has_failed=True),
            Transcript("yes", 1.5),
            None,
            None,
        ]

    def test_python_may_give_them_as_well(self) -> None:
        persona = ScriptPersona([], hears=[Transcript("no", 0.0)])
        assert persona.transcript(WORDS) == Transcript("no", 0.0)
