"""What differs from one business to the next: the file, its defaults, and everything that can be wrong."""

import re
from pathlib import Path

import pytest

from server.business import BargeInRule, Businesses, KeyAction, KeyKind
from server.business_tools import OUR_TOOLS
from server.config import Settings
from server.config_defaults import DEFAULT_GREETING, DEFAULT_INSTRUCTIONS
from server.errors import ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs"
TOKEN = "0123456789abcdef0123456789abcdef"
A_TOOL = '[[business.tools]]\nname = "stock"\ndescription = "d"\nurl = "https://shop.example/kav/"\n'


def settings(**env: str) -> Settings:
    return Settings.from_env(env)


def read(toml_text: str | None, **env: str) -> Businesses:
    return Businesses.from_settings(settings(**env), toml_text)


def problems(toml_text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(toml_text, **env)
    return [line.strip() for line in str(refused.value).splitlines()[1:-1]]


def problem(toml_text: str, **env: str) -> str:
    """The only one."""
    found = problems(toml_text, **env)
    assert len(found) == 1, found
    return found[0]


def test_without_a_file_there_is_one_business_made_of_the_variables():
    businesses = read(
        None,
        CALL_LANGUAGE="en",
        GREETING="Hi there",
        REALTIME_VOICE="ash",
        BARGE_IN="after_greeting",
        MIN_SPEECH_MS="333",
        STILL_THERE_SECONDS="7",
        IDLE_SECONDS="70",
        PERSON_NUMBER="+972 50-123-4567",
        NOTIFY_NUMBER="+972501112222",
        NOTIFY_URL="https://crm.example/hook",
    )
    (one,) = businesses.all
    assert (one.id, one.language, one.voice, one.greeting) == ("1", "en", "ash", "Hi there")
    assert one.instructions == DEFAULT_INSTRUCTIONS["en"]
    assert one.barge_in is BargeInRule.AFTER_GREETING
    assert (one.min_speech_ms, one.still_there_s, one.idle_s) == (333, 7, 70)
    assert one.transfers == {"person": "+972501234567"}
    assert (one.notify_number, one.notify_url) == ("+972501112222", "https://crm.example/hook")
    assert (one.tools, one.keys, one.backchannels, one.share_caller) == ((), {}, (), False)
    assert businesses.for_number("+97231234567") is businesses.by_id("whatever") is one


def test_without_a_person_to_ring_nobody_can_be_transferred_to():
    assert read(None).default.transfers == {}


def test_a_business_takes_from_the_variables_what_it_leaves_out():
    env = {"PERSON_NUMBER": "+972501234567", "IDLE_SECONDS": "44", "INSTRUCTIONS": "דברי בקיצור"}
    business = read('[[business]]\nnumbers = ["+97231234567"]', **env).default
    assert (business.id, business.name, business.numbers) == ("1", "1", ("+97231234567",))
    assert business.transfers == {"person": "+972501234567"}
    assert (business.idle_s, business.instructions) == (44, "דברי בקיצור")


def test_in_another_language_the_words_are_not_those_of_the_variables():
    env = {"GREETING": "שלום", "INSTRUCTIONS": "דברי עברית"}
    one, other = read('[[business]]\n[[business]]\nnumbers = ["+97231234567"]\nlanguage = "en"', **env).all
    assert (one.greeting, one.instructions) == ("שלום", "דברי עברית")
    assert (other.greeting, other.instructions) == (DEFAULT_GREETING["en"], DEFAULT_INSTRUCTIONS["en"])


@pytest.mark.parametrize(
    "called", ["+97231234567", "+972 3-123-4567", " 97231234567", "97231234567", "+972.3.(123).4567"]
)
def test_a_number_is_found_in_whatever_way_it_is_written(called):
    file = '[[business]]\n[[business]]\nid = "clinic"\nnumbers = ["+972-3-123-4567", "+97231234568"]'
    assert read(file).for_number(called).id == "clinic"


@pytest.mark.parametrize(
    "called", ["", "+97231234560", "anonymous", "sip:kav@kav.example", "שלום", "+" * 5000]
)
def test_the_first_business_answers_what_no_other_one_names(called):
    file = '[[business]]\nid = "first"\n[[business]]\nid = "clinic"\nnumbers = ["+97231234567"]'
    assert read(file).for_number(called).id == "first"
    assert read(file).by_id(called).id == "first"
    assert read(file).by_id("clinic").id == "clinic"


def test_the_example_in_the_docs_is_what_the_docs_say():
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "businesses.md").read_text("utf-8"), re.DOTALL)
    businesses = read(example, TWILIO_AUTH_TOKEN=TOKEN)
    bakery, clinic = businesses.all
    assert businesses.for_number("+97231234568") is bakery
    assert businesses.for_number("+97248765432") is clinic
    assert bakery.name == "מאפיית הצפון"
    assert bakery.greeting == "שלום, הגעתם למאפיית הצפון. איך אפשר לעזור?"
    assert bakery.instructions.startswith("את העוזרת הקולית") and bakery.instructions.endswith("end_call.")
    assert bakery.transfers == {"מזכירות": "+972501112222", "משלוחים": "+972503334444"}
    assert bakery.keys == {
        "0": KeyAction(KeyKind.TRANSFER, "מזכירות"),
        "1": KeyAction(
            KeyKind.SAY,
            "אנחנו פתוחים בימים ראשון עד חמישי משש עד שמונה בערב, וביום שישי עד שתיים בצהריים.",
        ),
        "2": KeyAction(KeyKind.MESSAGE),
        "9": KeyAction(KeyKind.HANGUP),
        "*": KeyAction(KeyKind.MODEL),
    }
    assert (bakery.barge_in, bakery.min_speech_ms) == (BargeInRule.AFTER_GREETING, 250)
    assert bakery.backchannels == ("יאללה", "סבבה")
    stock, order = bakery.tools
    assert (stock.name, stock.timeout_s, stock.says_while_waiting) == ("check_stock", 4.0, "רגע, אני בודקת.")
    assert stock.parameters["properties"]["product"]["description"] == "שם המוצר בעברית, כפי שנאמר"
    lines = [{"product": "חלה", "count": 2}]
    assert order.schema.problem({"lines": lines, "day": "2026-11-20", "hour": "08:30"}) == ""
    assert order.schema.problem({"lines": lines, "day": "2026-11-20", "hour": "חצות"}).startswith("hour must")
    assert (clinic.language, clinic.greeting, clinic.share_caller) == ("en", DEFAULT_GREETING["en"], True)


