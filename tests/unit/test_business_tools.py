"""HTTP tools as they are written in the file, and the addresses that they may have."""

import ipaddress
import tomllib

import pytest

from server.business_tools import (
    OUR_TOOLS,
    HttpTool,
    is_public,
    names_loopback,
    read_tool,
    receiver_url,
)
from server.toml_table import Table
from server.turns import tools as turns_tools

KEY = "k" * 32
LEAST = 'name = "stock"\ndescription = "d"\nurl = "https://shop.example/kav/"\n'


def read(text: str) -> tuple[HttpTool, list[str]]:
    problems: list[str] = []
    return read_tool(Table(tomllib.loads(text), problems, "tool 1"), KEY), problems


def test_the_least_that_a_tool_is():
    tool, problems = read(LEAST)
    assert problems == []
    assert (tool.name, tool.url) == ("stock", "https://shop.example/kav/")
    assert (tool.method, tool.timeout_s, tool.says_while_waiting, tool.signing_key) == ("POST", 8.0, "", KEY)
    assert tool.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool.schema.problem({}) == ""
    assert tool.schema.problem({"x": 1}) == "the arguments must not contain {'x'} properties"


def test_everything_that_a_tool_can_be():
    tool, problems = read(
        LEAST + 'method = "get"\ntimeout_s = 2.5\nsays_while_waiting = "רגע"\nsecret = "' + "s" * 16 + '"\n'
        '[parameters]\ntype = "object"\n[parameters.properties]\n"מוצר" = { type = "string" }'
    )
    assert problems == []
    assert (tool.method, tool.timeout_s, tool.says_while_waiting) == ("GET", 2.5, "רגע")
    assert tool.signing_key == "s" * 16
    assert tool.parameters == {"type": "object", "properties": {"מוצר": {"type": "string"}}}
    assert tool.schema.problem({"מוצר": 3}) == "מוצר must be string"


def test_a_tool_shows_neither_its_address_nor_its_key():
    shown = repr(read(LEAST)[0])
    assert "shop.example" not in shown and KEY not in shown


@pytest.mark.parametrize("key", ["name", "description", "url"])
def test_what_must_be_there(key):
    text = "".join(line + "\n" for line in LEAST.splitlines() if not line.startswith(key))
    assert read(text)[1] == [f"tool 1: {key}: missing"]
    assert read(text + f'{key} = " "')[1][-1] == f"tool 1: {key}: missing"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('method = "PUT"', "method: neither POST nor GET"),
        ("timeout_s = 8.5", "timeout_s: not a number from 0.5 to 8"),
        ("timeout_s = 0", "timeout_s: not a number from 0.5 to 8"),
        ("timeout_s = nan", "timeout_s: not a number from 0.5 to 8"),
        ("timeout_s = true", "timeout_s: not a number from 0.5 to 8"),
        ("timeout_s = '4'", "timeout_s: not a number from 0.5 to 8"),
        ("headers = {}", "headers: unknown"),
        ("timeout = 3", "timeout: unknown; did you mean timeout_s?"),
        ("parameters = 3", "parameters: not a table"),
        ("parameters = {type = 'array'}", "parameters.type must be one of ['object']"),
    ],
)
def test_what_is_wrong_is_said(more, said):
    assert read(LEAST + more)[1] == [f"tool 1: {said}"]


@pytest.mark.parametrize("name", ["", "a b", "כלי", "x" * 65, "a.b", *OUR_TOOLS])
def test_names_that_no_tool_may_have(name):
    assert read(LEAST.replace("stock", name))[1] != []


def test_names_of_the_gateways_own_tools_are_all_taken():
    built_in = turns_tools.built_in(["somebody"])
    assert {tool.name for tool in built_in} == set(OUR_TOOLS)


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/kav/",
        "https://shop.example",
        "https://shop.example:8443/a?b=c&d=%D7%90",
        "https://xn--4dbrk0ce.example/א",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "http://127.0.0.1:8080/x",
        "http://localhost/x",
        "http://LOCALHOST/x",
        "http://[::1]:8080/x",
        "https://127.0.0.2/x",
    ],
)
def test_addresses_that_are_taken_to_the_letter(url):
    assert receiver_url(f" {url} ") == url


@pytest.mark.parametrize(
    "url",
    [
        "shop.example/x",
        "ftp://shop.example/x",
        "http://shop.example/x",
        "https://",
        "https://:443/x",
        "https://shop.example:0/x",
        "https://shop.example:99999/x",
        "https://shop.example:x/x",
        "https://me:pass@shop.example/x",
        "https://127.0.0.1@evil.example/x",
        "https://evil.example\\@shop.example/x",
        "https://shop.example/a b",
        "https://shop.example/x#y",
        "https://חנות.example/x",
        "https://[::1",
        "https://10.0.0.1/x",
        "https://192.168.1.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/x",
        "https://[fe80::1]/x",
        "https://[fd00::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "http://10.0.0.1/x",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(ValueError, match=r".+"):
        receiver_url(url)


@pytest.mark.parametrize(
    ("host", "is_this_machine"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.1", False),
        ("0.0.0.0", False),
        ("shop.example", False),
    ],
)
def test_who_names_this_machine(host, is_this_machine):
    assert names_loopback(host) is is_this_machine


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_addresses_of_the_internet(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "2002:a00:1::1"),
    ],
)
def test_addresses_that_are_not_of_the_internet(address):
    assert not is_public(ipaddress.ip_address(address))
