"""`kbuild verify` on a real kernel: it agrees on every host, pinned on every one of a platform, unpinned on none."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Built, Outcome, kbuild, under

pytestmark = [pytest.mark.network, pytest.mark.sandbox]

amd64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated models are of linux/amd64")
QUICK = ("--only", "native", "--only", "1-core", "--only", "hostile")
HASWELL = ("--only", "native", "--only", "haswell", "--no-localise")


def verify(image: Built, *arguments: str | Path) -> Outcome:
    return kbuild("verify", *arguments, env={"KBUILD_STORE": str(image.store)})


def verdicts(outcome: Outcome) -> dict[str, str]:
    rows = [line.split("\t") for line in outcome.stdout.splitlines()]
    assert all(len(row) == 6 for row in rows), outcome.stdout
    return {row[2]: row[4] for row in rows}


# --- what it is for


def test_digits_agree_here_whatever_the_host_does(digits: Built) -> None:
    outcome = verify(digits, digits.spec, *QUICK)
    assert outcome.code == 0, outcome.stderr
    expected = {"native": "equal", "hostile": "equal"}
    if len(os.sched_getaffinity(0)) > 1:
        expected["1-core"] = "equal"
    assert verdicts(outcome) == expected
    again = verify(digits, digits.spec, *QUICK)
    assert (again.code, again.stdout) == (0, outcome.stdout)
    told = json.loads(verify(digits, digits.spec, *QUICK, "--json").stdout)
    assert all(run["cached"] for run in told["runs"])


@amd64
@pytest.mark.parametrize("profile", ["portable", "pinned"])
def test_digits_agree_on_another_cpu(digits: Built, tmp_path: Path, profile: str) -> None:
    image = digits if profile == "portable" else under(profile, digits, tmp_path)
    outcome = verify(image, image.spec, *HASWELL)
    assert outcome.code == 0, outcome.stderr
    assert verdicts(outcome) == {"native": "equal", "haswell": "equal"}


@amd64
def test_unpinned_digits_part(digits: Built, tmp_path: Path) -> None:
    loose = under("none", digits, tmp_path)
    outcome = verify(loose, loose.spec, *HASWELL, "--json", "--html", tmp_path / "report.html")
    assert outcome.code == 1, outcome.stderr
    report = json.loads(outcome.stdout)
    assert [run["verdict"] for run in report["runs"]] == ["equal", "differs"]
    assert "logits" in {difference["output"] for difference in report["differences"]}
    assert "haswell" in (tmp_path / "report.html").read_text()


@amd64
@pytest.mark.slow
@pytest.mark.parametrize("profile", ["portable", "pinned"])
@pytest.mark.parametrize("name", ["digits", "minilm"])
def test_kernels_agree_on_every_simulated_host(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, profile: str
) -> None:
    kernel = request.getfixturevalue(name)
    image = kernel if profile == "portable" else under(profile, kernel, tmp_path)
    inputs = {"digits": "three.json", "minilm": "similar.json"}[name]
    outcome = verify(image, image.digest, "--inputs", image.spec.parent / "examples" / inputs, "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert {run["verdict"] for run in report["runs"]} == {"equal"}
    hosts = {run["host"] for run in report["runs"]}
    assert {"haswell", "skylake-client", "epyc-rome", "epyc-milan", "cortex-a72", "neoverse-n1", "arm-max"} <= hosts
    together = {tuple(sorted(group["platforms"])) for group in report["groups"]}
    both = ("linux/amd64", "linux/arm64")
    assert together == ({both} if profile == "portable" else {both[:1], both[1:]})


# --- hosts of a file


@pytest.mark.docker
def test_an_engine_and_this_machine_agree(digits: Built, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(
        'schema = 1\n[hosts.here]\nkind = "local"\n[hosts.engine]\nkind = "docker"\ncores = 1\n'
    )
    outcome = verify(digits, digits.spec, "--hosts", tmp_path / "hosts.toml")
    assert outcome.code == 0, outcome.stderr
    assert verdicts(outcome) == {"here": "equal", "engine": "equal"}


def test_hosts_that_cannot_be_had_are_reported_and_the_others_compared(digits: Built, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(
        'schema = 1\n[hosts.here]\nkind = "local"\n[hosts.too]\nkind = "local"\nshift = 999\n'
        '[hosts.atlantis]\nkind = "qemu"\ncpu = "Atlantis"\n'
        f'[hosts.gone]\nkind = "docker"\nurl = "unix://{tmp_path}/absent.sock"\n'
        '[hosts.leaky]\nkind = "local"\nenvironment = { XLA_FLAGS = "--xla_cpu_enable_fast_math=true" }\n'
    )
    outcome = verify(digits, digits.spec, "--hosts", tmp_path / "hosts.toml")
    assert outcome.code == 1, outcome.stderr
    assert verdicts(outcome) == {
        "here": "equal", "too": "equal", "atlantis": "failed", "gone": "failed", "leaky": "refused",
    }  # fmt: skip
    for word in ("knows no CPU 'Atlantis'", "no Docker engine answers", "XLA_FLAGS"):
        assert word in outcome.stderr


# --- what is asked for wrongly


def test_one_host_proves_nothing(digits: Built) -> None:
    outcome = verify(digits, digits.spec, "--only", "native")
    assert outcome.code == 3, outcome.stderr
    assert verdicts(outcome) == {"native": "alone"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "atlantis"], "no host is left"),
        (["--hosts", "absent.toml"], "no file of hosts"),
        (["--inputs", "absent.json"], "no such file"),
        (["--repeat", "0"], "not a positive whole number"),
        (["--timeout", "-1"], "--timeout"),
        (["--html", "absent/report.html", "--only", "native"], "no such folder"),
    ],
)
def test_wrong_usage(digits: Built, arguments: list[str], said: str) -> None:
    outcome = verify(digits, digits.spec, *arguments)
    assert outcome.code == 2, outcome.stderr
    assert said in outcome.stderr
    assert outcome.stdout == ""


def test_a_wrong_file_of_hosts_is_shown_at_its_place(digits: Built, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text('schema = 1\n[hosts.a]\nkind = "local"\ncors = 1\n')
    outcome = verify(digits, digits.spec, "--hosts", tmp_path / "hosts.toml")
    assert outcome.code == 2
    assert f"{tmp_path}/hosts.toml:4:1" in outcome.stderr
    assert "did you mean 'cores'?" in outcome.stderr


def test_inputs_that_do_not_fit_end_it_at_once(digits: Built, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"image": [[1, 2]]}')
    outcome = verify(digits, digits.digest, "--inputs", tmp_path / "x.json", *QUICK)
    assert outcome.code == 2, outcome.stderr
    assert "image" in outcome.stderr
    assert outcome.stdout == ""


# --- killed


def test_what_was_finished_before_a_kill_is_not_run_again(digits: Built, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(
        'schema = 1\n[hosts.first]\nkind = "local"\nshift = 1001\n[hosts.second]\nkind = "local"\nload = 1\n'
    )
    arguments = ["verify", digits.spec, "--hosts", tmp_path / "hosts.toml", "--repeat", "20", "--jobs", "1"]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "KBUILD_STORE": str(digits.store)}
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", *arguments, "-v"],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = iter(process.stderr.readline, "")
    seen = 0
    while seen < 3:
        seen += next(lines).startswith("run digits on ")
    process.send_signal(signal.SIGKILL)
    process.wait()
    arguments[5] = "2"
    outcome = kbuild(*arguments, "--json", env={"KBUILD_STORE": str(digits.store)})
    assert outcome.code == 0, outcome.stderr
    runs = json.loads(outcome.stdout)["runs"]
    assert [run["cached"] for run in runs if run["host"] == "first"] == [True, True]
