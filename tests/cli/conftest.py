from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from command import PLAIN, Outcome

from builder.cli.main import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command in this process, in an empty folder: quicker, where nothing depends on the process."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: str | Path, env: Mapping[str, str] | None = None) -> Outcome:
        with monkeypatch.context() as patch:
            for name in ("FORCE_COLOR", "XDG_CACHE_HOME", "KBUILD_JOBS"):
                patch.delenv(name, raising=False)
            for name, value in (PLAIN | dict(env or {})).items():
                patch.setenv(name, value)
            try:
                code = main([str(word) for word in words])
            except SystemExit as error:  # argparse ends so after --help
                code = int(error.code or 0)
        said = capfd.readouterr()
        return Outcome(code, said.out, said.err)

    return run
