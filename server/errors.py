"""What can go wrong, as types for the code; `faults.py` has the words for people.

GatewayError
├── ConfigError            the variables contradict each other or cannot be read
├── AudioFileError         a sound file is missing or of another format
├── TwilioProtocolError    the caller leg broke Twilio's protocol
├── CallRefused            a stream may not begin: no token, wrong token, wrong format
├── RealtimeProtocolError  the model leg sent what cannot be read
├── ModelUnreachable       no connection to the model, or it went away
├── ModelRefused           the model answered no: key, quota, model name, settings
├── TwilioRestError        Twilio's REST API did not do what was asked
│   └── CallIsGone         because the call has ended, or was never this account's
└── SpeechError            a request of the pipelined mode (to write down, answer, speak) failed:
    ├── SpeechUnreachable  no answer, or it broke off; the next try may work
    ├── SpeechRefused      the service said no: key, quota, model name, rate, settings
    └── SpeechUnusable     the answer is not what was asked for, and is not played
"""

from __future__ import annotations


class GatewayError(Exception):
    """The root of everything raised on purpose here."""


class ConfigError(GatewayError):
    """Every problem of the variables at once, one a line."""


class AudioFileError(GatewayError):
    pass


class TwilioProtocolError(GatewayError):
    pass


class CallRefused(GatewayError):
    """Carries the id of the fault that explains it."""

    def __init__(self, fault_id: str, detail: str) -> None:
        super().__init__(detail)
        self.fault_id = fault_id


class RealtimeProtocolError(GatewayError):
    pass


class ModelUnreachable(GatewayError):
    pass


class ModelRefused(GatewayError):
    """The model's own words, and its code for them."""

    def __init__(self, detail: str, *, code: str = "") -> None:
        super().__init__(detail)
        self.code = code


class TwilioRestError(GatewayError):
    """What was asked of Twilio's REST API was not done, or nobody knows whether it was.

    `code` is Twilio's number and `status` that of HTTP, each 0 when no answer came. `is_retryable`:
    the same request may succeed a moment later.
    """

    def __init__(
        self, fault_id: str, detail: str, *, code: int = 0, status: int = 0, is_retryable: bool = False
    ) -> None:
        super().__init__(detail)
        self.fault_id = fault_id
        self.code = code
        self.status = status
        self.is_retryable = is_retryable


class CallIsGone(TwilioRestError):
    pass


class SpeechError(GatewayError):
    """Carries the id of the fault that explains it, and the service's code, or ours, for it."""

    def __init__(self, fault_id: str, detail: str, *, code: str = "") -> None:
        super().__init__(detail)
        self.fault_id = fault_id
        self.code = code


class SpeechUnreachable(SpeechError):
    pass


class SpeechRefused(SpeechError):
    pass


class SpeechUnusable(SpeechError):
    pass
