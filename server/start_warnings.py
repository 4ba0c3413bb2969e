"""What an operator is told at start beside `Settings.warnings`: what only the businesses show."""

from __future__ import annotations

from server.business import Businesses
from server.config import CallMode, Settings
from server.faults import FAULTS


def business_warnings(settings: Settings, businesses: Businesses) -> tuple[str, ...]:
    """One line each, with what to do.

    Text messages alone need Twilio's REST API: without it a transfer goes by the TwiML that follows the
    stream, and a hang-up by the end of it.
    """
    asking = [business for business in businesses.all if business.notify_number]
    missing = " and ".join(
        name
        for name, value in (
            ("TWILIO_ACCOUNT_SID", settings.twilio_account_sid),
            ("TWILIO_AUTH_TOKEN", settings.twilio_auth_tokens),
        )
        if not value
    )
    if not asking or not missing or settings.served_mode is CallMode.ECHO:
        return ()
    if settings.businesses_file:
        whose = f"notify_number of {', '.join(business.id for business in asking)}"
    else:
        whose = "NOTIFY_NUMBER"
    return (FAULTS["KAV-107"].line(f"{whose} is set without {missing}"),)
