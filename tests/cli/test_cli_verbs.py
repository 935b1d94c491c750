"""The small verbs end to end, and the grammar of what a run is given."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import REPOSITORY, Outcome
from hypothesis import given
from hypothesis import strategies as st

from builder.cli.main import VERBS
from builder.cli.run import set_inputs
from builder.errors import UsageError
from builder.layers import codec
from builder.layers.pack import pack
from builder.layers.tree import file_entries
from builder.oci.config import ImageConfig
from builder.oci.image import Image, PlatformImage, assemble, bare
from builder.spec.load import load
from builder.store.blobs import Store

EPOCH = 1_789_199_741

Here = Callable[..., Outcome]


def one_object(text: str) -> dict:
    assert text.endswith("\n")
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_schema_is_the_one_that_is_checked_in(here: Here) -> None:
    expected = (REPOSITORY / "builder" / "spec" / "schema.json").read_text()
    for words in (["schema"], ["schema", "--json"]):
        outcome = here(*words)
        assert (outcome.code, outcome.stdout, outcome.stderr) == (0, expected, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completions(shell: str, tmp_path: Path, here: Here) -> None:
    outcome = here("completions", shell)
    assert (outcome.code, outcome.stderr) == (0, "")
    for verb in VERBS:
        assert verb in outcome.stdout
    if shell != "tcsh":  # whose script knows no options of verbs
        assert "--older-than" in outcome.stdout
    if shutil.which(shell) and shell != "tcsh":  # tcsh's -n reads no completions
        (tmp_path / "script").write_text(outcome.stdout)
        run = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
    said = one_object(here("completions", shell, "--json").stdout)
    assert said == {"shell": shell, "script": outcome.stdout.removesuffix("\n")}


COMPLETE = """
source "$0"
COMP_WORDS=(kbuild "$@"); COMP_CWORD=$#; COMPREPLY=()
"$(complete -p kbuild | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [(["st"], {"store"}), (["store", "v"], {"verify"}), (["lock", "--ch"], {"--check"}), (["ini"], {"init"})],
)
def test_bash_completes(tmp_path: Path, words: list[str], expected: set[str], here: Here) -> None:
    (tmp_path / "script").write_text(here("completions", "bash").stdout)
    run = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, tmp_path / "script", *words], capture_output=True, text=True, check=False
    )
    assert set(run.stdout.split()) == expected, run.stderr


def test_init_writes_a_spec_that_loads(tmp_path: Path, here: Here) -> None:
    outcome = here("init", "demo")
    assert (outcome.code, outcome.stdout) == (0, "demo/spec.toml\n")
    assert outcome.stderr == "next: kbuild demo/spec.toml\n"
    assert load(Path("demo/spec.toml")).kernel.name == "demo"
    again = here("init", "demo")
    assert (again.code, again.stdout) == (2, "")
    assert "not empty" in again.stderr
    said = one_object(here("init", "demo", "--to", "other", "--json").stdout)
    assert said["spec"] == "other/spec.toml"
    assert all(Path(path).is_file() for path in said["files"])


# run --set


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([], {}),
        (["x=1"], {"x": 1}),
        (["x=[1, 2.5]", "y=[[true]]"], {"x": [1, 2.5], "y": [[True]]}),
        (['text=["a=b"]'], {"text": ["a=b"]}),
        (['t="ä ö"'], {"t": "ä ö"}),
    ],
)
def test_inputs_on_the_command_line(pairs: list[str], found: dict) -> None:
    assert set_inputs(pairs) == found


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["x"], "not NAME=JSON"),
        (["=1"], "not NAME=JSON"),
        (["two words=1"], "not NAME=JSON"),
        (["x-y=1"], "not NAME=JSON"),
        (["x="], "not JSON"),
        (["x=a cat"], "not JSON"),
        (["x=[1,]"], "not JSON"),
        (["x=1 2"], "not JSON"),
        (["x=1", "x=1"], "twice"),
    ],
)
def test_inputs_that_are_none(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        set_inputs(pairs)
    assert caught.value.hint


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]*", fullmatch=True), st.lists(st.integers() | st.text())))
def test_every_json_value_comes_through(inputs: dict) -> None:
    assert set_inputs([f"{name}={json.dumps(value)}" for name, value in inputs.items()]) == inputs


def test_wrong_inputs_are_refused_before_anything_is_built(tmp_path: Path, here: Here) -> None:
    Path("spec.toml").write_text("no spec at all")
    outcome = here("run", "spec.toml", "--set", "x=a cat", "--json")
    assert outcome.code == 2
    assert "not JSON" in one_object(outcome.stdout)["error"]["message"]


# The store, and images in it


