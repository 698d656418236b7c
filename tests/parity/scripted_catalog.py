"""Clients, collections and what is left of deleted ones."""

from __future__ import annotations

from tests.parity.programs import Program, Step

__all__ = ["CATALOG"]

_SCHEMA = "deker.ArraySchema(dtype=float, dimensions=[deker.DimensionSchema('x', 4)])"
_GRID = (
    "deker.VArraySchema(dtype=float, dimensions=[deker.DimensionSchema('x', 4), "
    "deker.DimensionSchema('y', 4)], vgrid=(2, 2))"
)
_OPENED = "deker.Client(f'file://{root}', "


def _tries(kind: str, *texts: str) -> list[Step]:
    return [Step(text, kind=kind, facts={"about": text}) for text in texts]


_CLIENT_REFUSALS = _tries(
    "client",
    *("deker.Client('')", "deker.Client('  ')", "deker.Client('ftp://x/y')", "deker.Client(None)"),
    *("deker.Client(5)", "deker.Client('/no/scheme')", "deker.Client()"),
    *("deker.Client(f'file://{root}', 5)", "deker.Client(f'file:{__import__(\"os\").devnull}')"),
    *(f"{_OPENED}workers={workers})" for workers in ("0", "-1", "1.5", "'2'")),
    *(f"{_OPENED}write_lock_timeout={value})" for value in ("'1'", "None")),
    *(f"{_OPENED}write_lock_check_interval={value})" for value in ("'1'", "None")),
    *(f"{_OPENED}loglevel={level})" for level in ("'NOISE'", "10", "None")),
    *(
        f"{_OPENED}memory_limit={limit})"
        for limit in ("'10GB'", "'1.5G'", "None", "''", "'G'", "1.5", "'-1'", "[]")
    ),
    f"{_OPENED}executor=5)",
    f"{_OPENED}skip_collection_create_memory_check='yes')",
)

_CLIENT_OPTIONS = [
    Step(f"{_OPENED}{options})", "one", "opened", {"about": options})
    if options is not None
    else Step("one.close()", kind="closed")
    for each in (
        "workers=3, loglevel='error', memory_limit='10g', write_lock_timeout=5",
        "write_lock_check_interval=0, skip_collection_create_memory_check=True",
        "executor=None, workers=None, memory_limit='100', loglevel='Warning'",
        "workers=True",
        "write_lock_timeout=-1",
        "write_lock_timeout=0.5",
        "write_lock_check_interval=0.1",
    )
    for options in (each, None)
]

_EXECUTOR = Step(
    "(e := __import__('concurrent.futures').futures.ThreadPoolExecutor(2), "
    "deker.Client(f'file://{root}', executor=e).close(), e.submit(int, '5').result(), "
    "e.shutdown())[2]",
    kind="properties",
)

_BIG = "dtype=float, dimensions=[deker.DimensionSchema('x', 100)]"

_MEMORY = [
    Step("deker.Client(f'file://{root}', memory_limit=100)", "m", "opened"),
    Step(f"m.create_collection('big', deker.ArraySchema({_BIG}))", kind="memory"),
    Step("m.get_collection('big')", kind="memory"),
    Step(f"m.create_collection('v', deker.VArraySchema({_BIG}, vgrid=(50,)))", "v", "collection"),
    Step("v.create()", "a", "create"),
    Step("a[0:4].update(np.ones(4))", kind="update"),
    Step("a[0:5].read()", kind="read"),
    Step("a[0:50]", kind="memory subset"),
    Step("a[0:50].read()", kind="memory"),
    Step("a[()].read()", kind="memory"),
    Step("a[()].read_xarray()", kind="memory"),
    Step("m.close()", kind="closed"),
    Step(
        "deker.Client(f'file://{root}', memory_limit=100, "
        "skip_collection_create_memory_check=True)",
        "n",
        "opened",
    ),
    Step(f"n.create_collection('big', deker.ArraySchema({_BIG})).create()", "b", "create"),
    Step("b[()].read()", kind="memory"),
    Step("b[0:3].read()", kind="read"),
    Step("n.close()", kind="closed"),
]

_LIFE = [
    Step("deker.Client(f'file://{root}')", "own", "opened"),
    Step("(own.is_open, own.is_closed, own.meta_version)", kind="properties"),
    Step("type(own.root_path).__name__ in ('PosixPath', 'str')", kind="properties"),
    Step("own.__enter__() is own", kind="context"),
    Step(f"own.create_collection('k', {_SCHEMA})", "k", "collection"),
    Step("k.create()", "a", "create"),
    Step("a[:].update([1.0, 2.0, 3.0, 4.0])", kind="update"),
    Step("own.close()", kind="closed"),
    Step("own.close()", kind="closed"),
    Step("(own.is_open, own.is_closed)", kind="properties"),
    Step("own.get_collection('k')", kind="after close"),
    Step(f"own.create_collection('l', {_SCHEMA})", kind="after close"),
    Step("list(own)", kind="after close"),
    Step("k.create()", kind="after close"),
    Step("a[:].read()", kind="after close"),
    Step("(a.shape, k.name, a.dtype)", kind="properties"),
    Step("own.__enter__() is own", kind="context"),
    Step("own.is_open", kind="properties"),
    Step("own.get_collection('k')", "k", "collection"),
    Step("[a[:].read() for a in k]", kind="read"),
    Step("own.__exit__(None, None, None)", kind="context"),
    Step("own.is_closed", kind="properties"),
]

