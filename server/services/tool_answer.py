"""What came of asking a business's own computer: for the model to speak of, and for the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server.faults import FAULTS

MAX_ERROR_CHARS = 2000


class Outcome(StrEnum):
    OK = "ok"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    HTTP_ERROR = "http_error"
    REFUSED = "refused"
    """By us: the address is not one that requests may go to, or it redirects."""
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    BAD_ARGUMENTS = "bad_arguments"
    """No request was made: the model may try again."""


_FAULT_IDS = {
    Outcome.TIMEOUT: "KAV-161",
    Outcome.UNREACHABLE: "KAV-162",
    Outcome.HTTP_ERROR: "KAV-163",
    Outcome.REFUSED: "KAV-164",
    Outcome.TOO_LARGE: "KAV-165",
    Outcome.UNREADABLE: "KAV-166",
    Outcome.BAD_ARGUMENTS: "KAV-167",
}
_OFFER = "Tell the caller so, and offer to take a message."
_ADVICE = {
    Outcome.TIMEOUT: "The business's system did not answer in time; what was asked may have been done "
    f"all the same. {_OFFER}",
    Outcome.UNREACHABLE: f"The business's system cannot be reached now. {_OFFER}",
    Outcome.HTTP_ERROR: f"The business's system refused or failed. {_OFFER}",
    Outcome.REFUSED: f"The business's system is not available. {_OFFER}",
    Outcome.TOO_LARGE: f"The business's system answered more than can be read. Ask for less, or: {_OFFER}",
    Outcome.UNREADABLE: f"The business's system gave an answer that makes no sense. {_OFFER}",
    Outcome.BAD_ARGUMENTS: "The arguments do not fit the tool; nothing was asked. Correct them, asking the "
    "caller for what is missing, and call the tool again.",
}


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    tool: str
    outcome: Outcome
    detail: str = ""
    """What was seen, in one clean line without the address's path, the arguments or the answer."""
    answer: Any = None
    """JSON, or text; of an error what the other side said of it."""
    status: int = 0
    """HTTP's; 0 without an answer."""
    elapsed_ms: int = 0

    @property
    def is_ok(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def fault_id(self) -> str:
        """Empty when all went well."""
        return _FAULT_IDS.get(self.outcome, "")

    def log_line(self) -> str:
        seen = f"{self.tool}: {self.detail or self.outcome} after {self.elapsed_ms} ms"
        return FAULTS[self.fault_id].line(seen) if self.fault_id else seen

    def for_model(self) -> dict[str, Any]:
        """What the model is given as the tool's output."""
        if self.is_ok:
            return {"ok": True, "answer": self.answer}
        output: dict[str, Any] = {"ok": False, "error": self.outcome.value, "advice": _ADVICE[self.outcome]}
        if self.outcome is Outcome.BAD_ARGUMENTS:
            output["problem"] = self.detail
        if self.outcome is Outcome.HTTP_ERROR:
            output["status"] = self.status
            if self.answer is not None:
                output["answer"] = self.answer
        return output
