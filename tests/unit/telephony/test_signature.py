import base64
import hashlib
import hmac

import pytest
from werkzeug.datastructures import MultiDict

from server.telephony.signature import SignatureCheck

TOKEN = "12345"
WSS = "wss://example.com/media-stream"
FORM_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
FORM_SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def check(*tokens: str) -> SignatureCheck:
    return SignatureCheck(tokens or (TOKEN,))


def sign(url: str, pairs=(), token: str = TOKEN) -> str:
    """Twilio's rule, written out: the URL, then names and values in order of the names."""
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def test_a_known_form_signature():
    assert check().is_signed(FORM_URL, FORM, FORM_SIGNATURE)
    assert sign(FORM_URL, FORM.items()) == FORM_SIGNATURE


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (WSS, "XFfwGS2Ev7f9qAP9MmRoMS7C724="),
        (WSS + "/", "7J0iz81itFhCXVuZK8EmM4YZwLA="),
        ("https://example.com/media-stream", "+Nt/WUHH2g+0+t2rLN3k9fNhfEw="),
    ],
)
def test_known_upgrade_signatures_are_all_of_one_address(url, signature):
    assert sign(url) == signature
    for base in (WSS, WSS + "/", "https://example.com/media-stream"):
        assert check().is_signed_upgrade(base, signature)


@pytest.mark.parametrize("scheme", ["wss", "https"])
@pytest.mark.parametrize("port", ["", ":443"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("ours", [WSS, WSS + "/"])
def test_twilio_may_sign_any_spelling_of_the_address(scheme, port, slash, ours):
    signed = sign(f"{scheme}://example.com{port}/media-stream{slash}")
    assert check().is_signed_upgrade(ours, signed)


@pytest.mark.parametrize(
    "signed_url", ["wss://example.com:8443/media-stream", "wss://example.com:8443/media-stream/"]
)
def test_a_port_of_its_own_is_part_of_the_address(signed_url):
    assert check().is_signed_upgrade("wss://example.com:8443/media-stream", sign(signed_url))
    assert not check().is_signed_upgrade(WSS, sign(signed_url))


@pytest.mark.parametrize(
    "signed_url",
    [
        "wss://example.com/other",
        "wss://example.com/media-stream/more",
        "wss://evil.example/media-stream",
        "wss://example.com.evil.example/media-stream",
        "wss://example.com:8080/media-stream",
        "ws://example.com/media-stream",
        "wss://example.com/Media-Stream",
        "wss://example.com/media-stream?token=1",
        "",
    ],
)
def test_the_signature_of_another_address_is_refused(signed_url):
    assert not check().is_signed_upgrade(WSS, sign(signed_url))


@pytest.mark.parametrize("signature", [None, "", "=", "x", "a" * 28, "שלום", "\x00", "A" * 100_000])
def test_a_missing_or_senseless_header_is_simply_no_signature(signature):
    assert check().is_signed(FORM_URL, FORM, signature) is False
    assert check().is_signed_upgrade(WSS, signature) is False


@pytest.mark.parametrize(
    "form",
    [
        FORM | {"Digits": "1235"},
        FORM | {"Extra": "1"},
        {name: value for name, value in FORM.items() if name != "Digits"},
        {},
    ],
)
def test_a_changed_form_is_refused(form):
    assert not check().is_signed(FORM_URL, form, FORM_SIGNATURE)


@pytest.mark.parametrize(
    "url",
    [
        "https://mycompany.com/myapp.php?foo=1",
        "https://mycompany.com/myapp.php",
        "https://evil.example/myapp.php?foo=1&bar=2",
        "http://mycompany.com/myapp.php?foo=1&bar=2",
        "https://mycompany.com/myapp.php?bar=2&foo=1",
    ],
)
def test_a_changed_address_is_refused(url):
    assert not check().is_signed(url, FORM, FORM_SIGNATURE)


def test_empty_and_hebrew_fields_are_signed_like_all_others():
    form = {"CallSid": "CA1", "CallerName": "דנה כהן", "ForwardedFrom": ""}
    assert check().is_signed(FORM_URL, form, sign(FORM_URL, form.items()))


def test_a_field_given_twice_is_signed_with_each_distinct_value_once():
    pairs = [("CallSid", "CA1"), ("Media", "b"), ("Media", "a"), ("Media", "b")]
    assert check().is_signed(FORM_URL, MultiDict(pairs), sign(FORM_URL, pairs))
    assert not check().is_signed(FORM_URL, MultiDict([*pairs, ("Media", "c")]), sign(FORM_URL, pairs))


def test_while_tokens_are_rotated_both_are_valid():
    both = check("new", "old")
    for token in ("new", "old"):
        assert both.is_signed(FORM_URL, FORM, sign(FORM_URL, FORM.items(), token))
        assert both.is_signed_upgrade(WSS, sign(WSS, token=token))
    assert not both.is_signed_upgrade(WSS, sign(WSS, token="older"))
    assert not check("new").is_signed_upgrade(WSS, sign(WSS, token="old"))


def test_without_a_token_nothing_is_signed():
    nobody = SignatureCheck(())
    assert not nobody.is_on
    assert check().is_on
    assert not nobody.is_signed(FORM_URL, FORM, FORM_SIGNATURE)
    assert not nobody.is_signed_upgrade(WSS, sign(WSS, token=""))


@pytest.mark.parametrize(
    "url",
    ["https://a.example:99999/x", "https://a.example:b/x", "https://[::1/x", "https://", "", "https://:0/"],
)
def test_an_address_nobody_can_call_is_unsigned_and_no_error(url):
    assert not check().is_signed(url, FORM, FORM_SIGNATURE)
    assert not check().is_signed_upgrade(url.replace("https", "wss"), sign(url))
