"""What did a caller leave for the business? A message, as it is kept until somebody deletes it.

The words and the number are a caller's: personal, and hostile text. They stand in the store alone, in no
log.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

MAX_TEXT_CHARS = 10_000
MAX_FIELD_CHARS = 500


@dataclass(frozen=True, slots=True)
class CallerMessage:
    text: str = field(repr=False)
    call_sid: str
    business_id: str
    noted_at: float
    """Unix seconds."""
    name: str = field(default="", repr=False)
    number: str = field(default="", repr=False)
    """E.164, as far as the caller's number is known."""
    recording_url: str = ""
    """At Twilio; empty when the message was told to the agent."""

    def bounded(self) -> CallerMessage:
        """The same with each text cut to what is kept, and without halves of surrogate pairs."""
        return CallerMessage(
            text=_cut(self.text, MAX_TEXT_CHARS),
            call_sid=_cut(self.call_sid),
            business_id=_cut(self.business_id),
            noted_at=self.noted_at if 0 <= self.noted_at < 1e11 else 0.0,
            name=_cut(self.name),
            number=_cut(self.number),
            recording_url=_cut(self.recording_url),
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CallerMessage:
        """What `to_json` gave. Raises ValueError for everything else."""
        try:
            record = json.loads(text)
            message = cls(**record)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"no message: {error}") from None
        for spec in dataclasses.fields(cls):
            value = getattr(message, spec.name)
            if not isinstance(value, (int, float) if spec.name == "noted_at" else str):
                raise ValueError(f"no message: {spec.name} is {type(value).__name__}")
        return message


def _cut(text: str, max_chars: int = MAX_FIELD_CHARS) -> str:
    return text[:max_chars].encode("utf-8", "replace").decode()
