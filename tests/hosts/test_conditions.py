"""What a run on this machine is put under, seen from inside the sandbox by a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import scripted

from builder.backends.inherited import Inherited, passed_on
from builder.backends.limit import Limit
from builder.errors import EnvironmentFault, TimedOut
from builder.hosts.host import Conditions
from builder.hosts.local import Local, busy, run
from builder.progress import Silent
from builder.store.blobs import Store

pytestmark = pytest.mark.sandbox

DONE = scripted.results(a=[1.0])
FIELD = "while read -r name value; do [ $name = {} ] && echo $value; done < /proc/self/status"
STACK = "while read -r place rest; do case $rest in *stack*) echo $place;; esac; done < /proc/self/maps"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("conditions") / "store")


@pytest.fixture
def told(store: Store, tmp_path: Path):
    """A function that runs a script and gives what it printed."""

    def call(script: str, conditions: Conditions | None = None, **how) -> str:
        line = f"{{ {script}; }} > /io/out/trace.json; {scripted.put('a')}"
        image = scripted.image(store, line, DONE)
        run(store, image, [], tmp_path / "out", conditions=conditions or Conditions(), progress=Silent(), **how)
        return (tmp_path / "out/trace.json").read_text().strip()

    return call


def test_cores(told):
    usable = sorted(os.sched_getaffinity(0))
    assert told(FIELD.format("Cpus_allowed_list:"), Conditions(cores=1)) == str(usable[0])
    assert told(FIELD.format("Cpus_allowed_list:"), Conditions(cores=(usable[-1],))) == str(usable[-1])
    assert sorted(os.sched_getaffinity(0)) == usable, "this thread has its own back"


@pytest.mark.parametrize("cores", [10_000, (8191,)])
def test_cores_that_are_not_there(told, cores):
    before = os.sched_getaffinity(0)
    with pytest.raises(EnvironmentFault, match="core"):
        told("true", Conditions(cores=cores))
    assert os.sched_getaffinity(0) == before


def test_umask(told):
    assert told("umask") == "0022"
    assert told("umask", Conditions(umask=0o077)) == "0077"


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs util-linux")
def test_memory(told):
    assert told("ulimit -d") == "unlimited"
    assert told("ulimit -d", Conditions(memory=64 << 20)) == str(64 << 10)


def test_address_randomisation(told):
    fixed = Conditions(randomised=False)
    assert told(STACK, fixed) == told(STACK, fixed)
    assert len({told(STACK) for _ in range(3)}) > 1
    unfixed = subprocess.run(["cat", "/proc/self/personality"], capture_output=True, text=True, check=True).stdout
    assert int(unfixed, 16) & 0x0040000 == 0, "this thread has its own back"


def test_a_shift_moves_what_is_below_it_on_the_stack(told):
    # Linux puts the environment's strings at the top of the stack, and the first frame below them.
    pointer = "read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ start _ < /proc/self/stat; echo $start"
    plain, moved = (int(told(pointer, Conditions(randomised=False, shift=shift))) for shift in (0, 7919))
    assert 7919 <= plain - moved < 7919 + 64


def test_variables_inside_and_outside(told):
    conditions = Conditions(environment={"LANGUAGE": "tr:de"}, starter={"TZ": "Pacific/Chatham", "LD_PRELOAD": "/x"})
    assert told("export -p", conditions).splitlines() == [
        f"export KBUILD_IMAGE='{scripted.DIGEST}'", "export LANGUAGE='tr:de'", "export PATH='/usr/bin'",
        "export PIN='1'", "export PWD='/'",
    ]  # fmt: skip


def test_requests_are_files_that_begin_with_a_dot(told):
    assert told("cat /io/in/.trace.json", requests={".trace.json": b'{"version":1}'}) == '{"version":1}'
    with pytest.raises(ValueError, match="no name of a request"):
        told("true", requests={"x.json": b""})


def test_load_lasts_as_long_as_the_run():
    before = _children()
    with busy(2):
        assert len(_children() - before) == 2
    assert _children() <= before


def _children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split())


HANGS = {
    "asleep": "sleep 4171",
    "busy": "while :; do :; done",
    "deaf": "trap '' TERM INT HUP; sleep 4171 & while :; do sleep 4171; done",
    "silent": "exec > /dev/null 2>&1; sleep 4171",
}


@pytest.mark.parametrize("script", HANGS.values(), ids=HANGS)
def test_a_run_that_hangs_is_ended_with_all_its_processes(told, store, script):
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"not done after 0\.5 s"):
        told(script, limit=Limit(0.5))
    assert time.monotonic() - began < 60
    deadline = time.monotonic() + 60
    while _anybody("4171") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _anybody("4171")
    assert not list((store.root / "tmp").iterdir())


def test_another_thread_can_end_a_run(store, tmp_path):
    host = Local("here", store)
    threading.Timer(0.3, host.close).start()
    began = time.monotonic()
    with pytest.raises(TimedOut, match="stopped"):
        host.run(
            scripted.image(store, "sleep 4171"), [], tmp_path / "out", conditions=Conditions(), timeout=600,
            progress=Silent(),
        )  # fmt: skip
    assert time.monotonic() - began < 60


def _anybody(word: str) -> bool:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return any(line.startswith("sleep") and word in line for line in found.splitlines())


def test_what_a_thread_takes_on_no_other_thread_notices():
    cores = os.sched_getaffinity(0)
    asked, answered = threading.Event(), threading.Event()
    seen: list[object] = []

    def other() -> None:
        asked.wait()
        seen.extend((os.sched_getaffinity(0), Path("/proc/thread-self/personality").read_text().strip()))
        answered.set()

    threading.Thread(target=other).start()
    with passed_on(Inherited(cores=frozenset({min(cores)}), randomised=False)):
        asked.set()
        answered.wait()
        assert os.sched_getaffinity(0) == {min(cores)}
        assert Path("/proc/thread-self/personality").read_text().strip() == "00040000"
    assert seen == [cores, "00000000"]
