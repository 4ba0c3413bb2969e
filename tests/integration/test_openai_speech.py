"""The pipelined mode's requests against the simulated service, over real sockets, plain and TLS."""

from __future__ import annotations

import audioop
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.audio.transcription_create_params import TranscriptionCreateParamsNonStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from server.audio.resample import TelephoneDownsampler
from server.errors import ConfigError, SpeechError, SpeechRefused, SpeechUnreachable, SpeechUnusable
from server.prompts import load_prompts
from server.services.chat_deltas import ChatDelta, Done, TextDelta, ToolCall
from server.services.openai_speech import OpenAISpeech, SpeechEndpoint
from server.simulator.load.certificates import Certificates
from server.simulator.openai_http.script import Script, read_script
from server.simulator.openai_http.server import OpenAIHttpServer
from tests.integration.calls import KEY, eventually, speech
from tests.integration.papers import make_papers

FAST = 400.0
PATIENCE_S = 5.0
HELLO = [{"role": "user", "content": "שלום, מתי אתם פתוחים היום?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "end_call",
        "description": "Hang up.",
        "parameters": {"type": "object", "properties": {}},
    },
}
SENTENCE = "שלום, איך אפשר לעזור?"
ASKS = ("transcriptions", "chat", "speech")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_papers(tmp_path_factory.mktemp("tls"))


def server_tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context


_made: list[OpenAISpeech] = []


@pytest.fixture(autouse=True)
def _close_clients() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def client(server: OpenAIHttpServer | str, ca: Path | None = None, **patience: float) -> OpenAISpeech:
    base_url = server if isinstance(server, str) else server.base_url
    _made.append(OpenAISpeech(endpoint(base_url, ca), **patience))
    return _made[-1]


def endpoint(base_url: str, ca: Path | None = None) -> SpeechEndpoint:
    tls = ssl.create_default_context(cafile=str(ca)) if ca else None
    return SpeechEndpoint(base_url, KEY, "gpt-transcribe", "gpt-6-luna", "gpt-4o-mini-tts", "marin", tls)


def ask(api: OpenAISpeech, what: str) -> Any:
    """All that comes, of whichever request."""
    if what == "transcriptions":
        return api.transcribe(bytes(16000), "he", deadline_s=PATIENCE_S)
    stream: Any = api.chat(HELLO) if what == "chat" else api.speak(SENTENCE)
    with stream:
        return list(stream)


def simulator(*faults: str, **options: Any) -> OpenAIHttpServer:
    return OpenAIHttpServer(faults=faults, speed=options.pop("speed", FAST), use_espeak=False, **options)


def script(**fields: Any) -> Script:
    return read_script(fields)


# What goes over the wire


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_a_turn_makes_three_requests_on_one_connection(certificates: Certificates, is_tls: bool) -> None:
    heard = "שלום, מתי אתם פתוחים היום?"
    told = script(hears=[heard], answers=[[{"text": "היום מתשע עד חמש."}, {"prompt": "he/goodbye"}]])
    tls = server_tls(certificates) if is_tls else None
    with simulator(script=told, tls=tls) as server:
        api = client(server, certificates.ca if is_tls else None)
        pcm = audioop.ulaw2lin(speech("hebrew_question"), 2)
        assert api.transcribe(pcm, "he") == heard
        deltas = list(api.chat([{"role": "system", "content": "ענו בקצרה."}, *HELLO], [TOOL]))
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)).startswith("היום מתשע")
        assert b"".join(api.speak(SENTENCE, language="he"))
        assert [request.endpoint for request in server.served] == list(ASKS)
        eventually(lambda: all(request.is_whole for request in server.served))
        assert server.connections_total == 1
        api.close()
        eventually(lambda: server.connections_open == 0, PATIENCE_S)


@pytest.mark.parametrize(
    ("params", "what"),
    [
        (TranscriptionCreateParamsNonStreaming, "transcriptions"),
        (CompletionCreateParamsStreaming, "chat"),
        (SpeechCreateParams, "speech"),
    ],
    ids=ASKS,
)
def test_every_request_is_one_that_openai_s_own_types_know(params: Any, what: str) -> None:
    with simulator() as server:
        api = client(server)
        if what == "chat":
            list(api.chat(HELLO, [TOOL], max_output_tokens=200, tool_choice="auto"))
        elif what == "speech":
            list(api.speak(SENTENCE, "cedar", "he"))
        else:
            ask(api, what)
        request = server.served[0].request
    assert set(request) <= set(params.__annotations__)
    if what != "transcriptions":  # a form's fields are all texts, and its file stands beside them
        TypeAdapter(params).validate_json(json.dumps(request), strict=True)
    assert request["model"] == {"chat": "gpt-6-luna", "speech": "gpt-4o-mini-tts"}.get(what, "gpt-transcribe")


