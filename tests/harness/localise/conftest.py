"""Hosts for planted causes: processes whose environment or CPU is not the same, each started once and asked often."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.harness.localise import localise
from builder.hosts.host import RunResult

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]


class Worker:
    """A process that runs planted programs; see worker.py."""

    def __init__(self, folder, environment, emulator):
        self.environment = environment
        self._folder = folder
        self._count = itertools.count()
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu", **environment}
        command = [*emulator, sys.executable, str(HERE / "worker.py")]
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, entry, request=None, *, flip=False, flush=False, seed=1):
        out = self._folder / str(next(self._count))
        question = {"entry": entry, "out": str(out), "seed": seed, "flip": flip, "flush": flush}
        question |= {"environment": self.environment, "request": request and request.decode()}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"
        return RunResult(out, json.loads((out / "receipt.json").read_text()))

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(60)


@dataclass
class PlantedTracer:
    """One planted program on one of the workers."""

    name: str
    worker: Worker
    entry: str
    how: dict
    requests: list = field(default_factory=list)

    def ask(self, request, seconds):
        self.requests.append(json.loads(request))
        return self.worker.run(self.entry, request, **self.how)


def hashes(result):
    return {name: one["sha256"] for name, one in result.receipt["result"]["outputs"]["tensors"].items()}


@pytest.fixture(scope="session")
def worker(tmp_path_factory):
    """A function from an environment and an emulator to a worker."""
    workers = {}

    def make(environment, emulator=()):
        key = (tuple(sorted(environment.items())), emulator)
        if key not in workers:
            workers[key] = Worker(tmp_path_factory.mktemp("worker"), environment, emulator)
        return workers[key]

    yield make
    for one in workers.values():
        one.close()


@pytest.fixture
def planted():
    """A function from an entry and two workers, with what is planted on the second, to what localise finds."""

    def find(entry, one, other, **how):
        plain = hashes(one.run(entry)), hashes(other.run(entry, **how))
        assert plain[0] != plain[1], "what is planted moves nothing here"
        return localise(*plain, PlantedTracer("a", one, entry, {}), PlantedTracer("b", other, entry, how))

    return find
