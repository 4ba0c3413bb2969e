"""`python -m server explain KAV-114`: the catalogue of faults, and Twilio's codes for them."""

from __future__ import annotations

import re
import sys

import click

from server.faults import FAULTS, Fault

_TWILIO_CODE = re.compile(r"\b[1-9][0-9]{4}\b")


@click.command()
@click.argument("fault_id", required=False)
def explain(fault_id: str | None) -> None:
    """Say what an error id means for the caller, and what to do. A number is a code of Twilio's.

    Without an id, list all. Exits with 1 when nothing is known of it.
    """
    if fault_id is None:
        for fault in FAULTS.values():
            click.echo(f"{fault.id}  {fault.title}")
        return
    wanted = fault_id.upper()
    told = [FAULTS[wanted]] if wanted in FAULTS else []
    if _TWILIO_CODE.fullmatch(wanted):
        from server.simulator.twilio.findings import MEANINGS

        told = [fault for fault in FAULTS.values() if wanted in _TWILIO_CODE.findall(fault.means + fault.fix)]
        if meaning := MEANINGS.get(int(wanted)):
            told.insert(0, Fault(wanted, "A code of Twilio's", *meaning))
    if not told:
        click.echo(f"{fault_id}: no such id here; `python -m server explain` lists all", err=True)
        sys.exit(1)
    for fault in told:
        click.echo(f"{fault.id}  {fault.title}\n  Means:  {fault.means}\n  Fix:    {fault.fix}")
