"""`kbuild SPEC --backend nix` against a plain `nix-build` of the same content, cold and with nothing changed.

As `bench_build.py`, with whose parts it is made: both sides have their downloads already, kbuild in its own store, the
plain expression in its folder. That expression is what one would write by hand without nixpkgs: one derivation that
unpacks the packages, unzips the wheels, adds weights and code, compiles bytecode with the Python that came out, and
makes a tar. Cold means an empty Nix store for either. Needs Nix and a static busybox.

    python tests/benchmarks/bench_nix.py [KERNEL_FOLDER]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import tomli
from bench_build import REPOSITORY, downloads, environment, one_platform, run, timed

ROUNDS = 3
WARM = 7
CONFIG = "build-users-group =\nsandbox = true\nsubstituters =\nsandbox-paths =\n"

PLAIN = """\
derivation {
  name = "plain";
  system = builtins.currentSystem;
  builder = "${./busybox}/busybox";
  busybox = "${./busybox}";
  args = [ "sh" "-eu" ./plain.sh ];
  inputs = ./inputs;
}
"""

SCRIPT = """\
"$busybox/busybox" mkdir bin
"$busybox/busybox" --install -s bin
PATH=$PWD/bin
mkdir -p root/usr/bin root/usr/lib root/usr/sbin "$out"
for name in bin lib sbin; do ln -s usr/$name root/$name; done
for deb in "$inputs"/*.deb; do
  ar p "$deb" data.tar.xz | xz -dc | tar -x -o --no-same-permissions -C root
done
modules=$(echo root/usr/lib/python3.*)
modules=root/usr/local/lib/${modules##*/}/dist-packages
mkdir -p "$modules" root/opt
for wheel in "$inputs"/*.whl; do unzip -q -o -d "$modules" "$wheel"; done
cp -R "$inputs/kernel" root/opt/kernel
chmod -R u+w root/opt
python=$(echo root/usr/bin/python3.*)
libraries=$(echo root/usr/lib/*-linux-gnu)
export PYTHONHOME=$PWD/root/usr PYTHONHASHSEED=0
compile() {
  "$(echo root/usr/lib64/ld-linux-*.so.2)" --library-path "$libraries" "$python" -m compileall \\
    -q --invalidation-mode unchecked-hash "$@" || true
}
compile "$modules" &
compile root/usr/lib/python3.* root/opt
wait
tar -c -f "$out/image.tar" -C root .
"""


def main() -> None:
    kernel = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "kernels" / "minilm").resolve()
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-", dir="/var/tmp") as folder:
        place = Path(folder)
        spec = for_amd64(kernel, place / "kernel")
        seed = place / "seed"
        ours(spec, seed, place / "nix")  # which fetches BusyBox, too
        lock = tomli.loads(spec.with_suffix(".lock").read_text())
        plain = plain_folder(place / "plain", spec, lock, seed)
        stores = [downloads(lock, seed, place / f"cold{number}") for number in range(ROUNDS)]
        report(spec, stores, plain, place)
        subprocess.run(["chmod", "-R", "u+w", place], check=False)


def for_amd64(kernel: Path, target: Path) -> Path:
    """The kernel for one platform, as `one_platform`, also where its spec leaves that to the default, which is both."""
    spec = one_platform(kernel, target)
    text = spec.read_text()
    if "\nplatforms" not in text:
        spec.write_text(text.replace("[kernel]\n", '[kernel]\nplatforms = ["linux/amd64"]\n', 1))
        run(sys.executable, "-m", "builder", "lock", spec, "-q", env=environment(target.parent / "seed"))
    return spec


def plain_folder(folder: Path, spec: Path, lock: dict, seed: Path) -> Path:
    (folder / "inputs" / "kernel").mkdir(parents=True)
    (folder / "busybox").mkdir()
    shutil.copy(shutil.which("busybox"), folder / "busybox" / "busybox")
    (folder / "default.nix").write_text(PLAIN)
    (folder / "plain.sh").write_text(SCRIPT)
    for item in lock["artifact"]:
        blob = seed / "blobs" / "sha256" / item["sha256"]
        name = Path(item["path"]).name
        if "image" not in item["roles"] or "linux/amd64" not in item["platforms"]:
            continue
        if "member" in item:
            target = folder / "inputs" / "kernel" / Path(item["member"]["path"]).name
            with target.open("wb") as out:
                subprocess.run(["unzip", "-p", blob, item["member"]["path"]], check=True, stdout=out)
        elif item["kind"] != "weights":
            shutil.copy(blob, folder / "inputs" / name)
    shutil.copytree(REPOSITORY / "kernels" / "runtime", folder / "inputs" / "kernel" / "runtime")
    shutil.copy(spec.parent / "model.py", folder / "inputs" / "kernel" / "model.py")
    return folder


def nix_environment(store: Path) -> dict[str, str]:
    return {
        "NIX_STORE_DIR": f"{store}/store",
        "NIX_STATE_DIR": f"{store}/state",
        "NIX_LOG_DIR": f"{store}/log",
        "NIX_CONF_DIR": f"{store}/etc",
        "NIX_CONFIG": CONFIG,
        "NIX_REMOTE": "",
    }


def ours(spec: Path, store: Path, nix: Path) -> None:
    line = (sys.executable, "-m", "builder", spec, "-q", "--backend", "nix")
    run(*line, env={**environment(store), **nix_environment(nix)})


def theirs(plain: Path, nix: Path) -> None:
    line = ("nix-build", plain, "--no-out-link", "--option", "substitute", "false")
    run(*line, env={**os.environ, **nix_environment(nix)}, stderr=subprocess.DEVNULL)


def report(spec: Path, stores: list[Path], plain: Path, place: Path) -> None:
    cold, plain_cold = [], []
    for number, store in enumerate(stores):  # in turns, so that what else the machine does meets both
        mine, other = place / f"nix{number}", place / f"plain{number}"
        cold.append(timed(lambda store=store, mine=mine: ours(spec, store, mine)))
        plain_cold.append(timed(lambda other=other: theirs(plain, other)))
    same, plain_same = [], []
    for _ in range(WARM):
        same.append(timed(lambda: ours(spec, stores[0], place / "nix0")))
        plain_same.append(timed(lambda: theirs(plain, place / "plain0")))
    print(f"{'':28}{'kbuild':>10}{'nix-build':>10}{'ratio':>8}{'goal':>8}")
    rows = [("cold, downloads at hand", cold, plain_cold, 1.15), ("nothing changed", same, plain_same, 0.5)]
    for name, mine, other, goal in rows:
        one, two = statistics.median(mine), statistics.median(other)
        print(f"{name:28}{one:9.2f}s{two:9.2f}s{one / two:8.2f}{goal:8.2f}")


if __name__ == "__main__":
    main()
