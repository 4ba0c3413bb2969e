"""`python -m server call --scenario FILE URL`: how it ends when the gateway refuses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli.call import call

HANGS_UP = "caller:\n  - {after: 0.1, hang_up: }\nexpect:\n  - nothing_heard: true\n"


class Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def refusing_gateway() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_gateway_that_does_not_take_us_for_twilio_ends_with_4(tmp_path: Path, jobs: str) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(HANGS_UP, "utf-8")
    with refusing_gateway() as url:
        done = CliRunner().invoke(call, ["--scenario", str(tmp_path), "--jobs", jobs, url])
    assert done.exit_code == 4, done.output
    assert "refused the call with 403" in done.output
    assert "2 failed" in done.output


def test_the_page_has_a_row_for_each_exit_code() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "scenarios.md").read_text("utf-8")
    assert [line[2] for line in page.splitlines() if line[:1] == "|" and line[2:3].isdigit()] == list("01234")
