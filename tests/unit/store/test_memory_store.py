import logging

import pytest

from server.store.call_store import CallStore
from server.store.caller_messages import CallerMessage
from server.store.memory_store import MAX_MESSAGES, MemoryStore
from server.store.parked_calls import ParkedCall


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> CallStore:
    return MemoryStore(ttl_s=600, clock=clock)


def parked(call_sid: str = "CA1", **fields: object) -> ParkedCall:
    return ParkedCall(call_sid, "flowers", "he", [("user", "שלום")], **fields)


def test_a_call_is_taken_once(store):
    store.put(parked())
    assert store.take("CA2") is None
    assert store.take("CA1") == parked()
    assert store.take("CA1") is None


def test_a_record_is_as_it_was_when_it_was_parked(store):
    history = [("user", "שלום")]
    store.put(ParkedCall("CA1", "flowers", "he", history))
    history.append(("user", "said later"))
    assert list(store.take("CA1").history) == [("user", "שלום")]


def test_a_record_is_gone_after_its_time(store, clock):
    store.put(parked())
    clock.now += 601
    assert store.take("CA1") is None


def test_records_past_their_time_are_swept(store, clock):
    store.put(parked("CA1"))
    clock.now += 601
    store.put(parked("CA2"))
    assert len(store._calls) == 1
    clock.now += 601
    store.purge()
    assert len(store._calls) == 0


def test_what_cannot_be_packed_is_told_and_harms_nothing(store, caplog):
    with caplog.at_level(logging.WARNING):
        store.put(parked(extra={"no": object()}))
    assert "KAV-188" in caplog.text
    assert store.take("CA1") is None


def test_messages_are_listed_the_latest_first_and_bounded(store):
    for number in range(MAX_MESSAGES + 10):
        store.note_message(CallerMessage(f"{number}", "CA1", "flowers", float(number)))
    assert [message.text for message in store.messages(3)] == ["1009", "1008", "1007"]
    assert len(store.messages(10_000)) == MAX_MESSAGES


def test_nothing_of_it_survives(store):
    assert store.flush()
    store.put(parked())
    assert not store.flush()
    store.take("CA1")
    assert store.flush()