def test_every_key_of_a_business_and_of_a_tool_is_in_the_docs():
    """The readers' own complaint about a wrong type names each key that they know."""
    tables = (DOCS / "businesses.md").read_text("utf-8"), (DOCS / "tools.md").read_text("utf-8")
    written = [set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) - set(OUR_TOOLS) for text in tables]
    assert {"id", "numbers", "share_caller", "secret", "keys"} <= written[0]
    assert {"name", "url", "secret", "timeout_s"} <= written[1]
    business = "\n".join(f"{key} = 1979-05-27" for key in written[0] - {"message", "hangup", "model"})
    found = "\n".join(problems(f"[[business]]\n{business}"))
    tool = "\n".join(f"{key} = 1979-05-27" for key in written[1])
    found += "\n".join(problems(f"[[business]]\n[[business.tools]]\n{tool}"))
    assert "unknown" not in found


def test_all_problems_are_named_at_once_each_with_its_place():
    found = problems("""
        colour = "red"
        [[business]]
        id = "bakery"
        numbers = ["+97231234567", "03-1234567"]
        greting = "שלום"
        voice = "bob"
        barge_in = "maybe"
        idle_s = 1
        min_speech_ms = true
        language = "fr"
        [[business]]
        id = "clinic"
        numbers = ["+97231234568"]
        [business.transfers]
        office = "abc"
        """)
    assert found == [
        "the file: colour: unknown",
        'business 1 ("bakery"): language: not one of he, en',
        'business 1 ("bakery"): numbers: "03-1234567" is not a telephone number such as +97231234567',
        'business 1 ("bakery"): voice: not a voice of the model',
        'business 1 ("bakery"): barge_in: not one of on, off, after_greeting',
        'business 1 ("bakery"): min_speech_ms: neither a text in quotes nor a number',
        'business 1 ("bakery"): idle_s: not a whole number from 3 to 86400',
        'business 1 ("bakery"): greting: unknown; did you mean greeting?',
        'business 2 ("clinic"): transfers.office: not a telephone number such as +97231234567',
    ]


