"""What the server imports comes from requirements.txt, and from nothing that only tests need."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).parents[2]


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0].lower().replace("_", "-")


def installed_with(names: set[str]) -> set[str]:
    """These distributions and all that they require without an extra."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue  # for another Python than this one
        waiting |= {name_of(line) for line in needed if "extra ==" not in line} - found
    return found


def imported() -> set[str]:
    modules: set[str] = set()
    for path in [*(ROOT / "server").rglob("*.py"), ROOT / "gunicorn.conf.py"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - set(sys.stdlib_module_names) - {"server"}


def test_the_server_imports_nothing_that_requirements_txt_does_not_bring():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    ours = installed_with({name_of(line) for line in lines if line and not line.startswith("#")})
    providers = packages_distributions()
    for module in imported() - {"audioop"}:  # audioop: the standard library's before 3.13
        assert {name.lower().replace("_", "-") for name in providers.get(module, ())} & ours, module
