import tomllib

from server.toml_table import Table


def table_of(text: str) -> tuple[Table, list[str]]:
    problems: list[str] = []
    return Table(tomllib.loads(text), problems, "shop"), problems


def test_a_key_that_nobody_took_is_named_with_what_it_may_have_meant():
    table, problems = table_of("naem = 'x'\ncolour = 1\nname = 'y'")
    assert table.text("name", "") == "y"
    table.finish()
    assert problems == ["shop: naem: unknown; did you mean name?", "shop: colour: unknown"]


def test_a_table_below_gives_its_whole_path():
    table, problems = table_of("[a.b]\nc = 1")
    inner = table.table("a").table("b")
    inner.finish()
    assert problems == ["shop: a.b.c: unknown"]


def test_what_cannot_be_used_is_a_problem_and_its_default():
    table, problems = table_of("a = 1\nb = ['x', 2]\nc = 'x'\nd = [1]\ne = 'x'\nf = []")
    assert table.text("a", "default") == "default"
    assert table.texts("b") == []
    assert table.flag("c", True) is True
    assert table.tables("d", lambda at, values: "") == []
    assert table.number("e", 2.0, 0, 3) == 2.0
    assert table.read("f", 5, int) == 5
    assert len(problems) == 6


def test_a_reader_gets_numbers_as_text_too():
    table, problems = table_of("a = 12\nb = 'x'\nc = true")
    assert table.read("a", 0, int) == 12
    assert table.read("b", 0, int) == 0
    assert table.read("c", 0, int) == 0
    assert [problem.split(": ")[1] for problem in problems] == ["b", "c"]


def test_what_is_absent_is_no_problem():
    table, problems = table_of("")
    assert table.text("a", "d") == "d"
    assert table.texts("a") == []
    assert table.flag("a", True) is True
    assert table.table("a") is None
    assert table.tables("a", lambda at, values: "") == []
    assert table.number("a", 2.0, 0, 3) == 2.0
    table.finish()
    assert problems == []
