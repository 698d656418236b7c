"""One run of the suite: its contenders, datasets and findings."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.suite.contenders import CONTENDERS
from benchmarks.suite.data import Dataset, make_source
from benchmarks.suite.driver import ContenderFailedError, ContenderProcess
from benchmarks.suite.record import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.suite.data import Size
    from benchmarks.suite.record import Measurement

__all__ = ["Bench"]

_FILL = "benchmarks.suite.operations:fill"
_OPEN = "benchmarks.suite.operations:open_dataset"
_FORGET = "benchmarks.suite.operations:forget"


@attrs.define
class Bench:
    """What workloads get: they ask it for contenders and datasets, and report to it."""

    size: Size
    rounds: int
    folder: Path
    cores: tuple[int, ...]
    say: Callable[[str], None]
    only: frozenset[str] = frozenset()
    """Names of the contenders to start; empty: all."""
    measurements: list[Measurement] = attrs.field(factory=list)
    missing: list[Missing] = attrs.field(factory=list)
    about: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """Contender -> its versions and settings."""
    _running: dict[str, ContenderProcess] = attrs.field(factory=dict)
    _failed: set[str] = attrs.field(factory=set)
    _sources: dict[str, Dataset] = attrs.field(factory=dict)
    _datasets: dict[str, Dataset] = attrs.field(factory=dict)

    def contenders(self, *names: str) -> list[ContenderProcess]:
        """Return these contenders, or all, started if they are not yet; notes absent ones."""
        for name in names or tuple(CONTENDERS):
            if name in self._running or name in self._failed:
                continue
            if self.only and name not in self.only:
                continue
            try:
                self._running[name] = self.start(name)
            except ContenderFailedError as error:
                self._failed.add(name)
                self.missing.append(Missing(name, str(error)))
                self.say(f"missing: {name}: {error}")
        return [self._running[n] for n in names or tuple(CONTENDERS) if n in self._running]

    def start(self, name: str) -> ContenderProcess:
        """Start a process of that contender, besides those that :meth:`contenders` gives.

        The caller closes it. It finds the files of others of the same ``store``.

        Raises
        ------
        ContenderFailedError
            It did not start.
        """
        spec = CONTENDERS[name]
        log = self.folder / f"{name.replace(' ', '-')}.log"
        process = ContenderProcess(spec, self.folder / spec.store, self.cores, log)
        self.about.setdefault(
            name, {**process.versions, "started in": f"{process.opening_s:.2f} s"}
        )
        return process

    def dataset(self, which: str, codec: str, *, tile_chunks: bool = False) -> Dataset:
        """Return array ``"A"`` or ``"B"`` in a codec.

        Parameters
        ----------
        tile_chunks
            The tiles are not divided into chunks.
        """
        if which not in self._sources:
            self.say(f"making the cells of {which}")
            self._sources[which] = make_source(which, self.size, self.folder)
        source = self._sources[which]
        dataset = dataclasses.replace(
            source,
            name=f"{which}-{codec}{'-tiles' if tile_chunks else ''}",
            codec=codec,
            chunk=None if tile_chunks else source.chunk,
        )
        self._datasets[dataset.name] = dataset
        return dataset

    def holders(
        self, dataset: Dataset, processes: Sequence[ContenderProcess]
    ) -> list[ContenderProcess]:
        """Return those contenders that can read the dataset now: its files are made if needed."""
        made = {p.spec.store for p in self._running.values() if dataset.name in p.stored}
        able = []
        for process in processes:
            if dataset.name not in process.stored:
                function = _OPEN if process.spec.store in made else _FILL
                try:
                    process.call(function, dataset=dataclasses.asdict(dataset))
                except ContenderFailedError as error:
                    self.missing.append(Missing(process.name, str(error), dataset.name))
                    self.say(f"missing: {process.name}: {dataset.name}: {error}")
                    continue
                made.add(process.spec.store)
                process.stored.add(dataset.name)
            able.append(process)
        return able

    def forget(self, dataset: Dataset) -> None:
        """Delete the files of a dataset everywhere: its workloads are over."""
        for process in self._running.values():
            if dataset.name in process.stored:
                process.stored.discard(dataset.name)
                process.call(_FORGET, dataset=dataclasses.asdict(dataset))
        self._datasets.pop(dataset.name, None)

    def forget_all(self) -> None:
        """Delete the files of all datasets."""
        for dataset in list(self._datasets.values()):
            self.forget(dataset)

    def record(self, measurement: Measurement) -> None:
        """Add a finding."""
        self.measurements.append(measurement)

    def close(self) -> None:
        """End all contenders and delete their files."""
        for process in self._running.values():
            process.close()
        self._running.clear()
        for spec in CONTENDERS.values():
            shutil.rmtree(self.folder / spec.store, ignore_errors=True)