def test_the_key_goes_along_and_into_no_text() -> None:
    with simulator("401") as server:
        api = client(server)
        with pytest.raises(SpeechRefused) as caught:
            ask(api, "chat")
        assert server.served[0].authorization == f"Bearer {KEY}"
    assert KEY not in f"{caught.value} {caught.value!r} {api.endpoint!r}"


def test_what_is_spoken_is_what_was_recorded() -> None:
    prompt = load_prompts().get("he", "greeting_short")
    with simulator() as server:
        down = TelephoneDownsampler(24000)
        chunks = list(client(server).speak(prompt.text))
    assert all(chunk and len(chunk) % 2 == 0 and len(chunk) <= 8192 for chunk in chunks)
    telephone = b"".join(map(down.push, chunks)) + down.flush()
    recorded = audioop.ulaw2lin(prompt.payload, 2)
    assert len(telephone) == len(recorded)
    difference = audioop.add(telephone, audioop.mul(recorded, 2, -1), 2)
    assert audioop.rms(difference, 2) < audioop.rms(recorded, 2) / 30


def test_an_utterance_of_less_than_a_tenth_of_a_second_is_not_sent() -> None:
    with simulator() as server:
        assert client(server).transcribe(bytes(1598), "he") == ""
        assert server.served == []


def test_function_calls_come_whole_and_after_the_text() -> None:
    arguments = {"name": 'דנה "כ"', "message": "תחזרו אליי"}
    told = script(
        answers=[
            [{"text": "רגע."}, {"call": "take_message", "arguments": arguments}, {"call": "end_call"}],
            [{"text": "נרשם."}],
        ]
    )
    with simulator(script=told) as server:
        api = client(server)
        *texts, first, second, done = api.chat(HELLO, [TOOL])
        assert "".join(delta.text for delta in texts if isinstance(delta, TextDelta)) == "רגע."
        assert isinstance(first, ToolCall) and isinstance(second, ToolCall)
        assert (first.name, json.loads(first.arguments)) == ("take_message", arguments)
        assert (second.name, second.arguments) == ("end_call", "{}")
        assert isinstance(done, Done) and done.finish_reason == "tool_calls"
        assert done.input_tokens > 0 and done.output_tokens > 0
        history = [*HELLO, _assistant(first, second), _output(first), _output(second)]
        assert _text(list(api.chat(history, [TOOL]))) == "נרשם."


def _assistant(*calls: ToolCall) -> dict[str, Any]:
    function_calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    return {"role": "assistant", "content": None, "tool_calls": function_calls}


def _output(call: ToolCall) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.call_id, "content": "ok"}


