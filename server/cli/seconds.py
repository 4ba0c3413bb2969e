"""How long somebody on the command line wants something to last."""

from __future__ import annotations

import math
from typing import Any

import click

DAY_S = 86_400.0


class Number(click.FloatRange):
    """A range that not-a-number and infinity are not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number of this range: {self._describe_range()}.", param, ctx)
        return number


class Seconds(Number):
    """From 0, or from a moment above it, to a day at most."""

    def __init__(self, least: float = 0.0, most: float = DAY_S, *, above: bool = False) -> None:
        super().__init__(least, most, min_open=above)
