"""`kbuild doctor`: what this machine lacks, as a table, as JSON, and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, on_terminal

Run = Callable[..., Outcome]
REPOSITORY = Path(__file__).resolve().parents[2]
MINILM = REPOSITORY / "kernels" / "minilm" / "spec.toml"


def spec(tmp_path: Path, hardware: str) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(
        'schema = 1\n[kernel]\nname = "k"\nversion = "1.0.0"\nentry = "model:f"\n'
        '[inputs.x]\ndtype = "float32"\n[outputs.y]\ndtype = "float32"\n' + hardware
    )
    return path


def test_a_machine_without_a_store_is_not_ready(here: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = here("doctor", env={"KBUILD_STORE": str(tmp_path / "file" / "store")})
    assert (ran.code, ran.stdout) == (3, "not ready\n")
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("|store")]
    assert [cell.strip() for cell in line.strip("|").split("|")][3:] == [
        "no",
        "set KBUILD_STORE to a folder that this user can write to",
    ]


def test_as_json(here: Run, tmp_path: Path) -> None:
    ran = here("doctor", "--json", env={"KBUILD_STORE": str(tmp_path / "store")})
    answer = json.loads(ran.stdout)
    assert answer["schema"] == "kbuild.doctor/1"
    assert answer["ready"] is (ran.code == 0)
    assert answer["ready"] is all(check["met"] or check["optional"] for check in answer["checks"])
    assert {tuple(check) for check in answer["checks"]} == {("name", "needed", "found", "met", "remedy", "optional")}
    assert ran.stderr == ""


def test_a_kernel_that_this_machine_can_run(here: Run, tmp_path: Path) -> None:
    ran = here("doctor", spec(tmp_path, '[hardware]\nmemory = "1MiB"\ncpu = { amd64 = "x86-64-v2" }\n'))
    assert (ran.code, ran.stdout) == (0, "ready\n")
    assert "what to do" not in ran.stderr
    assert [line.split("|")[1].strip() for line in ran.stderr.splitlines() if line.startswith("|")] == [
        "", "architecture", "CPU level", "memory", "accelerator",
    ]  # fmt: skip


def test_one_that_asks_for_too_much(here: Run, tmp_path: Path) -> None:
    ran = here("doctor", spec(tmp_path, '[hardware]\nmemory = "900TiB"\n'), "-q")
    assert (ran.code, ran.stdout, ran.stderr) == (3, "not ready\n", "")
    ran = here("doctor", spec(tmp_path, '[hardware]\nmemory = "900TiB"\n'))
    assert "921600.00 GiB" in ran.stderr
    assert "give it more" in ran.stderr


def test_a_folder_stands_for_its_spec(here: Run) -> None:
    assert here("doctor", MINILM.parent).stderr == here("doctor", MINILM).stderr


@pytest.mark.parametrize(
    ("argument", "code", "reason"),
    [
        ("nowhere.toml", 2, "no such spec"),
        ("sha256:abcdef", 2, "no image begins with abcdef"),
        ("abcdefabcdef", 2, "no image begins with abcdefabcdef"),
    ],
)
def test_what_is_not_there(here: Run, argument: str, code: int, reason: str) -> None:
    ran = here("doctor", argument)
    assert (ran.code, ran.stdout) == (code, "")
    assert reason in ran.stderr


def test_a_folder_named_like_a_digest(here: Run, tmp_path: Path) -> None:
    folder = tmp_path / "here" / "abcdef"
    folder.mkdir()
    spec(folder, "")
    assert here("doctor", "abcdef").stdout in {"ready\n", "not ready\n"}


def test_on_a_narrow_terminal_nothing_is_cut(tmp_path: Path) -> None:
    asked = spec(tmp_path, '[hardware]\nmemory = "900TiB"\n')
    code, shown = on_terminal("-m", "builder.cli.main", "doctor", asked, env={"COLUMNS": "60", "NO_COLOR": "1"})
    assert code == 3
    remedy = "".join(line[-20:].strip() for line in shown.splitlines())
    for word in ("control", "group", "process", "small"):
        assert word in remedy
    assert "…" not in shown
