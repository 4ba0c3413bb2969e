"""The businesses that this process answers for, from the variables and the file they name."""

from __future__ import annotations

from pathlib import Path

from server.business import Businesses
from server.config import Settings
from server.errors import ConfigError
from server.faults import FAULTS

MAX_FILE_BYTES = 1 << 20


def read_businesses(settings: Settings) -> Businesses:
    """Raises ConfigError that says what of BUSINESSES_FILE cannot be used."""
    if not settings.businesses_file:
        return Businesses.from_settings(settings, None)
    path = Path(settings.businesses_file)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(FAULTS["KAV-169"].line(f"{path} is larger than {MAX_FILE_BYTES} bytes"))
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(FAULTS["KAV-169"].line(f"{path}: {error.strerror or error}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(FAULTS["KAV-169"].line(f"{path} is not UTF-8")) from error
    return Businesses.from_settings(settings, text)
