"""Plays one scenario: starts its gateway and its model, makes the call, and judges what was heard."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from server.audio.wav import write_pcm16
from server.errors import AudioFileError
from server.simulator.realtime.event_log import SeenEvent
from server.simulator.realtime.persona import ScriptPersona
from server.simulator.realtime.server import RealtimeServer
from server.simulator.scenario.acting import ActingCaller
from server.simulator.scenario.evidence import Evidence, ModelRecord
from server.simulator.scenario.expectations import Need, s
from server.simulator.scenario.gateway_process import GatewayFailed, GatewayProcess
from server.simulator.scenario.model_section import ModelSection
from server.simulator.scenario.receivers import Receivers, Request, with_addresses
from server.simulator.scenario.scenario import Scenario
from server.simulator.scenario.steps import describe
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport, Outcome
from server.simulator.twilio.rest_server import RestServer

VOICE_WEBHOOK = "/webhook/incoming_call"
KEY = "sk-simulator-0123456789abcdef"
"""Passes for a key; only a simulator ever sees it."""
SETTLE_S = 2.0
"""How long a gateway may take, after the call, to close what it opened and to say so."""
_POLL_S = 0.02
_FREED = re.compile(r"\bWS_END\b")
_TRACEBACK = "Traceback (most recent call last)"


class Status(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """By a gateway that runs already: it does not take us for Twilio."""


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway that runs already."""

    webhook_url: str
    auth_token: str = ""
    public_url: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one scenario, once."""

    name: str
    path: str
    about: str
    status: Status
    failures: tuple[str, ...]
    duration_ms: float = 0.0
    """Of the call."""
    steps: tuple[dict[str, Any], ...] = ()
    """As they were taken: step, start_ms, end_ms."""
    heard: str = ""
    report: dict[str, Any] | None = None
    """The call's, as `call --json` gives it."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def play(
    scenario: Scenario, target: Target | None = None, keep: Path | None = None, label: str = ""
) -> Result:
    """Blocks until the call has ended and is judged. Without `target`, a gateway is started for it.

    With `keep`, an existing folder, the recording and the logs are left there as `LABEL.*`.
    Raises nothing that a far end causes.
    """
    with _Stage(scenario, target, keep, label or scenario.path.stem) as stage:
        try:
            return stage.play()
        except GatewayFailed as error:
            return _result(scenario, Status.FAILED, (str(error),))


