# Every target makes .venv by itself when it is missing, broken or older than pyproject.toml.

PYTHON ?= python3
NODES ?= 1
PROGRAMS ?= 2000
SCALE ?= 1
ROWS ?=
ONLY ?=
SABOTAGE ?=
TILES ?= 10000000
SEED ?= 1
TORCH ?= 2.13.0

SHELL = /bin/sh
BIN = .venv/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# A PYTHONPATH from outside would shadow what is installed in .venv.
unexport PYTHONPATH

# What has to be there for .venv to count as whole.
INSTALLED = from importlib.metadata import version; \
	[version(name) for name in ("deker-cluster", "hatchling", "mypy", "pytest", "ruff")]

.PHONY: help venv torch demo test lint bench bench-full bench-protocol bench-scale bench-ingest bench-doors \
	example-ray example-mosaic example-training example-xarray parity chaos life hosts clean

help:
	@echo 'make demo [NODES=3]   real imagery through a cluster on this machine'
	@echo 'make test             all tests but the long ones (markers chaos and slow)'
	@echo '                      [TORCH= leaves PyTorch out, and skips its tests]'
	@echo 'make example-ray      a Ray driver script: computing where the tiles lie, datasets in and out'
	@echo 'make example-mosaic   GeoTIFF scenes into one mosaic, and a quick look at it'
	@echo 'make example-training a small network learns from slices, is interrupted, and goes on'
	@echo 'make example-xarray   an xarray session: lazy, labelled, with dask'
	@echo 'make lint             ruff, mypy, import-linter, contents of the wheel'
	@echo 'make bench            this package, its peers and the hardware in turns, in less than ten minutes'
	@echo '                      [ONLY=W1,W5 for some of the workloads]'
	@echo 'make bench-full       the same with arrays of 1 GiB: an hour and three quarters, and 20 GB of disk'
	@echo 'make bench-protocol   what each step of a small write and read costs'
	@echo 'make bench-scale      a registry of ten million tiles on 1,000 simulated shards [TILES=1000000]'
	@echo 'make bench-ingest     240 scenes into one node and into three: MB/s, and their share of what the disk can'
	@echo 'make bench-doors      Ray Data, PyTorch and xarray beside what else could be used'
	@echo 'make parity           random programs on Deker itself and on this package [PROGRAMS=2000 SEED=1]'
	@echo 'make chaos            kills, pauses, lost replies, power cuts: what must hold through all of them'
	@echo '                      [SCALE=0.1 ROWS=1,3 SEED=1 SABOTAGE=3, which must turn row 3 red]'
	@echo 'make life             a node lost, another joined, a third drained under load, as a chart: two minutes'
	@echo 'make hosts            three network namespaces as hosts: a cut link, a lost host; takes root, and four minutes'
	@echo 'make clean            remove all environments, caches, built packages, what the demo wrote'
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter for .venv (3.11 or newer).'

demo: venv
	$(BIN)/python examples/demo.py --nodes $(NODES)

test: venv torch
	$(BIN)/python -m pytest -m 'not chaos and not slow'

# Not a dependency of the package: it is big, and each machine wants its own build of it.
torch: venv
	@if [ -n "$(TORCH)" ] && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
		echo 'installing PyTorch $(TORCH) into .venv (TORCH= leaves it out)'; \
		$(BIN)/python -m pip install --quiet 'torch==$(TORCH)' && \
		$(BIN)/python -m pip install --quiet 'torchdata>=0.11'; \
	fi

example-ray: venv
	$(BIN)/python examples/ray_driver.py

example-mosaic: venv
	$(BIN)/python examples/mosaic.py

example-training: venv torch
	$(BIN)/python examples/training.py

example-xarray: venv
	$(BIN)/python examples/xarray_session.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	$(BIN)/check-wheel-contents dist

bench: venv
	$(BIN)/python -m benchmarks.suite --size quick $(if $(ONLY),--only $(ONLY))

bench-full: venv
	$(BIN)/python -m benchmarks.suite --size full $(if $(ONLY),--only $(ONLY))
	$(BIN)/python -m benchmarks.suite.publish

bench-protocol: venv
	$(BIN)/python benchmarks/protocol.py

bench-scale: venv
	$(BIN)/python -m benchmarks.scale --tiles $(TILES)

bench-ingest: venv
	$(BIN)/python -m benchmarks.ingest

bench-doors: venv torch
	$(BIN)/python -m benchmarks.ray_door
	$(BIN)/python -m benchmarks.ray_near_data
	$(BIN)/python -m benchmarks.torch_door
	$(BIN)/python -m benchmarks.xarray_door

parity: venv
	$(BIN)/python -m tests.parity.campaign --programs $(PROGRAMS) --seed $(SEED)

# Without a SEED on the command line every run has a new one, which it prints.
chaos: venv
	$(BIN)/python -m tests.chaos.run --scale $(SCALE) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(SABOTAGE),--sabotage $(SABOTAGE)) \
		$(if $(filter file,$(origin SEED)),,--seed $(SEED))

life: venv
	$(BIN)/python -m tests.life.run --chart docs/images/cluster-life.png

hosts: venv
	$(BIN)/python -m tests.hosts.run

clean:
	rm -rf .venv .venv-deker .bench dist demo-output .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the checksum of pyproject.toml and the folder, since the scripts in .venv name
# their interpreter by its full path. It is written last and removed first: what was interrupted
# has none and is made again from nothing.
venv:
	@set -e; \
	here="$$(pwd -P)"; \
	want="$$(cksum < pyproject.toml) $$here"; \
	made="$$(cat .venv/.stamp 2>/dev/null || :)"; \
	if .venv/bin/python -c '$(INSTALLED)' 2>/dev/null; then whole=yes; else whole=no; fi; \
	if [ "$$whole" = yes ] && [ "$$made" = "$$want" ]; then exit 0; fi; \
	rm -f .venv/.stamp; \
	case "$$whole $$made" in \
	"yes "*" $$here") echo 'pyproject.toml has changed: .venv is brought up to date' ;; \
	*) \
		if ! version="$$($(PYTHON) -c 'import platform; print(platform.python_version())')"; then \
			echo 'error: "$(PYTHON)" does not run; install Python 3.11 or newer, or name one:' \
				'make PYTHON=/path/to/python3' >&2; \
			exit 1; \
		fi; \
		if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
			echo "error: $(PYTHON) is Python $$version, 3.11 or newer is needed; name one:" \
				'make PYTHON=python3.11' >&2; \
			exit 1; \
		fi; \
		if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
			echo 'error: $(PYTHON) lacks the modules venv and ensurepip; on Debian and Ubuntu:' \
				"apt-get install python3-venv (or python$${version%.*}-venv)" >&2; \
			exit 1; \
		fi; \
		echo "making .venv with Python $$version"; \
		rm -rf .venv; \
		$(PYTHON) -m venv .venv ;; \
	esac; \
	echo 'installing packages into .venv (the first time some minutes)'; \
	.venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'; \
	.venv/bin/python -m pip install --quiet --editable '.[demo]' --group dev; \
	echo "$$want" > .venv/.stamp; \
	echo '.venv is ready'
