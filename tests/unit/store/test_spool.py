from server.store import spool as spool_module
from server.store.spool import Spool

NOW = 1_700_000_000.0
LATER = NOW + 600


def test_what_is_put_is_taken_once():
    spool = Spool()
    spool.put("CA1", "one", LATER)
    assert "CA1" in spool
    assert spool.take("CA1", NOW) == "one"
    assert spool.take("CA1", NOW) is None
    assert len(spool) == 0


def test_the_later_one_of_a_key_counts_and_is_the_youngest():
    spool = Spool()
    for key in ("CA1", "CA2", "CA1"):
        spool.put(key, f"{key} {len(spool)}", LATER)
    assert [key for key, _ in spool.oldest(9)] == ["CA2", "CA1"]
    assert spool.take("CA1", NOW) == "CA1 2"


def test_nothing_is_worth_anything_after_its_time():
    spool = Spool()
    spool.put("CA1", "one", NOW)
    assert spool.take("CA1", NOW) is None
    assert len(spool) == 0
    spool.put("CA1", "one", NOW)
    spool.put("CA2", "two", NOW + 1)
    spool.purge(NOW)
    assert [key for key, _ in spool.oldest(9)] == ["CA2"]


def test_a_record_is_discarded_unless_it_has_been_replaced():
    spool = Spool()
    spool.put("CA1", "one", LATER)
    [(_, first)] = spool.oldest(1)
    spool.put("CA1", "another", LATER)
    spool.discard("CA1", first)
    assert spool.take("CA1", NOW) == "another"
    spool.discard("CA1", first)


def test_the_oldest_are_dropped_and_counted_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(spool_module, "MAX_SPOOLED_RECORDS", 100)
    spool = Spool()
    for number in range(250):
        spool.put(f"CA{number}", "x", LATER)
    assert (len(spool), spool.dropped) == (100, 150)
    assert [key for key, _ in spool.oldest(1)] == ["CA150"]


def test_the_oldest_are_dropped_and_counted_when_they_are_too_long(monkeypatch):
    monkeypatch.setattr(spool_module, "MAX_SPOOLED_BYTES", 1000)
    spool = Spool()
    for number in range(30):
        spool.put(f"CA{number}", "א" * 50, LATER)
    assert (len(spool), spool.dropped) == (10, 20)
    for number in range(20, 30):
        assert spool.take(f"CA{number}", NOW)
    spool.put("CA1", "x" * 1000, LATER)
    assert (len(spool), spool.dropped) == (1, 20), "what was taken is no more counted"
