"""What TwiML asks of Twilio: the verbs that are acted out here, as values. Addresses are absolute."""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.simulator.twilio.findings import Finding

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
ANY_KEY = "1234567890*#"


@dataclass(frozen=True, slots=True)
class Stream:
    url: str
    """Absolute; a relative one is resolved against the document's address."""
    name: str = ""
    track: str = ""
    status_callback: str = ""
    status_callback_method: str = "POST"
    parameters: tuple[tuple[str, str], ...] = ()
    is_refused: bool = False
    """Twilio does not even try to connect: wrong scheme, malformed address, wrong track."""


@dataclass(frozen=True, slots=True)
class Connect:
    stream: Stream
    action: str = ""
    """Absolute, or empty when the verbs that follow go on."""
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    language: str = ""
    voice: str = ""


@dataclass(frozen=True, slots=True)
class Play:
    url: str


@dataclass(frozen=True, slots=True)
class Pause:
    length_s: int = 1


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str = "rejected"


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Record:
    action: str
    method: str = "POST"
    timeout_s: int = 5
    """Of silence, which end the recording; 0: silence does not."""
    max_length_s: int = 3600
    finish_on_key: str = ANY_KEY
    status_callback: str = ""
    status_callback_method: str = "POST"
    status_callback_events: tuple[str, ...] = ("completed",)


@dataclass(frozen=True, slots=True)
class Dial:
    numbers: tuple[str, ...]
    """As they are written; the first to answer is connected. Empty: other nouns, which are not rung here."""
    action: str = ""
    method: str = "POST"
    timeout_s: int = 30
    """Of ringing."""
    time_limit_s: int = 14400
    """Of talking."""
    caller_id: str = ""
    """Empty: the caller's own."""
    answer_on_bridge: bool = False


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A verb of Twilio's that is not acted out here."""

    name: str


Verb = Connect | Say | Play | Pause | Hangup | Reject | Redirect | Record | Dial | Unsupported


@dataclass(frozen=True, slots=True)
class Document:
    verbs: tuple[Verb, ...]
    findings: tuple[Finding, ...] = ()
    is_valid: bool = True
    """False: Twilio reads an application error to the caller instead."""
