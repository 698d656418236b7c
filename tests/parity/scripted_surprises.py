"""Deker's surprises that random programs keep away from, because they spoil what comes after."""

from __future__ import annotations

from tests.parity.programs import Program, Step

__all__ = ["SURPRISES"]

_X = "deker.DimensionSchema('x', 4)"
_XY = "[deker.DimensionSchema('y', 2), deker.DimensionSchema('x', 3)]"


def _array(name: str, fields: str, options: str = "None") -> Step:
    text = f"client.create_collection({name!r}, deker.ArraySchema({fields}), {options})"
    return Step(text, "c", "collection")


def _varray(name: str, fields: str) -> Step:
    text = f"client.create_collection({name!r}, deker.VArraySchema({fields}))"
    return Step(text, "c", "collection")


def _attribute(name: str, kind: str, primary: bool) -> str:
    return f"deker.AttributeSchema({name!r}, {kind}, {primary})"


_PRIMARY = _attribute("p", "int", True)

_PROGRAMS: dict[str, list[Step]] = {
    "clear the same cell again and again": [
        _array("clear", f"dtype=float, dimensions={_XY}"),
        Step("c.create()", "a", "create"),
        Step("a[()].update(np.ones((2, 3)))", kind="update"),
        Step("[a[0, 0].clear() for _ in range(6)]", kind="clear"),
        Step("a[()].read()", kind="read", facts={"about": "cell cleared repeatedly"}),
    ],
    "clear beyond the end": [
        _array("beyond", f"dtype=float, dimensions=[{_X}, deker.DimensionSchema('y', 3)]"),
        Step("c.create()", "a", "create"),
        Step("a[()].update(np.ones((4, 3)))", kind="update"),
        Step("a[2:100].clear()", kind="clear"),
        Step("a[()].read()", kind="read", facts={"about": "cleared beyond the end"}),
    ],
    "custom attributes of arrays with own origins only": [
        _array(
            "origins",
            "dtype=int, dimensions=[deker.TimeDimensionSchema('t', 2, '$o', timedelta(1))], "
            f"attributes=[{_attribute('o', 'datetime', False)}, {_attribute('n', 'int', False)}, "
            f"{_attribute('s', 'str', False)}]",
        ),
        Step("c.create({}, {'o': datetime(2023, 1, 1), 'n': 1, 's': 'a'})", "a", "create"),
        Step("a.update_custom_attributes({'n': 2, 'o': datetime(2023, 1, 1)})", kind="update"),
        Step("a.custom_attributes['s']", kind="forgotten attribute"),
        Step("a.update_custom_attributes({'o': datetime(2024, 1, 1)})", kind="update"),
        Step("a[0].describe()", kind="describe"),
        Step("a.update_custom_attributes({'o': None})", kind="update"),
    ],
    "the caller's own dict": [
        _array(
            "mutated",
            f"dtype=int, dimensions=[{_X}], attributes=[{_attribute('m', 'int', False)}, "
            f"{_attribute('n', 'int', False)}]",
        ),
        Step("c.create({}, {'m': 1, 'n': 2})", "a", "create"),
        Step("a.update_custom_attributes([1])", kind="bad attributes", facts={"about": "no dict"}),
        Step("(d := {'n': 3}, a.update_custom_attributes(d), d)[2]", kind="mutated dict"),
        Step("list(a.custom_attributes)", kind="attribute order"),
    ],
    "values of attributes": [
        _array(
            "values",
            f"dtype=int, dimensions=[{_X}], attributes=[{_PRIMARY}, "
            f"{_attribute('t', 'tuple', False)}]",
        ),
        Step("c.create({'p': False})", "b", "bool attribute"),
        Step(
            "c.create({'p': 1}, {'t': (datetime(2023, 1, 1), np.int8(1), '(1+2j)')})", "a", "create"
        ),
        Step("c.filter({'id': a.id}).first()", "f", "filter"),
        Step("f.custom_attributes['t']", kind="tuple leaves"),
        Step("c.create({'p': 2}, {'t': (None,)})", kind="None in a tuple"),
        Step("ids([c.filter({'p': '1'}).first()])", kind="text for an int"),
        Step("c.filter({'p': '5'}).first()", kind="text for an int"),
    ],
    "a datetime attribute whose name begins as the origin's": [
        _array(
            "prefix",
            "dtype=int, dimensions=[deker.TimeDimensionSchema('t', 2, '$dd', timedelta(1)), "
            f"{_X}], attributes=[{_attribute('dd', 'datetime', False)}, "
            f"{_attribute('d', 'datetime', False)}]",
        ),
        Step("c.create({}, {'dd': datetime(2023, 1, 1)})", "a", "create", {"about": "prefix"}),
    ],
    "numbers that do not fit, or do": [
        _array("numbers", f"dtype=np.float32, dimensions=[{_X}]"),
        Step("c.create()", "a", "create"),
        Step(
            "client.create_collection('ints', deker.ArraySchema(dtype=int, dimensions=["
            f"{_X}])).create()",
            "b",
            "create",
        ),
        Step(
            "a[:].update(0.1)",
            kind="update",
            facts={"about": "rounded scalar"},
            witness="a[:].update(np.full(4, 0.1, np.float32))",
        ),
        Step("a[:].read()", kind="read"),
        Step(
            "a[:].update(float('nan'))",
            kind="update",
            facts={"about": "NaN scalar"},
            witness="a[:].update(np.full(4, np.nan, np.float32))",
        ),
        Step("a[:].read()", kind="read"),
        Step(
            "a[:].update([1, 2, 3, 4])",
            kind="update",
            facts={"about": "list of other numbers"},
            witness="a[:].update(np.array([1, 2, 3, 4], np.float32))",
        ),
        Step("a[:].read()", kind="read"),
        Step("a[:].update([[1, 2], [3]])", kind="bad update", facts={"about": "ragged list"}),
        Step("b[:].update(10**30)", kind="bad update", facts={"about": "huge"}),
        Step("b[:].update(1.5)", kind="bad update"),
        Step("b[:].update(2.0)", kind="update"),
        Step("b[:].read()", kind="read"),
        Step("(client.get_collection('ints').delete(), c.delete())", kind="delete"),
    ],
    "masked arrays": [
        _array("masked", f"dtype=float, dimensions=[{_X}]"),
        Step("c.create()", "a", "create"),
        Step("a[()].update(np.ma.masked_array(np.ones(4), [0, 1, 0, 1]))", kind="update"),
        Step("a[()].read()", kind="read", facts={"about": "masked cells"}),
    ],
    "equality, hashes, lengths, pickles": [
        Step(f"deker.ArraySchema(dtype=float, dimensions=[{_X}])", "s", "schema"),
        Step(
            f"s == deker.ArraySchema(dtype=float, dimensions=[{_X}])",
            kind="protocol",
            facts={"about": "NaN schemas"},
        ),
        Step(
            f"deker.ArraySchema(dtype=int, dimensions=[{_X}]) == "
            f"deker.ArraySchema(dtype=int, dimensions=[{_X}])",
            kind="schema",
        ),
        Step("isinstance(hash(s), int)", kind="protocol", facts={"about": "hash of a schema"}),
        Step("client.create_collection('protocols', s)", "c", "collection"),
        Step(
            "c == client.get_collection('protocols')",
            kind="protocol",
            facts={"about": "equal handles"},
        ),
        Step("len(c)", kind="protocol", facts={"about": "len of a collection"}),
        Step("c.create()", "a", "create"),
        Step("len(a)", kind="protocol", facts={"about": "len of an array"}),
        Step(
            "[__import__('pickle').loads(__import__('pickle').dumps(x)) == x for x in "
            f"(deker.ArraySchema(dtype=int, dimensions=[{_X}]), )]",
            kind="schema",
        ),
        *(
            Step(
                f"type(__import__('pickle').loads(__import__('pickle').dumps({what}))).__name__",
                kind="protocol",
                facts={"about": "pickled handles"},
            )
            for what in ("client", "a", "a[0]")
        ),
        Step(
            "(a[0:2].__class__.__name__, np.asarray(a).shape)",
            kind="protocol",
            facts={"about": "numpy protocol"},
        ),
        Step(
            "a.__setitem__(slice(None), np.ones(4))", kind="protocol", facts={"about": "assignment"}
        ),
    ],
    "types of dtypes": [
        _array("dtypes", f"dtype=np.float32, dimensions=[{_X}]"),
        Step("c.create()", "a", "create"),
        Step("(a.dtype == np.float32, a[0].dtype == np.float32)", kind="properties"),
        Step("isinstance(a.dtype, np.dtype)", kind="dtype instance"),
    ],
    "warnings": [
        _array("warned", f"dtype=int, dimensions=[{_X}]"),
        Step(
            "(w := __import__('warnings').catch_warnings(record=True), log := w.__enter__(), "
            "__import__('warnings').simplefilter('always'), "
            "client.calculate_storage_size('warned'), w.__exit__(), "
            "[x.category.__name__ for x in log])[-1]",
            kind="storage size warning",
        ),
        Step(
            "(w := __import__('warnings').catch_warnings(record=True), log := w.__enter__(), "
            "__import__('warnings').simplefilter('always'), "
            "deker.Client(f'file://{root}', httpx_conf={}).close(), w.__exit__(), "
            "'DekerWarning' in [x.category.__name__ for x in log])[-1]",
            kind="unknown option",
        ),
        Step(
            "(w := __import__('warnings').catch_warnings(), w.__enter__(), "
            "__import__('warnings').simplefilter('ignore'), "
            "deker.Client(f'file://{root}', httpx_conf={'a': 1}).kwargs, w.__exit__())[3]",
            kind="properties",
        ),
    ],
    "ids in capitals, an attribute of that name, large attributes": [
        _array(
            "limits",
            f"dtype=int, dimensions=[{_X}], attributes=[{_attribute('text', 'str', False)}]",
        ),
        Step("c.create(id_='ABCDEF01-2345-4678-9ABC-DEF012345678').id", kind="capital id"),
        Step("c.create({}, {'text': 'x' * 60_000})", kind="large attributes"),
        _array(
            "ids",
            f"dtype=int, dimensions=[{_X}], attributes=[{_PRIMARY}, "
            f"{_attribute('id', 'int', False)}]",
        ),
        Step("c.create({'p': 1}, {'id': 5})", "a", "create"),
        Step("ids([c.filter({'id': 5}).first()])", kind="attribute called id"),
        Step("ids([c.filter({'id': a.id}).first()])", kind="attribute called id"),
    ],
    "a client that nobody holds": [
        Step(
            "deker.Client(f'file://{root}').create_collection('c', deker.ArraySchema("
            f"dtype=int, dimensions=[{_X}])).create().shape",
            kind="chain",
        ),
    ],
    "dimensions of arrays": [
        Step("deker.Dimension('x', 3, ['a', 'b', 'c'])", "d", "dimensions"),
        Step("(d.name, d.size, d.step, d.labels, d.scale, len(d), str(d))", kind="dimensions"),
        Step(
            "(d.labels.first, d.labels.last, d.labels.name_to_index('b'), "
            "d.labels.name_to_index('?'), d.labels.index_to_name(1), d.labels.index_to_name(9))",
            kind="dimensions",
        ),
        Step(
            "deker.Dimension('x', 3, scale={'start_value': 0.5, 'step': 0.25, 'name': 'n'})",
            "e",
            "dimensions",
        ),
        Step("(tuple(e.scale), e.scale._fields, e.labels)", kind="dimensions"),
        Step(
            "deker.Dimension('x', 3, scale=deker.Scale(0.5, 0.25)).size",
            kind="scale of a dimension",
        ),
        Step(
            "deker.TimeDimension('t', 3, datetime(2023, 1, 1, tzinfo=timezone.utc), timedelta(1))",
            "t",
            "dimensions",
        ),
        Step("(t.name, t.size, t.start_value, t.step, len(t), str(t))", kind="dimensions"),
        *(
            Step(f"deker.Dimension({call})", kind="dimensions", facts={"about": call})
            for call in ("'', 3", "'x', 0", "'x', 2, ['a']", "'x', 2, [1, 2]", "'x', 'y'")
        ),
    ],
    "options that cannot work": [
        *(
            Step(
                f"client.create_collection('o{number}', deker.ArraySchema(dtype=float, "
                f"dimensions={_XY}), deker.HDF5Options({options})).create()[()].update("
                "np.ones((2, 3)))",
                kind="impossible options",
                facts={"about": options},
            )
            for number, options in enumerate(("(2,)", "(2, 3, 1)", "(9, 9)"))
        ),
        _array(
            "gzip0",
            f"dtype=float, dimensions={_XY}",
            "deker.HDF5Options(None, deker.HDF5CompressionOpts('gzip', 0))",
        ),
        Step("c.options", kind="gzip level 0"),
    ],
    "coordinates at the borders": [
        _array(
            "borders",
            "dtype=int, dimensions=[deker.DimensionSchema('s', 4, scale=deker.Scale(0.125, 0.5)), "
            "deker.TimeDimensionSchema('t', 40, '2023-01-15', timedelta(1))]",
        ),
        Step("c.create()", "a", "create"),
        Step("a[0.125:2.125]", "b", "subset", {"about": "scale stop"}, "a[0:4]"),
        Step("a[:].describe()", kind="describe", facts={"scales": {"s": (0.125, 0.5)}}),
        Step(
            "a[:, '2023-02'].shape",
            kind="subset",
            facts={"about": "partial date"},
            witness="a[:, 17:40].shape",
        ),
        Step(
            "a[:, '2023'].shape",
            kind="subset",
            facts={"about": "partial date"},
            witness="a[:, :].shape",
        ),
        Step(
            "a[:, '2023-02':].shape",
            kind="subset",
            facts={"about": "partial date"},
            witness="a[:, 17:].shape",
        ),
        Step("a[:, '2023-01-15'].shape", kind="subset"),
    ],
}

SURPRISES = tuple(Program(name, tuple(steps)) for name, steps in _PROGRAMS.items())
