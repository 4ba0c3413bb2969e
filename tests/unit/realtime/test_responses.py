import pytest

from server.realtime.commands import Command
from server.realtime.responses import MAX_REMEMBERED, Responses


class Request:
    """A request that counts how often it was built: each time is another event."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.built = 0

    def __call__(self) -> Command:
        self.built += 1
        text = f"{self.name}{self.built}"
        return Command(text, {"event_id": text})


GREETING, ANSWER = "greeting", "answer"


def speaking(response_id: str = "resp_1") -> Responses:
    responses = Responses()
    responses.created(response_id)
    return responses


# -- one at a time


def test_the_first_request_goes_at_once():
    responses = Responses()
    assert not responses.is_active
    assert responses.ask(Request(GREETING)) == "greeting1"
    assert responses.is_active


def test_a_second_request_waits_until_the_first_response_is_done():
    responses = Responses()
    responses.ask(Request(GREETING))
    assert responses.ask(Request(ANSWER)) is None
    responses.created("resp_1")
    assert responses.done("resp_1") == "answer1"


def test_a_request_waits_for_a_response_that_the_server_began_by_itself():
    responses = speaking()
    assert responses.ask(Request(ANSWER)) is None
    assert responses.done("resp_1") == "answer1"
    responses.created("resp_2")
    assert responses.done("resp_2") is None
    assert not responses.is_active


def test_requests_go_in_the_order_they_were_made():
    responses, sent = speaking("resp_0"), []
    for name in "abc":
        responses.ask(Request(name))
    for n in range(3):
        sent.append(responses.done(f"resp_{n}"))
        responses.created(f"resp_{n + 1}")
    assert sent == ["a1", "b1", "c1"]


def test_a_request_is_built_when_it_is_sent_and_not_before():
    responses, request = speaking(), Request(ANSWER)
    responses.ask(request)
    assert request.built == 0
    responses.done("resp_1")
    assert request.built == 1


def test_a_waiting_request_is_sent_once():
    responses = speaking()
    responses.ask(Request(ANSWER))
    assert [responses.done("resp_1"), responses.done("resp_1")] == ["answer1", None]


def test_the_end_of_another_response_frees_nothing():
    responses = speaking("resp_2")
    responses.ask(Request(ANSWER))
    assert responses.done("resp_1") is None
    assert responses.is_active


# -- a race with a response of the server's own


def test_a_race_lost_to_a_running_response_is_asked_again_when_that_one_is_done():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.created("resp_of_the_server")  # voice detection was faster
    assert responses.lost_race("greeting1") is None
    assert responses.done("resp_of_the_server") == "greeting2"


def test_a_race_lost_to_a_response_that_is_already_done_is_asked_again_at_once():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.created("resp_of_the_server")
    assert responses.done("resp_of_the_server") is None
    assert responses.lost_race("greeting1") == "greeting2"


def test_the_loser_of_a_race_goes_before_those_that_wait():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.created("resp_of_the_server")
    responses.ask(Request(ANSWER))
    responses.lost_race("greeting1")
    assert responses.done("resp_of_the_server") == "greeting2"
    responses.created("resp_1")
    assert responses.done("resp_1") == "answer1"


def test_a_race_lost_to_a_response_never_announced_is_asked_again():
    responses = Responses()
    responses.ask(Request(GREETING))
    assert responses.lost_race("greeting1") == "greeting2"
    responses.created("resp_1")
    assert responses.done("resp_1") is None


def test_an_error_without_a_request_asks_for_nothing():
    assert Responses().lost_race("greeting1") is None
    responses = speaking()
    assert responses.lost_race("greeting1") is None
    assert responses.done("resp_1") is None


def test_a_request_that_became_its_response_is_not_asked_again():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.created("resp_1")
    assert responses.done("resp_1") is None
    assert not responses.is_active


# -- refusals


def test_a_refused_request_blocks_no_later_one():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.refused("greeting1")
    assert not responses.is_active
    assert responses.ask(Request(ANSWER)) == "answer1"


def test_a_refused_request_does_not_strand_those_that_wait_behind_it():
    """No response will be created, so no end of one would ever wake them."""
    responses = Responses()
    responses.ask(Request(GREETING))
    assert responses.ask(Request(ANSWER)) is None
    assert responses.refused("greeting1") == "answer1"


# -- barge-in


def test_after_a_barge_in_the_audio_of_every_response_so_far_is_stale():
    responses = speaking("resp_1")
    responses.done("resp_1")
    responses.created("resp_2")
    responses.abandon()
    assert responses.is_abandoned("resp_1")
    assert responses.is_abandoned("resp_2")


def test_a_response_begun_after_the_barge_in_is_heard():
    responses = speaking("resp_1")
    responses.abandon()
    responses.done("resp_1")
    responses.created("resp_2")
    assert not responses.is_abandoned("resp_2")
    assert responses.is_abandoned("resp_1"), "its late deltas are still stale"


def test_a_response_stays_abandoned_when_it_is_named_again():
    responses = speaking("resp_1")
    responses.abandon()
    responses.created("resp_1")
    assert responses.is_abandoned("resp_1")


def test_a_response_never_announced_counts_as_new_and_is_remembered():
    responses = Responses()
    assert not responses.is_abandoned("resp_1")
    responses.abandon()
    assert responses.is_abandoned("resp_1")


def test_a_barge_in_into_silence_abandons_nothing_to_come():
    responses = Responses()
    responses.abandon()
    responses.created("resp_1")
    assert not responses.is_abandoned("resp_1")


def test_a_barge_in_drops_what_was_still_to_be_asked():
    """The caller's new turn will be answered instead."""
    responses = speaking("resp_1")
    responses.ask(Request(ANSWER))
    assert responses.abandon() == "resp_1"
    assert responses.done("resp_1") is None