_NAMES = [
    *_tries(
        "name",
        *(
            f"client.create_collection({name}, {_SCHEMA}).name"
            for name in (
                *("'plain'", "'with blank'", "'a:b'", "'Ünï'", "' leading'", "'UPPER'"),
                *("''", "' '", "None", "5", "'a/b'", "'.'", "'..'", "'x' * 300", "'nul\\0'"),
            )
        ),
    ),
    *_tries(
        "create_collection",
        "client.create_collection('bad', None)",
        "client.create_collection('bad', 5)",
        f"client.create_collection('bad', {_SCHEMA}, storage_adapter_type='NoSuchAdapter')",
        f"client.create_collection('good', {_SCHEMA}, None, 'HDF5StorageAdapter')",
        f"client.create_collection('good', {_SCHEMA})",
        "client.get_collection('bad')",
        "client.get_collection('nobody')",
    ),
    *_tries(
        "metadata version",
        "client.collection_from_dict({**client.get_collection('good').as_dict, 'name': 'g3', "
        "'metadata_version': '9.9'})",
        "client.collection_from_dict({key: value for key, value in "
        "client.get_collection('good').as_dict.items() if key != 'metadata_version'})",
        "client.collection_from_dict(client.get_collection('good').as_dict)",
    ),
    *(
        Step(text, kind="damaged dict")
        for text in (
            "client.collection_from_dict({})",
            "client.collection_from_dict({'name': 'n'})",
            "client.collection_from_dict(client.get_collection('good').as_dict | {'type': 'x'})",
        )
    ),
    *_tries("name", f"client.create_collection('../escape', {_SCHEMA}).name"),
]

_DELETED = [
    Step(f"client.create_collection('gone', {_SCHEMA})", "g", "collection"),
    Step("g.create()", "a", "create"),
    Step("g.delete()", kind="delete"),
    Step("g.delete()", kind="delete"),
    Step("g.create()", kind="collection deleted"),
    Step("g.clear()", kind="collection deleted"),
    Step("list(g)", kind="collection deleted"),
    Step("a[:].read()", kind="collection deleted"),
    Step("a[:].update([1.0] * 4)", kind="collection deleted"),
    Step("client.get_collection('gone')", kind="get_collection"),
]

_SERVICE = [
    Step(f"client.create_collection('v', {_GRID})", "v", "collection"),
    Step("v.create()", "a", "create"),
    Step("a[0, 0].update(1.0)", kind="update"),
    Step("client.calculate_storage_size('nobody')", kind="service"),
    Step("client.check_integrity(collection='nobody')", kind="service"),
    Step("client.clear_locks('nobody')", kind="service"),
    Step("type(client.calculate_storage_size('v')).__name__", kind="service"),
    Step("client.calculate_storage_size('v')._fields", kind="service"),
    Step("client.calculate_storage_size('v').bytes > 0", kind="service"),
    Step("client.check_integrity(4, stop_on_error=False) is None", kind="integrity result"),
    Step("client.clear_locks() is None", kind="locks result"),
    Step("client.clear_locks('v') is None", kind="locks result"),
    Step(f"client.create_collection('plain', {_SCHEMA})", "p", "collection"),
    Step("p.varrays", kind="managers"),
    Step("ids(p.arrays)", kind="managers"),
    Step("p.arrays.create()", "b", "managers"),
    Step("ids(p.arrays)", kind="managers"),
    Step("p.arrays.filter({'id': b.id}).first()", kind="managers"),
    Step("ids(v.varrays)", kind="managers"),
    Step("len(list(v.arrays))", kind="managers"),
    Step("v.varrays.create()", "w", "managers"),
    Step("ids(v)", kind="managers"),
    Step("v.varrays.filter({'id': w.id}).last()", kind="managers"),
    Step("[c.delete() for c in (v, p)]", kind="delete"),
]

CATALOG = (
    Program("clients that do not open", tuple(_CLIENT_REFUSALS)),
    Program("options of clients", (*_CLIENT_OPTIONS, _EXECUTOR)),
    Program("memory limits", tuple(_MEMORY)),
    Program("life of a client", tuple(_LIFE)),
    Program("names of collections", tuple(_NAMES)),
    Program("a deleted collection", tuple(_DELETED)),
    Program("service calls and managers", tuple(_SERVICE)),
)
