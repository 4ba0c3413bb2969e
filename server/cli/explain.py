"""`python -m server explain KAV-114`: the catalogue of faults, and Twilio's codes for them."""

from __future__ import annotations

import sys

import click

from server.faults import FAULTS


@click.command()
@click.argument("fault_id", required=False)
def explain(fault_id: str | None) -> None:
    """Say what an error id means for the caller, and what to do. A number is searched as Twilio's code.

    Without an id, list all. Exits with 1 when nothing is known of it.
    """
    if fault_id is None:
        for fault in FAULTS.values():
            click.echo(f"{fault.id}  {fault.title}")
        return
    wanted = fault_id.upper()
    found = (
        [FAULTS[wanted]]
        if wanted in FAULTS
        else [f for f in FAULTS.values() if wanted.isdigit() and wanted in f.means]
    )
    if not found:
        click.echo(f"{fault_id}: no such id here; `python -m server explain` lists all", err=True)
        sys.exit(1)
    for fault in found:
        click.echo(f"{fault.id}  {fault.title}\n  Means:  {fault.means}\n  Fix:    {fault.fix}")
