"""What one call asks and tells the gateway over HTTP: TwiML webhooks, and callbacks that steer nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from server.simulator.twilio import recording, verbs
from server.simulator.twilio.addresses import Addresses
from server.simulator.twilio.live_call import CallStatus, LiveCall, Recording
from server.simulator.twilio.webhooks import Answer, WebhookClient, WebhookFailed


class CallWebhooks:
    """One call's requests, each with the parameters Twilio sends. What fails becomes a finding."""

    def __init__(
        self, call: LiveCall, http: WebhookClient, addresses: Addresses, from_number: str, to_number: str
    ) -> None:
        self._call = call
        self._http = http
        self._numbers = {"Called": to_number, "Caller": from_number, "From": from_number, "To": to_number}
        self.addresses = addresses
        self.signature = http.signature
        self.close = http.close

    def ring(self, url: str) -> Answer:
        """The first request of the call. Raises WebhookFailed."""
        return self._http.send(url, self._parameters("ringing"))

    def ask(self, url: str, method: str, **extra: str) -> Answer | None:
        """What follows in the call? None: nothing, or nobody answered."""
        status = self._call.status
        if self._call.hung_up.is_set():
            status = CallStatus.COMPLETED
        try:
            answer = self._http.send(url, self._parameters(status, **extra), method)
        except WebhookFailed as error:
            self._call.findings.add(error.code, str(error))
            return None
        if answer.status == 204 or (answer.status < 300 and not answer.body.strip()):
            return None
        return answer

    def fetch(self, url: str) -> Answer:
        """A file to play. Raises WebhookFailed."""
        return self._http.send(url, {}, "GET")

    def tell_stream(self, stream: verbs.Stream, stream_sid: str, event: str, **extra: str) -> None:
        """The Stream's own status callback."""
        if not stream.status_callback:
            return
        params = {
            "AccountSid": self._call.account_sid,
            "CallSid": self._call.call_sid,
            "StreamSid": stream_sid,
            "StreamName": stream.name or stream_sid,
            "StreamEvent": event,
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **extra,
        }
        self._tell(stream.status_callback, stream.status_callback_method, params, event)

    def tell_recording(self, verb: verbs.Record, made: Recording) -> None:
        """The recording's status callback: the file is there, or there is none."""
        call = self._call
        params = recording.status_parameters(made, call.account_sid, call.call_sid)
        event = params["RecordingStatus"]
        if verb.status_callback and event in verb.status_callback_events:
            self._tell(verb.status_callback, verb.status_callback_method, params, f"recording {event}")

    def _tell(self, url: str, method: str, params: dict[str, str], event: str) -> None:
        try:
            answer = self._http.send(url, params, method)
        except WebhookFailed as error:
            self._call.findings.add(error.code, f"status callback {event}: {error}")
            return
        if answer.status >= 400:
            self._call.findings.add(15003, f"status callback {event} was answered with {answer.status}")

    def _parameters(self, status: str, **extra: str) -> dict[str, str]:
        """What every voice webhook carries, and then some."""
        return {
            "AccountSid": self._call.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self._call.call_sid,
            "CallStatus": status,
            "Direction": "inbound",
            **self._numbers,
            **extra,
        }
