"""`kbuild diff`: exit codes, streams, and what is refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import REPOSITORY, Outcome, python

Here = Callable[..., Outcome]


def outputs(folder: Path, *values: float) -> Path:
    folder.mkdir()
    header = b'{"y":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (len(values), 4 * len(values))
    data = struct.pack(f"<{len(values)}f", *values)
    (folder / "outputs.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return outputs(tmp_path / "a", 1, 2, 3), outputs(tmp_path / "b", 1, 2, 3.0000002384185791)


def test_equal_is_0_and_differs_is_1(pair: tuple[Path, Path], here: Here) -> None:
    a, b = pair
    outcome = here("diff", a, a)
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "none" in outcome.stderr
    outcome = here("diff", a, b / "outputs.safetensors")
    assert (outcome.code, outcome.stdout) == (1, "")
    for words in ("1 of 3 (33 %)", "1 ULP", "first at [2]", "a 0x40400000  3.0", "b 0x40400001  3.0000002"):
        assert words in outcome.stderr
    assert "\x1b" not in outcome.stderr
    assert here("diff", a, b, "-q") == Outcome(1, "", "")
    assert here("diff", a, a, "-q") == Outcome(0, "", "")


def test_json(pair: tuple[Path, Path], here: Here) -> None:
    a, b = pair
    outcome = here("diff", a, b, "--json")
    found = json.loads(outcome.stdout)
    assert (outcome.code, outcome.stderr) == (1, "")
    assert (found["schema"], found["equal"], found["a"]) == ("kbuild.diff/1", False, str(a))
    assert found["tensors"]["y"]["first"] == {
        "index": [2],
        "a": {"bits": "0x40400000", "value": "3.0"},
        "b": {"bits": "0x40400001", "value": "3.0000002"},
    }
    assert found["tensors"]["y"]["histogram"] == [1]


def test_what_is_no_run_is_refused(pair: tuple[Path, Path], tmp_path: Path, here: Here) -> None:
    outcome = here("diff", pair[0], tmp_path / "nothing")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "no outputs here" in outcome.stderr
    (tmp_path / "bad").write_bytes(b"\xff" * 100)
    outcome = here("diff", pair[0], tmp_path / "bad", "--json")
    assert outcome.code == 4
    assert "not a file of outputs" in json.loads(outcome.stdout)["error"]["message"]


def test_numpy_is_loaded_only_to_look_into_what_differs(pair: tuple[Path, Path]) -> None:
    code = (
        "import sys; from builder.cli.main import main; import builder.harness.compare.differ;"
        "assert 'numpy' not in sys.modules; import builder.harness.report; assert 'jinja2' not in sys.modules;"
        "assert 'rich' not in sys.modules and 'numpy' not in sys.modules"
    )
    assert python(code) == Outcome(0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_benchmark_meets_its_goals_on_small_files(tmp_path: Path) -> None:
    bench = REPOSITORY / "tests" / "benchmarks" / "bench_diff.py"
    run = subprocess.run(
        [sys.executable, bench, "--size", "0.125", "--rounds", "5", "--folder", tmp_path],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_referee_without_lists_to_judge(pair: tuple[Path, Path], here: Here) -> None:
    a, b = pair
    outcome = here("diff", a, b, "--referee", a)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "not both runs listed their operations" in outcome.stderr
    assert "kbuild run --operations" in outcome.stderr