def _text(deltas: list[ChatDelta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def test_text_comes_while_it_is_written() -> None:
    with simulator(script=script(answers=[[{"text": "ראשון. "}, {"wait": 0.5}, {"text": "שני."}]])) as server:
        with client(server).chat(HELLO) as stream:
            assert isinstance(next(stream), TextDelta)
            assert not server.served[0].is_whole
            assert _text(list(stream)).endswith("שני.")


def test_an_https_address_needs_a_context_made_before() -> None:
    with pytest.raises(ConfigError, match="TLS context"):
        OpenAISpeech(endpoint("https://api.openai.com/v1"))


def test_too_long_a_text_is_our_own_mistake() -> None:
    with simulator() as server, pytest.raises(ValueError, match="4096"):
        client(server).speak("א" * 4097)


# What goes wrong


@pytest.mark.parametrize("what", ASKS)
@pytest.mark.parametrize(
    ("fault", "error", "fault_id", "code", "requests"),
    [
        ("401", SpeechRefused, "KAV-172", "invalid_api_key", 1),
        ("404", SpeechRefused, "KAV-174", "model_not_found", 1),
        ("quota", SpeechRefused, "KAV-173", "insufficient_quota", 1),
        ("429", SpeechRefused, "KAV-175", "rate_limit_exceeded", 2),
        ("429=2.5", SpeechRefused, "KAV-175", "rate_limit_exceeded", 1),
        ("409", SpeechUnreachable, "KAV-171", "conflict", 2),
        ("500", SpeechUnreachable, "KAV-171", "server_error", 2),
        ("503", SpeechUnreachable, "KAV-171", "overloaded", 2),
        ("drop", SpeechUnreachable, "KAV-171", "unreachable", 2),
        ("html", SpeechUnusable, "KAV-177", "wrong_content_type", 1),
        ("text", SpeechUnusable, "KAV-177", "wrong_content_type", 1),
        ("cut", SpeechUnreachable, "KAV-177", "broken_off", 1),
    ],
)
def test_every_fault_has_its_error(
    what: str, fault: str, error: type[SpeechError], fault_id: str, code: str, requests: int
) -> None:
    with simulator(f"{what}:{fault}") as server:
        began_at = time.monotonic()
        with pytest.raises(error) as caught:
            ask(client(server), what)
        assert (caught.value.fault_id, caught.value.code) == (fault_id, code)
        assert len(server.served) == requests, "one second try in all, and none where it would not help"
        assert time.monotonic() - began_at < 1.5
        eventually(lambda: server.connections_open == 0, PATIENCE_S)


@pytest.mark.parametrize("what", ASKS)
@pytest.mark.parametrize("fault", ["500x1", "503x1", "409x1", "429x1", "429=0.4x1", "dropx1"])
def test_what_passes_is_tried_once_more(what: str, fault: str) -> None:
    with simulator(f"{what}:{fault}") as server:
        began_at = time.monotonic()
        assert ask(client(server), what)
        assert len(server.served) == 2
        assert time.monotonic() - began_at >= (0.4 if "=" in fault else 0.1)


@pytest.mark.parametrize("what", ASKS)
def test_an_error_in_json_is_no_answer_although_the_status_is_200(what: str) -> None:
    with simulator("json") as server, pytest.raises(SpeechUnusable) as caught:
        ask(client(server), what)
    assert caught.value.fault_id == "KAV-177"
    assert len(server.served) == 1


@pytest.mark.parametrize("fault", ["json", "html", "text", "disguised", "empty", "401", "500", "quota"])
def test_nothing_but_sound_comes_out_of_speak(fault: str) -> None:
    with simulator(fault) as server:
        chunks = []
        with pytest.raises(SpeechError):
            chunks.extend(client(server).speak(SENTENCE))
        assert chunks == []


@pytest.mark.parametrize("what", ["transcriptions", "chat"])
@pytest.mark.parametrize("fault", ["disguised", "empty"])
def test_an_answer_that_makes_no_sense_is_told_apart_from_none(what: str, fault: str) -> None:
    with simulator(f"{what}:{fault}") as server, pytest.raises((SpeechUnusable, SpeechUnreachable)) as caught:
        ask(client(server), what)
    assert caught.value.fault_id == "KAV-177"
    assert len(server.served) == 1


def test_what_came_before_the_answer_broke_off_is_kept() -> None:
    told = script(answers=[[{"text": "משפט ראשון שלם. " * 10}]])
    with simulator("cut", script=told) as server:
        api = client(server)
        spoken: list[bytes] = []
        with pytest.raises(SpeechUnreachable):
            spoken.extend(api.speak(SENTENCE))
        assert spoken
        written: list[ChatDelta] = []
        with pytest.raises(SpeechUnreachable):
            written.extend(api.chat(HELLO))
        assert _text(written).startswith("משפט ראשון שלם.")
        assert not any(isinstance(delta, Done) for delta in written)


@pytest.mark.parametrize("what", ASKS)
@pytest.mark.parametrize("fault", ["never", "slow=9"])
def test_silence_ends_after_the_first_byte_s_deadline(what: str, fault: str) -> None:
    with simulator(f"{what}:{fault}") as server:
        api = client(server, first_byte_s=0.6)
        began_at = time.monotonic()
        with pytest.raises(SpeechUnreachable) as caught:
            if what == "transcriptions":
                api.transcribe(bytes(16000), "he", deadline_s=0.6)
            else:
                ask(api, what)
        assert caught.value.fault_id == "KAV-178"
        assert 0.5 < time.monotonic() - began_at < 2.5
        assert len(server.served) == 1, "a second try would be late too"
        eventually(lambda: server.connections_open == 0, PATIENCE_S)


@pytest.mark.parametrize("what", ["chat", "speech"])
def test_silence_in_the_middle_ends_too(what: str) -> None:
    with simulator(f"{what}:stall") as server:
        began_at = time.monotonic()
        with pytest.raises(SpeechUnreachable, match="in the middle") as caught:
            ask(client(server, between_bytes_s=0.4), what)
        assert caught.value.fault_id == "KAV-178"
        assert 0.4 <= time.monotonic() - began_at < 1.5
        eventually(lambda: server.connections_open == 0, PATIENCE_S)


def test_slow_is_not_too_slow() -> None:
    with simulator("slow=0.5") as server:
        assert ask(client(server), "speech")


def test_an_address_where_nobody_listens() -> None:
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        api = client(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        began_at = time.monotonic()
        with pytest.raises(SpeechUnreachable) as caught:
            ask(api, "chat")
    assert caught.value.fault_id == "KAV-171"
    assert time.monotonic() - began_at < 1


def test_an_address_that_takes_no_connection_costs_no_more_than_the_deadline() -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        api = client(f"http://127.0.0.1:{full.getsockname()[1]}/v1", first_byte_s=1.0)
        began_at = time.monotonic()
        with pytest.raises(SpeechUnreachable):
            ask(api, "chat")
        assert time.monotonic() - began_at < 2
        for filler in fillers:
            filler.close()


def test_a_certificate_nobody_vouches_for_is_refused(certificates: Certificates) -> None:
    with simulator(tls=server_tls(certificates)) as server:
        stranger = SpeechEndpoint(
            server.base_url, KEY, "stt", "llm", "tts", "marin", ssl.create_default_context()
        )
        with pytest.raises(SpeechUnreachable, match="certificate verify failed"):
            ask(OpenAISpeech(stranger), "chat")
        assert server.served == []


def test_a_request_that_is_refused_for_what_it_says_names_the_field() -> None:
    with simulator() as server:
        with pytest.raises(SpeechRefused, match="voice") as caught:
            list(client(server).speak(SENTENCE, voice="nobody"))
        assert caught.value.fault_id == "KAV-176"
        with pytest.raises(SpeechRefused, match="tool_call"):
            list(client(server).chat([{"role": "tool", "tool_call_id": "call_1", "content": "x"}]))


def test_a_connection_that_was_closed_meanwhile_costs_no_try() -> None:
    with simulator() as server:
        api = client(server)
        assert ask(api, "chat")
        port = server.port
    with OpenAIHttpServer(port=port, faults=["chat:500x1"], speed=FAST, use_espeak=False) as again:
        assert ask(api, "chat"), "the fault is still tried once more"
        assert len(again.served) == 2


def test_a_kept_connection_that_breaks_at_once_costs_no_try() -> None:
    with simulator() as server:
        api = client(server)
        assert ask(api, "chat")
        server.add_fault("chat:dropx1")
        server.add_fault("chat:500x2")  # of which the first comes with the drop
        assert ask(api, "chat")
        assert [request.status for request in server.served] == [200, 0, 500, 200]


@contextmanager
def raw_server(*answers: bytes) -> Iterator[str]:
    """One connection, which gets these bytes for one request, and stays open until the test is over."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        over = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for answer in answers:
                    connection.sendall(answer)
                over.wait(PATIENCE_S)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        over.set()
        thread.join()


def chunked(kind: str, *chunks: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def test_an_answer_is_over_when_it_says_so_whether_or_not_the_stream_is() -> None:
    text = (
        b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    with raw_server(chunked("text/event-stream", text)) as url:
        began_at = time.monotonic()
        assert list(client(url).chat(HELLO)) == [TextDelta("hi"), Done("stop")]
        assert time.monotonic() - began_at < 2.0


def test_samples_are_whole_however_the_chunks_are_cut() -> None:
    pcm = bytes(range(1, 256)) * 9
    pieces = [pcm[at : at + 101] for at in range(0, len(pcm), 101)]
    with raw_server(
        *[chunked("audio/pcm", b"").removesuffix(b"0\r\n\r\n"), *map(_chunk, pieces), b"0\r\n\r\n"]
    ) as url:
        chunks = list(client(url).speak(SENTENCE))
    assert all(len(chunk) % 2 == 0 for chunk in chunks)
    assert b"".join(chunks) == pcm[:-1], "half a sample at the end has no sound"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "body",
    [
        b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(80),
        b"ID3\x04" + bytes(80),
        b'{"error":"' + "תקלה".encode() * 1200,
        b'{"error": "' + "תקלה".encode() * 1200,
        b"<!doctype html>" + b" " * 9000,
    ],
    ids=["wav", "mp3", "json cut in a letter", "json cut after it", "page"],
)
def test_what_only_claims_to_be_pcm_is_not_played(body: bytes) -> None:
    """Also where the whole type is that of any bytes."""
    with raw_server(chunked("application/octet-stream", body[:3], body[3:], b"")) as url:
        chunks: list[bytes] = []
        with pytest.raises(SpeechUnusable):
            chunks.extend(client(url).speak(SENTENCE))
        assert chunks == []


def test_sound_that_begins_like_text_is_played() -> None:
    pcm = b"HELLO" + bytes(201)
    with raw_server(chunked("audio/pcm", pcm[:5], pcm[5:], b"")) as url:
        assert b"".join(client(url).speak(SENTENCE)) == pcm


def test_pcm_of_another_rate_is_not_played_too_fast() -> None:
    with raw_server(chunked("audio/pcm;rate=16000", bytes(3200), b"")) as url:
        with pytest.raises(SpeechUnusable, match="16000 Hz"):
            list(client(url).speak(SENTENCE))


def test_a_redirect_is_not_followed_with_the_key() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/v1\r\nContent-Length: 0\r\n\r\n"
    with raw_server(answer) as url, pytest.raises(SpeechRefused) as caught:
        list(client(url).chat(HELLO))
    assert (caught.value.fault_id, caught.value.code) == ("KAV-176", "http_302")


# Giving up


CANCELLED_S = 1.0


@pytest.fixture(params=["plain", "tls"])
def transport(request: pytest.FixtureRequest, certificates: Certificates) -> dict[str, Any]:
    is_tls = request.param == "tls"
    return {"ca": certificates.ca if is_tls else None, "tls": server_tls(certificates) if is_tls else None}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def seen_leaving(server: OpenAIHttpServer, since: float) -> float:
    """Seconds until the server noticed."""
    eventually(lambda: server.served[-1].left_at_s is not None and server.connections_open == 0, PATIENCE_S)
    left_at_s = server.served[-1].left_at_s
    assert left_at_s is not None
    return left_at_s - since


@pytest.mark.parametrize("what", ["chat", "speech"])
@pytest.mark.parametrize("fault", ["never", "stall"])
def test_closing_from_elsewhere_ends_a_waiting_read_and_frees_the_connection(
    transport: dict[str, Any], pool: ThreadPoolExecutor, what: str, fault: str
) -> None:
    told = script(answers=[[{"text": "תשובה ארוכה מאוד. " * 20}]])
    with simulator(f"{what}:{fault}", tls=transport["tls"], script=told) as server:
        api = client(server, transport["ca"])
        stream: Any = api.chat(HELLO) if what == "chat" else api.speak(SENTENCE)
        reading = pool.submit(list, stream)
        eventually(lambda: bool(server.served), PATIENCE_S)
        if fault == "stall":
            eventually(lambda: server.served[0].sent_bytes > 0, PATIENCE_S)
        closed_at = time.monotonic()
        stream.close()
        reading.result(timeout=PATIENCE_S)  # without an error: nobody wants to know
        assert time.monotonic() - closed_at < CANCELLED_S
        assert seen_leaving(server, closed_at) < CANCELLED_S
        assert list(stream) == []
        stream.close()


@pytest.mark.parametrize("what", ["chat", "speech"])
def test_closing_between_two_reads_frees_the_connection(transport: dict[str, Any], what: str) -> None:
    told = script(answers=[[{"text": "תשובה ארוכה מאוד. " * 50}]])
    with simulator(tls=transport["tls"], script=told, speed=1.0) as server:
        api = client(server, transport["ca"])
        stream: Any = api.chat(HELLO) if what == "chat" else api.speak(SENTENCE * 3)
        assert next(stream)
        closed_at = time.monotonic()
        stream.close()
        assert time.monotonic() - closed_at < 0.5
        assert list(stream) == []
        assert seen_leaving(server, closed_at) < CANCELLED_S


def test_closing_before_the_first_read_asks_nothing() -> None:
    with simulator() as server:
        stream = client(server).speak(SENTENCE)
        stream.close()
        assert list(stream) == []
        assert server.connections_total == 0


def test_closing_after_the_end_leaves_the_connection_for_the_next() -> None:
    with simulator() as server:
        api = client(server)
        for _ in range(3):
            with api.speak(SENTENCE) as sound:
                assert list(sound)
            with api.chat(HELLO) as answer:
                assert list(answer)
        assert server.connections_total == 1


def test_closing_during_the_pause_before_a_second_try_asks_no_more(pool: ThreadPoolExecutor) -> None:
    with simulator("429=1.5") as server:
        stream = client(server).chat(HELLO)
        reading = pool.submit(list, stream)
        eventually(lambda: bool(server.served) and server.served[0].is_whole, PATIENCE_S)
        eventually(lambda: server.connections_open == 0, PATIENCE_S)
        stream.close()
        assert reading.result(timeout=PATIENCE_S) == []
        assert server.connections_total == 1


def test_many_at_once_share_nothing_but_the_connections(pool: ThreadPoolExecutor) -> None:
    with simulator(speed=40.0) as server:
        api = client(server)
        lengths = [len(b"".join(sound)) for sound in pool.map(lambda _: list(api.speak(SENTENCE)), range(12))]
        assert len(set(lengths)) == 1
        assert server.connections_total <= 4, "as many as there were at once"