class _Stage:
    """Everything that takes part in one call."""

    def __init__(self, scenario: Scenario, target: Target | None, keep: Path | None, label: str) -> None:
        self._scenario = scenario
        self._target = target
        self._keep = keep
        self._label = label
        self._stack = ExitStack()
        self._gateway: GatewayProcess | None = None
        self._model: RealtimeServer | None = None
        self._rest: RestServer | None = None
        self._seen: list[SeenEvent] = []
        self._requests: list[Request] = []
        self._seen_lock = threading.Lock()
        self._left_open = 0

    def __enter__(self) -> _Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self) -> Result:
        """Raises GatewayFailed."""
        scenario, target = self._scenario, self._target or self._start()
        caller = ActingCaller(scenario.steps)
        twilio = scenario.twilio
        call = TwilioCall(
            CallOptions(
                url=target.webhook_url,
                caller=caller,
                auth_token=target.auth_token,
                public_url=target.public_url,
                from_number=twilio.from_number,
                to_number=twilio.to_number,
                offer_subprotocol=twilio.offer_subprotocol,
                hangup_after_s=scenario.max_seconds,
                timeout_s=twilio.timeout_s,
                rest=self._rest,
                dial_outcomes=twilio.dial,
                asks_action_after_update=twilio.asks_action_after_update,
            )
        )
        caller.meet(call.line, call.call.tally.clears_ms, call.hang_up)
        report = call.run()
        if report.outcome is Outcome.UNREACHABLE:
            status = Status.UNREACHABLE if self._target else Status.FAILED  # our own has crashed
            return _result(scenario, status, report.failures)
        evidence = self._settled(call, report, caller)
        failures = tuple(self._failures(evidence))
        if self._keep is not None:
            failures += self._save(self._keep, call)
        status = Status.FAILED if failures else Status.PASSED
        if report.outcome is Outcome.REFUSED and self._target:
            status = Status.REFUSED
        result = _result(
            scenario,
            status,
            failures,
            duration_ms=round(report.duration_ms, 1),
            steps=tuple(
                {
                    "step": str(did.step),
                    "start_ms": round(did.start_ms),
                    "end_ms": round(did.end_ms),
                }
                for did in caller.done
            ),
            heard=evidence.told_line(),
            report=report.to_json(),
        )
        if self._keep is not None:
            told = json.dumps(result.to_json(), ensure_ascii=False, indent=2)
            (self._keep / f"{self._label}.json").write_text(told + "\n", "utf-8")
        return result

    def _start(self) -> Target:
        """Model, REST side, receivers and gateway, each on a port of its own."""
        scenario = self._scenario
        urls = self._stack.enter_context(Receivers(scenario.receivers, self._requests.append)).urls
        token = scenario.variables.get("TWILIO_AUTH_TOKEN", secrets.token_hex(16)).split(",")[0].strip()
        self._rest = self._stack.enter_context(
            RestServer(auth_token=token, faults=scenario.twilio.rest_faults)
        )
        variables = {
            "CALL_LANGUAGE": scenario.language,
            "TWILIO_ACCOUNT_SID": self._rest.account_sid,
            "TWILIO_AUTH_TOKEN": token,
            "TWILIO_API_URL": self._rest.url,
            "DATABASE_URL": "sqlite://",  # what its callers leave is not to be found among real messages
        }
        if scenario.model is not None:
            self._model = self._stack.enter_context(self._model_server(scenario.model))
            variables |= {"OPENAI_REALTIME_URL": self._model.url, "OPENAI_API_KEY": KEY}
            variables |= {"REALTIME_DIALECT": scenario.model.dialect}
        if scenario.businesses_toml is not None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kav-scenario-")))
            businesses = folder / "businesses.toml"
            businesses.write_text(with_addresses(scenario.businesses_toml, urls), "utf-8")
            variables["BUSINESSES_FILE"] = str(businesses)
        variables |= {name: with_addresses(value, urls) for name, value in scenario.variables.items()}
        self._gateway = self._stack.enter_context(GatewayProcess(variables))
        return Target(self._gateway.url + VOICE_WEBHOOK, token, _public_url(variables))

    def _model_server(self, model: ModelSection) -> RealtimeServer:
        persona = ScriptPersona.of(model.script)  # one for all sessions of the call
        return RealtimeServer(
            persona_factory=lambda: persona,
            dialect=model.dialect,
            faults=model.faults,
            speed=model.speed,
            delta_bytes=model.delta_bytes,
            log_path=self._keep / f"{self._label}.model.jsonl" if self._keep else None,
            watch=self._watch,
        )

    def _watch(self, seen: SeenEvent) -> None:
        with self._seen_lock:
            self._seen.append(seen)

    def _settled(self, call: TwilioCall, report: CallReport, caller: ActingCaller) -> Evidence:
        """What is known once the gateway has put away the call, or had the time to."""
        needing = [e for e in self._scenario.expectations if e.need is Need.GATEWAY]
        until = time.monotonic() + SETTLE_S
        while True:
            evidence = self._evidence(call, report, caller)
            is_settled = self._has_put_away(report) and not any(e.failure(evidence) for e in needing)
            if is_settled or time.monotonic() >= until:
                break
            time.sleep(_POLL_S)
        self._left_open = self._model.sessions_open if self._model else 0
        if self._gateway is not None:
            self._gateway.stop()
        return self._evidence(call, report, caller)

    def _has_put_away(self, report: CallReport) -> bool:
        if self._model is not None and self._model.sessions_open:
            return False
        if self._gateway is None:
            return True
        return sum(bool(_FREED.search(line)) for line in self._gateway.lines) >= report.streams

    def _evidence(self, call: TwilioCall, report: CallReport, caller: ActingCaller) -> Evidence:
        model = None
        if self._model is not None:
            with self._seen_lock:
                model = ModelRecord(tuple(self._seen), self._model.sessions_total, self._left_open)
        return Evidence(
            call=call.call,
            report=report,
            caller=caller,
            shelf=self._scenario.shelf,
            model=model,
            log=self._gateway.lines if self._gateway else None,
            messages=tuple(self._rest.messages) if self._rest else None,
            requests=tuple(self._requests),
        )

    def _failures(self, evidence: Evidence) -> list[str]:
        """What no scenario has to ask for, then what this one asks for."""
        scenario, report, caller = self._scenario, evidence.report, evidence.caller
        found: list[str] = []
        if report.outcome is Outcome.REFUSED:
            found.append("the gateway refused the call with 403: it does not take it for Twilio's")
        if report.duration_ms >= scenario.max_seconds * 1000 and not caller.has_hung_up:
            limit = f"{scenario.max_seconds:g} s"
            found.append(f"the call still went on after {limit}; end it with hang_up, or raise max_seconds")
        for step in caller.unreached[:1]:
            last = f"“{describe(caller.done[-1].step.deed)}”" if caller.done else "nothing"
            ended = f"the call ended at {s(report.duration_ms)}, {last} was done before"
            found.append(f"{step} was never begun: {ended}")
        allowed = frozenset[int]().union(*(e.allowed_findings for e in scenario.expectations))
        found += [finding.line() for finding in report.findings if finding.code not in allowed]
        if any(_TRACEBACK in line for line in evidence.log or ()):
            found.append("the gateway's log holds a traceback (see it with --keep)")
        found += [told for e in scenario.expectations if (told := e.failure(evidence))]
        return found

    def _save(self, folder: Path, call: TwilioCall) -> tuple[str, ...]:
        """The recording, left the caller and right the agent, and the gateway's log; or why they are not."""
        try:
            write_pcm16(folder / f"{self._label}.wav", [call.caller_track(), call.line.heard()])
            if self._gateway is not None:
                lines = "\n".join(self._gateway.lines)
                (folder / f"{self._label}.gateway.log").write_text(lines + "\n", "utf-8")
        except (AudioFileError, OSError) as error:
            return (f"could not keep {error}",)
        return ()


def _public_url(variables: Mapping[str, str]) -> str:
    url = variables.get("PUBLIC_BASE_URL", "").strip().rstrip("/")
    return url if not url or "://" in url else f"https://{url}"


def _result(scenario: Scenario, status: Status, failures: tuple[str, ...], **more: Any) -> Result:
    return Result(scenario.name, str(scenario.path), scenario.about, status, failures, **more)
