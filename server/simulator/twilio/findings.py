"""What would Twilio's debugger have complained of, and what is to be done about it?

A finding carries Twilio's own number where there is one. The same complaint about a thousand
frames is one finding with a count of a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Finding:
    code: int | None
    """Of Twilio's error dictionary; None when Twilio itself stays silent about this fault."""
    text: str
    """What was seen and what was expected."""
    count: int = 1

    def line(self) -> str:
        """As one line: `31951 extra field media.track (×12) – the message is dropped – fix: …`."""
        times = f" (×{self.count})" if self.count > 1 else ""
        number = f"{self.code} " if self.code else ""
        means, fix = MEANINGS.get(self.code, ("", ""))
        return " – ".join(
            part for part in (f"{number}{self.text}{times}", means, fix and f"fix: {fix}") if part
        )


class Findings:
    """Findings in the order they were first seen, equal ones counted together."""

    def __init__(self) -> None:
        self._found: dict[tuple[int | None, str], Finding] = {}

    def add(self, code: int | None, text: str) -> None:
        self.extend((Finding(code, text),))

    def extend(self, findings: tuple[Finding, ...]) -> None:
        for new in findings:
            key = (new.code, new.text)
            known = self._found.get(key)
            self._found[key] = new if known is None else replace(known, count=known.count + new.count)

    def all(self) -> tuple[Finding, ...]:
        return tuple(self._found.values())


MEANINGS: dict[int | None, tuple[str, str]] = {
    11100: (
        "Twilio cannot request it and the caller hears an application error",
        "write the address as https://host/path",
    ),
    11200: (
        "the caller hears Twilio's application error",
        "look at this request in the gateway's log; Twilio wants a 2xx answer to its webhooks",
    ),
    11205: (
        "Twilio gives up after 15 s and the caller hears an application error",
        "check that the gateway runs, its address, and what stands between (firewall, tunnel, proxy)",
    ),
    11215: ("Twilio follows ten redirects at most", "answer the webhook at the address Twilio calls"),
    11220: (
        "Twilio does not trust the certificate and the caller hears an application error",
        "serve a complete chain of a public authority for this host name",
    ),
    11750: ("Twilio reads 64 kB of TwiML at most", "look at what was sent: usually an HTML error page"),
    12100: (
        "Twilio cannot read the document and the caller hears an application error",
        "send well-formed XML whose first byte is `<` and whose root is <Response>",
    ),
    12200: (
        "Twilio ignores what it does not know",
        "correct the name; verbs and attributes are case-sensitive",
    ),
    12300: ("Twilio does not take the answer for TwiML", "answer with Content-Type: text/xml"),
    13212: ("Twilio rings for 30 s instead", "write <Dial timeout> as whole seconds from 1 on"),
    13214: (
        "Twilio may refuse to ring with it",
        "show a number of this call, or one that Twilio has verified, as <Dial callerId>",
    ),
    13215: ("Twilio ignores what it does not know", "put <Number> into <Dial>"),
    13216: ("Twilio lets them talk for 4 hours", "write <Dial timeLimit> as whole seconds from 1 on"),
    13224: ("nobody is rung: DialCallStatus is failed", "write the number as +97231234567"),
    15003: ("Twilio logs a warning for each", "answer status callbacks with 204"),
    31901: (
        "no stream, the caller hears silence",
        "check that the host of the Stream url answers on its port",
    ),
    31902: (
        "no stream, the caller hears silence",
        "check the port of the Stream url and that the gateway runs",
    ),
    31903: (
        "the stream broke off without a goodbye",
        "look for a crash in the gateway's log, or for a proxy with an idle timeout",
    ),
    31904: ("no stream, the caller hears silence", "check the host name in PUBLIC_BASE_URL"),
    31910: (
        "no stream, the caller hears silence",
        "serve TLS with a public certificate on the port of the Stream url",
    ),
    31920: (
        "no stream: Twilio goes on after <Connect>",
        "check the path in the Stream url and that WebSocket upgrades reach the gateway",
    ),
    31922: ("Twilio refuses the stream", "use a wss:// address in <Stream url>"),
    31923: ("Twilio refuses the stream", "write <Stream url> as wss://host/path"),
    31924: ("Twilio ends the stream", "send whole RFC 6455 frames; a server never masks"),
    31930: (
        "Twilio drops the caller's words",
        "read the WebSocket without pause; look for work that blocks the gateway",
    ),
    31931: (
        "Twilio discards what does not fit into ten minutes of buffer",
        "send audio at about the pace of speech",
    ),
    31941: ("Twilio refuses the stream", "leave `track` out: inside <Connect> only inbound_track exists"),
    31950: ("Twilio ignores the message", "send text frames"),
    31951: (
        "Twilio ignores the message",
        "send exactly the fields of media, mark and clear, with the stream's own streamSid",
    ),
}
