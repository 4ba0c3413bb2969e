from server.simulator.openai_http import checks
from server.turns.chat_log import MAX_CHARS, MAX_ITEMS, SHORT_CHARS, ChatLog, as_chat_tools

HELLO = {"role": "system", "content": "be kind"}


def said(log: ChatLog, more: str = "") -> list[dict]:
    return log.messages("be kind", more)[1:]


def test_words_stand_where_they_were_spoken_though_they_are_known_later():
    log = ChatLog()
    log.began("caller_1")
    log.say("assistant", "שלום", "item_1")
    log.say("user", "מה השעה?", "caller_1")
    assert log.messages("be kind") == [
        HELLO,
        {"role": "user", "content": "מה השעה?"},
        {"role": "assistant", "content": "שלום"},
    ]


def test_an_utterance_without_words_is_not_told():
    log = ChatLog()
    log.began("caller_1")
    assert said(log) == []
    assert not log.is_unanswered


def test_what_was_not_heard_is_forgotten():
    log = ChatLog()
    log.speaks("item_1", "one two three four", 1000)
    log.speaks("item_1", "one two three four", 1000)
    log.say("assistant", "one two three four", "item_1")
    log.truncate("item_1", 1000)
    assert said(log) == [{"role": "assistant", "content": "one two…"}]
    log.delete("item_1")
    assert said(log) == []


def test_a_sentence_that_is_still_being_spoken_has_the_words_that_were_begun():
    log = ChatLog()
    sentence = " ".join(["word"] * 27)  # ten seconds of it
    assert log.speaks("item_1", sentence, 1200) == "word word word word"
    assert log.speaks("item_1", sentence, 1200) == " ".join(["word"] * 7)
    log.truncate("item_1", 1200)
    assert said(log) == [{"role": "assistant", "content": "word word word…"}]


def test_a_slow_voice_has_no_more_words_than_there_are():
    log = ChatLog()
    assert log.speaks("item_1", "one two", 9000) == "one two"


def test_calls_of_one_answer_stand_before_their_outputs():
    log = ChatLog()
    log.called("call_1", "lookup", "{}")
    log.called("call_2", "lookup", '{"day": 1}')
    log.answered("call_1", "{}")
    log.answered("call_2", '{"free": true}')
    calls, *outputs = said(log)
    assert [call["id"] for call in calls["tool_calls"]] == ["call_1", "call_2"]
    assert [output["tool_call_id"] for output in outputs] == ["call_1", "call_2"]


def test_half_of_a_call_would_be_refused_and_is_left_out():
    log = ChatLog()
    log.called("call_1", "lookup", "{}")
    log.answered("call_9", "{}")
    assert said(log) == []


def test_what_wants_an_answer_wants_it_until_one_knows_of_it():
    log = ChatLog()
    log.say("user", "hi", "caller_1")
    asked = log.asked
    log.say("assistant", "hello", "item_1")
    assert log.is_unanswered, "that may have been the greeting: the words came before it"
    log.say("user", "are you open?", "caller_2")
    log.has_answered(asked)
    assert log.is_unanswered, "it knew of the first words only"
    log.has_answered(log.asked)
    assert not log.is_unanswered
    log.called("call_1", "lookup", "{}")
    log.answered("call_1", "{}")
    assert log.is_unanswered


def test_what_was_taken_back_wants_no_answer():
    log = ChatLog()
    log.say("user", "uh-huh", "caller_1")
    log.delete("caller_1")
    assert not log.is_unanswered


def test_of_an_earlier_session_only_what_the_agent_did_not_answer_is_asked():
    log = ChatLog()
    log.recall("user", "יש חלה?")
    assert log.is_unanswered
    log.recall("assistant", "יש")
    assert not log.is_unanswered
    log.recall("assistant", '[tool] check_stock({}) = {"ok": true}')
    assert log.is_unanswered


def test_what_is_said_between_a_call_and_its_output_does_not_part_them():
    """OpenAI refuses every later request of such a conversation."""
    log = ChatLog()
    log.say("user", "יש חלה?", "caller_1")
    log.called("call_1", "check_stock", "{}")
    log.say("assistant", "רגע, אבדוק.", "item_1")
    log.say("user", "ומה עם עוגה?", "caller_2")
    log.answered("call_1", "{}")
    log.say("assistant", "יש.", "item_2")
    assert [message["role"] for message in said(log)] == [
        "user", "assistant", "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    checks.chat({"model": "gpt-4o-mini", "messages": said(log), "stream": True})


def test_what_a_second_answer_calls_is_told_after_the_first_ones_output():
    log = ChatLog()
    for call_id in ("call_1", "call_2"):
        log.called(call_id, "lookup", "{}")
        log.answered(call_id, "{}")
    assert [message["role"] for message in said(log)] == ["assistant", "tool", "assistant", "tool"]


def test_a_name_that_no_function_can_have_does_not_spoil_the_conversation():
    log = ChatLog()
    for call_id, name in (("call_1", "multi_tool_use.parallel"), ("call_2", ""), ("call_3", "n" * 100)):
        log.called(call_id, name, "{}")
        log.answered(call_id, '{"ok": false}')
    names = [call["function"]["name"] for message in said(log) for call in message.get("tool_calls", ())]
    checks.chat({"model": "gpt-4o-mini", "messages": said(log), "stream": True})
    assert names == ["multi_tool_use_parallel", "unnamed", "n" * 64]


def test_long_answers_of_tools_are_shortened_when_younger_ones_need_the_room():
    log = ChatLog()
    log.say("user", "hi", "caller_1")
    for n in range(2):
        log.called(f"call_{n}", "lookup", "{}")
    for n in range(2):
        log.answered(f"call_{n}", "x" * 60_000)
    question, calls, first, second = said(log)
    assert question["content"] == "hi" and len(calls["tool_calls"]) == 2
    assert first["content"] == "x" * (SHORT_CHARS - 1) + "…" and len(second["content"]) == 60_000


def test_an_endless_conversation_is_bounded():
    log = ChatLog()
    for _ in range(60):
        log.say("user", "x" * 5000)
    assert sum(len(message["content"]) for message in said(log)) <= MAX_CHARS


def test_instructions_for_one_answer_come_last():
    log = ChatLog()
    log.say("user", "hi")
    assert said(log, "say goodbye")[-1] == {"role": "system", "content": "say goodbye"}


def test_an_endless_call_keeps_its_youngest_items():
    log = ChatLog()
    for n in range(MAX_ITEMS + 50):
        log.say("user", str(n))
    assert len(said(log)) == MAX_ITEMS
    assert said(log)[-1]["content"] == str(MAX_ITEMS + 49)


def test_tools_are_nested_as_a_chat_wants_them():
    flat = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
    assert as_chat_tools([flat]) == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    ]
