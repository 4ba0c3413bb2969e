"""What can be said without any AI service? The recorded prompts, in each language.

`static/prompts/prompts.json` names them: language → name → text, file, duration and SHA-256. The
audio is headerless G.711 μ-law at 8 kHz and is read once, checked and kept (500 KB in all).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from server.errors import AudioFileError

PROMPTS_FOLDER = Path(__file__).resolve().parents[1] / "static" / "prompts"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One recording."""

    text: str
    payload: bytes
    """μ-law, 8 kHz mono, whole 20 ms frames."""


class Prompts:
    """All recordings, by language (`he`, `en`) and name (`greeting`, `digit_7`)."""

    def __init__(self, prompts: dict[str, dict[str, Prompt]]) -> None:
        self._prompts = prompts

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self._prompts)

    def names(self, language: str) -> tuple[str, ...]:
        """Empty for a language there is nothing in."""
        return tuple(self._prompts.get(language, ()))

    def get(self, language: str, name: str) -> Prompt:
        """Raises AudioFileError, naming what there is, for a language or name that is not."""
        if language not in self._prompts:
            raise AudioFileError(
                f"no prompts in {language!r}; there are {', '.join(self._prompts) or 'none'}"
            )
        names = self._prompts[language]
        if name not in names:
            raise AudioFileError(
                f"no prompt {name!r} in {language!r}; there are {', '.join(names) or 'none'}"
            )
        return names[name]


def load_prompts(folder: Path = PROMPTS_FOLDER) -> Prompts:
    """Read and check every prompt. Raises AudioFileError, which says what to do."""
    index = folder / "prompts.json"
    remedy = "Restore static/prompts, or make it again: python tools/render_prompts.py"
    try:
        entries = json.loads(index.read_text("utf-8"))
        return Prompts(
            {
                language: {name: _read(folder, entry) for name, entry in names.items()}
                for language, names in entries.items()
            }
        )
    except OSError as error:
        raise AudioFileError(f"{error.filename or index}: {error.strerror or error}. {remedy}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AudioFileError(f"{index}: not the list of prompts ({error!r}). {remedy}") from error


def _read(folder: Path, entry: dict[str, str]) -> Prompt:
    payload = (folder / entry["file"]).read_bytes()
    if hashlib.sha256(payload).hexdigest() != entry["sha256"]:
        raise AudioFileError(
            f"{folder / entry['file']}: not the recording that prompts.json describes (its SHA-256 differs)"
        )
    return Prompt(entry["text"], payload)
