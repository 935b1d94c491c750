"""What an engine is sent, before there is an engine: rendered text and streams of bytes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.backends.action import Action, InputFile
from builder.backends.docker import output_entries
from builder.backends.docker_context import Tar, context, dockerfile, image_archive, inputs, tar_of
from builder.backends.docker_outcome import LARGEST, collect
from builder.errors import IntegrityError, KernelError
from builder.layers.entry import Entry, Kind
from builder.layers.spool import Spool
from builder.layers.tar import tar_entries
from builder.store.blobs import Store

EPOCH = 1_700_000_000
ACTION = Action(
    name="native fold",
    platform="linux/amd64",
    root=(f"{1:064x}", f"{2:064x}"),
    inputs=(InputFile("/in/src/fold.cc", f"{3:064x}"), InputFile("/in/link.specs", f"{4:064x}", executable=True)),
    argv=("/usr/bin/g++-14", "-O2", '-DNAME="a b"', "$HOME", "/in/src/fold.cc"),
    env=(("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin")),
    epoch=EPOCH,
)
ROOT, BUNDLE, IMAGE = (f"sha256:{number:064x}" for number in (5, 6, 7))

GOLDEN = f"""\
# "native fold"
#
# Action {ACTION.key()} of kbuild: a command in a closed world, whose output is what it leaves in /out.
# Tars are named by their SHA-256. Nothing is pulled, and nothing here needs a network.

# 2 Debian packages, laid over each other; one layer, {ROOT}.
FROM {IMAGE} AS toolchain

# Inputs:
#   {4:064x} "/in/link.specs"
#   {3:064x} "/in/src/fold.cc"
FROM toolchain AS compile
ADD ["sha256-{6:064x}.tar", "/"]
ENV HOME="/" \\
    HOSTNAME="kbuild" \\
    LC_ALL="C.UTF-8" \\
    PATH="/usr/bin" \\
    SOURCE_DATE_EPOCH="{EPOCH}"
RUN ["/usr/bin/g++-14", "-O2", "-DNAME=\\"a b\\"", "$HOME", "/in/src/fold.cc"]

