"""Running images: a shell script stands in for the runtime, and does what a runtime may and may not do."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import scripted

from builder.backends.bwrap import Ended
from builder.errors import EnvironmentFault, KbuildError, KernelError, UsageError
from builder.hosts.host import Runnable
from builder.hosts.local import failure, run
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

DONE = scripted.receipt(y=[1.0])
OK = f"printf '%s\\n' '{DONE.decode().strip()}' > /io/out/receipt.json"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("hosts") / "store")


@pytest.fixture
def start(store: Store):
    def call(script: str, *inputs: Path, output: Path | None = None, progress=None, **how):
        return run(store, scripted.image(store, script), inputs, output, progress=progress or Silent(), **how)

    return call


def written(script: str) -> str:
    """A script that delivers what another one prints."""
    return f"{{ {script}; }} > /io/out/trace.json; {OK}"


@pytest.mark.sandbox
class TestRuns:
    def test_inputs_in_results_out(self, start, tmp_path):
        (tmp_path / "x.json").write_text("[1]")
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "x.json").write_text("[2]")
        (tmp_path / "more" / "x.json").chmod(0o600)
        script = f"cat /io/in/* > /io/out/outputs.safetensors; echo junk > /io/out/junk; {OK}"
        result = start(script, tmp_path / "x.json", tmp_path / "more" / "x.json", output=tmp_path / "a" / "out")
        assert result.receipt == json.loads(DONE)
        assert result.folder == tmp_path / "a" / "out"
        assert sorted(path.name for path in result.folder.iterdir()) == ["outputs.safetensors", "receipt.json"]
        assert sorted((result.folder / "outputs.safetensors").read_text()) == sorted("[1][2]")

    def test_without_a_destination_results_are_kept_in_the_store(self, start, store):
        result = start(f"echo kept > /io/out/outputs.safetensors; {OK}")
        assert result.folder.is_relative_to(store.root)
        assert (result.folder / "outputs.safetensors").read_text() == "kept\n"

    def test_an_earlier_runs_results_do_not_survive(self, start, tmp_path):
        start(f"echo a > /io/out/outputs.safetensors; echo b > /io/out/trace.json; {OK}", output=tmp_path)
        (tmp_path / "mine.txt").write_text("mine")
        start(f"echo c > /io/out/outputs.safetensors; {OK}", output=tmp_path)
        assert (tmp_path / "outputs.safetensors").read_text() == "c\n"
        assert not (tmp_path / "trace.json").exists()
        assert (tmp_path / "mine.txt").read_text() == "mine"

    def test_the_world_inside(self, start, monkeypatch):
        monkeypatch.setenv("LEAK", "yes")
        script = f"""
            export -p > /io/out/trace.json
            [ -e /sys/devices/system/cpu ] && (echo x > /tmp/x) && [ ! -e /root ] || exit 5
            for file in /x /usr/x /opt/x /sys/x /io/x; do (echo x > $file) 2>/dev/null && exit 6; done
            {OK}
        """
        result = start(script)
        lines = (result.folder / "trace.json").read_text().splitlines()
        assert lines == [
            f"export KBUILD_IMAGE='sha256:{'a' * 64}'", "export PATH='/usr/bin'", "export PIN='1'", "export PWD='/'",
        ]  # fmt: skip

    def test_inputs_cannot_be_changed(self, start, tmp_path):
        (tmp_path / "x.json").write_text("[1]")
        start(f"(echo evil >> /io/in/x.json) 2>/dev/null; (echo x > /io/in/y) 2>/dev/null; {OK}", tmp_path / "x.json")
        assert (tmp_path / "x.json").read_text() == "[1]"

    def test_what_the_image_prints_is_told_line_by_line(self, start):
        class Told(Silent):
            def __init__(self):
                self.lines: list[str] = []

            def detail(self, text: str) -> None:
                self.lines.append(text)

        told = Told()
        start(f"echo one; echo two >&2; {OK}", progress=told)
        assert told.lines == ["one", "two"]

    @pytest.mark.parametrize(
        ("status", "kind", "code"), [(2, KernelError, 2), (3, EnvironmentFault, 3), (70, KbuildError, 70)]
    )
    def test_a_failure_speaks_the_runtimes_words(self, start, tmp_path, status, kind, code):
        changes = {
            "error": {"step": "input", "exit": min(status, 3), "message": "x has 3 dimensions", "hint": "give it two"}
        }
        text = scripted.receipt(golden="input", changes=changes).decode().strip()
        with pytest.raises(kind) as caught:
            start(
                f"echo x > /io/out/outputs.safetensors; printf '%s\\n' '{text}' > /io/out/receipt.json; exit {status}",
                output=tmp_path / "out",
            )
        assert type(caught.value) is kind
        assert caught.value.exit_code == code
        assert caught.value.diagnostics() == "demo, input: x has 3 dimensions\nhint: give it two"
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["receipt.json"]

    def test_a_failure_without_a_receipt_shows_what_was_printed(self, start):
        with pytest.raises(KbuildError, match="Traceback of some kind") as caught:
            start("echo 'Traceback of some kind' >&2; exit 70")
        assert caught.value.exit_code == 70

    @pytest.mark.parametrize(
        "left",
        [
            "true",
            "echo '{' > /io/out/receipt.json",
            "echo '[]' > /io/out/receipt.json",
            'echo \'{"result": {"status": "ok"}, "sha256": "00"}\' > /io/out/receipt.json',
            f"printf '%s\\n' '{scripted.receipt(golden='input').decode().strip()}' > /io/out/receipt.json",
            f"printf '%s\\n' '{DONE.decode().strip()[:-1]}' > /io/out/receipt.json",
            f"printf '%s' '{DONE.decode().strip()}' > /io/out/receipt.json",
            "ln -s /etc/hostname /io/out/receipt.json",
            "mkdir /io/out/receipt.json",
            "mkfifo /io/out/receipt.json",
        ],
    )
    def test_ending_well_without_a_right_receipt_is_a_failure(self, start, tmp_path, left):
        with pytest.raises(KernelError, match="no receipt"):
            start(left, output=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_link_among_the_results_is_never_followed(self, start, tmp_path):
        (tmp_path / "secret").write_text("secret")
        result = start(f"ln -s {tmp_path}/secret /io/out/outputs.safetensors; {OK}", output=tmp_path / "out")
        assert [path.name for path in result.folder.iterdir()] == ["receipt.json"]

    def test_nothing_is_left_in_the_store_after_a_failure(self, start, store):
        with pytest.raises(KbuildError):
            start("echo x > /io/out/outputs.json; exit 2")
        assert not list((store.root / "tmp").iterdir())

    def test_a_missing_input(self, start, tmp_path):
        with pytest.raises(UsageError, match="no such file"):
            start(OK, tmp_path / "absent.json")
        with pytest.raises(UsageError, match="not a file"):
            start(OK, tmp_path)

    def test_a_destination_that_is_a_file(self, start, tmp_path):
        (tmp_path / "out").write_text("")
        with pytest.raises(EnvironmentFault):
            start(OK, output=tmp_path / "out")

    def test_results_are_the_users_own_files(self, start, tmp_path):
        old = os.umask(0o022)
        try:
            result = start(f"umask 077; {OK}", output=tmp_path / "out")
        finally:
            os.umask(old)
        status = (result.folder / "receipt.json").stat()
        assert status.st_uid == os.getuid()
        assert stat.S_IMODE(status.st_mode) == 0o644

    def test_another_platform_needs_an_emulator(self, store):
        other = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
        foreign = scripted.image(store, OK)
        foreign = Runnable(**{name: getattr(foreign, name) for name in foreign.__slots__} | {"platform": other})
        with pytest.raises(EnvironmentFault, match="no emulator"):
            run(store, foreign, [], None, progress=Silent())


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (132, EnvironmentFault, "the CPU does not know an instruction"),
        (137, EnvironmentFault, "ran out of memory"),
        (139, KernelError, "was ended by signal 11"),
        (1, KernelError, "ended with status 1"),
        (2, KernelError, "the runtime failed"),
    ],
)
def test_how_a_run_can_end(status, kind, said):
    error = failure("demo", Ended(status, "last words\n"), None)
    assert type(error) is kind
    assert said in error.message
    assert error.message.endswith("    last words")
