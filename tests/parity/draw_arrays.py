"""Random creations of arrays, and what is known about those that exist."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.parity.draw_schema import attribute_value
from tests.parity.draw_values import coercible_value, wrong_value
from tests.parity.programs import Step

if TYPE_CHECKING:
    from random import Random

    from tests.parity.draw_schema import Attribute, Schema

__all__ = ["ArrayDrawer", "Values", "as_dict"]

Values = dict[str, str]


class ArrayDrawer:
    """Draws creations, and keeps track of the arrays that there are.

    Parameters
    ----------
    random
        Decides everything.
    schema
        Of the collection ``c``.
    name
        Name of the collection.
    """

    def __init__(self, random: Random, schema: Schema, name: str) -> None:
        self._random = random
        self._schema = schema
        self._name = name
        self._made = 0
        self._extras = 0
        self._ids: dict[str, str] = {}
        self._primary: dict[str, Values] = {}

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays that exist."""
        return list(self._ids)

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _values(self, attributes: tuple[Attribute, ...]) -> Values:
        number = self._made + 1
        return {a.name: attribute_value(self._random, self._schema, a, number) for a in attributes}

    def _custom(self) -> Values:
        values = self._values(self._schema.custom)
        for name in list(values):
            if name not in self._schema.origins and self._random.random() < 0.3:
                del values[name]
            elif name not in self._schema.origins and self._random.random() < 0.1:
                values[name] = "None"
        return values

    def _create(self) -> Step:
        name = f"a{self._made}"
        array_id = self._new_id()
        primary, custom = self._values(self._schema.primary), self._custom()
        self._made += 1
        self._ids[name], self._primary[name] = array_id, primary
        return Step(f"c.create({_call(self._random, primary, custom, array_id)})", name, "create")

    def _bad_create(self) -> list[Step]:
        random = self._random
        primary, custom = self._values(self._schema.primary), self._custom()
        array_id = self._new_id()
        other = random.choice(self.arrays)
        forms = ["id taken", "id malformed", "unknown", "no dict"]
        if primary:
            forms += ["taken", "missing", "wrong primary", "primary among custom"] * 2
        if custom:
            forms += ["wrong custom", "custom among primary"]
        form = random.choice(forms)
        if form == "id taken":
            array_id = self._ids[other]
        elif form == "id malformed":
            array_id = random.choice(("", "foo", array_id.replace("-", ""), f"{array_id}0"))
        elif form == "taken":
            primary = dict(self._primary[other])
        else:
            self._spoil(form, primary, custom)
        arguments = _call(random, primary, custom, array_id)
        if form == "no dict":
            arguments = random.choice(("[1]", "'a'", "7"))
        extra = f"e{self._extras}"
        self._extras += 1
        steps = [Step(f"c.create({arguments})", extra, "bad create", {"about": form})]
        if form == "custom among primary":
            # Deker makes it; the two storages are brought together again.
            deleted = f"[a.delete() for a in [c.filter({{'id': {array_id!r}}}).first()] if a]"
            steps.append(Step(f"len({deleted}) * 0", kind="delete"))
        steps.append(Step("ids(c)", kind="iterate"))
        return steps

    def _spoil(self, form: str, primary: Values, custom: Values) -> None:
        random = self._random
        if form == "unknown":
            (primary if random.random() < 0.5 else custom)["nobody"] = "1"
        elif form == "missing":
            gone = random.choice(list(primary))
            del primary[gone]
            if random.random() < 0.5:
                primary[gone] = "None"
        elif form == "wrong primary":
            attribute = random.choice(self._schema.primary)
            primary[attribute.name] = wrong_value(random, attribute.type)
        elif form == "wrong custom":
            attribute = random.choice(self._schema.custom)
            custom[attribute.name] = wrong_value(random, attribute.type)
        elif form == "primary among custom":
            moved = random.choice(list(primary))
            custom[moved] = primary.pop(moved)
        elif form == "custom among primary":
            moved = random.choice(list(custom))
            primary[moved] = custom.pop(moved)

    def _coerced_create(self) -> list[Step]:
        random = self._random
        primary, custom = self._values(self._schema.primary), self._custom()
        array_id = self._new_id()
        named = {a.name: a for a in self._schema.attributes if a.name in {**primary, **custom}}
        named = {key: a for key, a in named.items() if key not in self._schema.origins}
        if not named or (primary and all(key in self._schema.origins for key in primary)):
            return []
        self._made += 1
        attribute = named[random.choice(list(named))]
        given, plain, about = coercible_value(random, attribute.type, self._made)
        where = primary if attribute.primary else custom
        where[attribute.name] = plain
        witness = f"c.create({as_dict(primary)}, {as_dict(custom)}, {array_id!r})"
        where[attribute.name] = given
        text = f"c.create({as_dict(primary)}, {as_dict(custom)}, {array_id!r})"
        extra = f"e{self._extras}"
        self._extras += 1
        return [
            Step(text, extra, "coerced create", {"about": about}, witness),
            Step(
                f"sorted({{**{extra}.primary_attributes, **{extra}.custom_attributes}}.items())",
                kind="attributes",
            ),
            Step(f"{extra}.delete()", kind="delete"),
        ]


def as_dict(values: Values) -> str:
    return "{" + ", ".join(f"{name!r}: {value}" for name, value in values.items()) + "}"


def _call(random: Random, primary: Values, custom: Values, array_id: str) -> str:
    shuffled = dict(random.sample(list(primary.items()), len(primary)))
    if not custom and random.random() < 0.5:
        return f"{as_dict(shuffled) if shuffled else None}, id_={array_id!r}"
    return f"{as_dict(shuffled)}, {as_dict(custom)}, {array_id!r}"
