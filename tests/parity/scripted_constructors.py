"""Constructors with good and with bad arguments, one by one."""

from __future__ import annotations

from tests.parity.programs import Program, Step

__all__ = ["CONSTRUCTORS"]

_DIMENSIONS = (
    "'x', 3",
    *(f"{name}, 3" for name in ("''", "'  '", "1", "None", "b'x'")),
    *(f"'x', {size}" for size in ("0", "1.0", "'2'", "None", "True", "np.int64(3)", "-1")),
    *(
        f"'x', 2, {labels}"
        for labels in (
            *("['a', 'b']", "('a', 'b')", "[0.5, 1.5]", "None", "[]", "'ab'", "{'a', 'b'}"),
            *("['a']", "['a', 'a']", "[1, 2]", "['a', 1]", "{'a': 0, 'b': 1}", "[['a', 0]]"),
            *("np.array([1, 2])", "7", "[None, None]"),
        )
    ),
    *(
        f"'x', 2, scale={scale}"
        for scale in (
            *("deker.Scale(0.5, 0.25)", "deker.Scale(0.0, -1.5, 'name')", "deker.Scale(0, 1)"),
            *("deker.Scale(np.float64(0), 1.0)", "deker.Scale(np.float32(0), 1.0)"),
            *("deker.Scale(0.0, 0.0)", "deker.Scale(0.0, float('nan'))", "deker.Scale(0.0, '1')"),
            *("deker.Scale(0.0, 1.0, '')", "deker.Scale(0.0, 1.0, 5)", "(0.0, 1.0)", "1.0"),
            *("{'start_value': 0.0, 'step': 0.5}", "{'start_value': 0.0}", "{'start': 0.0}"),
            "{'start_value': 0.0, 'step': 0.5, 'name': 'n'}",
        )
    ),
    "'x', 2, ['a', 'b'], deker.Scale(0.0, 1.0)",
    "name='x', size=2, labels=None, scale=None",
    "'x'",
)
_TIMES = (
    *(
        f"'t', 3, {start}, timedelta(1)"
        for start in (
            *("datetime(2023, 1, 1)", "datetime(2023, 1, 1, tzinfo=timezone.utc)", "'2023-01-01'"),
            *("datetime(2023, 1, 1, tzinfo=timezone(timedelta(hours=3)))", "'2023-01-01T05:00Z'"),
            *("'2023-01-01T00:00:00+03:00'", "'$a'", "'$'", "''", "' '", "'nonsense'", "None"),
            *("5", "1.5", "np.datetime64('2023-01-01')", "datetime(2023, 1, 1).date()"),
        )
    ),
    *(
        f"'t', 3, '2023-01-01', {step}"
        for step in ("timedelta(hours=-6)", "timedelta(0)", "1", "None", "'1'", "np.timedelta64(1)")
    ),
    "'', 3, '2023-01-01', timedelta(1)",
    "'t', 0, '2023-01-01', timedelta(1)",
    "'t', 3",
    "'t', 3, start_value='2023-01-01', step=timedelta(1)",
)
_ATTRIBUTES = (
    *(
        f"'a', {kind}, True"
        for kind in (
            *("int", "float", "complex", "str", "tuple", "datetime", "np.int8", "np.uint64"),
            *("np.float32", "np.float64", "np.complex64", "np.longdouble", "bool", "list", "dict"),
            *("bytes", "np.bool_", "np.str_", "np.dtype('int8')", "'int'", "None", "5", "object"),
        )
    ),
    *(f"'a', int, {primary}" for primary in ("False", "1", "None", "'yes'")),
    *(f"{name}, int, True" for name in ("''", "' '", "None", "3", "'id'", "'vid'")),
    "'a', int",
    "name='a', dtype=str, primary=False",
)
_D = "dimensions=[deker.DimensionSchema('x', 4), deker.DimensionSchema('y', 6)]"
_DTYPES = (
    *("int", "float", "complex", "np.int8", "np.longlong", "np.uint8", "np.uint64", "np.ulonglong"),
    *("np.float16", "np.longdouble", "np.complex64", "np.clongdouble", "np.intc", "np.short"),
    *("bool", "str", "object", "np.datetime64", "np.dtype('int8')", "'int8'", "None", "5"),
)
_FILLS = (
    *(("float", fill) for fill in ("0.5", "7", "'7'", "float('nan')", "True", "b'1'", "[1]")),
    *(("float", fill) for fill in ("1j", "'no number'", "1e400", "None", "np.float32(0.5)")),
    *(("int", fill) for fill in ("7", "-1", "1.9", "1.0", "'7'", "float('nan')", "float('inf')")),
    *(("int", fill) for fill in ("'no number'", "2**63", "np.int8(5)")),
    *(("np.int8", fill) for fill in ("300", "5", "-128")),
    *(("np.float32", fill) for fill in ("1e40", "0.1")),
    *(("complex", fill) for fill in ("1j", "2.5")),
    *(("np.uint8", fill) for fill in ("255", "-1", "300")),
)
_SCHEMAS = (
    *(f"dtype={dtype}, {_D}" for dtype in _DTYPES),
    *(f"dtype={dtype}, {_D}, fill_value={fill}" for dtype, fill in _FILLS),
    *(
        f"dtype=int, dimensions={dimensions}"
        for dimensions in (
            *("[]", "None", "[1]", "deker.DimensionSchema('x', 2)", "'xy'"),
            "(deker.DimensionSchema('x', 2),)",
            "[deker.DimensionSchema('x', 2), deker.DimensionSchema('x', 3)]",
            "[deker.TimeDimensionSchema('t', 2, '$a', timedelta(1))]",
        )
    ),
    *(
        f"dtype=int, {_D}, attributes={attributes}"
        for attributes in (
            *("None", "()", "[]", "[deker.AttributeSchema('a', int, True)]", "[1]", "5"),
            "[deker.AttributeSchema('a', int, True), deker.AttributeSchema('a', str, False)]",
            "(deker.AttributeSchema('a', int, True), deker.AttributeSchema('b', str, False))",
        )
    ),
    *(
        "dtype=int, dimensions=[deker.TimeDimensionSchema('t', 2, '$a', timedelta(1))], "
        f"attributes=[deker.AttributeSchema('a', {kind}, {primary})]"
        for kind, primary in (("datetime", "True"), ("datetime", "False"), ("int", "True"))
    ),
    _D,
    "dtype=int",
)
_GRIDS = (
    *("vgrid=(2, 3)", "vgrid=[4, 6]", "arrays_shape=(2, 3)", "arrays_shape=[4, 1]", ""),
    *("vgrid=(2, 3), arrays_shape=(2, 2)", "vgrid=()", "arrays_shape=()", "vgrid=None"),
    *("vgrid=(2,)", "vgrid=(2, 3, 1)", "vgrid=(0, 1)", "vgrid=(-1, 1)", "vgrid=(2.0, 3)"),
    *("vgrid=(True, 2)", "vgrid=(np.int64(2), 3)", "vgrid=np.array([2, 3])", "vgrid='ab'"),
    *("vgrid=(2, 3), arrays_shape=()", "vgrid=(), arrays_shape=(2, 3)", "vgrid=(8, 6)"),
    *("arrays_shape=(3, 3)", "vgrid=(3, 3)", "arrays_shape=(8, 6)", "vgrid=5"),
)
_OPTIONS = (
    *("", "None", "True", "(2, 3)", "[2, 3]", "None, None"),
    *("False", "()", "[]", "5", "(1.5, 2)", "(np.int64(2), 3)", "'auto'", "(0, 2)", "(-1, 2)"),
    "compression_opts=deker.HDF5CompressionOpts('gzip', 4)",
    "(2, 3), deker.HDF5CompressionOpts('lzf', None)",
    *("None, 'gzip'", "None, {'compression': 'gzip'}", "None, 5"),
)
_COMPRESSIONS = (
    *("'gzip', 4", "'gzip', None", "'gzip', 0", "'lzf', None", "'szip', ('nn', 8)", "None, None"),
    *("32015, (3,)", "32015, [3]", "32015, None", "'gzip', (4,)", "32001, (0, 0, 0, 0, 5, 1, 1)"),
    *("'', None", "' ', None", "True, None", "1.5, None", "-1, None", "None, 4", "'gzip', True"),
    *("'gzip', '4'", "'gzip', -1", "'gzip', 1.5", "'gzip', 10", "'nonsense', None", "99999, None"),
    *("2, None", "3, None", "5, None", "6, None", "32000, None"),
    *("'gzip'", ""),
)


