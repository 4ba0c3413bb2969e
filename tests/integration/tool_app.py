"""The app behind the tests of HTTP tools in a real worker: `POST /run` runs one, `/lag` tells of the hub.

TOOL_CA   authorities to trust, as a PEM file
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Sequence

from flask import Flask, request

from server import green
from server.business import Businesses
from server.business_tools import read_tool
from server.config import Settings
from server.services.http_tools import HttpToolClient, ToolContext
from server.services.public_pools import addresses_of
from server.toml_table import Table

app = Flask(__name__)
lag = green.HubLag()
business = Businesses.from_settings(Settings.from_env({}), None).default
tls = ssl.create_default_context(cafile=os.environ.get("TOOL_CA"))


def resolve(host: str, port: int) -> Sequence[str]:
    """What a name server under somebody else's hand may do."""
    if host == "slow.example":
        time.sleep(60)
    if host == "here.example":
        return ["127.0.0.1"]
    return addresses_of(host, port)


client = HttpToolClient(tls, resolve)


@app.get("/healthz")
def healthz() -> str:
    lag.start()
    return "ok"


@app.get("/lag")
def worst_lag() -> str:
    return str(lag.take_worst_s())


@app.post("/run")
def run() -> dict:
    asked = request.get_json()
    problems: list[str] = []
    tool = read_tool(Table(asked["tool"], problems, "tool"), "k" * 32)
    assert not problems, problems
    answer = client.run(tool, asked["arguments"], ToolContext("call_1", "CA1", business, "+972501234567"))
    return {
        "outcome": answer.outcome,
        "detail": answer.detail,
        "answer": answer.answer,
        "elapsed_ms": answer.elapsed_ms,
    }
