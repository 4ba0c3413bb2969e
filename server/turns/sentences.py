"""Where can a text that is still being written be cut, so that its parts are spoken one after another?

Speech begins long before the text is complete: each piece goes to a voice while the model writes the
next. A cut inside a sentence is heard, and so is the wait for its end; the first piece alone may
therefore be a clause. A full stop ends a sentence only when a gap and a beginning follow: not in 12.5,
Mr. Levi, e.g. or ת.ד. 5. When in doubt there is no cut, for two sentences in one piece sound right.

Pieces do not depend on how the text arrived: a cut waits for the two characters that decide it. Pure.
"""

from __future__ import annotations

import re

from server.turns.speakable import speakable

MAX_CHARS = 300
"""Some 20 s of speech: the voice has begun to speak it long before, and an interruption wastes no more."""
FIRST_MAX_CHARS = 160
FIRST_CLAUSE_LETTERS = 14
"""About a second of speech: as long as the next piece takes to be made."""
MIN_LETTERS = 6
"""A shorter sentence ("Yes.") is spoken with the one that follows it."""

_CANDIDATE = re.compile(
    r"(?P<newline>\n)"
    r"|(?P<stop>[.!?…׃]+)(?P<closers>[\"'”’״׳»)\]}*_`~\u200e\u200f]{0,4})"
    r"|(?P<clause>[,;:–—]|(?<=\s)-(?=\s))"
)
_OPENERS = "([{\"'“‘„*_`"
_LETTERS_AND_DOTS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]$")
"""One letter, or several with dots between: J, e.g, U.S, ת.ד."""
_LIST_NUMBER = re.compile(r"(?:^|\n)\s*(?:[-*•]\s+)?\d{1,3}$")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof rev gen sen st jr sr vs etc approx dept est inc ltd co corp bros ave blvd rd min max "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun".split()
)
_BEFORE_NUMBERS = frozenset("no nos nr p pp fig sec ext tel vol art ch מס טל עמ".split())


class SentenceCutter:
    """One answer's text in deltas, out in pieces. `flush` ends it; then it is ready for the next."""

    def __init__(self) -> None:
        self._text = ""
        self._is_first = True

    def push(self, delta: str) -> list[str]:
        """The pieces, each one speakable line, that `delta` completes."""
        self._text += delta
        return self._pieces(is_final=False)

    def flush(self) -> list[str]:
        """All that is left."""
        pieces = self._pieces(is_final=True)
        self._text, self._is_first = "", True
        return pieces

    def _pieces(self, *, is_final: bool) -> list[str]:
        pieces: list[str] = []
        start = 0
        while (end := self._next_cut(start, is_final)) is not None:
            if piece := speakable(self._text[start:end]):
                pieces.append(piece)
                self._is_first = False
            start = end
        self._text = self._text[start:]
        return pieces

    def _next_cut(self, start: int, is_final: bool) -> int | None:
        """Where the piece that begins at `start` ends; None while that is not decided."""
        text = self._text
        while start < len(text) and text[start].isspace():
            start += 1
        limit = start + (FIRST_MAX_CHARS if self._is_first else MAX_CHARS)
        clause = start
        for found in _CANDIDATE.finditer(text, start, limit + 2):
            end = found.end()
            if end > limit:
                break
            follows = text[end : end + 2]
            if found["newline"]:
                if _letters(text, start, end) >= MIN_LETTERS:
                    return end
            elif not is_final and _is_open(follows):
                return None
            elif found["stop"]:
                if _ends_sentence(text, start, found, follows) and _letters(text, start, end) >= MIN_LETTERS:
                    return end
            elif follows[:1].isspace():
                clause = end
                if self._is_first and _letters(text, start, end) >= FIRST_CLAUSE_LETTERS:
                    return end
        if len(text) > limit:
            return clause if clause - start > (limit - start) // 3 else _word_end(text, start, limit)
        return len(text) if is_final and start < len(text) else None


def _letters(text: str, start: int, end: int) -> int:
    return sum(map(str.isalnum, text[start:end]))


def _is_open(follows: str) -> bool:
    """What follows a mark does not yet tell what the mark is."""
    return not follows or (len(follows) == 1 and follows.isspace() and follows != "\n")


def _ends_sentence(text: str, start: int, found: re.Match[str], follows: str) -> bool:
    """A stop with a gap after it, and neither an abbreviation's nor before a small letter."""
    if follows and not follows[0].isspace():
        return False
    if follows[1:].islower():
        return False
    if found["stop"] != ".":
        return True
    before = text[start : found.start()]
    if _LIST_NUMBER.search(before):
        return False
    word = before[before.rfind(" ") + 1 :].rpartition("\n")[2].lstrip(_OPENERS).casefold()
    if word in _BEFORE_NUMBERS:
        return not follows[1:].isdigit()
    return word not in _ABBREVIATIONS and not _LETTERS_AND_DOTS.match(word)


def _word_end(text: str, start: int, limit: int) -> int:
    """The last gap up to `limit`; without any, `limit` itself, for nobody's word is that long."""
    gap = max(text.rfind(" ", start + 1, limit + 1), text.rfind("\n", start + 1, limit + 1))
    return gap if gap > start else limit
