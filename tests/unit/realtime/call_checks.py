"""What must hold of a call whatever happens in it: the far ends' side of it, watched from outside.

Each method hears of one thing as it happens and raises AssertionError when it must not have.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from server.endings import EndReason
from server.realtime import events
from server.realtime.answer_watch import ANSWER_WITHIN_S
from server.telephony.playout import Cut
from server.turns.call_limit import GOODBYE_WITHIN_S
from server.turns.history import MAX_BYTES, MAX_ENTRIES
from server.turns.leaving import AT_LATEST_S, HangUp
from server.turns.leaving import Plan as LeavePlan
from tests.openai_types import validate_client_event
from tests.unit.realtime.model_end import WORD_MS, Item
from tests.unit.telephony.line import numbers_of

if TYPE_CHECKING:
    from tests.unit.realtime.bench_call import BenchCall

FRAME_MS = 20
ROUNDING_MS = 1.0
ROUNDING = ROUNDING_MS / FRAME_MS
CUT_WITHIN_MS = 20.0
SLACK_S = 1.5


class Checks:
    """Of one call."""

    def __init__(self, call: BenchCall) -> None:
        self._call = call
        self._began_at = call.now_s
        self.items: dict[int, Item] = {}
        """The model's, of every session, by number."""
        self.cut_items: set[int] = set()
        self.holds = 0
        self._dead_responses: set[str] = set()
        self._open_responses: set[str] = set()
        """Announced to us, and not yet done."""
        self._announced: set[str] = set()
        self._asked: str | None = None
        self._asks_once_more = False
        self._next_frame: dict[int, int] = {}
        self._due_again: dict[int, set[int]] = {}
        """After a hold, the frames with which an item may go on."""
        self._open: set[int] = set()
        """Items not known to be heard to their end."""
        self._closed: set[int] = set()
        """Items after which another was sent."""
        self._last_item: int | None = None
        self._begun: list[str] = []
        """Items, in the order in which they began."""
        self._item_of: dict[str, str] = {}
        """By the first word of its text, which no other begins with."""
        self._active_at = call.now_s
        self._plans: list[tuple[LeavePlan, float]] = []
        self._left = 0

    # The model

    def came(self, event: events.Event) -> None:
        match event:
            case events.ResponseCreated(response_id):
                self._announced.add(response_id)
                self._open_responses.add(response_id)
                self._asked = None
            case events.ResponseDone(response_id):
                self._open_responses.discard(response_id)
            case events.AudioDelta(response_id, item_id) if response_id not in self._dead_responses:
                item = self._call.model.items[item_id]
                if item.number not in self.items:
                    self.items[item.number] = item
                    self._begun.append(item_id)
                    self._item_of[f"a{item.number}.0000"] = item_id
            case events.SpeechStarted(item_id):
                self._begun.append(item_id)
            case events.CallerTranscript(item_id, str(text)) if text.startswith("c"):
                self._item_of[text.partition(" ")[0]] = item_id
            case events.ServerError(event_id=event_id) if event_id in ("", self._asked):
                self._asked = None
            case _:
                pass

    def session_changes(self) -> None:
        self._asked = None
        self._open_responses.clear()

    def asks_once_more(self) -> None:
        """The caller has waited so long that a request is taken for lost."""
        self._asks_once_more = True

    def commanded(self, event: dict[str, Any]) -> None:
        validate_client_event(event)
        self._active_at = now_s = self._call.now_s
        match event["type"]:
            case "response.create":
                assert self._asked is None or self._asks_once_more, "asked again before the answer came"
                self._asks_once_more = False
                assert not self._open_responses, f"asked while {self._open_responses} runs"
                self._asked = event["event_id"]
            case "response.cancel":
                response_id = event["response_id"]
                if not any(item.response.id == response_id for item in self.items.values()):
                    self._dead_responses.add(response_id)  # of which nothing was to be heard
            case "conversation.item.truncate" if event["item_id"] in self._call.model.items:
                self._truncated(self._call.model.items[event["item_id"]], event["audio_end_ms"])
            case "conversation.item.delete" if event["item_id"] in self._call.model.items:
                item = self._call.model.items[event["item_id"]]
                assert self._call.line.played_ms(item.number, now_s) <= CUT_WITHIN_MS, "it was heard"

    def _truncated(self, item: Item, audio_end_ms: int) -> None:
        played_ms = self._call.line.played_ms(item.number, self._call.now_s)
        whole_ms = -(-item.given_ms // FRAME_MS) * FRAME_MS  # its last frame is padded
        sent_ms = FRAME_MS * len({n for number, n in self._call.line.sent if number == item.number})
        assert 0 < audio_end_ms <= min(whole_ms, sent_ms)
        assert abs(audio_end_ms - played_ms) <= CUT_WITHIN_MS, f"cut at {audio_end_ms}, played {played_ms}"

    # The caller's ear

    def written(self, message: str | bytes) -> None:
        event = json.loads(message)
        if event["event"] != "media":
            return
        self._active_at = self._call.now_s
        assert not self._call.tx_q.is_held, "a held agent is silent"
        item, number = numbers_of(base64.b64decode(event["media"]["payload"]))
        if item in self.items:
            assert item not in self.cut_items, "the caller took the floor from this"
            assert self.items[item].response.id not in self._dead_responses
        assert item not in self._closed, f"item {item} was over"
        if self._last_item is not None and item != self._last_item:
            self._closed.add(self._last_item)
        if item != self._last_item and self._call.line.left_ms(self._call.now_s) == 0:
            self._open.clear()
        self._last_item = item
        self._open.add(item)
        assert all(item > other for other in self._closed if other in self.items and item in self.items)
        due = self._due_again.pop(item, {self._next_frame.get(item, 0)})
        assert number in due, f"frame {number} of item {item} where {due} was due"
        self._next_frame[item] = number + 1

    def held(self) -> None:
        """The agent falls silent, and may go on from where the line stops now."""
        self.holds += 1
        line, now_s = self._call.line, self._call.now_s
        self._closed -= self._open
        self._last_item = None
        self._due_again.clear()
        for item in self._open.copy():
            played = line.played_ms(item, now_s) / FRAME_MS
            self._due_again[item] = {int(played - ROUNDING), int(played + ROUNDING)}

    def interrupted(self) -> None:
        """The caller takes the floor: all that was announced so far is never heard again."""
        self._dead_responses |= self._announced

    def was_cut(self, cut: Cut) -> None:
        number = int(cut.item_id.rpartition("_")[2])
        assert number not in self.cut_items, "cut twice"
        self.cut_items.add(number)

    # The end of a call

    def plans(self, plan: LeavePlan, now_s: float) -> None:
        self._plans.append((plan, now_s))

    def leaves(self, plan: LeavePlan) -> None:
        call, now_s = self._call, self._call.now_s
        is_over = now_s - self._began_at >= call.traits.max_call_s + GOODBYE_WITHIN_S
        if is_over and plan == HangUp(EndReason.MAX_DURATION):
            return
        self._left += 1
        assert self._left <= len(self._plans), "it left twice for one plan"
        known, asked_at = self._plans[-1]
        assert plan == known
        if now_s - asked_at < AT_LATEST_S:
            assert call.line.left_ms(now_s) <= ROUNDING_MS, "the caller still hears something"
            assert not len(call.tx_q), "something waits to be heard"
            assert self._asked is None and not self._open_responses, "something is still to be said"

    # Now and then

    def look(self, now_s: float) -> None:
        """Nobody is left in silence for ever."""
        call = self._call
        is_quiet = (
            call.model.is_idle
            and call.caller.is_silent
            and not call.line.left_ms(now_s)
            and not call.pending_tools
        )
        if not is_quiet or call.is_over or call.has_left or not call.has_session:
            self._active_at = now_s
        longest_s = max(call.traits.still_there_s, ANSWER_WITHIN_S) + SLACK_S
        assert now_s - self._active_at <= longest_s, f"silence for {longest_s} s, and nobody asks"

    def history(self) -> None:
        entries = self._call.conversation.history.entries()
        assert len(entries) <= MAX_ENTRIES
        assert sum(len(text.encode()) for _, text in entries) <= MAX_BYTES
        places = [n for _, text in entries if (n := self._place(text)) is not None]
        assert places == sorted(places), f"{entries} is not the order in which they began"
        for role, text in entries:
            if role == "assistant" and not text.startswith("["):
                number = int(text[1:].partition(".")[0])
                assert number in self.items, f"{text}: nobody heard that"
                item = self.items[number]
                if item.number in self.cut_items:
                    told_ms = len(text.removesuffix("…").split()) * WORD_MS
                    played_ms = self._call.line.played_ms(item.number, self._call.now_s)
                    assert told_ms <= played_ms + WORD_MS + 2 * FRAME_MS, f"{text}: {played_ms} ms were heard"

    def _place(self, text: str) -> int | None:
        item_id = self._item_of.get(text.partition(" ")[0].removesuffix("…"))
        return None if item_id is None else self._begun.index(item_id)

    def settled(self) -> None:
        """The call has come to rest: all that was to be heard was heard, and each call has its answer."""
        line, call = self._call.line, self._call
        heard = [each for each in line.heard if each[0] in self.items]
        assert heard == sorted(heard)
        assert len(heard) - len(set(heard)) <= self.holds, "a hold repeats one frame at most"
        if call.is_over or call.has_left:
            return
        for number, item in self.items.items():
            if number in self.cut_items or item.response.id in self._dead_responses:
                continue
            if not item.id.startswith(f"s{call.sessions}_"):
                continue  # the rest of it went with its session
            n_frames = -(-item.given_bytes // 160)
            lost = set(range(n_frames)) - {n for of, n in heard if of == number}
            assert not lost, f"frames {sorted(lost)} of item {number} were never heard"
        unanswered = [call_id for call_id, n in call.model.outputs.items() if n != 1]
        assert not unanswered, f"{unanswered} had no answer"
