"""How exact is what the model is told was heard?

Some hundred barge-ins against a line that knows what it has played: answers of one to three items, cut into
deltas of 1 to 8000 bytes, made at 1.5 to 16 times the speed of speech, interrupted at every kind of moment,
on lines with all sorts of delay. The same on each run; the distribution is printed (`pytest -s`).
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from server.audio.framing import Framer
from server.telephony.outbox import Outbox
from tests.unit.telephony.line import Line, audio

WITHIN_MS = 20.0
CALLS = 60
BARGE_INS = 6
"""In each call."""
MOMENTS = (
    "first syllable",  # before the first mark is back
    "midway",
    "after generation",  # all of the answer is made, and much of it not yet heard
    "last frame",
    "at once again",  # shortly after the one before
    "held first",  # silenced, and given up a while later
    "resumed before",  # silenced, went on, and is silenced again
    "between items",
)


@dataclass
class Call:
    """One call, its line, and how far each cut was from what had been played."""

    seed: int
    is_symmetric: bool
    errors: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = chance = random.Random(self.seed)
        way_s = chance.choice((0.0, 0.01, 0.04, 0.15))
        echo_s = (lambda: way_s) if self.is_symmetric else (lambda: chance.uniform(0.0, 0.3))
        self.box = Outbox("MZ1")
        self.line = Line(way_s, echo_s)
        self.now_s = 50.0 + chance.random()
        self._numbers = itertools.count()
        self._next_delta_s = 0.0
        self._making: Iterator[float] = iter(())
        self.items: list[int] = []
        """Of the answer that is being given."""
        self.first_ms = 0.0
        """How long the first of them is."""

    def run(self) -> None:
        for n in range(BARGE_INS):
            moment = MOMENTS[(self.seed + n) % len(MOMENTS)] if n else "first syllable"  # the greeting
            self._answer()
            getattr(self, "_" + moment.replace(" ", "_"))()
            self._cut(moment)
            self._wait(self.chance.uniform(0.0, 0.5))

    # The moments

    def _first_syllable(self) -> None:
        self._until_played(self.chance.uniform(1, 490))

    def _midway(self) -> None:
        self._until_played(self.chance.uniform(500, self.first_ms - 100))

    def _after_generation(self) -> None:
        while self._next_delta_s < float("inf"):
            self._wait(0.02)
        self._wait(self.chance.uniform(0.0, 0.2))

    def _last_frame(self) -> None:
        self._until_played(self.first_ms - self.chance.uniform(0.5, 19.5))

    def _at_once_again(self) -> None:
        self._wait(self.chance.uniform(0.0, 0.3))
        self._cut("at once again")
        self._answer()
        self._wait(self.chance.uniform(0.0, 0.3))

    def _held_first(self) -> None:
        self._until_played(self.chance.uniform(1, self.first_ms - 100))
        self.box.hold(self.now_s)
        self._pump()
        self._wait(self.chance.uniform(0.0, 2.0))

    def _resumed_before(self) -> None:
        self._held_first()
        self.box.resume()
        self._wait(self.chance.uniform(0.0, 0.5))

    def _between_items(self) -> None:
        self._until_played(self.first_ms - self.chance.uniform(0.5, 60.0))
        self._wait(0.04)

    # An answer, and its end

    def _answer(self) -> None:
        """The model begins to speak; what it says comes as time passes."""
        sizes = [160 * self.chance.randint(60, 380) + self.chance.randint(8, 160) for _ in range(3)]
        sizes = sizes[: self.chance.randint(1, 3)]
        self.items = [next(self._numbers) for _ in sizes]
        self.first_ms = -(-sizes[0] // 160) * 20.0
        self._making = self._make(list(zip(self.items, sizes, strict=True)))
        self._next_delta_s = self.now_s

    def _make(self, items: list[tuple[int, int]]) -> Iterator[float]:
        speed = self.chance.uniform(1.5, 16.0)
        for number, n_bytes in items:
            name, framer, given = f"item_{number}", Framer(), 0
            self.box.ledger.expect(name)
            while given < n_bytes:
                delta = min(self.chance.randint(1, 8000), n_bytes - given)
                for payload in framer.push(audio(number, given, given + delta)):
                    self._play(name, payload)
                given += delta
                yield delta / 8000 / speed
            if (last := framer.flush()) is not None:
                self._play(name, last)
            self.box.end_item(name)

    def _play(self, name: str, payload: bytes) -> None:
        passed = self.box.pass_frame(name, payload, self.now_s)
        if passed is None:
            assert self.box.put_frame(name, payload)
            return
        for message in filter(None, passed):
            self.line.take(message, self.now_s)

    def _cut(self, moment: str) -> None:
        played_ms = {f"item_{n}": self.line.played_ms(n, self.now_s) for n in self.items}
        cuts = {cut.item_id: cut for cut in self.box.interrupt(self.now_s)}
        self._pump()
        self._making, self._next_delta_s = iter(()), float("inf")
        for name, cut in cuts.items():
            assert 0 <= cut.heard_ms <= cut.sent_ms
            self.errors.append((moment, cut.heard_ms - played_ms[name]))
        heard = [n for n in self.items if f"item_{n}" not in cuts and played_ms[f"item_{n}"]]
        for n in heard:  # none of it was on its way any more
            assert self.line.played_ms(n, self.now_s) == pytest.approx(played_ms[f"item_{n}"])
        before = list(self.line.heard)
        self.line.echoes(self.now_s + 0.5)
        assert self.line.heard == before, "nothing is heard after the clear"
        assert not self.box.ledger.is_unheard(self.now_s)

    # The clock

    def _until_played(self, ms: float) -> None:
        while self.line.played_ms(self.items[0], self.now_s) < ms:
            left_s = (ms - self.line.played_ms(self.items[0], self.now_s)) / 1000
            self._wait(min(max(left_s, 0.001), 0.02))

    def _wait(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s - 1e-9:
            self.now_s = min(until_s, self.now_s + self.chance.uniform(0.001, 0.02))
            while self._next_delta_s <= self.now_s:
                self._next_delta_s += next(self._making, float("inf"))
            for name in self.line.echoes(self.now_s):
                self.box.ledger.echoed(name, self.now_s)
            self._pump()

    def _pump(self) -> None:
        for message in self.box.take(self.now_s).messages:
            self.line.take(message, self.now_s)


def table(errors: list[tuple[str, float]]) -> str:
    """How many cuts were so many ms away, by moment."""
    edges = (0.25, 1.0, 5.0, 10.0, WITHIN_MS)
    head = (
        f"{'moment':18}{'cuts':>6}" + "".join(f"{f'<= {edge:g} ms':>12}" for edge in edges) + f"{'worst':>10}"
    )
    lines = [head]
    for moment in (*MOMENTS, "all"):
        found = [abs(error) for name, error in errors if moment in (name, "all")]
        cells = "".join(f"{sum(error <= edge for error in found):12}" for edge in edges)
        lines.append(f"{moment:18}{len(found):6}{cells}{max(found):7.2f} ms")
    return "\n".join(lines)


@pytest.mark.parametrize("is_symmetric", [True, False], ids=["same delay both ways", "marks late by chance"])
def test_what_was_heard_is_told_to_within_a_frame(is_symmetric: bool) -> None:
    calls = [Call(seed, is_symmetric) for seed in range(CALLS)]
    for call in calls:
        call.run()
    errors = [error for call in calls for error in call.errors]
    print("\n" + table(errors))
    assert len(errors) >= 200
    assert min(Counter(moment for moment, _ in errors).values()) >= 20
    assert max(abs(error) for _, error in errors) <= WITHIN_MS
