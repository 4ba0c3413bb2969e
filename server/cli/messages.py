"""python -m server messages: what callers left, the newest first.

Reads the store that the gateway writes, beside it or without it. Words, names and numbers are a stranger's:
control characters are taken out, numbers are masked, and Hebrew is kept apart from the rest of its line.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.terminal import speak_utf8
from server.logs import clean, mask, mask_numbers

if TYPE_CHECKING:
    from server.store.caller_messages import CallerMessage

log = logging.getLogger(__name__)

UNREACHABLE = 3
FATAL_FAULTS = ("KAV-184", "KAV-186", "KAV-187")
"""The store cannot be read, or not all of it."""
MAX_CHARS = 10_000
_FSI, _PDI = "\u2068", "\u2069"  # Unicode's isolates: a text of its own direction


class _Warnings(logging.Handler):
    """What the store says of itself, each line once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines[mask(record.getMessage())] = None


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The latest N.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array on stdout.")
@click.option("--show-numbers", is_flag=True, help="Whole telephone numbers, not the last four digits alone.")
@click.option(
    "--database-url", envvar="DATABASE_URL", show_envvar=True, default="", help="As the gateway has it."
)
@click.option("--redis-url", envvar="REDIS_URL", show_envvar=True, default="", help="As the gateway has it.")
@click.pass_context
def messages(
    ctx: click.Context, limit: int, as_json: bool, show_numbers: bool, database_url: str, redis_url: str
) -> None:
    """List the messages that callers left, the newest first.

    Without options: those in ./kav.sqlite3, where a gateway started here keeps them (docs/stored-data.md).
    Exit code: 0 ok, 2 usage, 3 the store cannot be read.
    """
    speak_utf8()
    warnings = _Warnings()
    logging.getLogger().addHandler(warnings)
    found: list[CallerMessage] | None = None
    reason = ""
    try:
        found = _read(database_url, redis_url.strip(), limit)
    except FileNotFoundError as error:
        reason = str(error)
    finally:
        logging.getLogger().removeHandler(warnings)
    for line in filter(None, (*warnings.lines, reason)):
        click.echo(line, err=True)
    if found is None:
        ctx.exit(UNREACHABLE)
    is_failed = any(line.startswith(FATAL_FAULTS) for line in warnings.lines)
    if as_json:
        told = [as_fields(message, show_numbers=show_numbers) for message in found]
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    elif found:
        click.echo("\n".join(line for message in found for line in lines(message, show_numbers=show_numbers)))
    elif not is_failed:
        click.echo("no messages")
    ctx.exit(UNREACHABLE if is_failed else 0)


def _read(database_url: str, redis_url: str, limit: int) -> list[CallerMessage]:
    """Raises FileNotFoundError with words for people: opening the store would make an empty file instead."""
    from server.store.open_store import open_store  # eventlet: 0.2 s to import
    from server.store.store_urls import IN_MEMORY, database_warning, path_of

    if warning := database_warning(database_url):
        log.warning("%s", warning)
    path = path_of(database_url)
    is_file = path != IN_MEMORY and Path(path).is_file()
    if not is_file and not redis_url:
        if path == IN_MEMORY:
            raise FileNotFoundError(
                "DATABASE_URL=sqlite:// keeps messages in the gateway's memory only: nothing can be read here"
            )
        raise FileNotFoundError(
            f"no {path} here: run this where the gateway runs, or give its DATABASE_URL=sqlite:////path"
        )
    store = open_store(database_url if is_file else "sqlite://", redis_url)
    try:
        return store.messages(limit)
    finally:
        store.close()


def lines(message: CallerMessage, *, show_numbers: bool) -> list[str]:
    """A heading, then the words or where the recording is."""
    told = as_fields(message, show_numbers=show_numbers)
    when = "time unknown    " if told["noted_at"] is None else f"{_local(message.noted_at):%Y-%m-%d %H:%M}"
    who = [isolated(told[name] or "") for name in ("name", "number")]
    heading = "  ".join([when, *(part for part in who if part), f"[{isolated(told['business'] or '')}]"])
    body = [f"    {isolated(told['text'])}"] if told["text"] else []
    if told["recording_url"]:
        body.append(f"    recording: {told['recording_url']}")
    return [heading, *body]


def as_fields(message: CallerMessage, *, show_numbers: bool) -> dict[str, str | None]:
    """`noted_at` in UTC, None when it was not told; all else text, empty for nothing."""

    def shown(text: str) -> str:
        text = clean(text.replace("\t", " "), MAX_CHARS).strip()
        return text if show_numbers else mask_numbers(text)

    return {
        "noted_at": _utc(message.noted_at),
        "business": shown(message.business_id),
        "name": shown(message.name),
        "number": shown(message.number),
        "text": shown(message.text),
        "recording_url": clean(message.recording_url, MAX_CHARS),
        "call_sid": clean(message.call_sid),
    }


def isolated(text: str) -> str:
    """Hebrew inside a line that runs left to right neither moves its neighbours nor is moved by them."""
    is_rtl = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)
    return f"{_FSI}{text}{_PDI}" if is_rtl else text


def _utc(noted_at: float) -> str | None:
    if noted_at <= 0:
        return None
    return datetime.fromtimestamp(noted_at, UTC).isoformat(timespec="seconds")


def _local(noted_at: float) -> datetime:
    return datetime.fromtimestamp(noted_at, UTC).astimezone()
