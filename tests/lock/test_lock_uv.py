from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import uv
from fake_index import TARGETS, FakeIndex

from builder.errors import EnvironmentFault, FetchError, ResolveError
from builder.lock.python import versions
from builder.lock.uv import Question, ask, failure
from builder.machine import Machine
from builder.store.indexes import uv_environment

# What uv 0.13 and (the drawn ones) 0.9 say, by meaning.
UNSATISFIABLE = """\
warning: The requested Python version 3.13 is not available; 3.11.7 will be used to build dependencies instead.
error: No solution found when resolving dependencies
  cause: Because jax==0.10.2 depends on numpy>=2.0 and you require jax==0.10.2, we can conclude that you require numpy>=2.0.
         And because you require numpy<2, we can conclude that your requirements are unsatisfiable.
"""  # noqa: E501
NO_WHEEL = """\
  \u00d7 No solution found when resolving dependencies:
  \u2570\u2500\u25b6 Because numpy==1.21.0 has no usable wheels and you require
      numpy==1.21.0, we can conclude that your requirements are
      unsatisfiable.

      hint: Wheels are required for `numpy` because building from source is disabled for all packages (i.e., with `--no-build`)
"""  # noqa: E501
UNREACHABLE = """\
error: Request failed after 3 retries in 7.5s
  cause: Failed to fetch: http://robot:s3cret@127.0.0.1:9/simple/numpy/
  cause: error sending request for url (http://127.0.0.1:9/simple/numpy/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
OFFLINE = """\
error: No solution found when resolving dependencies
  cause: Because numpy was not found in the cache and you require numpy, we can conclude that your requirements are unsatisfiable.

hint: Packages were unavailable because the network was disabled. When the network is disabled, registry packages may only be read from the cache.
"""  # noqa: E501


@pytest.mark.parametrize(
    ("stderr", "kind", "message", "hint"),
    [
        (UNSATISFIABLE, ResolveError, "jax==0.10.2 depends on numpy>=2.0", "relax"),
        (NO_WHEEL, ResolveError, "numpy==1.21.0 has no usable wheels", "Wheels are required for `numpy`"),
        (UNREACHABLE, FetchError, "Connection refused", "KBUILD_PYPI_INDEX"),
        (OFFLINE, EnvironmentFault, "offline", "with the network"),
        ("error: unexpected argument '--excludes' found\n", EnvironmentFault, "unexpected argument", None),
        ("", EnvironmentFault, "it said nothing", None),
    ],
)
def test_what_went_wrong(stderr: str, kind: type[Exception], message: str, hint: str | None) -> None:
    error = failure(stderr, where="python.requirements")
    assert type(error) is kind
    assert message in error.message
    assert (hint or "") in (error.hint or "")
    assert "\n" not in error.message
    assert not {"--no-build", "3.11.7", "s3cret", "\u00d7", "No solution found"} & set(error.diagnostics().split())
    assert error.exit_code == (2 if kind is ResolveError else 3)


def answer(index: FakeIndex, *requirements: str, environ: dict[str, str] | None = None, **fields) -> dict[str, str]:
    question = Question(requirements, TARGETS[0], **fields)
    return versions(ask(question, environ=environ or index.environ(), offline=False, where="test"))


def test_pins_hold_for_what_is_needed(index: FakeIndex) -> None:
    for version in ("1.0", "1.1", "2.0"):
        index.wheel("thing", version)
    assert answer(index, "thing") == {"thing": "2.0"}
    assert answer(index, "thing", pins={"thing": "1.1", "other": "3"}) == {"thing": "1.1"}
    with pytest.raises(ResolveError):
        answer(index, "thing>=2", pins={"thing": "1.1"})


def test_a_pin_is_found_in_whichever_index_has_a_wheel(index: FakeIndex, tmp_path: Path) -> None:
    other = FakeIndex(tmp_path / "other")
    other.wheel("thing", "2.0", "cp311-cp311-manylinux_2_28_x86_64")
    index.wheel("thing", "1.0")
    index.wheel("thing", "2.0")
    environ = index.environ() | {"UV_INDEX": other.simple.as_uri(), "UV_INDEX_STRATEGY": "unsafe-best-match"}
    assert answer(index, "thing", environ=environ) == {"thing": "2.0"}
    assert answer(index, "thing", environ=environ, pins={"thing": "2.0"}) == {"thing": "2.0"}
    assert answer(index, "thing", environ=environ, pins={"thing": "1.0"}) == {"thing": "1.0"}


def test_dependencies_count_unless_excluded_or_not_asked_for(index: FakeIndex) -> None:
    index.wheel("top", requires=("middle",))
    index.wheel("middle", requires=("bottom",))
    index.wheel("bottom")
    assert set(answer(index, "top")) == {"top", "middle", "bottom"}
    assert set(answer(index, "top", exclude=("middle",))) == {"top"}
    assert set(answer(index, "top", dependencies=False)) == {"top"}


def test_settings_that_would_steer_the_answer_are_left_out(index: FakeIndex, machine: Machine, tmp_path: Path) -> None:
    for version in ("1.0", "2.0", "3.0rc1"):
        index.wheel("thing", version)
    steering = tmp_path / "steer.txt"
    steering.write_text("thing==1.0\n")
    environ = index.environ() | {
        "UV_CONSTRAINT": str(steering),
        "UV_OVERRIDE": str(steering),
        "UV_RESOLUTION": "lowest",
        "UV_PRERELEASE": "allow",
        "UV_EXCLUDE_NEWER": "2001-01-01T00:00:00Z",
        "UV_PYTHON": "3.8",
    }
    assert answer(index, "thing", environ=uv_environment(machine, environ)) == {"thing": "2.0"}


def test_a_project_around_the_working_directory_has_no_say(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.wheel("thing", "1.0")
    index.wheel("thing", "2.0")
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nconstraint-dependencies = ["thing<2"]\n')
    (tmp_path / "uv.toml").write_text('[pip]\nresolution = "lowest"\n')
    monkeypatch.chdir(tmp_path)
    environ = index.environ()
    del environ["UV_NO_CONFIG"]
    assert answer(index, "thing", environ=environ) == {"thing": "2.0"}


def test_an_index_that_does_not_answer(index: FakeIndex, free_port: int) -> None:
    environ = index.environ(f"http://127.0.0.1:{free_port}/simple")
    with pytest.raises(FetchError, match="does not answer"):
        answer(index, "thing", environ=environ)


def test_offline_only_the_cache_is_asked(index: FakeIndex, free_port: int) -> None:
    environ = index.environ(f"http://127.0.0.1:{free_port}/simple")
    with pytest.raises(EnvironmentFault, match="offline"):
        ask(Question(("thing",), TARGETS[0]), environ=environ, offline=True, where="test")


def test_without_uv_there_is_a_clear_word(index: FakeIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(tmp_path / "uv"))
    with pytest.raises(EnvironmentFault, match="uv cannot be run"):
        answer(index, "thing")


def test_a_uv_that_answers_nonsense(index: FakeIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "uv"
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(program))
    for text in ("", "= nonsense", "lock-version = '9.0'\n", "a = " + "[" * 5000):
        program.write_text(f"#!{sys.executable}\nopen('pylock.toml', 'w').write({text!r})\n")
        os.chmod(program, 0o755)  # noqa: PTH101
        with pytest.raises(EnvironmentFault, match="not a pylock"):
            answer(index, "thing")
