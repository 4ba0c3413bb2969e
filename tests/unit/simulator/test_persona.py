"""What the simulator's personas say, and where their words come from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from server.errors import AudioFileError
from server.prompts import PROMPTS_FOLDER, load_prompts
from server.simulator.realtime.persona import DemoPersona, demo_personas
from server.simulator.realtime.turn import Heard, Speech, Spoken, ToolCall, ToolOutput, Turn, Typed

PROMPTS = load_prompts()
WORDS = Spoken(b"\x12\x34" * 8000, 1840)


def turn(*heard: Heard, instructions: str = "", language: str | None = None, **more: Any) -> Turn:
    return Turn(heard, instructions, language, frozenset(more.pop("tools", ())), **more)


def said(language: str, *names: str) -> Speech:
    prompts = [PROMPTS.get(language, name) for name in names]
    return Speech(b"".join(p.payload for p in prompts), " ".join(p.text for p in prompts))


class TestPrompts:
    def test_both_languages_have_the_same_names(self) -> None:
        index = json.loads((PROMPTS_FOLDER / "prompts.json").read_text("utf-8"))
        assert set(index) == set(PROMPTS.languages) == {"he", "en"}
        assert set(index["he"]) == set(index["en"])

    def test_a_missing_folder_name_or_language_is_said_plainly(self, tmp_path: Path) -> None:
        with pytest.raises(AudioFileError, match=r"prompts\.json.*render_prompts"):
            load_prompts(tmp_path)
        with pytest.raises(AudioFileError, match="no prompt 'hallo' in 'he'; there are greeting"):
            PROMPTS.get("he", "hallo")
        with pytest.raises(AudioFileError, match="no prompts in 'fr'; there are he, en"):
            PROMPTS.get("fr", "greeting")

    def test_a_recording_that_was_changed_or_lost_is_noticed(self, tmp_path: Path) -> None:
        folder = tmp_path / "prompts"
        shutil.copytree(PROMPTS_FOLDER, folder)
        (folder / "he" / "digit_7.ulaw").write_bytes(b"\xff" * 160)
        with pytest.raises(AudioFileError, match=r"digit_7\.ulaw: not the recording"):
            load_prompts(folder)
        (folder / "he" / "digit_7.ulaw").unlink()
        with pytest.raises(AudioFileError, match=r"digit_7\.ulaw: No such file"):
            load_prompts(folder)
        (folder / "prompts.json").write_text('{"he": {"greeting": {}}}')
        with pytest.raises(AudioFileError, match="not the list of prompts"):
            load_prompts(folder)


class TestDemoPersona:
    def test_greets_in_both_languages_the_call_s_own_first(self) -> None:
        assert DemoPersona(PROMPTS).answer(turn()) == (said("he", "greeting"), said("en", "greeting"))
        assert DemoPersona(PROMPTS, "en").answer(turn())[0] == said("en", "greeting")

    def test_gives_the_caller_back_their_own_words_byte_for_byte(self) -> None:
        answer = DemoPersona(PROMPTS).answer(turn(WORDS))
        assert answer == (said("he", "you_said"), Speech(WORDS.payload, "[speech 1.8 s]"))

    @pytest.mark.parametrize(
        ("instructions", "language", "expected"),
        [
            ("", None, "he"),
            ("Answer in English.", None, "en"),
            ("Answer in Hebrew, or in English when asked.", None, "he"),
            ("ענו בעברית", None, "he"),
            ("", "en", "en"),
            ("Answer in English.", "he", "he"),
        ],
    )
    def test_speaks_the_call_s_language(self, instructions: str, language: str | None, expected: str) -> None:
        answer = DemoPersona(PROMPTS).answer(turn(WORDS, instructions=instructions, language=language))
        assert answer[0] == said(expected, "you_said")

    def test_reads_back_keys(self) -> None:
        answer = DemoPersona(PROMPTS).answer(turn(Typed("[keys] 12#")))
        assert answer == (said("he", "you_pressed", "digit_1", "digit_2", "pound"),)

    def test_keys_pressed_one_by_one_are_read_back_together(self) -> None:
        answer = DemoPersona(PROMPTS).answer(turn(Typed("[keys] 4"), Typed("[keys] 2")))
        assert answer == (said("he", "you_pressed", "digit_4", "digit_2"),)

    def test_star_changes_the_language_for_good(self) -> None:
        persona = DemoPersona(PROMPTS)
        assert persona.answer(turn(Typed("[keys] *"))) == (said("en", "you_pressed", "star"),)
        assert persona.answer(turn(WORDS, language="he"))[0] == said("en", "you_said")
        assert persona.answer(turn(Typed("[keys] *")))[0] == said("he", "you_pressed", "star")

    def test_pound_alone_says_goodbye_and_ends_the_call_if_it_can(self) -> None:
        persona = DemoPersona(PROMPTS)
        pound = Typed("[keys] #")
        assert persona.answer(turn(pound)) == (said("he", "goodbye"),)
        answer = persona.answer(turn(pound, tools=["end_call", "transfer"]))
        assert answer == (said("he", "goodbye"), ToolCall("end_call", "{}"))
        assert persona.answer(turn(ToolOutput("call_1", "ok"))) == ()

    def test_zero_alone_tells_how_to_get_a_real_agent(self) -> None:
        answer = DemoPersona(PROMPTS).answer(turn(Typed("[keys] 0")))
        assert answer == (said("he", "you_pressed", "digit_0"), said("he", "connect_agent"))

    def test_other_text_is_not_taken_for_keys(self) -> None:
        assert DemoPersona(PROMPTS).answer(turn(Typed("call 112"))) == (said("he", "greeting_short"),)
        assert DemoPersona(PROMPTS).answer(turn(Typed("[keys] xyz"))) == (said("he", "greeting_short"),)

    def test_asks_a_silent_caller_whether_they_are_there(self) -> None:
        persona = DemoPersona(PROMPTS)
        persona.answer(turn())
        assert persona.answer(turn()) == (said("he", "still_there"),)
        assert persona.answer(turn(is_idle=True)) == (said("he", "still_there"),)

    def test_each_call_gets_a_persona_of_its_own(self) -> None:
        make = demo_personas()
        assert make().answer(turn()) == make().answer(turn())


def test_the_prompts_are_the_recordings_that_their_list_names() -> None:
    index = json.loads((PROMPTS_FOLDER / "prompts.json").read_text("utf-8"))
    entry = index["he"]["greeting"]
    assert hashlib.sha256(PROMPTS.get("he", "greeting").payload).hexdigest() == entry["sha256"]