@pytest.fixture
def image(store: Store) -> Image:
    layer = pack("kernel", file_entries({"opt/kernel/model.py": b"x = 1\n"}, epoch=EPOCH), store, codec.CODEC)
    config = ImageConfig(EPOCH, {"PATH": "/usr/bin"}, {"org.kbuild.profile": "pinned"})
    platforms = {name: PlatformImage((layer,), config) for name in ("linux/amd64", "linux/arm64")}
    return assemble(store, platforms, {"org.opencontainers.image.title": "tiny"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def env(store: Store) -> dict[str, str]:
    return {"KBUILD_STORE": str(store.root)}


def test_where_the_store_is(tmp_path: Path, here: Here) -> None:
    assert here("store", "path", env={"KBUILD_STORE": "/a/b"}).stdout == "/a/b\n"
    assert here("store", "path", env={"KBUILD_STORE": "", "XDG_CACHE_HOME": "/c"}).stdout == "/c/kbuild\n"
    assert here("store", "path", env={"KBUILD_STORE": "", "HOME": "/h"}).stdout == "/h/.cache/kbuild\n"
    relative = here("store", "path", "--json", env={"KBUILD_STORE": "here"})
    assert one_object(relative.stdout) == {"path": str(Path.cwd() / "here")}
    assert list(Path.cwd().iterdir()) == [], "asking creates nothing"


@pytest.mark.usefixtures("image")
def test_verify_finds_damage_once(store: Store, env: dict[str, str], here: Here) -> None:
    whole = here("store", "verify", env=env)
    assert (whole.code, whole.stdout) == (0, "")
    assert "0 corrupt" in whole.stderr
    sha256 = store.add(b"content")
    store.blob_path(sha256).chmod(0o644)
    store.blob_path(sha256).write_bytes(b"damaged")
    found = here("store", "verify", "--json", "-q", env=env)
    assert found.code == 4
    assert one_object(found.stdout)["corrupt"] == [sha256]
    assert sha256 in found.stderr
    assert here("store", "verify", env=env).code == 0, "it was moved aside"


def aged(store: Store) -> None:
    """Everything was used last a long time ago."""
    long_ago = time.time() - 1e6
    for path in store.root.rglob("*"):
        if path.is_file() and "sessions" not in path.parts:
            os.utime(path, (long_ago, long_ago))


def test_gc_keeps_images_and_removes_the_rest(store: Store, image: Image, env: dict[str, str], here: Here) -> None:
    loose = store.add(b"needed by nothing")
    aged(store)
    kept = one_object(here("store", "gc", "--json", "--older-than", "60", env=env).stdout)
    assert kept["blobs"] == 0, "used within sixty days"
    assert store.blob_path(loose).exists()
    swept = one_object(here("store", "gc", "--json", "--older-than", "0.5", env=env).stdout)
    assert swept["blobs"] == 1
    assert not store.blob_path(loose).exists()
    assert here("inspect", image.digest, env=env).code == 0


def test_gc_in_a_store_that_nobody_uses(tmp_path: Path, here: Here) -> None:
    """Made by a process that has ended, as stores usually are."""
    root = tmp_path / "store"
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    data = b"needed by nothing"
    path = blobs / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    os.utime(path, (1, 1))
    env = {"KBUILD_STORE": str(root)}
    swept = one_object(here("store", "gc", "--json", "--older-than", "0.5", env=env).stdout)
    assert swept["blobs"] == 1
    assert swept["freed"] == len(data)
    assert not path.exists()


@pytest.mark.parametrize("days", ["nan", "inf", "-1", "1e9", "ten", ""])
def test_days_that_are_none(days: str, env: dict[str, str], here: Here) -> None:
    outcome = here("store", "gc", f"--older-than={days}", env=env)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "--older-than" in outcome.stderr


def test_keeping_an_image_that_is_not_there_removes_nothing(
    store: Store, image: Image, env: dict[str, str], here: Here
) -> None:
    """A slip of the pen in `--keep` must not sweep the image that was meant."""
    before = sorted(path.name for path in (store.root / "blobs" / "sha256").iterdir())
    for slip in (f"sha256:{1:064x}", "123456", "not a digest"):
        outcome = here("store", "gc", "--older-than", "0", "--keep", image.digest, "--keep", slip, env=env)
        assert outcome.code == 2
    assert sorted(path.name for path in (store.root / "blobs" / "sha256").iterdir()) == before
    assert store.recall("images", bare(image.digest))


@pytest.mark.parametrize("form", ["whole", "bare", "beginning", "manifest"])
def test_keeping_one_image(store: Store, image: Image, env: dict[str, str], form: str, here: Here) -> None:
    named = {
        "whole": image.digest,
        "bare": bare(image.digest),
        "beginning": bare(image.digest)[:12],
        "manifest": image.manifests["linux/arm64"].digest,
    }
    assert here("store", "gc", "--keep", named[form], env=env).code == 0
    assert here("inspect", image.digest, env=env).code == 0


def test_inspect(image: Image, env: dict[str, str], here: Here) -> None:
    outcome = here("inspect", bare(image.digest)[:10], env=env)
    assert (outcome.code, outcome.stdout) == (0, f"{image.digest}\n")
    for text in ("kernel", "linux/arm64", "PATH=/usr/bin", image.manifests["linux/amd64"].digest):
        assert text in outcome.stderr
    assert "\x1b" not in outcome.stderr
    said = json.loads(here("inspect", image.digest, "--json", env=env).stdout)
    assert said["digest"] == image.digest
    assert said["platforms"]["linux/amd64"]["labels"] == {"org.kbuild.profile": "pinned"}


def test_export_says_what_it_wrote(image: Image, env: dict[str, str], tmp_path: Path, here: Here) -> None:
    target = tmp_path / "image.tar"
    outcome = here("export", image.digest, target, "--docker", "--platform", "linux/arm64", "--json", env=env)
    assert outcome.code == 0, outcome.stderr
    config = image.manifests["linux/arm64"].config_digest
    assert one_object(outcome.stdout) == {"target": str(target), "digest": config}
    assert target.stat().st_size > 1024
    before = target.read_bytes()
    again = here("export", image.digest, target, "--docker", "--platform", "linux/arm64", env=env)
    assert (again.code, again.stdout) == (0, f"{config}\n")
    assert target.read_bytes() == before
    wrong = here("export", image.digest, tmp_path / "layout", "--platform", "linux/arm64", env=env)
    assert (wrong.code, wrong.stdout) == (2, "")
    assert not (tmp_path / "layout").exists()