# What Deker refuses, and the same in the form that it takes.
_PLAIN = {
    "'x', np.int64(3)": "'x', 3",
    "'x', 2, scale=deker.Scale(0, 1)": "'x', 2, scale=deker.Scale(0.0, 1.0)",
    "'x', 2, scale=deker.Scale(np.float32(0), 1.0)": "'x', 2, scale=deker.Scale(0.0, 1.0)",
    f"dtype=np.dtype('int8'), {_D}": f"dtype=np.int8, {_D}",
    f"dtype='int8', {_D}": f"dtype=np.int8, {_D}",
    f"dtype=int, {_D}, vgrid=(np.int64(2), 3)": f"dtype=int, {_D}, vgrid=(2, 3)",
    "(np.int64(2), 3)": "(2, 3)",
}


def _steps(name: str, calls: tuple[str, ...], rest: str = "") -> list[Step]:
    steps = []
    for call in calls:
        witness = f"deker.{name}({_PLAIN[call]}){rest}" if call in _PLAIN else None
        about = call.replace(f"{_D}, ", "").replace(f", {_D}", "")
        steps.append(Step(f"deker.{name}({call}){rest}", None, name, {"about": about}, witness))
    return steps


def _programs() -> tuple[Program, ...]:
    steps = {
        "dimensions": _steps("DimensionSchema", _DIMENSIONS),
        "time dimensions": _steps("TimeDimensionSchema", _TIMES),
        "attributes": _steps("AttributeSchema", _ATTRIBUTES),
        "schemas": _steps("ArraySchema", _SCHEMAS),
        "fill values": _steps("ArraySchema", _SCHEMAS, ".fill_value"),
        "grids": [
            *_steps("VArraySchema", tuple(f"dtype=int, {_D}, {g}" for g in _GRIDS)),
            *_steps(
                "VArraySchema", tuple(f"dtype=int, {_D}, {g}" for g in _GRIDS), ".arrays_shape"
            ),
        ],
        "options": _steps("HDF5Options", _OPTIONS),
        "compressions": _steps("HDF5CompressionOpts", _COMPRESSIONS),
    }
    return tuple(Program(f"constructors: {name}", tuple(made)) for name, made in steps.items())


CONSTRUCTORS = _programs()