NO_NUMBER = "not a telephone number such as +97231234567"
NO_TEXTS = 'not a list of texts such as ["one", "two"]'
NO_TABLES = "not a list of tables: begin each with [[business]]"
NO_SECRET = "shorter than 16 characters, or a sample text; `openssl rand -hex 32` makes one"
ONE = "[[business]]\n"
TWO = "[[business]]\nid = 'a'\nnumbers = ['+97231234567']\n[[business]]\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "the file describes no business: begin each with [[business]]"),
        ("[business]\nid = 'a'", f"the file: business: {NO_TABLES}"),
        ("business = 3", f"the file: business: {NO_TABLES}"),
        (ONE + "id = 'מאפייה'", 'business 1 ("מאפייה"): id: not 1 to 32 Latin letters, digits, _ and -'),
        (ONE + "name = 3", "business 1: name: not a text in quotes"),
        (ONE + "numbers = '+97231234567'", f"business 1: numbers: {NO_TEXTS}"),
        (ONE + "numbers = ['']", f"business 1: numbers: {NO_TEXTS}"),
        (
            ONE + "numbers = ['+97231234567', '+972-3-123-4567']",
            "business 1: numbers: +97231234567 stands there twice",
        ),
        (ONE + "backchannels = [3]", f"business 1: backchannels: {NO_TEXTS}"),
        (ONE + "share_caller = 'yes'", "business 1: share_caller: neither true nor false"),
        (ONE + "transfers = []", "business 1: transfers: not a table"),
        (ONE + "keys = 'x'", "business 1: keys: not a table"),
        (ONE + "notify_number = 'nobody'", f"business 1: notify_number: {NO_NUMBER}"),
        (ONE + "secret = 'fifteen-letters'", f"business 1: secret: {NO_SECRET}"),
        (ONE + "secret = 'changeme-changeme-changeme'", f"business 1: secret: {NO_SECRET}"),
        (
            TWO + "id = 'b'",
            'business 2 ("b"): numbers: none, so no call would reach it; only the first may go without',
        ),
        (
            TWO + "id = 'a'\nnumbers = ['+97231234568']",
            'business 2 ("a"): id: the same as that of business 1 ("a")',
        ),
        (
            "[[business]]\n[[business]]\nid = '1'\nnumbers = ['+97231234567']",
            'business 2 ("1"): id: the same as that of business 1',
        ),
        (
            TWO + "numbers = ['+972 31234567']",
            'business 2: numbers: +97231234567 belongs to business 1 ("a")',
        ),
        (
            ONE + A_TOOL + A_TOOL,
            'business 1: tool 2 ("stock"): name: the same as that of another tool',
        ),
        (
            ONE + A_TOOL + "timeout_s = 9",
            'business 1: tool 1 ("stock"): timeout_s: not a number from 0.5 to 8',
        ),
        (
            ONE + A_TOOL + "parameters = {type = 'array'}",
            "business 1: tool 1 (\"stock\"): parameters.type must be one of ['object']",
        ),
    ],
)
def test_what_is_wrong_is_said(wrong, said):
    assert problem(wrong) == said


def test_what_is_not_toml_is_said_with_its_line():
    assert re.match(r"not TOML: .*line 2", problem("[[business]]\nid = שלום"))


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("transfer:מזכירות", KeyAction(KeyKind.TRANSFER, "מזכירות")),
        (" Transfer : מזכירות ", KeyAction(KeyKind.TRANSFER, "מזכירות")),
        ("say:שעות: שמונה עד ארבע", KeyAction(KeyKind.SAY, "שעות: שמונה עד ארבע")),
        ("message", KeyAction(KeyKind.MESSAGE)),
        ("hangup", KeyAction(KeyKind.HANGUP)),
        ("model", KeyAction(KeyKind.MODEL)),
    ],
)
def test_what_a_key_can_do(text, action):
    assert KeyAction.parse(text) == action


