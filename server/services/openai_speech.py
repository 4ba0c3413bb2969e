"""The pipelined mode's three requests: what was said, what to answer, and how it sounds.

OpenAI's HTTP API, or one that speaks like it: /audio/transcriptions, /chat/completions and
/audio/speech. Answers are streamed, so that the first sound does not wait for the last word. How the
bytes travel, deadlines and the one second try are `http_exchange`'s business.

What comes out of `speak` is played to a caller as it is. So its type is checked, and its beginning too:
a page, an error in JSON or a file of another format would be a burst of noise.
"""

from __future__ import annotations

import codecs
import io
import json
import ssl
import wave
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from urllib3 import encode_multipart_formdata

from server import green
from server.audio.g711 import SAMPLE_RATE_HZ
from server.errors import SpeechError, SpeechUnreachable, SpeechUnusable
from server.logs import clean, mask
from server.realtime.commands import voice_of
from server.services.chat_deltas import ChatDecoder, ChatDelta
from server.services.http_exchange import BETWEEN_BYTES_S, FIRST_BYTE_S, Exchange, Origin

TTS_RATE_HZ = 24000
MAX_INPUT_CHARS = 4096
"""Of one request to /audio/speech: its documented limit."""
LEAST_AUDIO_MS = 100
"""Shorter audio OpenAI refuses with audio_too_short."""
MAX_TRANSCRIPT_BYTES = 1 << 16
MAX_SEEN_BYTES = 1000
"""Of an answer that makes no sense, for the log."""
_JSON = "application/json"
_TRANSCRIPT_TYPES = frozenset({_JSON})
_CHAT_TYPES = frozenset({"text/event-stream"})
_PCM_TYPES = frozenset({"audio/pcm", "audio/raw", "audio/x-raw", "application/octet-stream"})
"""`audio/pcm` is OpenAI's, the others are what servers that speak like it call the same bytes. Not
`audio/l16`: its bytes come in the other order (RFC 3551), which is noise."""
_FILES = (b"RIFF", b"ID3\x03", b"ID3\x04", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")
"""How files begin that would be played as noise: WAV, MP3, Ogg, FLAC, WebM."""
_SNIFF_BYTES = 64
_LANGUAGES = {"he": "Hebrew", "en": "English"}


@dataclass(frozen=True, slots=True)
class SpeechEndpoint:
    """Where the three are asked, and which models answer."""

    base_url: str
    """With its version: https://api.openai.com/v1"""
    api_key: str = field(repr=False)
    stt_model: str
    llm_model: str
    tts_model: str
    voice: str
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    """For an https address: made once, see `model_dial.tls_context`."""

    @property
    def headers(self) -> dict[str, str]:
        """Both spellings of the key: Azure reads `api-key`, all others `Authorization`."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        if (urlsplit(self.base_url).hostname or "").endswith(".azure.com"):
            headers["api-key"] = self.api_key
        return headers


class Speech:
    """PCM16 at 24 kHz, whole samples, up to 8 kB at a time, as it is made. Iterate, then close.

    Iterating blocks the green thread, and raises SpeechRefused, SpeechUnusable or SpeechUnreachable;
    `close`, from whatever green thread, ends it and frees the connection at once.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._half = b""
        self._is_checked = False

    def __iter__(self) -> Speech:
        return self

    def __next__(self) -> bytes:
        while True:
            data = self._half + self._exchange.read()
            if not self._is_checked:
                data = self._checked(data)
            if self._exchange.is_given_up:
                raise StopIteration
            whole = len(data) - len(data) % 2
            self._half = data[whole:]
            if whole:
                return data[:whole]
            if self._exchange.is_over:
                raise StopIteration

    def _checked(self, data: bytes) -> bytes:
        """The beginning, once there is enough of it to judge. Raises SpeechUnusable if it is not PCM."""
        while len(data) < _SNIFF_BYTES and (more := self._exchange.read()):
            data += more
        if not self._exchange.is_given_up and (what := _wrong_audio(self._exchange.media_type, data)):
            self.close()
            raise SpeechUnusable("KAV-177", f"{what} in place of PCM", code="not_pcm")
        self._is_checked = True
        return data

    def close(self) -> None:
        self._exchange.close()

    def __enter__(self) -> Speech:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Chat:
    """An answer as it is written: text, whole function calls, and `Done`, always the last. Iterate, then
    close. Blocks, raises and is closed as `Speech` is."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._decoder = ChatDecoder()
        self._ready: deque[ChatDelta] = deque()

    def __iter__(self) -> Chat:
        return self

    def __next__(self) -> ChatDelta:
        while not self._ready:
            if self._decoder.is_done:
                self._exchange.drain()
            if self._exchange.is_over:
                raise StopIteration
            data = self._exchange.read()
            try:
                if data:
                    self._ready.extend(self._decoder.feed(data))
                elif not self._exchange.is_given_up:
                    self._ready.extend(self._decoder.finish())
            except SpeechError:
                self.close()
                raise
        return self._ready.popleft()

    def close(self) -> None:
        self._ready.clear()
        self._exchange.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OpenAISpeech:
    """One endpoint's client, made once at start; any green thread may call it, several at once."""

    def __init__(
        self,
        endpoint: SpeechEndpoint,
        first_byte_s: float = FIRST_BYTE_S,
        between_bytes_s: float = BETWEEN_BYTES_S,
    ) -> None:
        """Raises ConfigError for an https address without a TLS context."""
        self.endpoint = endpoint
        self._patience_s = (first_byte_s, between_bytes_s)
        self._origin = Origin(endpoint.base_url, endpoint.headers, endpoint.tls)

    def transcribe(self, pcm16_8k: bytes, language: str = "", deadline_s: float = FIRST_BYTE_S) -> str:
        """The words of an utterance, PCM16 at 8 kHz; empty for under a tenth of a second. Blocks up to
        `deadline_s`.

        Raises SpeechRefused, SpeechUnusable or SpeechUnreachable.
        """
        if len(pcm16_8k) < LEAST_AUDIO_MS * SAMPLE_RATE_HZ // 1000 * 2:
            return ""
        fields: dict[str, Any] = {
            "file": ("utterance.wav", _wav(pcm16_8k), "audio/wav"),
            "model": self.endpoint.stt_model,
            "response_format": "json",
        }
        if language:
            fields["language"] = language
        body, content_type = encode_multipart_formdata(fields)
        path = "/audio/transcriptions"
        exchange = Exchange(self._origin, path, body, content_type, _TRANSCRIPT_TYPES, deadline_s)
        answer = b""
        try:
            with exchange, green.deadline(deadline_s):
                while (data := exchange.read()) and len(answer) <= MAX_TRANSCRIPT_BYTES:
                    answer += data
        except TimeoutError:
            seen = f"{self._origin.host} {path} in {deadline_s:g} s"
            raise SpeechUnreachable("KAV-178", seen, code="timeout") from None
        return _text(answer)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        max_output_tokens: int | None = None,
        **more: Any,
    ) -> Chat:
        """Ask for an answer to `messages`; both they and `tools` are as /chat/completions has them, and
        so is `more` (`temperature`, `tool_choice`, …). Nothing is sent before the first iteration."""
        request: dict[str, Any] = {
            "model": self.endpoint.llm_model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            request["tools"] = list(tools)
        if max_output_tokens is not None:
            request["max_completion_tokens"] = max_output_tokens
        return Chat(self._exchange("/chat/completions", request | more, _CHAT_TYPES))

    def speak(self, text: str, voice: str = "", language: str = "") -> Speech:
        """Ask for `text` to be spoken. Raises ValueError for more than 4,096 characters. Nothing is sent
        before the first iteration."""
        if len(text) > MAX_INPUT_CHARS:
            raise ValueError(f"{len(text)} characters to speak at once; at most {MAX_INPUT_CHARS}")
        request: dict[str, Any] = {
            "model": self.endpoint.tts_model,
            "voice": voice_of(voice or self.endpoint.voice),
            "input": text,
            "response_format": "pcm",
        }
        if language in _LANGUAGES and not self.endpoint.tts_model.startswith("tts-1"):
            request["instructions"] = (
                f"Speak {_LANGUAGES[language]}, in a clear and friendly telephone voice."
            )
        return Speech(self._exchange("/audio/speech", request, _PCM_TYPES))

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        self._origin.close_idle()

    def _exchange(self, path: str, request: Mapping[str, Any], expects: frozenset[str]) -> Exchange:
        # Hostile text may hold half a character, which has no bytes in UTF-8.
        body = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
        return Exchange(self._origin, path, body, _JSON, expects, *self._patience_s)


def _wav(pcm16_8k: bytes) -> bytes:
    """OpenAI takes files only, never bare samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(pcm16_8k[: len(pcm16_8k) - len(pcm16_8k) % 2])
    return file.getvalue()


def _text(answer: bytes) -> str:
    try:
        text = json.loads(answer)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        seen = clean(mask(answer[:MAX_SEEN_BYTES].decode("utf-8", "replace"))) or "nothing"
        raise SpeechUnusable("KAV-177", f"no transcript but {seen}", code="not_understood")
    return text.strip()


def _wrong_audio(media_type: str, beginning: bytes) -> str:
    """What this is, if it is not PCM16 at 24 kHz; else empty."""
    rate = media_type.lower().partition("rate=")[2].partition(";")[0].strip(' "')
    if rate and rate != str(TTS_RATE_HZ):
        return f"audio of {clean(rate, 20)} Hz"
    if not beginning:
        return "nothing"
    if beginning.startswith(_FILES):
        return f"a file that begins with {beginning[:4]!r}"
    try:
        text, _ = codecs.utf_8_decode(beginning, "strict", False)  # the last character may be cut
    except UnicodeDecodeError:
        return ""
    is_text = all(character.isprintable() or character.isspace() for character in text)
    return f"text ({clean(mask(text))})" if is_text else ""
