"""Is this event what OpenAI's own client library takes it for?

The types of the `openai` package are the judge. They are built to forgive (unknown fields are kept,
values are coerced), so two things are added: JSON is validated strictly, and a field that no type
knows is an error, save for the few that the server really sends.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, get_args

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent, RealtimeSessionCreateResponse
from pydantic import BaseModel, TypeAdapter

_EXTRAS = {
    "session.id",
    "session.object",
    "session.expires_at",
    "item.content[].transcript",  # of a user's audio: present as null until transcribed
}


def parse_server_event(event: dict[str, Any]) -> BaseModel:
    """The typed event. Raises ValueError (pydantic's, or ours) for one the client would not understand."""
    found = _check(_server_types(), event)
    if event["type"] in ("session.created", "session.updated"):
        _strictly(RealtimeSessionCreateResponse, event["session"])
    return found


def validate_client_event(event: dict[str, Any]) -> BaseModel:
    """The typed command. Raises ValueError for one that the server would refuse for its shape."""
    return _check(_client_types(), event)


def _check(types: dict[str, type[BaseModel]], event: dict[str, Any]) -> BaseModel:
    kind = event.get("type")
    if kind not in types:
        raise ValueError(f"no event of type {kind!r}")
    found = _strictly(types[kind], event)
    unknown = {path for path in _extras(found, "") if re.sub(r"\[\d+\]", "[]", path) not in _EXTRAS}
    if unknown:
        raise ValueError(f"{kind} has fields that nobody knows: {', '.join(sorted(unknown))}")
    return found


def _strictly(model: type[BaseModel], value: Any) -> BaseModel:
    return _adapter(model).validate_json(json.dumps(value), strict=True)


@cache
def _adapter(model: type[BaseModel]) -> TypeAdapter[BaseModel]:
    return TypeAdapter(model)


@cache
def _server_types() -> dict[str, type[BaseModel]]:
    return _by_type(RealtimeServerEvent)


@cache
def _client_types() -> dict[str, type[BaseModel]]:
    return _by_type(RealtimeClientEvent)


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    """The members of an annotated union, by the literal of their `type`."""
    members = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


def _extras(value: Any, path: str) -> list[str]:
    if isinstance(value, BaseModel):
        inner = [_join(path, name) for name in value.model_extra or {}]
        for name in type(value).model_fields:
            inner += _extras(getattr(value, name), _join(path, name))
        return inner
    if isinstance(value, list):
        return [
            found for index, element in enumerate(value) for found in _extras(element, f"{path}[{index}]")
        ]
    return []


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
