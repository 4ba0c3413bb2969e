"""An app that asks Twilio's REST API from inside a worker, and says how long its hub was held.

The client is made at import, as in the gateway. `TIMEOUT_S` in the environment is its time-out.
"""

from __future__ import annotations

import os
import time

from flask import Flask

from server import green
from server.config import Settings
from server.errors import TwilioRestError
from server.services.twilio_rest import TwilioRest

settings = Settings.from_env(os.environ)
rest = TwilioRest(
    settings.twilio_account_sid,
    settings.twilio_auth_tokens[0],
    settings.twilio_api_url,
    float(os.environ.get("TIMEOUT_S", "5")),
)
app = Flask(__name__)
lag = green.HubLag()
lag.EVERY_S = 0.002  # looked at closely: what is due is never far away


@app.get("/healthz")
def healthz() -> str:
    lag.start()
    return "ready"


@app.get("/worst_ms")
def worst_ms() -> str:
    return str(lag.take_worst_s() * 1000)


@app.get("/update/<call_sid>")
def update(call_sid: str) -> dict[str, object]:
    print("ASKING", flush=True)
    began_at = time.monotonic()
    try:
        outcome = rest.update_call(call_sid, "<Response><Hangup/></Response>").status
    except TwilioRestError as error:
        outcome = error.fault_id
    return {"outcome": outcome, "took_s": time.monotonic() - began_at}
