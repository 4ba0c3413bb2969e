"""Which connections to the model are to be dialled or closed now, ahead of the calls that need them?

Two wishes meet: `target` spares that are always there, and one connection for each call that is expected
within a moment. A free spare serves an expected call, so the larger of the two counts. A session's 60
minutes run from its handshake, and a taken one must have 55 of them left: spares are replaced shortly
before they are five minutes old, by one that is open before they are closed. So there may be one more
than wanted while a replacement opens, and never more than `MAX_OPEN` with those being dialled.

Pure: the time is an argument (seconds, monotonic), connections are numbers, and so is the jitter. A
dial's number stays that of the spare it becomes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MAX_OPEN = 64
FILL_AT_ONCE = 4
"""Nothing hurries the spares: the calls that are live and those that are expected come first."""
_SPREAD = 0.618_033_988_749_895
"""Multiples of the golden ratio, modulo 1, never bunch: spares opened together age apart."""
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class WarmTimes:
    """All in seconds."""

    expected_s: float = 15.0
    """A call announced by its webhook may begin so late, as after a recorded greeting."""
    refresh_s: tuple[float, float] = (240.0, 285.0)
    """The ages between which a spare is replaced."""
    longest_s: float = 300.0
    """No older one is given to a call."""
    settled_s: float = 30.0
    """An open connection has proved good when it lived so long. Azure has ended sessions that were
    asked nothing after 20 s."""
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    refused_pause_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done now."""

    dial: list[int]
    close: list[int]
    again_in_s: float | None
    """When to ask again; None: not before something happens."""


class BackOff:
    """How long is not dialled after a failure: 1 s, 2 s … 60 s, and five minutes after a refusal.

    After a pause one dial goes ahead alone. What fails together counts once: dials that were under
    way when a failure became known tell nothing new.
    """

    def __init__(self, times: WarmTimes) -> None:
        self.failures = 0
        """In a row."""
        self.paused_until = _NEVER
        self.is_doubtful = False
        """The last thing known of the model is a failure."""
        self.failed_at = _NEVER
        self._is_refused = False
        self._times = times

    def failed(self, began_at: float, now_s: float) -> bool:
        """A dial that began then failed now; true for the first failure in a row."""
        if began_at < self.failed_at:
            return False
        self.failures += 1
        pause_s = self._times.first_pause_s * 2.0 ** min(self.failures - 1, 16)
        self._pause(now_s, min(pause_s, self._times.longest_pause_s))
        return self.failures == 1

    def refused(self, now_s: float) -> bool:
        """The model said no, as it will to the next; true for the first refusal in a row."""
        is_first, self._is_refused = not self._is_refused, True
        self.failures += 1
        self._pause(now_s, self._times.refused_pause_s)
        return is_first

    def opened(self) -> None:
        """A dial succeeded: others may follow. Whether it lasts is not known yet."""
        self.is_doubtful = False

    def worked(self) -> None:
        """A connection proved good."""
        self.failures, self._is_refused = 0, False

    def _pause(self, now_s: float, pause_s: float) -> None:
        self.failed_at = now_s
        self.is_doubtful = True
        self.paused_until = max(self.paused_until, now_s + pause_s)


@dataclass(frozen=True, slots=True)
class _Spare:
    began_at: float
    """When its dial began: the model's clock cannot have started sooner."""
    opened_at: float
    refresh_at: float


