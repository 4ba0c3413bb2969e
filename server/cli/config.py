"""`python -m server config`: what this process would run with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import click

from server import __version__
from server.business import Businesses
from server.businesses_file import read_businesses
from server.config import Settings, mask, variables
from server.errors import ConfigError
from server.start_warnings import business_warnings
from server.status import checklist
from server.store.store_urls import database_warning, redis_warning


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
@click.option("--banner", is_flag=True, help="The few lines shown at start.")
def config(as_json: bool, banner: bool) -> None:
    """Print every variable with its value, source, unit and meaning; secrets are masked.

    Exits with 2 when a value cannot be used; what is used in a way of ours instead is a warning.
    """
    try:
        settings = Settings.from_env(os.environ)
        businesses = read_businesses(settings)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    warnings = [*settings.warnings, *business_warnings(settings, businesses)]
    warnings += filter(None, (database_warning(settings.database_url), redis_warning(settings.redis_url)))
    if banner:
        _banner(settings, businesses, warnings)
    elif as_json:
        rows = {row.pop("variable"): row for row in _rows(settings)}
        click.echo(json.dumps({"variables": rows, "warnings": warnings}, ensure_ascii=False, indent=2))
    else:
        for row in _rows(settings):
            unit = f" ({row['unit']})" if row["unit"] else ""
            click.echo(f"{row['variable']:29} {row['value']}   [{row['source']}]")
            click.echo(f"{'':29} {row['meaning']}{unit}")
        for warning in warnings:
            click.echo(f"! {warning}", err=True)


def _rows(settings: Settings) -> list[dict[str, str]]:
    rows = []
    for spec in variables():
        name = spec.metadata["variable"]
        value = getattr(settings, spec.name)
        if spec.metadata["secret"]:
            secrets = value if isinstance(value, tuple) else (value,) if value else ()
            shown = "; ".join(mask(secret) for secret in secrets) or "not set"
        elif isinstance(value, bool):
            shown = "1" if value else "0"
        else:
            shown = str(value) or "empty"
        rows.append(
            {
                "variable": name,
                "value": shown,
                "source": settings.sources.get(name, "default"),
                "unit": spec.metadata["unit"],
                "meaning": spec.metadata["doc"],
            }
        )
    return rows


def _banner(settings: Settings, businesses: Businesses, warnings: Sequence[str]) -> None:
    click.echo(f"\n  Kav {__version__}  ·  http://127.0.0.1:{settings.port}\n")
    for check in checklist(settings, "en"):
        step = f"   → {check.step}" if check.step else ""
        click.echo(f"  {check.name:10}{check.state}{step}")
    if settings.businesses_file:
        names = ", ".join(business.name or business.id for business in businesses.all)
        click.echo(f"  {'Businesses':10}{names}")
    for warning in warnings:
        click.echo(f"  ! {warning}")
    click.echo("\n  Try it now, without a phone:")
    click.echo(f"    {_python()} -m server call --wav tests/data/hebrew_question.wav --out out.wav")
    click.echo("  Ctrl-C lets calls finish.\n")


def _python() -> str:
    relative = os.path.relpath(sys.executable)
    return relative if not relative.startswith("..") else "python"