def test_a_response_asked_for_before_a_barge_in_is_cancelled_when_it_begins():
    responses = Responses()
    responses.ask(Request(GREETING))
    assert responses.abandon() is None, "it has no name yet"
    assert responses.ask(Request(ANSWER)) is None
    assert responses.created("resp_1"), "cancel it"
    assert responses.is_abandoned("resp_1")
    assert responses.done("resp_1") == "answer1"
    assert not responses.created("resp_2")
    assert not responses.is_abandoned("resp_2")


def test_a_request_that_lost_its_race_is_not_asked_again_after_a_barge_in():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.abandon()
    assert responses.created("resp_theirs"), "the server's own, begun before: it is cancelled"
    assert responses.lost_race("greeting1") is None
    assert responses.done("resp_theirs") is None
    assert responses.ask(Request(ANSWER)) == "answer1"


@pytest.mark.parametrize("ending", ["refused", "lost_race"])
def test_a_request_that_came_to_nothing_leaves_no_doom_behind(ending):
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.abandon()
    getattr(responses, ending)("greeting1")
    assert not responses.created("resp_1")


def test_a_server_that_answers_turns_by_itself_is_not_asked_twice():
    responses = Responses()
    responses.ask(Request(ANSWER), answers_turn=True)
    responses.created("resp_of_the_server")
    assert responses.lost_race("answer1") is None
    assert responses.done("resp_of_the_server") is None


def test_an_answer_that_met_an_older_response_is_asked_again():
    responses = speaking("resp_1")
    responses.done("resp_1")
    responses.created("resp_of_the_server")
    responses.ask(Request(ANSWER), answers_turn=True)
    assert responses.done("resp_of_the_server") == "answer1"
    assert responses.lost_race("answer1") == "answer2"


def test_a_day_of_responses_does_not_fill_the_memory():
    responses = Responses()
    for n in range(10_000):
        responses.created(f"resp_{n}")
        responses.is_abandoned(f"other_{n}")
        responses.done(f"resp_{n}")
    assert len(responses._abandoned) <= MAX_REMEMBERED
    responses.abandon()
    assert responses.is_abandoned("resp_9999")


def test_each_of_two_requests_is_told_apart_by_its_event():
    """The loser of the first race is asked again, though another request went out meanwhile."""
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.created("resp_of_the_server")
    responses.ask(Request(ANSWER))
    assert responses.done("resp_of_the_server") == "answer1"
    assert responses.lost_race("greeting1") is None
    responses.created("resp_1")
    assert responses.done("resp_1") == "greeting2"


def test_a_refusal_of_something_else_frees_no_request():
    responses = Responses()
    responses.ask(Request(GREETING))
    responses.refused("a truncate")
    assert responses.is_active