FROM scratch AS final
LABEL org.kbuild.backend="action" org.kbuild.backend.action="{ACTION.key()}"
COPY --from=compile ["/out/", "/out/"]
"""


def rendered(action: Action = ACTION, *, image: str | None = IMAGE, emulator: Path | None = None) -> str:
    return dockerfile(action, root=ROOT, image=image, bundle=BUNDLE, emulator=emulator)


def test_the_text_is_this() -> None:
    assert rendered() == GOLDEN


@pytest.mark.parametrize(
    "more", [{}, {"image": None}, {"emulator": Path("/anywhere")}], ids=["image", "tar", "emulated"]
)
def test_hadolint(more: dict) -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("not installed: hadolint")
    run = subprocess.run(
        [program, "--no-color", "-"], input=rendered(**more), capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_without_an_image_the_root_is_added_by_its_hash() -> None:
    assert f'FROM scratch AS toolchain\nADD ["sha256-{5:064x}.tar", "/"]\n' in rendered(image=None)


def test_a_foreign_command_runs_under_the_emulator_and_so_does_all_that_gcc_starts() -> None:
    run = next(line for line in rendered(emulator=Path("/anywhere")).splitlines() if line.startswith("RUN "))
    words = json.loads(run.removeprefix("RUN "))
    assert words[:4] == ["/.kbuild/emulator", "/usr/bin/g++-14", "-wrapper", "/.kbuild/emulator"]
    assert words[4:] == list(ACTION.argv[1:])


def test_every_stage_begins_with_nothing_a_digest_or_another_stage() -> None:
    for text in (rendered(), rendered(image=None)):
        stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
        assert [name for _, name in stages] == ["toolchain", "compile", "final"]
        assert {begin for begin, _ in stages} <= {IMAGE, "scratch", "toolchain"}


HOSTILE = st.text(st.sampled_from("a\"\\$\n\r#'{}%` é\u2028"), max_size=12)


@given(name=HOSTILE, path=HOSTILE, argument=HOSTILE)
def test_no_name_path_or_argument_becomes_an_instruction(name: str, path: str, argument: str) -> None:
    action = replace(ACTION, name=name, argv=("/usr/bin/sh", argument), inputs=(InputFile(f"/in/{path}", f"{3:064x}"),))
    lines = rendered(action).split("\n")
    plain = rendered(replace(ACTION, argv=("/usr/bin/sh", ""), inputs=ACTION.inputs[:1])).split("\n")
    assert [line.split(" ")[0] for line in lines] == [line.split(" ")[0] for line in plain]
    run = next(line for line in lines if line.startswith("RUN "))
    assert json.loads(run.removeprefix("RUN ")) == ["/usr/bin/sh", argument]


def test_a_value_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        rendered(replace(ACTION, env=(("A", "1\nRUN evil"),)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def bundle(store: Store, *items: tuple[str, bytes, bool], emulator: Path | None = None) -> Tar:
    files = tuple(InputFile(path, store.add(data), executable=executable) for path, data, executable in items)
    return inputs(replace(ACTION, inputs=files), store, emulator)


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {item.name: item for item in tar}


def test_inputs_are_one_tar_without_anything_of_this_machine(store: Store, tmp_path: Path) -> None:
    runner = tmp_path / "qemu"
    runner.write_bytes(b"static")
    runner.chmod(0o700)
    tar = bundle(store, ("/in/b", b"2", False), ("/in/a/x", b"1", True), emulator=runner)
    data = b"".join(tar.chunks())
    assert tar.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert tar.size == len(data)
    found = members(data)
    assert list(found) == [".kbuild", ".kbuild/emulator", "in", "in/a", "in/a/x", "in/b", "out"]
    assert {name: item.mode for name, item in found.items() if item.isfile()} == {
        ".kbuild/emulator": 0o755, "in/a/x": 0o755, "in/b": 0o644,
    }  # fmt: skip
    assert {(item.mtime, item.uid, item.gid) for item in found.values()} == {(EPOCH, 0, 0)}
    assert b"".join(tar.chunks()) == data


@pytest.mark.parametrize("path", ["in/x", "/x", "/in/../etc/x"])
def test_an_input_has_to_be_below_a_folder(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="an input at"):
        bundle(store, (path, b"", False))


def test_a_context_is_the_text_and_tars_named_by_their_hash(store: Store) -> None:
    tar = bundle(store, ("/in/x", b"data", False))
    data = b"".join(context("FROM scratch\n", [tar], epoch=EPOCH))
    with tarfile.open(fileobj=io.BytesIO(data)) as outer:
        assert outer.extractfile("Dockerfile").read() == b"FROM scratch\n"
        inner = outer.extractfile(tar.name).read()
        assert f"sha256-{hashlib.sha256(inner).hexdigest()}.tar" == tar.name
        assert len(outer.getmembers()) == 2
    assert b"".join(context("FROM scratch\n", [tar], epoch=EPOCH)) == data


def test_an_image_of_a_root_is_the_same_bytes_each_time_and_names_its_layer() -> None:
    root = tar_of([Entry("usr", Kind.DIRECTORY, 0o755, EPOCH)], epoch=EPOCH)
    data = b"".join(image_archive(root, architecture="amd64", tag="kbuild-root:key"))
    assert b"".join(image_archive(root, architecture="amd64", tag="kbuild-root:key")) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))
        config = json.load(outer.extractfile(manifest[0]["Config"]))
        layer = outer.extractfile(manifest[0]["Layers"][0]).read()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert manifest[0]["RepoTags"] == ["kbuild-root:key"]


# What comes back is a stranger's


def spool(data: bytes) -> Spool:
    return collect(iter([data]), "engine")


def tar_bytes(*items: tuple[str, bytes, object], **more: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **more) as tar:
        for name, kind, value in items:
            item = tarfile.TarInfo(name)
            item.type = kind
            if kind == tarfile.REGTYPE:
                item.size, item.mode = len(value), 0o4750
                tar.addfile(item, io.BytesIO(value))
            else:
                item.linkname = str(value)
                item.mode = 0o700
                tar.addfile(item)
    return out.getvalue()


OUT = ("out", tarfile.DIRTYPE, "")


def test_files_folders_and_second_names_come_out() -> None:
    data = tar_bytes(
        OUT, ("out/a", tarfile.REGTYPE, b"1"), ("out/d", tarfile.DIRTYPE, ""), ("out/d/b", tarfile.LNKTYPE, "out/a")
    )
    found = {entry.path: entry for entry in output_entries(ACTION, spool(data))}
    assert {path: entry.kind for path, entry in found.items()} == {
        "a": Kind.FILE, "d": Kind.DIRECTORY, "d/b": Kind.FILE,
    }  # fmt: skip
    assert found["d/b"].source().read() == b"1"


def test_many_names_do_not_make_a_small_tar_large(monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.backends import docker as module

    monkeypatch.setattr(module, "LARGEST", 10_000)
    names = [(f"out/{number}", tarfile.LNKTYPE, "out/a") for number in range(10)]
    data = tar_bytes(OUT, ("out/a", tarfile.REGTYPE, bytes(1000)), *names)
    with pytest.raises(IntegrityError, match="more than"):
        list(output_entries(ACTION, spool(data)))


@pytest.mark.parametrize(
    "items",
    [
        [OUT, ("etc/passwd", tarfile.REGTYPE, b"x")],
        [OUT, ("out/../etc/passwd", tarfile.REGTYPE, b"x")],
        [OUT, ("/out/x", tarfile.REGTYPE, b"x")],
        [("outer/x", tarfile.REGTYPE, b"x")],
        [("out", tarfile.REGTYPE, b"x")],
        [OUT, ("out/x", tarfile.LNKTYPE, "out/y")],
        [OUT, ("out/x", tarfile.LNKTYPE, "/etc/shadow")],
        [OUT, ("out/dev", tarfile.CHRTYPE, "")],
        [OUT, ("out/pipe", tarfile.FIFOTYPE, "")],
        [OUT, ("out/x", tarfile.REGTYPE, b"1"), ("out/x", tarfile.REGTYPE, b"2")],
        [OUT, ("out/l", tarfile.SYMTYPE, "/etc"), ("out/l/passwd", tarfile.REGTYPE, b"x")],
    ],
)
def test_what_no_folder_of_files_holds_is_refused(items: list) -> None:
    with pytest.raises(IntegrityError):
        list(output_entries(ACTION, spool(tar_bytes(*items))))


def test_a_link_is_no_output(store: Store) -> None:
    from builder.backends.outputs import keep

    found = output_entries(ACTION, spool(tar_bytes(OUT, ("out/l", tarfile.SYMTYPE, "/etc/passwd"))))
    with pytest.raises(KernelError, match="left l behind"):
        keep(ACTION, found, store)


@given(data=st.binary(max_size=3000), cut=st.integers(0, 4000))
def test_garbage_and_truncation_are_refused_or_whole(data: bytes, cut: int) -> None:
    whole = tar_bytes(OUT, ("out/a", tarfile.REGTYPE, b"1" * 700))
    for stream in (data, whole[:cut], whole[:512] + data):
        try:
            found = list(output_entries(ACTION, spool(stream)))
        except IntegrityError:
            continue
        assert {entry.path for entry in found} <= {"a"}


def test_an_engine_that_never_stops_sending_is_stopped() -> None:
    class Claimed(bytes):
        """A chunk that says it is larger than any output, without being so."""

        def __len__(self) -> int:
            return LARGEST + 1

    with pytest.raises(IntegrityError, match="more than"):
        collect(iter([b"", Claimed()]), "engine")


def test_what_is_kept_is_normal(store: Store) -> None:
    from builder.backends.outputs import keep

    data = tar_bytes(OUT, ("out/a", tarfile.REGTYPE, b"1"), format=tarfile.PAX_FORMAT)
    sha256 = keep(ACTION, output_entries(ACTION, spool(data)), store)
    (entry,) = tar_entries(store.path(sha256))
    assert (entry.mode, entry.mtime, entry.uid, entry.gid) == (0o755, EPOCH, 0, 0)
