"""Random programs."""

from __future__ import annotations

import random as random_module
from typing import TYPE_CHECKING

from tests.parity.draw_bad_index import bad_index, outside_index, slip
from tests.parity.draw_data import bad_data, draw_data, peculiar_data, whole_data
from tests.parity.draw_index import draw_index, peculiar_index
from tests.parity.draw_meta import MetaDrawer
from tests.parity.draw_picks import points
from tests.parity.draw_schema import Schema, draw_schema
from tests.parity.programs import Program, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.parity.draw_index import Index

__all__ = ["draw_program"]


def draw_program(seed: int) -> Program:
    """Return the program of a seed: always the same."""
    random = random_module.Random(seed)
    return _Drawer(random, f"p{seed}").program()


class _Drawer:
    def __init__(self, random: Random, name: str) -> None:
        self._random = random
        self._name = name
        self._schema: Schema = draw_schema(random)
        self._steps: list[Step] = []
        self._subsets = 0
        self._meta = MetaDrawer(random, self._schema, name)

    def program(self) -> Program:
        schema, random = self._schema, self._random
        self._add(schema.text, "schema", kind="schema")
        collection = f"client.create_collection({self._name!r}, schema, {schema.options})"
        self._add(collection, "c", kind="collection")
        self._steps += self._meta.first_arrays()
        actions: list[tuple[int, Callable[[], None]]] = [
            (10, self._read),
            (8, self._update),
            (3, self._peculiar_read),
            (2, self._peculiar_update),
            (2, self._points),
            (1, self._outside),
            (1, self._bad_index),
            (1, self._bad_update),
            (1, self._clear),
            (1, self._xarray),
            (6, self._about_attributes),
        ]
        weights = [weight for weight, _ in actions]
        for _ in range(random.randint(4, 14)):
            random.choices([action for _, action in actions], weights)[0]()
        self._steps += self._meta.last_steps()
        self._add("c.delete()", kind="delete")
        self._add(f"client.get_collection({self._name!r})", kind="get_collection")
        return Program(self._name, tuple(self._steps))

    def _add(
        self,
        text: str,
        target: str | None = None,
        *,
        kind: str,
        about: str | None = None,
        witness: str | None = None,
        always: bool = False,
        **facts: object,
    ) -> None:
        facts["about"] = about
        facts["virtual"] = self._schema.virtual
        facts["scales"] = {
            axis.name: (axis.start, axis.step) for axis in self._schema.axes if axis.kind == "scale"
        }
        self._steps.append(Step(text, target, kind, facts, witness, always))

    def _array(self) -> str:
        return self._random.choice(self._meta.arrays)

    def _subset(self, array: str, index: Index) -> str:
        name = f"s{self._subsets}"
        self._subsets += 1
        witness = None if index.plain is None else f"{array}[{index.plain}]"
        self._add(
            f"{array}[{index.text}]",
            name,
            kind="subset",
            about=index.about,
            witness=witness,
            always=index.always,
        )
        return name

    def _looks(self, name: str) -> None:
        random = self._random
        if random.random() < 0.3:
            self._add(f"{name}.bounds", kind="bounds", shape=self._schema.shape)
        if random.random() < 0.3:
            self._add(f"{name}.describe()", kind="describe")
        if random.random() < 0.1:
            self._add(f"({name}.shape, {name}.dtype, {name}.fill_value)", kind="properties")

    def _read(self) -> None:
        name = self._subset(self._array(), draw_index(self._random, self._schema))
        self._looks(name)
        self._add(f"{name}.read()", kind="read")

    def _peculiar_read(self) -> None:
        index = peculiar_index(self._random, self._schema)
        name = self._subset(self._array(), index)
        self._looks(name)
        self._add(f"{name}.read()", kind="read")

    def _update(self) -> None:
        array = self._array()
        index = draw_index(self._random, self._schema)
        name = self._subset(array, index)
        data = draw_data(self._random, self._schema, index.shape)
        self._add(f"{name}.update({data.text})", kind="update")
        self._read_back(array, name)

    def _read_back(self, array: str, name: str) -> None:
        whole = self._random.random() < 0.5
        self._add(f"{array}[()].read()" if whole else f"{name}.read()", kind="read")

    def _peculiar_update(self) -> None:
        array = self._array()
        index = draw_index(self._random, self._schema)
        name = self._subset(array, index)
        data = peculiar_data(self._random, self._schema, index.shape)
        self._add(
            f"{name}.update({data.text})",
            kind="update",
            about=data.about,
            witness=f"{name}.update({data.plain})",
        )
        self._read_back(array, name)

    def _bad_update(self) -> None:
        array = self._array()
        index = draw_index(self._random, self._schema)
        name = self._subset(array, index)
        data = bad_data(self._random, self._schema, index.shape)
        self._add(f"{name}.update({data.text})", kind="bad update", about=data.about)
        self._read_back(array, name)

    def _points(self) -> None:
        array = self._array()
        drawn = points(self._random, self._schema)
        whole = f"np.asarray({array}[()].read())"
        self._add(
            f"{array}[{drawn.text}].read()",
            kind="points",
            about=drawn.about,
            witness=f"{whole}[{drawn.numpy}]",
        )
        if self._random.random() < 0.4 and drawn.unique:
            seed = self._random.randrange(10**6)
            data = f"cells({drawn.shape}, {self._schema.dtype}, {seed})"
            put = f"w.__setitem__({drawn.numpy}, {data})"
            self._add(
                f"{array}[{drawn.text}].update({data})",
                kind="points",
                about=drawn.about,
                witness=f"(w := {whole}, {put}, {array}[()].update(w))[2]",
            )
            self._add(f"{array}[()].read()", kind="read")
            # Deker has written all tiles, this package those that were asked for.
            whole = f"{array}[()].update({whole_data(self._random, self._schema)})"
            self._add(whole, kind="update")

    def _outside(self) -> None:
        text, about = outside_index(self._random, self._schema)
        self._add(f"{self._array()}[{text}]", kind="outside", about=about)

    def _bad_index(self) -> None:
        if self._random.random() < 0.3:
            drawn = slip(self._random, self._schema)
            if drawn is not None:
                self._add(f"{self._array()}[{drawn[0]}]", kind="slip", about=drawn[1])
                return
        self._add(
            f"{self._array()}[{bad_index(self._random, self._schema)}]",
            kind="bad index",
        )

    def _clear(self) -> None:
        # Deker counts cleared cells instead of looking at them: only the first clearing of a full
        # array can be compared, and its counter is set right by writing everything again.
        array = self._array()
        self._add(f"{array}[()].update({whole_data(self._random, self._schema)})", kind="update")
        name = self._subset(array, draw_index(self._random, self._schema))
        self._add(f"{name}.clear()", kind="clear")
        self._add(f"{array}[()].read()", kind="read")
        self._add(f"{array}[()].update({whole_data(self._random, self._schema)})", kind="update")

    def _xarray(self) -> None:
        name = self._subset(self._array(), draw_index(self._random, self._schema))
        x = f"x{self._subsets}"
        self._add(f"{name}.read_xarray()", x, kind="xarray")
        for axis in self._schema.axes:
            self._add(
                f"{x}.coords[{axis.name!r}].values.tolist()",
                kind=f"xarray {axis.kind}",
                axis=axis.name,
            )
        self._add(f"{x}.attrs", kind="xarray attributes")

    def _about_attributes(self) -> None:
        self._steps += self._meta.some_steps()
