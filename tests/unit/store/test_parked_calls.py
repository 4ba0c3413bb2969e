import dataclasses
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.store.parked_calls import MAX_RECORD_BYTES, ParkedCall

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
records = st.builds(
    ParkedCall,
    call_sid=texts.filter(bool),
    business_id=texts,
    language=st.sampled_from(["he", "en"]),
    history=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), max_size=8),
    voice=texts,
    greeting_done=st.booleans(),
    parked_at=st.floats(0, 1e10) | st.integers(0, 10**10),
    reason=texts,
    turns=st.integers(0, 10**6),
    extra=st.dictionaries(texts, plain_json, max_size=3),
)
SMALL = ParkedCall("CA1", "flowers", "he", [("user", "שלום"), ("assistant", "איך אפשר לעזור?")])


@given(records)
def test_what_is_packed_is_unpacked(record):
    assert ParkedCall.from_json(record.to_json()) == record


def test_hebrew_stays_hebrew():
    assert "איך אפשר לעזור?" in SMALL.to_json()


def test_a_transcript_is_not_shown_by_accident():
    assert "שלום" not in repr(SMALL)


@pytest.mark.parametrize("entry", ["שלום " * 20, "x", '"\\\n\x00' * 50, "😀" * 30])
def test_the_oldest_history_is_left_out_when_it_is_too_much(entry):
    history = [("user", f"{number} {entry}") for number in range(20_000)]
    text = dataclasses.replace(SMALL, history=history).to_json()
    kept = ParkedCall.from_json(text).history
    assert 0 < len(kept) < len(history)
    assert list(kept) == history[-len(kept) :]
    one_more = len(json.dumps(history[-len(kept) - 1], ensure_ascii=False).encode())
    assert MAX_RECORD_BYTES - one_more - 2 < len(text.encode()) <= MAX_RECORD_BYTES


def test_history_that_fits_to_the_byte_is_kept():
    room = MAX_RECORD_BYTES - len(dataclasses.replace(SMALL, history=[("user", "")]).to_json().encode())
    fits = dataclasses.replace(SMALL, history=[("user", "x" * room)])
    assert len(fits.to_json().encode()) == MAX_RECORD_BYTES
    assert ParkedCall.from_json(fits.to_json()) == fits
    too_long = dataclasses.replace(SMALL, history=[("user", "x" * (room + 1))])
    assert ParkedCall.from_json(too_long.to_json()).history == []


def test_history_of_any_length_is_packed_quickly():
    """It happens in the hub: 5 ms are the most, and the text left out must not count."""
    history = [("user", "א" * 20_000_000)] + [("user", "שלום")] * 100_000 + [("user", "ב" * 20_000_000)]
    record = dataclasses.replace(SMALL, history=history)
    durations_s = []
    for _ in range(5):
        started_at = time.perf_counter()
        record.to_json()
        durations_s.append(time.perf_counter() - started_at)
    assert min(durations_s) < 0.005


def test_half_a_character_does_no_harm():
    record = dataclasses.replace(SMALL, history=[("user", "\ud83d!")])
    assert ParkedCall.from_json(record.to_json()).history == [("user", "?!")]


@pytest.mark.parametrize(
    "extra",
    [{"long": "x" * MAX_RECORD_BYTES}, {"no": object()}, {"no": float("nan")}, {1: {2, 3}}],
    ids=["too long", "object", "NaN", "set"],
)
def test_what_cannot_be_packed_is_refused(extra):
    with pytest.raises(ValueError, match=r"parked call|JSON compliant"):
        dataclasses.replace(SMALL, extra=extra).to_json()


def changed(**values: object) -> str:
    return json.dumps(json.loads(SMALL.to_json()) | values)


def without(name: str) -> str:
    record = json.loads(SMALL.to_json())
    del record[name]
    return json.dumps(record)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{}",
        "{",
        "[" * 60_000,
        SMALL.to_json() + "x",
        changed(more=1),
        *(without(spec.name) for spec in dataclasses.fields(ParkedCall)),
        changed(call_sid=""),
        changed(call_sid=None),
        changed(business_id=7),
        changed(greeting_done=1),
        changed(turns=True),
        changed(turns=1.5),
        changed(turns=-1),
        changed(turns=10**40),
        changed(parked_at="now"),
        changed(parked_at=True),
        changed(parked_at=-1),
        changed(parked_at=10**400),
        changed(parked_at=1).replace('"parked_at": 1', '"parked_at": NaN'),
        changed(parked_at=1).replace('"parked_at": 1', '"parked_at": Infinity'),
        changed(parked_at=1).replace('"parked_at": 1', '"parked_at": 1e999'),
        changed(parked_at=1).replace('"parked_at": 1', f'"parked_at": {"9" * 10_000}'),
        changed(history={}),
        changed(history=["user"]),
        changed(history=["ab"]),
        changed(history=[["user"]]),
        changed(history=[["user", "text", "more"]]),
        changed(history=[["user", None]]),
        changed(extra=[]),
        changed(extra={"x": 1}).replace(": 1}", ": NaN}"),
        changed(extra={"x": "x" * MAX_RECORD_BYTES}),
        changed(extra={"x": "א" * (MAX_RECORD_BYTES // 2)}),
        '"\ud800"',
    ],
)
def test_what_is_no_parked_call_is_refused(text):
    with pytest.raises(ValueError):
        ParkedCall.from_json(text)


def test_a_refusal_shows_nothing_of_the_record():
    for text in (changed(history=[["user", 5], ["user", "secret"]]), changed(secret="secret")):
        with pytest.raises(ValueError) as caught:
            ParkedCall.from_json(text)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "spent_s"),
    [("61.5", 61.5), ("3", 3.0), ("-7", 0.0), ("1e999", 86_400.0), ("1" * 400, 86_400.0), ('"long"', 0.0)],
)
def test_how_long_a_call_took_is_read_from_whatever_stands_there(told, spent_s):
    text = (
        dataclasses.replace(SMALL, extra={"spent_s": 0}).to_json().replace('"spent_s":0', f'"spent_s":{told}')
    )
    assert ParkedCall.from_json(text).spent_s == spent_s
    assert SMALL.spent_s == 0
