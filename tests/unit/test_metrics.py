import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import MAX_UNKNOWN_TYPES, Counters, GatewayCollector, count_unknown, exposition


def scrape(counters: Counters, live: int = 0, lag_s: float = 0.0) -> dict[tuple[str, ...], float]:
    text = exposition(GatewayCollector(counters, lambda: live, lambda: lag_s)).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_process_that_did_nothing_shows_zeros():
    shown = scrape(Counters())
    assert set(shown.values()) == {0}
    assert {name: value for name, value in shown.items() if "_seconds_" not in name[0]} == {
        ("gateway_active_calls",): 0,
        ("gateway_hub_lag_seconds",): 0,
        ("gateway_calls_started_total",): 0,
        ("gateway_frames_total", "in"): 0,
        ("gateway_frames_total", "out"): 0,
        ("gateway_bargeins_total",): 0,
        ("gateway_model_spares",): 0,
    }


def test_what_was_counted_is_what_is_shown():
    counters = Counters(calls_started=7, caller_frames_in=1500, caller_frames_out=1490, barge_ins=3)
    counters.calls_ended["stop"] += 6
    counters.frames_dropped["queue full"] += 2
    counters.webhooks["incoming_call"] += 7
    counters.refused["KAV-114"] += 1
    counters.model_errors["benign"] += 4
    counters.model_spares = 2
    counters.model_connections["warm"] += 5
    counters.model_spare_failures["refused"] += 1
    shown = scrape(counters, live=1, lag_s=0.25)
    assert shown[("gateway_active_calls",)] == 1
    assert shown[("gateway_hub_lag_seconds",)] == 0.25
    assert shown[("gateway_calls_started_total",)] == 7
    assert shown[("gateway_frames_total", "in")] == 1500
    assert shown[("gateway_frames_total", "out")] == 1490
    assert shown[("gateway_bargeins_total",)] == 3
    assert shown[("gateway_calls_ended_total", "stop")] == 6
    assert shown[("gateway_frames_dropped_total", "queue full")] == 2
    assert shown[("gateway_webhooks_total", "incoming_call")] == 7
    assert shown[("gateway_refused_total", "KAV-114")] == 1
    assert shown[("gateway_model_errors_total", "benign")] == 4
    assert shown[("gateway_model_spares",)] == 2
    assert shown[("gateway_model_connections_total", "warm")] == 5
    assert shown[("gateway_model_spare_failures_total", "refused")] == 1


def test_waiting_times_fall_into_the_bucket_they_do_not_exceed():
    counters = Counters()
    for seconds in (0.1, 0.3, 0.5, 2.0, 60.0):
        counters.turn_gaps.note(seconds)
    shown = scrape(counters)
    name = "gateway_turn_gap_seconds"
    assert [shown[(f"{name}_bucket", bound)] for bound in ("0.1", "0.25", "0.5", "2.0", "+Inf")] == [
        1,
        1,
        3,
        4,
        5,
    ]
    assert shown[(f"{name}_sum",)] == pytest.approx(62.9)
    assert shown[(f"{name}_count",)] == 5


def test_reading_counts_nothing():
    counters = Counters(calls_started=1)
    assert scrape(counters) == scrape(counters)


@pytest.mark.parametrize("kind", ['quote"s', "back\\slash", "line\nend", "אירוע"])
def test_a_type_of_any_text_does_not_break_the_page(kind):
    counters = Counters()
    assert count_unknown(counters, kind)
    assert scrape(counters)[("gateway_model_events_unknown_total", kind)] == 1


def test_half_a_character_in_a_type_does_not_break_the_page():
    counters = Counters()
    assert count_unknown(counters, "x\ud800")
    assert scrape(counters)[("gateway_model_events_unknown_total", "x?")] == 1


def test_an_unknown_type_is_new_once():
    counters = Counters()
    assert [count_unknown(counters, "a"), count_unknown(counters, "a"), count_unknown(counters, "b")] == [
        True,
        False,
        True,
    ]
    assert counters.model_events_unknown == {"a": 2, "b": 1}


def test_a_flood_of_new_types_is_counted_and_bounded():
    counters = Counters()
    new = sum(count_unknown(counters, f"type {n}") for n in range(10_000))
    assert new == MAX_UNKNOWN_TYPES
    assert len(counters.model_events_unknown) == MAX_UNKNOWN_TYPES + 1
    assert counters.model_events_unknown["others"] == 10_000 - MAX_UNKNOWN_TYPES
    assert sum(counters.model_events_unknown.values()) == 10_000
