"""What of a model's text can be said aloud?

Models write for a screen whatever they are told: stars for emphasis, bullets, tables, links, emoji.
Read out, that is noise or nonsense. Letters and digits stay as they are, in their order; only a link's
address shrinks to its host, as people say it.
"""

from __future__ import annotations

import re
import unicodedata

_IMAGE_OR_LINK = re.compile(
    r"!?\[([^\[\]]{0,200})\]\((?:[^()\s]|\([^()\s]{0,200}\)){0,2000}(?:\s+\"[^\"]{0,200}\")?\)"
)
_URL = re.compile(r"(?:https?://(?:www\.)?|\bwww\.)([\w.-]+)(?::\d+)?(?:[/?#][^\s<>\"')\]]*)?", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,80}>")
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}\s+|>+\s*|[-*+•‣▪·–—]\s+)+")
_RULE = re.compile(r"^\s*[-*_=|:\s]{3,}$")
_CODE_FENCE = re.compile(r"^\s*(?:```|~~~)\w*\s*$")
_EMPHASIS = re.compile(r"(?<!\d)\*+|\*+(?!\d)|`+|~~|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_SPACES = re.compile(r"\s+")
_GAP_BEFORE_MARK = re.compile(r" +([,.;:!?])")
_SAID_SYMBOLS = "°№℃℉"
"""Of category So, like all emoji, but with a word of their own."""
_EMOJI_STYLE = "\ufe0e\ufe0f"
_UNSAID = ("So", "Sk", "Cc", "Cf", "Cs", "Co", "Cn", "Me")
"""Emoji and their modifiers; controls, also those of writing direction; halves of characters."""
_ENDS_BY_ITSELF = tuple(".!?…:;,׃")


def speakable(text: str) -> str:
    """One line to be spoken; empty when nothing of it has a sound."""
    lines = [line for raw in text.splitlines() if (line := _line(raw))]
    whole = [line if line.endswith(_ENDS_BY_ITSELF) else f"{line}." for line in lines[:-1]]
    joined = " ".join(whole + lines[-1:])
    return joined if any(map(str.isalnum, joined)) else ""


def _line(line: str) -> str:
    if _RULE.match(line) or _CODE_FENCE.match(line):
        return ""
    if line.lstrip().startswith("|"):
        line = line.strip().strip("|").replace("|", ",")
    line = _IMAGE_OR_LINK.sub(r"\1", line)
    line = _URL.sub(lambda found: found[1].rstrip(".") + _stop_of(found[0]), line)
    line = _TAG.sub(" ", line)
    line = _LINE_MARK.sub("", line)
    line = _EMPHASIS.sub("", _ESCAPE.sub(r"\1", line))
    line = "".join(_said(character) for character in line)
    return _GAP_BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", line)).strip()


def _stop_of(url: str) -> str:
    """The mark that ends the sentence, not the address."""
    return url[-1] if url[-1] in ".,;:!?" else ""


def _said(character: str) -> str:
    if character == "\t":
        return " "
    if character in _SAID_SYMBOLS:
        return character
    return "" if character in _EMOJI_STYLE or unicodedata.category(character) in _UNSAID else character
