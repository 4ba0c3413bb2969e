"""Is this event an audio delta, so plain that nobody need parse it?

Half of what a model sends while it speaks are deltas of one shape. That shape is recognised here,
byte for byte; whatever differs is left to `events.decode`, which gives the same result.
"""

from __future__ import annotations

import re

from server.wire import base64text

_ID = rb'"([A-Za-z0-9_-]{1,64})"'
_SHAPE = (
    rb'\{"type":"response\.(?:output_)?audio\.delta","event_id":ID,"response_id":ID,"item_id":ID,'
    rb'"output_index":[0-9]{1,4},"content_index":[0-9]{1,4},"delta":"([A-Za-z0-9+/]+={0,2})"\}'
)
_match = re.compile(
    _SHAPE.replace(b'":', b'": ?').replace(b',"', b', ?"').replace(b"ID", _ID)  # some servers write a space
).fullmatch

PlainDelta = tuple[str, str, bytes]
"""Response id, item id, and the audio's bytes."""


def scan(text: bytes) -> PlainDelta | None:
    """The delta in `text`; None for every other event, and for a delta of another shape."""
    found = _match(text)
    if found is None:
        return None
    try:
        payload = base64text.decode(found[4])
    except ValueError:
        return None
    return found[2].decode("ascii"), found[3].decode("ascii"), payload
