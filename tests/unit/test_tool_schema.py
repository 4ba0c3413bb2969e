"""Which schemas an operator may write, and what a model's arguments are told."""

import datetime
import json
import socket
import time

import pytest

from server.tool_schema import MAX_ARGUMENTS_BYTES, ArgumentsSchema, worst_steps

TABLE = {
    "type": "object",
    "required": ["יום", "סועדים"],
    "additionalProperties": False,
    "properties": {
        "יום": {"type": "string", "format": "date", "description": 'היום, כך: "2026-11-20"'},
        "שעה": {"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$"},
        "סועדים": {"type": "integer", "minimum": 1, "maximum": 20},
        "מקום": {"enum": ["בחוץ", "בפנים"]},
        'odd "name" {0}': {"type": "boolean"},
        "dishes": {
            "type": "array",
            "maxItems": 3,
            "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "number"}}},
        },
    },
}
GOOD = {"יום": "2026-11-20", "סועדים": 4}


def of(properties: dict) -> ArgumentsSchema:
    return ArgumentsSchema({"type": "object", "properties": properties})


def refused(schema: dict) -> str:
    with pytest.raises(ValueError) as error:
        ArgumentsSchema(schema)
    return str(error.value)


@pytest.mark.parametrize(
    "more", [{}, {"שעה": "08:30"}, {"מקום": "בחוץ"}, {'odd "name" {0}': True}, {"dishes": [{"id": 1.5}]}]
)
def test_arguments_that_fit(more):
    assert ArgumentsSchema(TABLE).problem(GOOD | more) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "the arguments must contain ['יום', 'סועדים'] properties"),
        ({"יום": "2026-11-20"}, "the arguments must contain ['סועדים'] properties"),
        (GOOD | {"יום": "מחר"}, "יום must be date"),
        (GOOD | {"יום": None}, "יום must be string"),
        (GOOD | {"סועדים": "4"}, "סועדים must be integer"),
        (GOOD | {"סועדים": True}, "סועדים must be integer"),
        (GOOD | {"סועדים": 21}, "סועדים must be smaller than or equal to 20"),
        (GOOD | {"שעה": "25:00"}, r"שעה must match pattern ^([01]\d|2[0-3]):[0-5]\d$"),
        (GOOD | {"מקום": "על הגג"}, "מקום must be one of ['בחוץ', 'בפנים']"),
        (GOOD | {"{0}": 1}, "the arguments must not contain {'{0}'} properties"),
        (GOOD | {"dishes": [{"id": 1}, {"id": "x"}]}, "dishes[1].id must be number"),
        (GOOD | {"dishes": [{}] * 4}, "dishes must contain less than or equal to 3 items"),
        (GOOD | {'odd "name" {0}': 1}, 'odd "name" {0} must be boolean'),
        ([], "the arguments must be object"),
        (None, "the arguments must be object"),
        ("שלום", "the arguments must be object"),
    ],
)
def test_what_does_not_fit_is_said(arguments, said):
    assert ArgumentsSchema(TABLE).problem(arguments) == said


@pytest.mark.parametrize(
    "hostile",
    [
        GOOD | {"סועדים": 10**400},
        GOOD | {"סועדים": float("inf")},
        GOOD | {"סועדים": float("nan")},
        GOOD | {"יום": object()},
        GOOD | {"dishes": json.loads("[" * 900 + "]" * 900)},
        GOOD | {"__class__": 1},
        {"יום": "2026-11-20\n", "סועדים": 4},
        {"יום": "٢٠٢٦-١١-٢٠" + "9" * 40, "סועדים": 4},
    ],
)
def test_hostile_arguments_are_refused_and_raise_nothing(hostile):
    assert ArgumentsSchema(TABLE).problem(hostile) != ""


def test_numbers_that_no_float_holds_are_refused_where_they_would_be_divided():
    schema = of({"n": {"type": "number", "multipleOf": 0.5}})
    assert schema.problem({"n": 2.5}) == ""
    assert schema.problem({"n": 10**400}) != ""


def test_numbers_that_json_does_not_know_are_refused():
    schema = of({"n": {"type": "number"}})
    assert [schema.problem({"n": float(n)}) for n in ("inf", "-inf", "nan")] == [
        "the arguments are not JSON"
    ] * 3


