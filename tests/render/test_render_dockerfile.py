"""The texts of a directory that is rendered for Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from goldens import GOLDEN, golden
from laying import TEMPLATES
from sample import rendering, step

from builder.render.context import Blob
from builder.render.dockerfile import docker_directory, dockerfile
from builder.render.image import Program


@pytest.mark.parametrize(
    "name", ["Dockerfile", "README.md", "inputs.txt", "inputs.json", ".dockerignore", "check.Dockerfile"]
)
def test_golden(name: str) -> None:
    golden(name, docker_directory(rendering(), with_inputs=False).files[name])


def test_golden_emulated() -> None:
    """For a platform that the builder does not run: the emulator is named in every command that needs it."""
    emulator = Program("qemu-user_10_amd64.deb", "usr/bin/qemu-aarch64", "cd" * 32, 9)
    text = dockerfile(rendering(platform="linux/arm64", emulator=emulator, emulated_python=True))
    golden("Dockerfile.emulated", text)


def test_nothing_compiled() -> None:
    text = dockerfile(rendering(steps=(), roots=()))
    assert "/out/" not in text
    assert "FROM workshop AS laid" in text


def test_every_line_ends_plainly() -> None:
    for name, content in docker_directory(rendering(), with_inputs=False).files.items():
        if isinstance(content, str):
            assert content.endswith("\n"), name
            assert not content.endswith("\n\n"), name
            assert not re.search(r"[ \t]+$", content, re.MULTILINE), name


def test_inputs_come_along_or_are_left_to_fetch() -> None:
    every = rendering()
    with_inputs = docker_directory(every, with_inputs=True)
    assert {name for name in with_inputs.files if name.startswith("inputs/")} == set(every.blobs)
    assert with_inputs.files["bootstrap/busybox"] == Blob("ab" * 32, 1000)
    assert with_inputs.executable == {"bootstrap/busybox", "fetch.py", "lay.py"}
    without = docker_directory(every, with_inputs=False)
    assert {name for name in without.files if name.startswith("inputs/")} == {"inputs/weights.safetensors"}
    assert "bootstrap/busybox" not in without.files
    assert {"bootstrap/busybox", "inputs/.weights.safetensors.part", *every.blobs} <= without.later


def test_the_same_text_everywhere(tmp_path: Path) -> None:
    """Neither hash seed nor locale, time zone or folder reach it."""
    code = "import sample; from builder.render.dockerfile import docker_directory as d\n"
    code += "for n, c in d(sample.rendering(), with_inputs=True).files.items(): print(n, c)"
    seen = set()
    for seed, tongue, zone in (("0", "C", "UTC"), ("1", "de_DE.UTF-8", "Asia/Tokyo")):
        env = {"PYTHONHASHSEED": seed, "LC_ALL": tongue, "TZ": zone, "PYTHONUTF8": "1"}
        path = os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parents[2])))
        run = subprocess.run(
            [sys.executable, "-c", code], env={**env, "PYTHONPATH": path}, cwd=tmp_path, capture_output=True, check=True
        )
        seen.add(run.stdout)
    assert len(seen) == 1


def test_names_neither_this_machine_nor_a_registry() -> None:
    """snapshot.debian.org is the one host that texts may name."""
    texts = docker_directory(rendering(), with_inputs=False).files.values()
    hosts = {host for text in texts if isinstance(text, str) for host in re.findall(r"https?://([^/\s\"']+)", text)}
    assert hosts <= {"snapshot.debian.org"}


def test_values_are_quoted_as_dockerfiles_have_it() -> None:
    text = dockerfile(rendering())
    assert 'ENV ODD="back\\\\slash \\"quote\\" \\$HOME" \\\n    XLA_FLAGS="--a=b --c=d"\n' in text
    command = re.search(r'RUN (\["/\.kbuild/busybox", \\\n     "env".*?g\+\+.*?\])', text, re.DOTALL)
    words = json.loads(command[1].rpartition("RUN ")[2].replace("\\\n", ""))
    assert words[-3:] == ["/usr/bin/g++-14", '-DX="a b"', "first\nsecond"]


def test_hadolint(tmp_path: Path) -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("not installed: hadolint")
    for name in ("Dockerfile", "Dockerfile.emulated", "check.Dockerfile"):
        run = subprocess.run([program, "--no-color", GOLDEN / name], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_unpack_is_plain_shell() -> None:
    program = shutil.which("dash") or shutil.which("sh")
    subprocess.run([program, "-n", TEMPLATES / "unpack.sh"], check=True)


def test_what_a_step_takes_from_another_is_laid_out_after_that_one_ran():
    made = step("programs", "root-1-python3", ("/in/busybox",))
    taking = "in type=dir\n./op.so type=file contents=outputs/native-fold/op.so\n"
    sample = rendering()
    text = dockerfile(rendering(steps=(*sample.steps, made), files={**sample.files, made.inputs.file: taking}))
    workshop, _, rest = text.partition("# Native fold")
    assert made.inputs.file not in workshop
    stage, _, own = rest.partition(" AS inputs-of-programs\n")[2].partition(" AS programs\n")
    assert stage.startswith("COPY --from=native-fold /out/ outputs/native-fold/\n")
    assert made.inputs.file in stage
    assert own.startswith("COPY --from=inputs-of-programs /trees/programs/ /\n")
