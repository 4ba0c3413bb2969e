"""The load as a process: orders in as lines of JSON, answers out as lines of JSON.

First `{"core": N|null, "is_churn": …, "certificate": PATH|null, "key": PATH|null}`, answered with the
model's address; then one order, answered with what was measured, or with `{"failed": why}`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import ssl
import sys
from typing import Any

from server.simulator.load.caller_side import Target
from server.simulator.load.churn import Churn
from server.simulator.load.load import Load, LoadFailed, Order


def main() -> None:
    hello = _read()
    if hello["core"] is not None:
        os.sched_setaffinity(0, {hello["core"]})
    tls = None
    if hello["certificate"]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(hello["certificate"], hello["key"])
    load = Churn(tls) if hello["is_churn"] else Load(tls)
    _answer({"model_url": load.model.url})
    asked = _read()
    order = Order(target=Target(**asked.pop("target")), **asked)
    try:
        _answer(load.churn(order) if isinstance(load, Churn) else load.measure(order))
    except LoadFailed as failure:
        _answer({"failed": str(failure)})
    except OSError as error:
        _answer({"failed": f"the relay's process ended ({error.strerror})"})
    finally:
        load.close()


def _read() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:  # the bench was ended
        sys.exit(1)
    asked: dict[str, Any] = json.loads(line)
    return asked


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, default=dataclasses.asdict), flush=True)


if __name__ == "__main__":
    main()
