"""What is said to nobody is dropped, and goes to the next stream's caller when there is one again."""

from __future__ import annotations

from server.caller_seat import CallerSeat
from server.endings import EndReason
from server.telephony.outbox import Outbox
from tests.unit.call_parts import Leg

FRAME = b"\x55" * 160


def use(seat: CallerSeat) -> None:
    seat.play("item_1", FRAME)
    seat.play_now("item_1", FRAME)
    seat.end_item("item_1")
    seat.wake()
    seat.flush()
    seat.end(EndReason.AGENT_HANGUP, "done")


def test_a_seat_leads_to_its_caller() -> None:
    leg = Leg()
    seat = CallerSeat(leg)
    use(seat)
    assert leg.items == {"item_1": FRAME * 2}
    assert (leg.done, leg.ended) == (["item_1"], [(EndReason.AGENT_HANGUP, "done")])
    assert (seat.tx_q, seat.call_tag, seat.is_empty) == (leg.tx_q, leg.call_tag, False)


def test_an_empty_seat_drops_everything_and_keeps_the_old_line_clean() -> None:
    leg = Leg()
    seat = CallerSeat(leg)
    seat.leave()
    use(seat)
    assert (leg.items, leg.done, leg.ended) == ({}, [], [])
    assert seat.is_empty
    assert seat.tx_q is not leg.tx_q
    assert isinstance(seat.tx_q, Outbox)


def test_the_next_stream_takes_over() -> None:
    first, second = Leg(), Leg()
    seat = CallerSeat(first)
    seat.leave()
    seat.sit_down(second)
    use(seat)
    assert first.items == {}
    assert second.items == {"item_1": FRAME * 2}
    assert seat.tx_q is second.tx_q
