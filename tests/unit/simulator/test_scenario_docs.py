"""docs/scenarios.md speaks of what there is: its examples can be read, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.simulator.realtime.faults import FAULT_NAMES
from server.simulator.scenario.expectations import Kind, Need
from server.simulator.scenario.scenario import KINDS, SECTIONS, parse_scenario
from server.simulator.scenario.steps import DEEDS, LEVELLED

DOC = (Path(__file__).resolve().parents[3] / "docs" / "scenarios.md").read_text("utf-8")
EXAMPLES = [text for text in re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL) if "\ncaller:" in text]


@pytest.mark.parametrize("text", EXAMPLES, ids=["first", "second"])
def test_the_examples_can_be_read(text: str) -> None:
    assert parse_scenario(text, Path("docs/example.yaml")).expectations


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.head)
def test_every_expectation_and_its_keys_are_explained(kind: Kind) -> None:
    rows = DOC[DOC.index("### `expect`") :]
    assert f"`{kind.head}: " in rows
    for key in kind.more:
        assert f"`{key}" in rows, key


def test_what_needs_a_gateway_started_here_is_marked() -> None:
    rows = DOC[DOC.index("### `expect`") :]
    marked = set(re.findall(r"◆ `([a-z_]+)", rows))
    assert marked == {kind.head for kind in KINDS if kind.need is not Need.CALL}


def test_every_step_and_section_is_explained() -> None:
    for deed in DEEDS:
        assert f"| `{deed}:" in DOC, deed
    for deed in LEVELLED:
        assert re.search(rf"\| `{deed}: .*`?(rms|noise)", DOC), deed
    for section in SECTIONS:
        assert f"| `{section}`" in DOC, section
    assert all(name in FAULT_NAMES for name in ("slow_after", "refuse_transcription", "session_expired"))