@pytest.mark.parametrize("text", ["", "dance", "transfer", "transfer:", "say: ", "hangup:now", "message:"])
def test_what_a_key_cannot_do(text):
    with pytest.raises(ValueError, match="none of transfer:NAME"):
        KeyAction.parse(text)


def test_a_key_leads_only_to_a_destination_that_there_is():
    file = '[[business]]\n[business.transfers]\n"מזכירות" = "+97231112222"\n[business.keys]\n'
    assert problem(file + '0 = "transfer:מזכירת"') == (
        'business 1: keys.0: "מזכירת" is not among the transfers; did you mean מזכירות?'
    )
    assert read(file + '0 = "transfer:מזכירות"').default.keys["0"].text == "מזכירות"


@pytest.mark.parametrize("key", ["12", "A", "٣", "", "##"])
def test_only_keys_of_a_telephone_are_keys(key):
    said = problem(f'[[business]]\n[business.keys]\n"{key}" = "hangup"')
    assert said.endswith("not a key of a telephone: 0 to 9, * and #")


def test_a_notify_url_out_of_the_variables_must_be_one_that_may_be_posted_to():
    with pytest.raises(ConfigError, match="NOTIFY_URL: not https"):
        read(None, NOTIFY_URL="http://crm.example/hook")
    assert read(None, NOTIFY_URL="http://127.0.0.1:8080/hook").default.notify_url


def test_an_empty_text_means_none_where_there_may_be_none():
    env = {"NOTIFY_NUMBER": "+972501112222", "NOTIFY_URL": "https://crm.example/hook", "GREETING": "היי"}
    business = read('[[business]]\nnotify_number = ""\nnotify_url = ""\ngreeting = " "', **env).default
    assert (business.notify_number, business.notify_url, business.greeting) == ("", "", "היי")


def test_each_business_has_a_signing_key_of_its_own():
    file = f'[[business]]\n{A_TOOL}[[business]]\nid = "clinic"\nnumbers = ["+97231234567"]\n{A_TOOL}'
    one, clinic = read(file, TWILIO_AUTH_TOKEN=f"{TOKEN},older").all
    assert len(one.signing_key) == 64 and one.signing_key != clinic.signing_key
    assert one.tools[0].signing_key == one.signing_key
    # by the command that docs/tools.md shows:
    # printf 'kav signing key clinic' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    assert clinic.signing_key == "e854cfcb8d35fe831743bcd24c16b09651391b310cc487e3600303de2fe835f6"
    assert read(file).default.signing_key == ""


def test_a_written_secret_signs_instead_and_a_tool_may_have_its_own():
    file = (
        f'[[business]]\nsecret = "{"b" * 32}"\n{A_TOOL}'
        + A_TOOL.replace("stock", "order")
        + f'secret = "{"t" * 32}"\n'
    )
    business = read(file, TWILIO_AUTH_TOKEN=TOKEN).default
    assert business.signing_key == "b" * 32
    assert [tool.signing_key for tool in business.tools] == ["b" * 32, "t" * 32]


def test_secrets_are_not_shown():
    file = f'[[business]]\nsecret = "{"b" * 32}"\nnotify_url = "https://crm.example/SECRETPATH"\n{A_TOOL}'
    shown = repr(read(file, TWILIO_AUTH_TOKEN=TOKEN).default)
    assert "bbbb" not in shown and "SECRETPATH" not in shown and "shop.example" not in shown


def test_what_the_menu_says_in_the_docs_is_a_sentence_for_it_is_said_word_for_word():
    text = (DOCS / "businesses.md").read_text("utf-8")
    assert "| `say:TEXT` | has the agent say exactly this text" in text
    assert re.findall(r'"say:([^"]*)"', text)[0].endswith(".")
