"""Random values of attributes, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["draw_value", "wrong_value"]


def draw_value(random: Random, kind: str, number: int) -> str:
    """Return a value that both sides take as it is; other numbers give other values."""
    if kind == "int":
        return str(random.choice((number, -number, 10**12 + number)))
    if kind == "float":
        return random.choice((f"{number}.5", f"-{number}e-7", f"{number}.0"))
    if kind == "complex":
        return random.choice((f"({number}+2j)", f"{number}.5j", f"complex({number})"))
    if kind == "str":
        return random.choice((f"'v{number}'", f"'{number}'", f"'Ünï {number}'", f"'a:{number}'"))
    if kind == "tuple":
        return random.choice((f"({number},)", f"('a', {number}, 0.5)", f"({number}, ('x', 2))"))
    if kind == "datetime":
        day, hour = f"2021, 3, {number % 28 + 1}", number // 28 % 24
        return random.choice(
            (
                f"datetime({day}, {hour})",
                f"datetime({day}, 7, 0, 0, {number}, tzinfo=timezone.utc)",
                f"datetime({day}, {hour}, tzinfo=timezone(timedelta(hours=3)))",
            )
        )
    if kind == "np.complex64":
        return f"np.complex64({number}+0.5j)"
    if "float" in kind:
        return f"{kind}({number}.25)"
    return f"{kind}({number % 100})"


def wrong_value(random: Random, kind: str) -> str:
    """Return a value that neither side takes for an attribute of this type."""
    wrong = ["[1]", "{'a': 1}", "b'x'", "object()", "np.array([1, 2])"]
    if kind != "str":
        wrong.append("'no such value'")
    if kind == "str":
        wrong += ["1", "datetime(2023, 1, 1)"]
    if kind in ("int", "np.int8", "np.int32", "np.uint16"):
        wrong += ["1.5", "(1,)", "2j"]
    if kind == "datetime":
        wrong += ["1", "1.5", "timedelta(1)"]
    if kind == "tuple":
        wrong.remove("[1]")
        wrong += ["1", "({},)", "(b'x',)"]
    return random.choice(wrong)


def coercible_value(random: Random, kind: str, number: int) -> tuple[str, str, str]:
    """Return a value that Deker refuses, the same as Deker takes it, and what it is about."""
    if kind == "str":
        return f"np.str_('n{number}')", f"'n{number}'", "numpy str"
    if kind == "tuple":
        return f"['a', {number}]", f"('a', {number})", "list as tuple"
    if kind == "datetime":
        text = f"2020-01-01T00:00:0{number % 10}+00:00"
        return repr(text), f"datetime(2020, 1, 1, 0, 0, {number % 10})", "ISO text"
    if kind in ("float", "complex"):
        return str(number), f"{kind}({number})", "int as a wider number"
    if kind.startswith(("np.float", "np.complex")):
        return f"{number}", f"{kind}({number})", "int as a wider number"
    if kind == "int":
        return f"np.int16({number})", str(number), "numpy int as int"
    return str(number % 100), f"{kind}({number % 100})", "int as a numpy int"
