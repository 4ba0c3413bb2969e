import pytest

from server.errors import ConfigError
from server.simulator.twilio.rest_faults import FAULTS, Fault, FaultPlan, parse


def test_every_fault_can_be_named():
    for name in FAULTS:
        word = "slow=1.5" if name == "slow" else name
        assert parse(word) == Fault(name, 1.5 if name == "slow" else 0.0)
        assert parse(f"once:{word}").is_once


@pytest.mark.parametrize(
    "word", ["", "slo", "slow", "slow=", "slow=x", "slow=-1", "slow=nan", "500=1", "once:"]
)
def test_what_is_no_fault(word):
    with pytest.raises(ConfigError):
        FaultPlan([word])


def test_what_happens_once_comes_first_and_is_spent():
    plan = FaultPlan(["500", "once:reset", "once:slow=1"])
    taken = [plan.take() for _ in range(4)]
    assert [fault.name for fault in taken if fault] == ["reset", "slow", "500", "500"]


def test_without_a_plan_nothing_goes_wrong():
    plan = FaultPlan()
    assert plan.take() is None
    plan.set("html")
    assert plan.take() == Fault("html")
    plan.set()
    assert plan.take() is None
