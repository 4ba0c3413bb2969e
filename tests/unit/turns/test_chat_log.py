from server.turns.chat_log import MAX_ITEMS, ChatLog, as_chat_tools

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


def test_who_had_the_last_word():
    log = ChatLog()
    log.say("user", "hi", "caller_1")
    assert log.is_unanswered
    log.say("assistant", "hello", "item_1")
    assert not log.is_unanswered
    log.called("call_1", "lookup", "{}")
    log.answered("call_1", "{}")
    assert log.is_unanswered


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
