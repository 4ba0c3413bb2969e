"""`python -m server config`: what cannot be used is told here, and not first by a call."""

import json

import pytest
from click.testing import CliRunner

from server.cli.config import config
from server.config import variables

TOKEN = "5f1d9c3a7b2e4d6088aa11bb22cc33dd"


def run(*arguments: str, **env: str):
    others = dict.fromkeys((spec.metadata["variable"] for spec in variables()), "")
    return CliRunner().invoke(config, arguments, env=others | env)


@pytest.mark.parametrize("arguments", [[], ["--banner"], ["--json"]], ids=str)
@pytest.mark.parametrize(
    ("env", "fault_id"),
    [
        ({"DATABASE_URL": "postgres://a/b"}, "KAV-185"),
        ({"REDIS_URL": "foo"}, "KAV-187"),
        ({"NOTIFY_NUMBER": "+972501112222", "TWILIO_AUTH_TOKEN": TOKEN}, "KAV-107"),
    ],
)
def test_what_is_not_used_as_it_is_written_is_warned_of(arguments, env, fault_id):
    done = run(*arguments, **env)
    assert done.exit_code == 0
    if arguments == ["--json"]:
        (warning,) = json.loads(done.stdout)["warnings"]
        assert warning.startswith(f"{fault_id} ")
    else:
        assert done.output.count(f"! {fault_id} ") == 1


@pytest.mark.parametrize("arguments", [[], ["--banner"]], ids=str)
def test_without_cause_there_is_no_warning(arguments):
    assert "! " not in run(*arguments, DATABASE_URL="sqlite:///x", REDIS_URL="redis://127.0.0.1").output


@pytest.mark.parametrize("name", ["PUBLIC_BASE_URL", "OPENAI_REALTIME_URL", "NOTIFY_URL"])
def test_an_address_without_a_port_anybody_has_ends_with_2(name):
    done = run(**{name: ("wss" if name == "OPENAI_REALTIME_URL" else "https") + "://a.example:99999"})
    assert done.exit_code == 2
    assert name in done.output and "Traceback" not in done.output
