"""The caller's leg: one Twilio Media Streams WebSocket, the same for every mode.

    Twilio ─▶ _rx_loop ─▶ mode.on_media           mode ─▶ tx_q ─▶ _tx_loop ─▶ Twilio

`_rx_loop` runs in the green thread of the WebSocket's request and owns every decision about what
came in. Plain media alone, 50 frames a second, takes a short way: `_on_plain_media` hands it to the
mode within the channel's own callback, without a parser and without waking a green thread. `_pump`,
and `play_now` for plain media, are all that write to the socket: `_tx_loop` calls `_pump` when frames
fall due, a mode's `flush` when there is something new. Every end, whoever caused it, passes `end()` once
and `_finish()` once: both legs are closed within a second and one line says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from server import green
from server.admission import check_place, check_stream, facts_of
from server.channel import Channel, ChannelClosed, Limits
from server.endings import EndReason
from server.errors import CallRefused, TwilioProtocolError
from server.faults import FAULTS
from server.gateway import Gateway, Mode
from server.logs import call_tag, clean
from server.telephony.messages import Connected, Dtmf, Mark, Media, Start, Stop, Unknown, decode
from server.telephony.outbox import Outbox
from server.telephony.plain_media import scan
from server.wire.websocket import CloseCode

log = logging.getLogger(__name__)

CALLER_LIMITS = Limits(max_message_bytes=64 * 1024, messages_per_s=250, message_burst=1500)
"""Twilio sends 50 messages of 0.4 kB a second; after a stall of its own, many seconds of them at once."""

START_WITHIN_S = 5.0
SILENT_LEG_S = 15.0
"""Twilio sends frames also while the caller is silent: none for so long means that nobody is there."""
GIVES_WAY_S = 1.0
TICK_S = 0.1
MAX_BROKEN_MESSAGES = 200
"""A peer that sends nothing but nonsense is not a telephone."""

_CLOSE_CODES = {
    EndReason.REFUSED: CloseCode.POLICY,
    EndReason.NO_START: CloseCode.POLICY,
    EndReason.PROTOCOL: CloseCode.POLICY,
    EndReason.DRAIN: CloseCode.GOING_AWAY,
    EndReason.FAULT: CloseCode.SERVER_ERROR,
}
_WORTH_A_FAULT = {
    EndReason.SILENT_LEG: "KAV-122",
    EndReason.RESET: "KAV-122",
    EndReason.NOT_READING: "KAV-123",
}


class MediaStream:
    """One stream of one call, from the handshake to the line `WS_END`."""

    def __init__(self, channel: Channel, gateway: Gateway, subprotocol: str | None) -> None:
        self.call_tag = call_tag(None)
        self.tx_q = Outbox("")
        self.rx_frames = 0
        self.tx_frames = 0
        self._channel = channel
        self._gateway = gateway
        self._subprotocol = subprotocol
        self._mode: Mode | None = None
        self._start: Start | None = None
        self._tx_wake = green.Signal()
        self._is_finished = False
        self._has_tx_loop = False
        self._stream_sid = b""
        self._opened_at = time.monotonic()
        self._end_reason: EndReason | None = None
        self._end_detail = ""
        self._broken_messages = 0
        self._has_met_unknown = False
        self._drain_by: float | None = None

    # The rx side

    def run(self) -> None:
        """Serve the stream until it ends. Blocks; never raises but GreenletExit."""
        log.info("WS_CONNECTED subprotocol=%s", self._subprotocol or "none")
        self._gateway.unstarted_streams += 1
        self._gateway.streams.add(self)
        if not self._gateway.is_ticking:
            self._gateway.is_ticking = True
            green.spawn(_tick_all, self._gateway)
        try:
            self._rx_loop()
        except ChannelClosed as closed:
            self._note_end(*_reason_of(closed))
        except CallRefused as refused:
            self._say_refused(refused)
            self._note_end(EndReason.REFUSED, refused.fault_id)
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line(), self.call_tag)
            self._note_end(EndReason.FAULT)
        finally:
            self._finish()

    def _rx_loop(self) -> None:
        """Until `stop`, a close of either side, or a refusal."""
        while not self._is_over():
            for text in self._channel.receive():
                self._on_message(text, time.monotonic())
                if self._is_over():
                    return

    def _is_over(self) -> bool:
        return self._end_reason is not None

    def _on_plain_media(self, text: bytes) -> bool:
        """The short way in: true when `text` was plain media of this stream and went to the mode.

        Runs in the hub. What it takes is what `_on_message` would have made of it, only sooner.
        """
        plain = scan(text, self._stream_sid)
        if plain is None or self._mode is None or self._end_reason is not None:
            return False
        payload, payload_b64, chunk = plain
        self.rx_frames += 1
        self._mode.on_media(payload, chunk, payload_b64)
        return True

    def _on_message(self, text: bytes, now_s: float) -> None:
        try:
            message = decode(text)
        except TwilioProtocolError as error:
            self._broken(str(error))
            return
        match message:
            case Media():
                self._on_media(message)
            case Mark():
                if self.tx_q.ledger.echoed(message.name, now_s) and self._mode is not None:
                    self._mode.on_mark(message.name)
            case Dtmf():
                if self._mode is not None:
                    self._mode.on_dtmf(message.digit)
            case Start():
                self._on_start(message)
            case Stop():
                self._note_end(EndReason.STOP)
            case Connected():
                pass
            case Unknown():
                self._on_unknown(message)

    def _on_unknown(self, message: Unknown) -> None:
        """Twilio may add events at any time: counted, said once a stream, and never an end."""
        self._gateway.counters.frames_dropped["unknown_event"] += 1
        if not self._has_met_unknown:
            self._has_met_unknown = True
            log.warning(
                "%s call=%s", FAULTS["KAV-121"].line(f"unknown event {clean(message.event)!r}"), self.call_tag
            )

    def _on_media(self, media: Media) -> None:
        start, mode = self._start, self._mode
        if start is None or mode is None:
            self._broken("media before start")
        elif media.stream_sid != start.stream_sid:
            self._broken("media of another stream")
        elif media.track not in ("inbound", "inbound_track"):
            self._broken("media of a track that is not the caller's")
        else:
            self.rx_frames += 1
            mode.on_media(media.payload, media.chunk)

    def _on_start(self, start: Start) -> None:
        if self._start is not None:
            if start.stream_sid == self._start.stream_sid:
                self._broken("a second start")
                return
            raise CallRefused("KAV-121", "a second start, of another stream")
        self.call_tag = call_tag(start.call_sid)
        try:
            self._admit(start)
        except CallRefused:
            self._gateway.calls.refused(start.call_sid)
            raise
        if self._is_over():
            return
        self._start = start
        self._gateway.streams_by_call[start.call_sid] = self
        self.tx_q.stream_sid = start.stream_sid
        self._gateway.unstarted_streams -= 1
        self._gateway.calls.told(start.call_sid, facts_of(start))
        self._gateway.calls.began(start.call_sid, start.stream_sid)
        self._gateway.counters.calls_started += 1
        self._mode = self._gateway.make_mode(self, start)
        log.info("CALL_START call=%s stream=%s mode=%s", self.call_tag, start.stream_sid, self._mode.name)
        self._mode.start()
        self._stream_sid = start.stream_sid.encode("ascii")
        self._channel.tap = self._on_plain_media

    def _admit(self, start: Start) -> None:
        """Raise CallRefused, or return when the stream may begin: an older one of the call has ended then.
        Blocks a second at most."""
        check_stream(self._gateway, start)
        if (older := self._gateway.streams_by_call.get(start.call_sid)) is not None:
            older.give_way()  # it broke at Twilio's side before we noticed
        if not self._is_over():  # this one may have broken meanwhile
            check_place(self._gateway, start.call_sid)

    def _broken(self, seen: str) -> None:
        """A message that is dropped: said once, counted always, too many end the stream."""
        self._gateway.counters.frames_dropped["protocol"] += 1
        self._broken_messages += 1
        if self._broken_messages == 1:
            log.warning("%s call=%s", FAULTS["KAV-121"].line(seen), self.call_tag)
        elif self._broken_messages > MAX_BROKEN_MESSAGES:
            self._note_end(EndReason.PROTOCOL, f"{self._broken_messages} messages that mean nothing")

    # From the process (gateway.OpenStream)

    def tick(self, now_s: float) -> None:
        age_s = now_s - self._opened_at
        if self._start is None:
            if age_s > START_WITHIN_S:
                self._say_refused(CallRefused("KAV-116", f"none in {START_WITHIN_S:.0f} s"))
                self.end(EndReason.NO_START)
            elif self._drain_by is not None:
                self.end(EndReason.DRAIN)
        elif now_s - self._channel.last_message_at > SILENT_LEG_S:
            self.end(EndReason.SILENT_LEG, f"no message for {SILENT_LEG_S:.0f} s")
        elif age_s > self._gateway.settings.max_call_seconds + (self._mode.overtime_s if self._mode else 0):
            self.end(EndReason.MAX_DURATION, f"{self._gateway.settings.max_call_seconds} s")
        elif self._drain_by is not None and (now_s > self._drain_by or self._is_at_pause(now_s)):
            self.end(EndReason.DRAIN)
        elif self._mode is not None:
            self._mode.tick(now_s)

    def _is_at_pause(self, now_s: float) -> bool:
        return self.tx_q.is_quiet(now_s) and (self._mode is None or self._mode.is_restful)

    def drain(self, deadline_s: float) -> None:
        self._drain_by = deadline_s

    def give_way(self) -> None:
        self.end(EndReason.CLOSED, "another stream of this call")
        until_s = time.monotonic() + GIVES_WAY_S
        while not self._is_finished and time.monotonic() < until_s:  # several streams may wait for it
            green.sleep(0.01)

    def _say_refused(self, refused: CallRefused) -> None:
        self._gateway.counters.refused[refused.fault_id] += 1
        log.warning("%s call=%s", FAULTS[refused.fault_id].line(clean(str(refused))), self.call_tag)

    # The tx side

    def _tx_loop(self) -> None:
        """Write what is due, sleep until more is. Ends when nothing waits; `wake` starts it again: a
        green thread costs 8 kB, and most calls most of the time have nothing waiting."""
        try:
            while self._channel.closed is None and (wait_s := self._pump()) is not None:
                self._tx_wake.wait(wait_s)
        except ChannelClosed:
            pass  # the rx loop sees it too, and says so
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("tx loop"), self.call_tag)
            self.end(EndReason.FAULT)
        finally:
            self._has_tx_loop = False

    def _pump(self) -> float | None:
        """The only writer: what of `tx_q` is due goes out in one write. Never blocks.

        Returns the seconds until more is due, None while nothing waits. Raises ChannelClosed.
        """
        batch = self.tx_q.take(time.monotonic())
        if batch.messages:
            self._channel.send_all(batch.messages)
        if batch.frames or batch.ended:
            self.tx_frames += len(batch.frames)
            if self._mode is not None:
                self._mode.frames_sent(batch.frames, batch.ended)
        return batch.wait_s

    # What a mode may ask (gateway.CallerLeg)

    def play(self, item_id: str, frame: bytes) -> None:
        if self.tx_q.put_frame(item_id, frame):
            return
        self._gateway.counters.frames_dropped["queue_full"] += 1
        if self.tx_q.dropped_frames == 1:
            log.warning("%s call=%s", FAULTS["KAV-138"].line(), self.call_tag)

    def play_now(self, item_id: str, frame: bytes) -> None:
        """The short way out: as `play` and `flush` would, but a frame that nothing waits before is
        written without passing the queue."""
        passed = self.tx_q.pass_frame(item_id, frame, time.monotonic())
        if passed is None:
            self.play(item_id, frame)
            self.flush()
            return
        media, mark = passed
        self.tx_frames += 1
        try:
            self._channel.send_plain(media)
            if mark is not None:
                self._channel.send(mark)
        except ChannelClosed:
            return  # as in the tx loop
        if self._mode is not None:
            self._mode.frame_passed(item_id, frame)

    def end_item(self, item_id: str) -> None:
        self.tx_q.end_item(item_id)

    def wake(self) -> None:
        self._tx_wake.set()
        if not self._has_tx_loop:
            self._has_tx_loop = True
            green.spawn(self._tx_loop)

    def flush(self) -> None:
        if self._channel.closed is None:
            try:
                if self._pump() is not None:
                    self.wake()  # the rest falls due later
            except ChannelClosed:
                pass  # as in the tx loop

    def end(self, reason: EndReason, detail: str = "") -> None:
        if self._note_end(reason, detail):
            green.spawn(self._close_channel)
            if self._start is not None:
                self._gateway.see_off(self._start.call_sid)

    # The end

    def _note_end(self, reason: EndReason, detail: str = "") -> bool:
        if self._end_reason is not None:
            return False
        self._end_reason, self._end_detail = reason, clean(detail)  # a close reason is the peer's own words
        if self._start is not None:
            lasted_s = time.monotonic() - self._opened_at
            self._gateway.calls.ending(self._start.call_sid, self._start.stream_sid, reason, lasted_s)
        if self._mode is not None and self._mode.ending(reason):
            self._mode = None
        return True

    def _close_channel(self) -> None:
        """Twilio asks what follows as soon as we have closed: what the next one needs is written first."""
        try:
            if self._gateway.is_draining and self._mode is not None:
                self._mode.settle()
        finally:
            self._channel.close(*self._closing_words())

    def _closing_words(self) -> tuple[int, str]:
        reason = self._end_reason or EndReason.FAULT
        return _CLOSE_CODES.get(reason, CloseCode.NORMAL), reason

    def _finish(self) -> None:
        """Close both legs, count, and say how it went. Runs also when the thread is killed."""
        gateway, start = self._gateway, self._start
        self._note_end(EndReason.DRAIN)  # if nobody has: nothing but the worker's own end kills a stream
        reason = self._end_reason or EndReason.DRAIN
        gateway.streams.discard(self)
        if start is None:
            gateway.unstarted_streams -= 1
        else:
            gateway.calls.ended(start.call_sid, start.stream_sid, reason)
            if gateway.streams_by_call.get(start.call_sid) is self:
                del gateway.streams_by_call[start.call_sid]
            gateway.counters.calls_ended[reason] += 1
        gateway.counters.caller_frames_in += self.rx_frames
        gateway.counters.caller_frames_out += self.tx_frames
        self._is_finished = True
        closing: list[Callable[[], None]] = [self._close_channel]
        if self._mode is not None:
            closing.append(self._mode.close)
        try:
            for thread in [green.spawn(close) for close in closing]:
                thread.wait()
        finally:
            self._tx_wake.set()
            self._say_goodbye(reason)

    def _say_goodbye(self, reason: EndReason) -> None:
        sid = self._start.stream_sid if self._start else "none"
        log.info(
            "WS_STOP sid=%s rx=%d tx=%d call=%s reason=%s",
            sid,
            self.rx_frames,
            self.tx_frames,
            self.call_tag,
            reason,
        )
        if self._end_detail and (fault_id := _WORTH_A_FAULT.get(reason)):
            log.warning("%s call=%s", FAULTS[fault_id].line(self._end_detail), self.call_tag)
        seconds = time.monotonic() - self._opened_at
        log.info(
            "WS_END call=%s duration_s=%.1f reason=%s %s", self.call_tag, seconds, reason, self._end_detail
        )


def _tick_all(gateway: Gateway) -> None:
    """One timer for all streams, as long as there are any: one each would cost more than the media."""
    while gateway.streams:
        green.sleep(TICK_S)
        now_s = time.monotonic()
        for stream in list(gateway.streams):
            try:
                stream.tick(now_s)
            except Exception:  # one stream's fault must not stop the clock of the others
                log.exception("%s", FAULTS["KAV-199"].line("tick"))
    gateway.is_ticking = False


def _reason_of(closed: ChannelClosed) -> tuple[EndReason, str]:
    if "does not read" in closed.reason:
        return EndReason.NOT_READING, closed.reason
    if closed.code == CloseCode.ABNORMAL:
        return EndReason.RESET, closed.reason
    if not closed.by_peer:  # the channel refused what came
        return EndReason.PROTOCOL, str(closed)
    return EndReason.CLOSED, str(closed)
