"""What can go wrong, as types for the code and as a catalogue for people.

    GatewayError
    ├── ConfigError            the variables contradict each other or cannot be read
    ├── AudioFileError         a sound file is missing or of another format
    ├── TwilioProtocolError    the caller leg broke Twilio's protocol
    ├── CallRefused            a stream may not begin: no token, wrong token, wrong format
    ├── RealtimeProtocolError  the model leg sent what cannot be read
    ├── ModelUnreachable       no connection to the model, or it went away
    └── ModelRefused           the model answered no: key, quota, model name, settings

`FAULTS` is what `python -m server explain KAV-114` prints, and what log lines end with: a stable
id, what it means for the caller (with Twilio's own code where there is one) and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the catalogue."""

    id: str
    title: str
    means: str
    """For the caller, and what Twilio's debugger shows."""
    fix: str

    def line(self, seen: str = "") -> str:
        """The entry as one log line: `KAV-114 title: seen. Fix: …`."""
        what = f"{self.title}: {seen}" if seen else self.title
        return f"{self.id} {what}. Fix: {self.fix}"


def _catalogue(*faults: Fault) -> dict[str, Fault]:
    return {fault.id: fault for fault in faults}


FAULTS = _catalogue(
    Fault(
        "KAV-101",
        "A variable cannot be read",
        "The process does not start, so that no call meets half a configuration.",
        "correct the variables named in the message; `python -m server config` lists all of them",
    ),
    Fault(
        "KAV-102",
        "OPENAI_API_KEY looks like a sample text",
        "Calls are answered by the demo agent: it speaks, but no AI is behind it.",
        "put the real key (it starts with sk-) into OPENAI_API_KEY and restart",
    ),
    Fault(
        "KAV-103",
        "REALTIME_VOICE is not a voice of the model",
        "The default voice is used instead: the model would refuse the whole session.",
        "choose one of alloy, ash, ballad, cedar, coral, echo, marin, sage, shimmer, verse, or a voice_… id",
    ),
    Fault(
        "KAV-104",
        "A variable that looks like ours is not known",
        "It has no effect on calls.",
        "correct its name, or remove it",
    ),
    Fault(
        "KAV-105",
        "The model's name is past or near its shutdown",
        "The model refuses the session on that day, and callers hear the apology.",
        "set OPENAI_REALTIME_MODEL to a current model",
    ),
    Fault(
        "KAV-111",
        "A webhook without a valid Twilio signature was refused",
        "Answered 403. If it was Twilio, the caller hears Twilio's application error (11200).",
        "set PUBLIC_BASE_URL to the very address Twilio calls, and TWILIO_AUTH_TOKEN to that account's "
        "token; to try by hand use `python -m server call`, which signs",
    ),
    Fault(
        "KAV-112",
        "A media WebSocket without a valid Twilio signature was refused",
        "Answered 403; Twilio reports 31920 and goes on after </Connect>: the caller hears the apology.",
        "set PUBLIC_BASE_URL to the very address in the TwiML; to try by hand use `python -m server call`",
    ),
    Fault(
        "KAV-113",
        "A request for the media WebSocket is no WebSocket handshake",
        "Answered 400, 403 or 426; Twilio reports 31920.",
        "let the proxy pass Upgrade, Connection and the Sec-WebSocket headers through unchanged",
    ),
    Fault(
        "KAV-114",
        "The stream brought no call token, a used one, or a wrong one",
        "The stream is closed with 1008 before any AI is contacted; the caller hears the apology.",
        "connect through the TwiML of /webhook/incoming_call, which issues a token for 120 s and one use; "
        "`python -m server call` does so",
    ),
    Fault(
        "KAV-115",
        "The stream's audio is not μ-law 8000 Hz mono",
        "The stream is closed with 1008: played as it is, it would be noise.",
        "use <Connect><Stream> without audio format attributes",
    ),
    Fault(
        "KAV-116",
        "No start message came",
        "The WebSocket is closed after 5 s with 1008.",
        "connect a Twilio stream here, or `python -m server call`; health checks belong to /healthz",
    ),
    Fault(
        "KAV-121",
        "The caller's leg broke Twilio's protocol",
        "The message is dropped and counted; the call goes on.",
        "none is needed if Twilio sent it; a test client should send what Twilio documents",
    ),
    Fault(
        "KAV-122",
        "The caller's leg vanished",
        "No media came and no goodbye: the call is over for us and the model's session is closed.",
        "look at the network between Twilio and this host if it happens often (31901, 31903)",
    ),
    Fault(
        "KAV-123",
        "The caller's leg does not read what we send",
        "Audio could not be delivered for 5 s; the stream is closed.",
        "look for a stalled proxy between Twilio and this host",
    ),
    Fault(
        "KAV-131",
        "The model cannot be reached",
        "The caller hears the apology within seconds.",
        "check OPENAI_REALTIME_URL and this host's way out to it (DNS, TLS, firewall)",
    ),
    Fault(
        "KAV-132",
        "The model refused the key",
        "The caller hears the apology; trying again would not help.",
        "put a valid key with access to the Realtime API into OPENAI_API_KEY",
    ),
    Fault(
        "KAV-133",
        "The account of the model has no quota or is deactivated",
        "The caller hears the apology; trying again would not help.",
        "add credit, or raise the limit, at the model's provider",
    ),
    Fault(
        "KAV-134",
        "The model refused the session's settings",
        "Without them the model would speak 24 kHz PCM, which is noise on a telephone: the call ends "
        "with the apology instead.",
        "correct the field the message names; for an Azure preview endpoint set REALTIME_DIALECT=beta, "
        "for every other one ga",
    ),
    Fault(
        "KAV-135",
        "The model went away in the middle of a call",
        "The caller hears the apology.",
        "look at the close code in the line; 1001 after an hour is the model's session limit",
    ),
    Fault(
        "KAV-136",
        "The model reported an error",
        "The event it names had no effect; the call goes on.",
        "report it with the line's code and param if it repeats",
    ),
    Fault(
        "KAV-137",
        "The model gave no audio in time",
        "The caller would sit in silence: the call ends with the apology instead.",
        "check the model's name and the provider's status page",
    ),
    Fault(
        "KAV-138",
        "The model's audio came faster than a call can hold",
        "The rest of that answer is dropped.",
        "lower the length of answers (instructions, max tokens)",
    ),
    Fault(
        "KAV-139",
        "The model's address answers, but not for this model",
        "The caller hears the apology; trying again would not help.",
        "check OPENAI_REALTIME_MODEL (on Azure the deployment's name) and the path of OPENAI_REALTIME_URL",
    ),
    Fault(
        "KAV-140",
        "The model's provider limits the rate of calls",
        "The caller hears the apology; the next call may work.",
        "raise the rate limit at the provider, or lower MAX_CALLS",
    ),
    Fault(
        "KAV-141",
        "All lines are busy",
        "The caller hears a busy tone: MAX_CALLS calls are live.",
        "raise MAX_CALLS if this machine has room",
    ),
    Fault(
        "KAV-199",
        "A fault of our own",
        "That call ends with the apology; the others go on.",
        "report the traceback that follows",
    ),
)