class WarmPlan:
    """The state of one pool. Whoever acts tells it what happened and then asks what is due."""

    def __init__(self, target: int, times: WarmTimes | None = None) -> None:
        self.target = max(0, min(target, MAX_OPEN))
        self.times = times or WarmTimes()
        self.back_off = BackOff(self.times)
        self.waiting = 0
        """Calls that wait for a dial under way. Never more than those."""
        self._expected: deque[float] = deque()  # when each is given up, soonest first
        self._dials: dict[int, float] = {}
        self._spares: dict[int, _Spare] = {}
        self._numbers = 0

    @property
    def dial_count(self) -> int:
        return len(self._dials)

    # What happened

    def expect(self, now_s: float) -> None:
        """A call was announced."""
        if len(self._expected) < MAX_OPEN:
            self._expected.append(now_s + self.times.expected_s)

    def arrived(self, now_s: float) -> None:
        """A call is here, and will have its connection one way or the other."""
        self._give_up_expecting(now_s)
        if self._expected:
            self._expected.popleft()

    def takeable(self, now_s: float) -> list[int]:
        """Spares young enough for a call, newest first: it has the most time left, and the network
        between had the least time to forget it."""
        young = (n for n, spare in self._spares.items() if now_s - spare.began_at < self.times.longest_s)
        return sorted(young, key=lambda n: (self._spares[n].began_at, n), reverse=True)

    def taken(self, number: int) -> None:
        """A spare went to a call, which ends a row of failures if it opened after them."""
        if self._spares.pop(number).opened_at > self.back_off.failed_at:
            self.back_off.worked()

    def opened(self, number: int, now_s: float) -> None:
        """A dial became a spare."""
        began_at = self._dials.pop(number)
        earliest_s, latest_s = self.times.refresh_s
        refresh_s = earliest_s + (latest_s - earliest_s) * (number * _SPREAD % 1)
        self._spares[number] = _Spare(began_at, now_s, began_at + refresh_s)
        self.back_off.opened()

    def failed(self, number: int, now_s: float) -> bool:
        """A dial came to nothing; true for the first failure in a row."""
        return self.back_off.failed(self._dials.pop(number), now_s)

    def refused(self, number: int, now_s: float) -> bool:
        """A dial, or a spare in the model's last words, was refused; true for the first in a row."""
        self._dials.pop(number, None)
        self._spares.pop(number, None)
        return self.back_off.refused(now_s)

    def ended(self, number: int, now_s: float) -> bool:
        """The model or the network closed a spare. Early, that is a failure of its dial: true for the
        first failure in a row."""
        spare = self._spares.pop(number)
        if now_s - spare.opened_at >= self.times.settled_s:
            return False
        return self.back_off.failed(spare.began_at, now_s)

    # What follows

    def due(self, now_s: float) -> Due:
        """What is to be dialled and closed now. Taken as done: it is not asked for twice."""
        self._give_up_expecting(now_s)
        self._judge(now_s)
        close = self._surplus(now_s)
        wanted = self._dials_wanted(now_s)
        is_paused = now_s < self.back_off.paused_until
        dial = [] if is_paused else [self._dial(now_s) for _ in range(wanted)]
        times = [spare.refresh_at for spare in self._spares.values() if spare.refresh_at > now_s]
        times += [spare.began_at + self.times.longest_s for spare in self._spares.values()]
        if self.back_off.failures:
            settle = (spare.opened_at + self.times.settled_s for spare in self._spares.values())
            times += [at for at in settle if at > now_s]
        if self._expected:
            times.append(self._expected[0])
        if wanted and is_paused:
            times.append(self.back_off.paused_until)
        return Due(dial, close, max(0.0, min(times) - now_s) if times else None)

    def _give_up_expecting(self, now_s: float) -> None:
        while self._expected and self._expected[0] <= now_s:
            self._expected.popleft()

    def _judge(self, now_s: float) -> None:
        """Of what opened after the last failure, has anything lasted?"""
        if self.back_off.failures and any(
            spare.opened_at > self.back_off.failed_at and now_s - spare.opened_at >= self.times.settled_s
            for spare in self._spares.values()
        ):
            self.back_off.worked()

    def _surplus(self, now_s: float) -> list[int]:
        """Spares that are too old for a call, and of those that are too many the first to be replaced."""
        young = self.takeable(now_s)
        close = [number for number in self._spares if number not in young]
        too_many = len(young) - max(self.target, len(self._expected))
        close += sorted(young, key=lambda n: self._spares[n].refresh_at)[: max(too_many, 0)]
        for number in close:
            del self._spares[number]
        return close

    def _dials_wanted(self, now_s: float) -> int:
        dials, spares, expected = len(self._dials), len(self._spares), len(self._expected)
        coming = dials - self.waiting  # the others are promised
        fresh = sum(now_s < spare.refresh_at for spare in self._spares.values())
        one_more = max(self.target, expected) + 1 - spares - coming
        fill = min(self.target - fresh - coming, FILL_AT_ONCE - dials, one_more)
        wanted = min(max(expected - spares - coming, fill), MAX_OPEN - spares - dials)
        return max(0, min(wanted, 1 - dials) if self.back_off.is_doubtful else wanted)

    def _dial(self, now_s: float) -> int:
        self._numbers += 1
        self._dials[self._numbers] = now_s
        return self._numbers
