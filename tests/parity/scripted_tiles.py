"""Tiles of virtual arrays, as ``collection.arrays`` shows them."""

from __future__ import annotations

from tests.parity.programs import Program, Step

__all__ = ["TILES"]

_XY = "[deker.DimensionSchema('y', 2), deker.DimensionSchema('x', 3)]"


def _varray(name: str, fields: str) -> Step:
    text = f"client.create_collection({name!r}, deker.VArraySchema({fields}))"
    return Step(text, "c", "collection")


def _attribute(name: str, kind: str, primary: bool) -> str:
    return f"deker.AttributeSchema({name!r}, {kind}, {primary})"


_PROGRAMS: dict[str, list[Step]] = {
    "writes outside of the grid": [
        _varray("ghosts", f"dtype=float, dimensions={_XY}, vgrid=(2, 3)"),
        Step("c.create()", "a", "create"),
        Step("a[2, 0].update(1.0)", kind="ghost write"),
        Step("a[2, 0].read()", kind="ghost write"),
        Step("a[0:5].update(np.ones((5, 3)))", kind="ghost write"),
        Step("len(list(c.arrays))", kind="ghost tiles"),
    ],
    "coordinates of tiles": [
        _varray(
            "tiles",
            "dtype=int, dimensions=[deker.TimeDimensionSchema('t', 4, '$o', timedelta(1)), "
            "deker.DimensionSchema('l', 2, ['a', 'b']), "
            "deker.DimensionSchema('s', 2, scale=deker.Scale(0.5, 1.0))], vgrid=(2, 2, 2), "
            f"attributes=[{_attribute('o', 'datetime', True)}]",
        ),
        Step("c.create({'o': datetime(2023, 1, 1)})", "v", "create"),
        Step("v[()].update(cells((4, 2, 2), int, 1))", kind="update"),
        Step("c.arrays.filter({'vid': v.id, 'v_position': (1, 1, 1)}).first()", "t", "tile"),
        Step("(t.shape, t[()].read(), t.primary_attributes)", kind="tile"),
        Step("t.dimensions[0].start_value", kind="tile coordinates", facts={"about": "time"}),
        Step("t.custom_attributes", kind="tile coordinates", facts={"about": "parent"}),
        Step("t.dimensions[1].labels", kind="tile coordinates", facts={"about": "labels"}),
        Step("t.dimensions[2].scale", kind="tile coordinates", facts={"about": "scale"}),
    ],
    "tiles by hand": [
        _varray("tiles2", f"dtype=int, dimensions={_XY}, vgrid=(2, 1)"),
        Step("c.create()", "v", "create"),
        Step("len(list(c.arrays))", kind="tile"),
        Step("c.arrays.create({'vid': v.id, 'v_position': (1, 0)})", "t", "made tile"),
        Step("[x.primary_attributes['v_position'] for x in c.arrays]", kind="made tile"),
        Step("t[()].update(cells((1, 3), int, 5))", kind="tile"),
        Step("t[0, 1].update(7)", kind="tile"),
        Step("v[()].read()", kind="tile"),
        Step("[x.primary_attributes['v_position'] for x in c.arrays]", kind="tile"),
        Step("t[0, 0:2].clear()", kind="tile"),
        Step("v[()].read()", kind="tile"),
        Step("(t.shape, t.named_shape, t.collection, t.fill_value)", kind="tile"),
        Step("sorted(t.read_meta())", kind="tile"),
        Step("t.custom_attributes", kind="tile"),
        Step("t.update_custom_attributes({'a': 1})", kind="tile"),
        *(
            Step(f"c.arrays.create({given})", kind="tile", facts={"about": given})
            for given in (
                "{'vid': '123e4567-e89b-42d3-a456-426614174000', 'v_position': (0, 0)}",
                "{'vid': v.id}",
                "{'v_position': (0, 0)}",
                "{'vid': v.id, 'v_position': (0, 0)}, {'a': 1}",
                "None",
            )
        ),
        *(
            Step(f"c.arrays.filter({given}).first()", kind="tile filter", facts={"about": given})
            for given in (
                "{'vid': v.id, 'v_position': [1, 0]}",
                "{'vid': '123e4567-e89b-42d3-a456-426614174000', 'v_position': (0, 0)}",
                "{'vid': v.id}",
                "{'v_position': (0, 0)}",
                "{}",
                "{'vid': v.id, 'v_position': (1, 0), 'other': 1}",
            )
        ),
        Step(
            "c.arrays.create({'vid': v.id, 'v_position': [0, 0]}).id and None",
            kind="tile of a list",
            witness="c.arrays.create({'vid': v.id, 'v_position': (0, 0)}).id and None",
        ),
        Step("t.delete()", kind="tile"),
        Step("v[()].read()", kind="tile"),
        Step(
            "[x.primary_attributes['v_position'] for x in c.arrays if x[()].read().max() > 0]",
            kind="tile",
        ),
        Step("t.delete()", kind="tile"),
        Step("t[()].read()", kind="deleted tile"),
        Step("v[()].read()", kind="tile"),
        Step("v.delete()", kind="delete"),
        Step("t[()].read()", kind="tile"),
        Step("len(list(c.arrays))", kind="tile"),
        Step("c.create()", "v", "create"),
        Step("c.arrays.create({'vid': v.id, 'v_position': (5, 5)})", kind="tile outside"),
    ],
}

TILES = tuple(Program(name, tuple(steps)) for name, steps in _PROGRAMS.items())
