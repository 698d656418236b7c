"""Random steps about arrays as a whole: creation, attributes, filters, deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.parity.draw_arrays import ArrayDrawer, as_dict
from tests.parity.draw_schema import attribute_value
from tests.parity.draw_values import wrong_value
from tests.parity.programs import Step

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["MetaDrawer"]

Values = dict[str, str]


class MetaDrawer(ArrayDrawer):
    """Draws such steps."""

    def first_arrays(self) -> list[Step]:
        """Make one or two arrays."""
        steps = [self._create()]
        alone = bool(self._schema.primary) and all(
            attribute.name in self._schema.origins for attribute in self._schema.primary
        )
        if not alone and self._random.random() < 0.5:
            steps.append(self._create())
        return steps

    def some_steps(self) -> list[Step]:
        """Do something with attributes, filters, or the collection."""
        actions: list[tuple[int, Callable[[], list[Step]]]] = [
            (3, self._find),
            (2, self._bad_filter),
            (3, self._look),
            (3, self._update_attributes),
            (1, self._bad_attributes),
            (2, self._bad_create),
            (1, self._coerced_create),
            (1, self._round_trip),
            (1, self._tiles),
            (1, self._look_at_collection),
        ]
        weights = [weight for weight, _ in actions]
        return self._random.choices([action for _, action in actions], weights)[0]()

    def last_steps(self) -> list[Step]:
        """Delete an array and try what is left of it; or clear the collection."""
        if self._random.random() < 0.3:
            return [
                Step("c.clear()", kind="clear collection"),
                Step("ids(c)", kind="iterate"),
                *(Step(f"{name}[()].read()", kind="deleted read") for name in self.arrays),
            ]
        name = self._random.choice(self.arrays)
        found = f"c.filter({{'id': {self._ids[name]!r}}}).first()"
        return [
            *self._moved_origin(name),
            Step(f"{name}.delete()", kind="delete"),
            Step(found, kind="filter"),
            Step("ids(c)", kind="iterate"),
            *self._random.sample(
                [
                    Step(f"{name}.delete()", kind="delete"),
                    Step(f"{name}[()].read()", kind="deleted read"),
                    Step(
                        f"{name}[()].update(cells({self._schema.shape}, {self._schema.dtype}, 1))",
                        kind="deleted update",
                    ),
                    Step(f"{name}[()].clear()", kind="deleted clear"),
                    Step(f"{name}.read_meta()", kind="deleted meta"),
                    Step(f"({name}.shape, {name}[()].shape)", kind="properties"),
                ],
                3,
            ),
        ]

    def _moved_origin(self, name: str) -> list[Step]:
        moved = [a for a in self._schema.custom if a.name in self._schema.origins]
        if not moved or len(moved) < len(self._schema.custom):
            return []
        values = {a.name: f"datetime(1999, 12, 31, {at})" for at, a in enumerate(moved)}
        return [
            Step(f"{name}.update_custom_attributes({as_dict(values)})", kind="update attributes"),
            Step(f"sorted({name}.custom_attributes.items())", kind="attributes"),
            Step(f"{name}.dimensions", kind="dimensions"),
        ]

    def _find(self) -> list[Step]:
        random = self._random
        name = random.choice(self.arrays)
        run = random.choice(("first", "last"))
        primary = self._primary[name]
        steps = [Step("ids(c)", kind="iterate")]
        if random.random() < 0.4 or not primary:
            steps.append(Step(f"c.filter({{'id': {self._ids[name]!r}}}).{run}()", kind="filter"))
            steps.append(Step(f"c.filter({{'id': {self._new_id()!r}}}).{run}()", kind="filter"))
        elif len(primary) > 1 and random.random() < 0.3:
            first, *others = primary
            rest = {other: primary[other] for other in others}
            text = f"c.filter({{{first!r}: {primary[first]}}}).filter({as_dict(rest)}).{run}()"
            facts = {"about": "chained filters"}
            whole = f"c.filter({as_dict(primary)}).{run}()"
            steps.append(Step(text, kind="bad filter", facts=facts, witness=whole))
        else:
            forms = {key: self._same_instant(value) for key, value in primary.items()}
            steps.append(Step(f"c.filter({as_dict(forms)}).{run}()", kind="filter"))
        # A handle that comes from the storage knows only what is stored.
        steps.append(Step(f"c.filter({{'id': {self._ids[name]!r}}}).first()", name, "filter"))
        return steps

    def _same_instant(self, value: str) -> str:
        if not value.startswith("datetime(") or self._random.random() < 0.5:
            return value
        aware = value if "tzinfo" in value else f"{value[:-1]}, tzinfo=timezone.utc)"
        return f"{aware}.{self._random.choice(('isoformat()', 'astimezone(timezone.utc)'))}"

    def _tiles(self) -> list[Step]:
        if not self._schema.virtual:
            return [Step("ids(c.arrays)", kind="managers")]
        name = self._random.choice(self.arrays)
        position = "(" + "0, " * len(self._schema.shape) + ")"
        tile = f"c.arrays.filter({{'vid': {name}.id, 'v_position': {position}}}).first()"
        return [
            Step(
                "sorted((a.primary_attributes['vid'], tuple(a.primary_attributes['v_position'])) "
                "for a in c.arrays)",
                kind="tiles",
            ),
            Step(f"(t := {tile}) and t[()].read()", kind="tile"),
            Step(f"(t := {tile}) and (t.shape, t.dtype, t.fill_value)", kind="tile"),
        ]

    def _bad_filter(self) -> list[Step]:
        random = self._random
        name = random.choice(self.arrays)
        primary = dict(self._primary[name])
        choices: list[tuple[str, str, str | None]] = [
            ("{'id': 'foo'}", "malformed id", None),
            (random.choice(("{'id': None}", "{'id': 7}")), "id of a wrong type", None),
            ("{}", "empty filter", self.arrays[0]),
            ("{'nobody': 1}", "unknown name alone", None),
            (random.choice(("None", "[1]", "'a'", "7")), "filter that is no dict", None),
            (f"{{'id': {self._new_id()!r}, 'nobody': 1}}", "id and an unknown name", None),
        ]
        if primary:
            choices.append((as_dict({**primary, "nobody": "1"}), "unknown name", None))
            choices.append(
                (as_dict({**primary, random.choice(list(primary)): "None"}), "None", None)
            )
            kept = dict(random.sample(list(primary.items()), len(primary) - 1))
            if kept:
                same = (
                    other for other in self.arrays if kept.items() <= self._primary[other].items()
                )
                choices.append((as_dict(kept), "some primary attributes", next(same)))
            if self._schema.custom:
                extra = random.choice(self._schema.custom).name
                match = f"{name} if {name}.custom_attributes[{extra!r}] is None else None"
                given = as_dict({**primary, extra: "None"})
                choices.append((given, "custom attribute besides", match))
        filtered, about, witness = random.choice(choices)
        text = f"c.filter({filtered}).first()"
        return [Step(text, None, "bad filter", {"about": about}, witness)]

    def _look(self) -> list[Step]:
        name = self._random.choice(self.arrays)
        choices = [
            (f"{name}.read_meta()", "read_meta"),
            (f"{name}.primary_attributes", "attributes"),
            (f"{name}.custom_attributes", "attributes"),
            (f"sorted({name}.as_dict)", "as_dict"),
            (
                f"[{name}.as_dict[key] for key in ('id', 'collection', 'shape', 'named_shape')]",
                "as_dict",
            ),
            (
                f"[getattr({name}, field) for field in ('id', 'collection', 'shape', 'dtype')]",
                "properties",
            ),
            (f"{name}.schema.as_dict", "as_dict"),
            (f"{name}.as_dict['dimensions']", "dimensions as_dict"),
            (
                f"[{name}.as_dict[key] for key in ('primary_attributes', 'custom_attributes')]",
                "attributes",
            ),
            (f"{name}.dimensions", "dimensions"),
            (f"[len(d) for d in {name}.dimensions]", "dimensions"),
            (f"({name}.vgrid, {name}.arrays_shape)", "grid"),
        ]
        return [Step(text, kind=kind) for text, kind in self._random.sample(choices, 3)]

    def _update_attributes(self) -> list[Step]:
        random = self._random
        custom = [a for a in self._schema.custom if a.name not in self._schema.origins]
        if not custom:
            return self._look()
        name = random.choice(self.arrays)
        # Deker forgets what is not given if all dimensions start at attributes.
        chosen = list(self._schema.custom)
        if not all(axis.attribute for axis in self._schema.axes):
            chosen = random.sample(custom, random.randint(1, len(custom)))
        values = {
            a.name: attribute_value(random, self._schema, a, random.randint(1, 500)) for a in chosen
        }
        if random.random() < 0.1:
            values[custom[0].name] = "None"
        steps = [
            Step(f"{name}.update_custom_attributes({as_dict(values)})", kind="update attributes")
        ]
        if random.random() < 0.5:
            again = f"c.filter({{'id': {self._ids[name]!r}}}).first()"
            steps.append(Step(again, name, "filter"))
        # Deker's order is another one after an update.
        steps.append(Step(f"sorted({name}.custom_attributes.items())", kind="attributes"))
        return steps

    def _bad_attributes(self) -> list[Step]:
        random = self._random
        name = random.choice(self.arrays)
        choices = ["{}", "None", "{'nobody': 1}", "[1]", "'a'"]
        if self._schema.primary:
            primary = random.choice(self._schema.primary).name
            choices.append(f"{{{primary!r}: {self._primary[name][primary]}}}")
        if self._schema.custom:
            custom = random.choice(self._schema.custom)
            choices += [f"{{{custom.name!r}: {wrong_value(random, custom.type)}}}"] * 4
        given = random.choice(choices)
        about = {"[1]": "no dict", "'a'": "no dict"}.get(given)
        text = f"{name}.update_custom_attributes({given})"
        return [
            Step(text, kind="bad attributes", facts={"about": about}),
            Step(f"sorted({name}.custom_attributes.items())", kind="attributes"),
        ]

    def _round_trip(self) -> list[Step]:
        name = f"{self._name}-copy"
        given = f"json.loads(json.dumps({{**c.as_dict, 'name': {name!r}}}))"
        return [
            Step(f"client.collection_fromas_dict({given})", "r", "round trip"),
            Step("{**r.as_dict, 'name': 0} == {**c.as_dict, 'name': 0}", kind="round trip"),
            Step("r.delete()", kind="delete"),
        ]

    def _look_at_collection(self) -> list[Step]:
        choices = [
            ("c.as_dict", "as_dict"),
            ("(c.name, str(c), c.array_schema is None, c.varray_schema is None)", "collection"),
            ("client.get_collection('nobody')", "get_collection"),
            (f"client.create_collection({self._name!r}, schema)", "collection taken"),
            (f"{self._name!r} in [x.name for x in client]", "iterate"),
            ("ids(c.varrays)" if self._schema.virtual else "c.varrays", "managers"),
            ("c.varray_schema", "collection"),
            ("c.array_schema", "collection"),
        ]
        choices.append(("c.options", "options"))
        return [Step(text, kind=kind) for text, kind in self._random.sample(choices, 3)]
