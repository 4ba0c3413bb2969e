"""A telephone voice relay as samples usually write it, with asyncio and the websockets library.

A yardstick for `python -m server bench`, not a product: JSON in, JSON out, a mark after every delta; no
signature, no token, no voice detection, no pacing, no limits. PORT, OPENAI_REALTIME_URL and
OPENAI_API_KEY are its settings. The library's server answers nothing but GET, so the webhook is one.
"""

from __future__ import annotations

import asyncio
import json
import os
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PORT = int(os.environ["PORT"])
MODEL_URL = os.environ["OPENAI_REALTIME_URL"]
MODEL_KEY = os.environ["OPENAI_API_KEY"]

SESSION = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "Answer briefly.",
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
}


class Call:
    """One call: two sockets, one coroutine reading each."""

    def __init__(self, caller: ServerConnection, model: ClientConnection) -> None:
        self._caller = caller
        self._model = model
        self._stream_sid = ""
        self._timestamp_ms = 0
        self._response_began_ms: int | None = None
        self._last_item: str | None = None
        self._marks: list[str] = []

    async def run(self) -> None:
        await self._to_model({"type": "session.update", "session": SESSION})
        greeting = {"instructions": "Greet the caller."}
        await self._to_model({"type": "response.create", "response": greeting})
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read_model())
            try:
                await self._read_caller()
            finally:
                reader.cancel()

    async def _read_caller(self) -> None:
        async for text in self._caller:
            message = json.loads(text)
            match message["event"]:
                case "media":
                    self._timestamp_ms = int(message["media"]["timestamp"])
                    audio = message["media"]["payload"]
                    await self._to_model({"type": "input_audio_buffer.append", "audio": audio})
                case "start":
                    self._stream_sid = message["start"]["streamSid"]
                case "mark":
                    if self._marks:
                        self._marks.pop(0)
                case "stop":
                    return

    async def _read_model(self) -> None:
        try:
            async for text in self._model:
                event = json.loads(text)
                if event["type"] == "response.output_audio.delta":
                    await self._to_caller("media", media={"payload": event["delta"]})
                    if self._response_began_ms is None:
                        self._response_began_ms = self._timestamp_ms
                    self._last_item = event["item_id"]
                    await self._to_caller("mark", mark={"name": "responsePart"})
                    self._marks.append("responsePart")
                elif event["type"] == "input_audio_buffer.speech_started":
                    await self._barge_in()
        except ConnectionClosed:
            pass
        finally:
            await self._caller.close()

    async def _barge_in(self) -> None:
        if not self._marks or self._response_began_ms is None:
            return
        await self._to_model(
            {
                "type": "conversation.item.truncate",
                "item_id": self._last_item,
                "content_index": 0,
                "audio_end_ms": self._timestamp_ms - self._response_began_ms,
            }
        )
        await self._to_caller("clear")
        self._marks.clear()
        self._last_item = self._response_began_ms = None

    async def _to_model(self, event: dict[str, Any]) -> None:
        await self._model.send(json.dumps(event))

    async def _to_caller(self, event: str, **fields: Any) -> None:
        await self._caller.send(json.dumps({"event": event, "streamSid": self._stream_sid, **fields}))


async def serve_call(caller: ServerConnection) -> None:
    try:
        async with connect(MODEL_URL, additional_headers={"Authorization": f"Bearer {MODEL_KEY}"}) as model:
            await Call(caller, model).run()
    except ConnectionClosed:
        pass  # either side has hung up


def answer_webhook(connection: ServerConnection, request: Request) -> Response | None:
    path = request.path.partition("?")[0]
    if path == "/media-stream":
        return None
    if path != "/webhook/incoming_call":
        return connection.respond(HTTPStatus.OK, "ok\n")
    host = request.headers["Host"]
    response = connection.respond(
        HTTPStatus.OK,
        '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
        f'<Stream url="wss://{host}/media-stream"/></Connect></Response>',
    )
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "text/xml"
    return response


async def main() -> None:
    async with serve(serve_call, "127.0.0.1", PORT, process_request=answer_webhook) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
