"""Where a relay that is measured keeps what its calls leave."""

import sys
from pathlib import Path

from server.simulator.load.relays import Relay, RunningRelay

WRITES_ITS_DATABASE = """
import http.server, os
url = os.environ["DATABASE_URL"]
open(url.removeprefix("sqlite:///"), "w").close()
print(url, flush=True)
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_relay_has_a_database_of_its_own_which_is_gone_afterwards(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/the-operators.sqlite3")
    relay = Relay("stand-in", "", lambda _: [sys.executable, "-c", WRITES_ITS_DATABASE])
    with RunningRelay(relay, "ws://127.0.0.1:1", None, None) as running:
        url = running.last_words().splitlines()[0]
        path = Path(url.removeprefix("sqlite:///"))
        assert path.is_absolute() and path.is_file()
        assert path.parent != Path.cwd() and path.parent != tmp_path
    assert not path.parent.exists()