def test_arguments_are_bounded_in_bytes_of_utf8():
    schema = of({"text": {"type": "string"}})
    frame = len('{"text": ""}')
    assert schema.problem({"text": "א" * ((MAX_ARGUMENTS_BYTES - frame) // 2)}) == ""
    assert schema.problem({"text": "א" * ((MAX_ARGUMENTS_BYTES - frame) // 2 + 1)}) == (
        f"the arguments are {MAX_ARGUMENTS_BYTES + 2} bytes long, and {MAX_ARGUMENTS_BYTES} is the limit"
    )


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, "parameters must contain ['type'] properties"),
        ({"type": "array"}, "parameters.type must be one of ['object']"),
        ({"type": "object", "anyOf": [{}]}, "parameters.anyOf must not be there"),
        ({"type": "object", "properties": []}, "parameters.properties must be object"),
        (
            {"type": "object", "properties": {"יום": {"type": "strng"}}},
            "parameters.properties.יום.type must be one of string, number, integer, boolean, array, object, "
            "null",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": {"maxlength": 3}}}},
            "parameters.properties.a.items must not contain {'maxlength'} properties",
        ),
        (
            {"type": "object", "properties": {"a": {"pattern": "("}}},
            "parameters.properties.a.pattern must be a regular expression of Python",
        ),
        (
            {"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}},
            "parameters.properties.a.pattern must be quick for every text: begin it with ^, and write {1,40} "
            "instead of + or *",
        ),
        (
            {"type": "object", "required": ["b"], "properties": {"a": {}}},
            "parameters.required names 'b', which is not among the properties",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": {"required": ["b"]}}}},
            "parameters.properties.a.items.required names 'b', which is not among the properties",
        ),
        (
            {"type": "object", "properties": {"a": {"format": "email"}}},
            "parameters.properties.a.format must be one of ['date', 'time', 'date-time']",
        ),
        (
            {"type": "object", "properties": {"a": {"default": datetime.date(2026, 11, 20)}}},
            "parameters.properties.a.default must be string or number or boolean or null or array\n"
            "parameters holds what JSON does not know: write dates and times in quotes",
        ),
        (
            {"type": "object", "properties": {"a": {"minimum": float("nan")}}},
            "parameters holds what JSON does not know: write dates and times in quotes",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schema_is_said(schema, said):
    assert refused(schema) == said


def test_all_that_is_wrong_with_a_schema_is_said_at_once():
    said = refused({"type": "object", "properties": {"a": {"type": "x"}, "b": {"tpye": "string"}}})
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize("depth", [100, 2000])
def test_a_schema_of_endless_levels_is_refused(depth):
    schema: dict = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    assert "parameters" in refused(schema)


@pytest.mark.parametrize(
    "smuggled",
    [
        {"$ref": "URL"},
        {"$id": "URL"},
        {"default": {"$ref": "URL"}},
        {"default": [{"$ref": "URL"}]},
        {"examples": [{"$ref": "URL"}]},
        {"const": {"$ref": "URL"}},
        {"enum": [{"$ref": "URL"}]},
        {"anyOf": [{"$ref": "URL"}]},
    ],
)
def test_no_schema_has_anything_fetched(smuggled):
    """The compiler opens whatever a `$ref` names, also one in a default."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        schema = {"type": "object", "properties": {"a": json.loads(json.dumps(smuggled).replace("URL", url))}}
        assert refused(schema)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_properties_may_be_called_like_keywords():
    schema = of({"$ref": {"type": "string"}, "$id": {"type": "string"}, "type": {"enum": ["a"]}})
    assert schema.problem({"$ref": "x", "$id": "y", "type": "a"}) == ""
    assert schema.problem({"$ref": 1}) == "$ref must be string"


def test_a_schema_is_no_code():
    evil = '"); import os; os._exit(3); ("'
    schema = of({evil: {"type": "string", "description": evil, "enum": [evil], "maxLength": 99}})
    assert schema.problem({evil: evil}) == ""
    assert schema.problem({evil: 3}) != ""


def test_the_schema_for_the_model_is_the_one_that_was_written():
    before = json.dumps(TABLE)
    schema = ArgumentsSchema(TABLE)
    assert schema.problem(dict(GOOD)) == ""
    assert json.dumps(schema.parameters) == before == json.dumps(TABLE)


def test_no_default_is_put_into_arguments():
    arguments: dict = {}
    assert of({"a": {"type": "string", "default": "x"}}).problem(arguments) == ""
    assert arguments == {}


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^\d{4}-\d{2}-\d{2}$", r"^05\d{8}$", r"^(\+972|0)5\d{8}$", "^[א-ת ]{2,40}$", r"^\d+$", "[0-9]{9}"),
        *(
            r"^\w{1,40}@\w{1,40}\.\w{2,10}$",
            "^a?b?c?$",
            r"^[\]*+]{1,3}$",
            "^[^)]{1,9}$",
            "^x{a}$",
            "^a|^b",
            "",
        ),
        *("^(?:a|b){1,5}$", r"^(\d{2}:){2}$", "^a*?$", "^a{2,}$", r"^\(\+\)$"),
    ],
)
def test_patterns_that_are_quick_are_taken(pattern):
    assert of({"a": {"type": "string", "pattern": pattern}})


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a+)+$",
            "^(a|a)*$",
            "^(a|b|ab)*c$",
            "^a*a*b$",
            r"\d+x",
            "^(a{1,9}){1,9}$",
            r"^(?=a*a)",
            r"^(a)\1$",
        ),
        *(r"^.*.*=.*$", "^([a-z]+)*$", "^(?:a?){40}a{40}$", "^((a?b?)?c?){9}$", "(?i)^a+a+$", "^(a*?)*?$"),
    ],
)
def test_patterns_that_could_become_slow_are_refused(pattern):
    assert "must be quick" in refused({"type": "object", "properties": {"a": {"pattern": pattern}}})


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\w{0,90}\w{0,90}\w{0,90}@$", "a" * 4000),
        (r"a{1,200}b", "a" * 4000),
        (r"^(א|ב|אב){1,9}$", "אב" * 1000),
        (r"^\d*x$", "1" * 4000),
    ],
)
def test_the_slowest_text_for_an_allowed_pattern_does_not_hold_the_hub(pattern, text):
    """5 ms at the worst here; ten times that is a machine with other things to do."""
    assert worst_steps(pattern) <= 1_000_000
    schema = of({"a": {"type": "string", "pattern": pattern}})
    began_at = time.process_time()
    assert schema.problem({"a": text})
    assert time.process_time() - began_at < 0.05


def test_many_arguments_do_not_hold_the_hub_either():
    schema = of({"a": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}}})
    began_at = time.process_time()
    assert schema.problem({"a": [1] * 1300}) == ""
    assert schema.problem({"a": [None] * 600}) != ""
    assert time.process_time() - began_at < 0.05
