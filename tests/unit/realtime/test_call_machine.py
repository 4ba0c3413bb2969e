"""A call in which anything may happen: a model, a telephone line and a caller, in any order.

Hypothesis draws the calls; what must hold of each of them is in `call_checks`. The examples are the same on
each run. To look longer, with others each time:

    KAV_CALLS=5000 python -m pytest tests/unit/realtime/test_call_machine.py
"""

from __future__ import annotations

import os
import sys

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from server.realtime.events import ServerError
from server.turns.barge_in import BargeInLimits
from tests.unit.realtime.bench_call import STEP_S, BenchCall, Traits
from tests.unit.realtime.model_end import Call, Plan, Say

SETTLES_WITHIN_S = 600.0
"""Answers may wait in a row where nobody may interrupt them."""
COUGH_MS = 120
LISTENS_S = 4.0
ERRORS = (
    ServerError("server_error", "", "the server had an error", "", ""),
    ServerError("invalid_request_error", "invalid_value", "never ours", "", "kav_9999"),
    ServerError("invalid_request_error", "item_delete_invalid_item_id", "no item", "", ""),
)

says = st.sampled_from((40, 1000, 1600, 8010, 24_000, 70_010)).map(Say)
calls = st.sampled_from(
    (
        Call("lookup", '{"of": "hours"}'),
        Call("take_message", '{"message": "שלום"}'),
        Call("lookup", '{"of": '),
        Call("lookup", "[]"),
        Call("no_such_tool"),
        Call("end_call"),
        Call("transfer_call", '{"destination": "office"}'),
        Call("transfer_call", '{"destination": "the moon"}'),
    )
)
plans = st.builds(
    Plan,
    parts=st.lists(says, max_size=2).flatmap(
        lambda said: st.lists(calls, max_size=2).map(lambda called: (*said, *called))
    ),
    status=st.sampled_from(("completed",) * 5 + ("failed", "incomplete", "cancelled", "mute", "none")),
    first_s=st.sampled_from((0.0, 0.3, 1.0, 3.0)),
    delta_bytes=st.sampled_from((100, 160, 799, 1600, 8000)),
    late_deltas=st.integers(0, 3),
)
waits_s = st.sampled_from((0.02, 0.1, 0.3, 0.7, 1.5, 3.0)) | st.integers(1, 1000).map(lambda ms: ms / 1000)
traits = st.builds(
    Traits,
    way_s=st.sampled_from((0.0, 0.03, 0.15)),
    echoes_s=st.lists(st.integers(0, 300).map(lambda ms: ms / 1000), min_size=1, max_size=4).map(tuple),
    model_way_s=st.sampled_from((0.0, 0.03, 0.15)),
    is_transcribed=st.booleans(),
    answers_itself=st.booleans(),
    rule=st.builds(
        BargeInLimits,
        is_allowed=st.sampled_from((True, True, True, False)),
        is_allowed_in_greeting=st.booleans(),
        min_speech_ms=st.sampled_from((0, 200, 200, 500)),
    ),
    still_there_s=st.integers(2, 4),
    max_call_s=st.sampled_from((1800, 1800, 25)),
    is_traced=st.booleans(),
    tool_s=st.sampled_from((None, 0.0, 0.5, 3.0, 11.0)),
    plans=st.lists(plans, max_size=4).map(tuple),
)


