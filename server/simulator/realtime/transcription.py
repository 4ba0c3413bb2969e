"""What does the session tell of the words of one utterance?"""

from __future__ import annotations

from typing import Any

from server.simulator.realtime.turn import Transcript

Event = dict[str, Any]
_KIND = "conversation.item.input_audio_transcription"


def transcription_events(item_id: str, words: Transcript, audio_s: float) -> list[Event]:
    """Delta and completed; completed alone for no words; or failed. `audio_s` is what is billed."""
    place = {"item_id": item_id, "content_index": 0}
    if words.has_failed:
        message = "The audio could not be transcribed."
        error = {"type": "server_error", "code": "audio_unintelligible", "message": message, "param": None}
        return [{"type": f"{_KIND}.failed"} | place | {"error": error}]
    usage = {"type": "duration", "seconds": audio_s}
    completed = {"type": f"{_KIND}.completed"} | place | {"transcript": words.text, "usage": usage}
    delta = {"type": f"{_KIND}.delta"} | place | {"delta": words.text}
    return [delta, completed] if words.text else [completed]
