"""How does an answer go over the wire? As chunks of a chat completion, a few letters each.

The shapes are those of OpenAI's server: a first chunk with the role, `usage: null` in all of them when
usage was asked for, and then one without a choice that has it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

from server.simulator.openai_http.script import Answer, Call, Text, Wait

DONE = b"data: [DONE]\n\n"


def events(answer: Answer, request: dict[str, Any], seed: int) -> Iterator[bytes | float]:
    """Server-sent events, and seconds to wait between them."""
    rng = random.Random(seed)
    options = request.get("stream_options") or {}
    head: dict[str, Any] = {
        "id": f"chatcmpl-{rng.randbytes(12).hex()}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": None,
    }
    has_usage = bool(options.get("include_usage"))

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if has_usage else {}
        noise = {} if options.get("include_obfuscation") is False else {"obfuscation": rng.randbytes(4).hex()}
        return _event(head | {"choices": [choice]} | usage | noise)

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    tokens = calls = 0
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or 1 << 30
    for part in answer:
        if isinstance(part, Wait):
            yield part.seconds
        elif isinstance(part, Text):
            for token in _tokens(part.text, rng):
                if tokens >= limit:
                    break
                tokens += 1
                yield chunk({"content": token})
        elif tokens < limit:
            for delta in _call(part, calls, rng):
                tokens += 1
                yield chunk({"tool_calls": [delta]})
            calls += 1
    yield chunk({}, "length" if tokens >= limit else "tool_calls" if calls else "stop")
    if has_usage:
        prompt_tokens = len(json.dumps(request["messages"])) // 4
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
        }
        yield _event(head | {"choices": [], "usage": usage})
    yield DONE


def _call(call: Call, index: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    function = {"name": call.name, "arguments": ""}
    yield {"index": index, "id": f"call_{rng.randbytes(12).hex()}", "type": "function", "function": function}
    for fragment in _tokens(call.arguments, rng):
        yield {"index": index, "function": {"arguments": fragment}}


def _tokens(text: str, rng: random.Random) -> Iterator[str]:
    """One to six characters each: as models do, without regard for words."""
    at = 0
    while at < len(text):
        size = rng.randint(1, 6)
        yield text[at : at + size]
        at += size


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