class CallMachine(RuleBasedStateMachine):
    """One call."""

    call: BenchCall

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    @initialize(traits=traits, early_s=st.sampled_from((0.0, 0.5)))
    def a_call_begins(self, traits: Traits, early_s: float) -> None:
        self.call = BenchCall(traits)
        self.call.wait(early_s)
        self.call.ready()

    def is_live(self) -> bool:
        return not self.call.is_over

    def is_talking(self) -> bool:
        return self.is_live() and self.call.has_session

    @precondition(lambda self: self.call.is_over)
    @rule(traits=traits)
    def another_call_begins(self, traits: Traits) -> None:
        self.the_call_has_ended()
        self.a_call_begins(traits, 0.0)

    @precondition(is_live)
    @rule(seconds=waits_s)
    def time_passes(self, seconds: float) -> None:
        self.call.wait(seconds)

    @precondition(is_live)
    @rule(seconds=st.sampled_from((0.05, 0.15, 0.35)))
    def our_process_stands_still(self, seconds: float) -> None:
        self.call.wait(seconds, is_stalled=True)

    @precondition(is_live)
    @rule(plan=plans)
    def the_model_has_this_to_say_next(self, plan: Plan) -> None:
        self.call.plans.append(plan)

    @precondition(is_live)
    @rule(
        ms=st.sampled_from((COUGH_MS, 300, 600, 1500, 4000)),
        words=st.sampled_from(("real", "real", "uh-huh", "", None)),
        words_after_s=st.sampled_from((0.1, 0.1, 0.8, 3.0, None)),
        lag_s=st.sampled_from((0.06, 0.3)),
        is_loud=st.sampled_from((True, True, True, False)),
        then_s=waits_s,
    )
    def the_caller_speaks(
        self,
        ms: int,
        words: str | None,
        words_after_s: float | None,
        lag_s: float,
        is_loud: bool,
        then_s: float,
    ) -> None:
        call = self.call
        self.texts += 1
        text = f"c{self.texts} please tell me" if words == "real" else words
        call.caller.says(ms, text, words_after_s if call.is_transcribed else None, lag_s, is_loud=is_loud)
        call.wait(then_s)

    @precondition(is_live)
    @rule(
        at_s=st.integers(1, 1200).map(lambda ms: ms / 1000),
        ms=st.sampled_from((300, 400, 1300)),
        words=st.sampled_from(("real", "uh-huh", "")),
        then_s=st.sampled_from((0.7, 1.5, 3.0)),
    )
    def the_caller_speaks_over_the_agent(self, at_s: float, ms: int, words: str, then_s: float) -> None:
        until_s = self.call.now_s + LISTENS_S
        while (
            not self.call.is_over
            and self.call.now_s < until_s
            and not self.call.line.left_ms(self.call.now_s)
        ):
            self.call.wait(STEP_S)
        self.call.wait(at_s)
        self.the_caller_speaks(ms, words, 0.2, 0.06, True, then_s)

    @precondition(is_live)
    @rule(keys=st.sampled_from(("0", "1", "2", "9", "*", "5", "123#")), then_s=waits_s)
    def the_caller_presses(self, keys: str, then_s: float) -> None:
        for key in keys:
            self.call.conversation.key(key, self.call.now_s)
        self.call.wait(then_s)

    @precondition(lambda self: self.is_live() and self.call.tools)
    @rule(is_last=st.booleans(), again=st.booleans(), then_s=waits_s)
    def a_tool_answers(self, is_last: bool, again: bool, then_s: float) -> None:
        call = self.call
        call_id = call.tools.pop() if is_last else call.tools.popleft()
        for _ in range(1 + again):
            call.conversation.tool_done(call_id, {"ok": True}, call.now_s)
        call.wait(then_s)

    @precondition(is_talking)
    @rule(is_transcribed=st.booleans(), gone_s=st.sampled_from((0.0, 0.3, 2.0)), ready_s=waits_s)
    def the_session_changes(self, is_transcribed: bool, gone_s: float, ready_s: float) -> None:
        """At a quiet moment unnoticed, else because it is lost."""
        if self.call.conversation.may_change_session(self.call.now_s):
            self.call.renew_session(is_transcribed=is_transcribed)
            return
        self.call.lose_session()
        self.call.wait(gone_s)
        if not self.call.is_over:
            self.call.open_session(is_transcribed=is_transcribed, after_s=ready_s)

    @precondition(is_talking)
    @rule(error=st.sampled_from((None, *ERRORS)))
    def the_model_does_what_nobody_asked_for(self, error: ServerError | None) -> None:
        if error is None:
            self.call.model.cancels_itself()
        else:
            self.call.model.fails(error)
        self.call.wait(STEP_S)

    def teardown(self) -> None:
        if hasattr(self, "call") and sys.exc_info()[0] is None:  # else one fault would hide another
            self.the_call_has_ended()

    def the_call_has_ended(self) -> None:
        """Nothing new happens: it comes to rest, and then somebody is asked for."""
        call = self.call
        call.answers_plainly()
        until_s = call.now_s + SETTLES_WITHIN_S
        while not (call.is_over or call.is_at_rest):
            assert call.now_s < until_s, "the call does not come to rest"
            call.wait(0.5)
        call.checks.history()
        call.checks.settled()
        call.wait(call.traits.still_there_s + 2.0)


LOOKED_AT = int(os.environ.get("KAV_CALLS", "0"))

TestCall = CallMachine.TestCase
TestCall.settings = settings(
    max_examples=LOOKED_AT or 120,
    derandomize=not LOOKED_AT,
    database=None,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
