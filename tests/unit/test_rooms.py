"""The picture of the rooms, kept true: who may import whom, and who may touch the world."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import server

ROOT = Path(server.__file__).parents[1]
SERVER = ROOT / "server"
ROOMS_WITHOUT_IO = ["wire", "audio", "telephony", "realtime", "turns"]
THE_WORLD = set(
    "flask flask_sock werkzeug simple_websocket websocket eventlet greenlet gevent socket ssl select "
    "selectors threading queue _queue subprocess asyncio concurrent multiprocessing signal urllib3 requests "
    "redis sqlalchemy sqlite3 logging".split()
)

# From the bottom up. A module sees what stands below it, and its own room.
FLOORS = [
    ["errors", "faults", "endings", "toml_table", "tool_schema"],
    ["config_values", "config_shutdowns", "config_defaults"],
    ["config", "metrics", "logs", "status", "green", "native_worker", "business", "business_tools"],
    ["businesses_file", "start_warnings"],
    ["wire", "port"],
    ["audio"],
    ["telephony", "realtime", "turns"],
    ["store", "channel", "audio_trail", "prompts"],
    ["services", "parked_sessions", "notifications", "gateway", "call_services"],
    ["agent_voice", "caller_seat", "call_record", "admission"],
    ["call_tools", "call_stage", "model_session", "session_keeper", "fallback", "call_sessions"],
    ["media_ws", "media_ws_echo", "media_ws_ai", "media_ws_pipeline"],
    ["routes_console", "routes_media", "routes_twilio"],
    ["simulator"],
    ["app_factory"],
    ["main", "cli", "worker", "__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(path for path in SERVER.rglob("*.py") if path != SERVER / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(SERVER).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            if node.module == "server":
                yield from (f"server.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def rooms_seen(path: Path) -> set[str]:
    seen = {name.split(".")[1] for name in imports(path) if name.startswith("server.")}
    return seen & set(FLOOR_OF) - {room_of(path)}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PURE = [path for room in ROOMS_WITHOUT_IO for path in sorted((SERVER / room).glob("*.py"))]


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_room_without_io_touches_nothing_of_the_world(path):
    assert {name.partition(".")[0] for name in imports(path)} & THE_WORLD == set()


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_room_without_io_has_no_clock_and_opens_nothing_by_itself(path):
    """The time is an argument. `audio/wav.py` reads and writes the files it is given."""
    assert "time" not in set(imports(path))
    calls = (
        node.func
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )
    assert not any(
        isinstance(function, ast.Name) and function.id in ("open", "print", "input") for function in calls
    )


def test_only_two_modules_import_eventlet():
    users = {
        name_of(path) for path in modules() for name in imports(path) if name.partition(".")[0] == "eventlet"
    }
    assert users == {"server/green.py", "server/worker.py"}


def environment_readers() -> set[str]:
    readers = set()
    for path in [*modules(), ROOT / "gunicorn.conf.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_attribute = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "os"
            if (is_attribute and node.attr in ("environ", "getenv", "environb", "putenv")) or (
                isinstance(node, ast.ImportFrom)
                and node.module == "os"
                and {alias.name for alias in node.names} & {"environ", "getenv"}
            ):
                readers.add(name_of(path))
    return readers


def test_only_the_entries_hand_the_environment_in():
    allowed = {"server/config.py", "server/main.py", "server/cli/config.py", "gunicorn.conf.py"}
    allowed |= {
        "server/simulator/load/relays.py",
        "server/simulator/scenario/gateway_process.py",
    }  # children's
    assert environment_readers() <= allowed
    assert "server/config.py" not in environment_readers(), "it takes any mapping"


def test_every_module_has_its_floor():
    assert {room_of(path) for path in modules()} <= set(FLOOR_OF)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_down(path):
    above = {room for room in rooms_seen(path) if FLOOR_OF[room] >= FLOOR_OF[room_of(path)]}
    assert above - neighbours(room_of(path)) == set()


def neighbours(room: str) -> set[str]:
    """Rooms of one floor may see each other as long as nobody sees back (see below)."""
    return {other for other in FLOORS[FLOOR_OF[room]] if other != room}


def test_no_two_rooms_see_each_other():
    sees: dict[str, set[str]] = {}
    for path in modules():
        sees.setdefault(room_of(path), set()).update(rooms_seen(path))
    both = {(a, b) for a, rooms in sees.items() for b in rooms if a < b and a in sees.get(b, set())}
    assert both == set()


def test_no_circle_of_imports():
    known = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}
    sees = {name: {seen for seen in imports(path) if seen in known} for name, path in known.items()}
    settled: set[str] = set()
    while ready := {name for name, seen in sees.items() if name not in settled and seen <= settled}:
        settled |= ready
    assert set(sees) - settled == set()
