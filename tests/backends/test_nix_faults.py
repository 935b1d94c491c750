"""What Nix says when it refuses, and a machine's Nix that cannot be used."""

from __future__ import annotations

import pytest

from builder.backends.nix_faults import refusal
from builder.backends.nix_tools import Nix
from builder.errors import EnvironmentFault

# As Nix 2.8 and 2.26 print them.
SAID = {
    "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused": "does not answer",
    "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': No such file or directory": "not answer",
    "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Permission denied": "may not use",
    "error: getting status of /nix/var/nix/daemon-socket/socket: Permission denied": "may not use",
    "error: cannot open connection to remote store 'daemon': reading from file: Connection reset by peer": "hangs up",
    "error: cannot open connection to remote store 'daemon': error: writing to file: Broken pipe": "hangs up",
    "error: experimental Nix feature 'flakes' is disabled; use '--extra-experimental-features'": "feature flakes is",
    "error: the group 'nixbld' specified in 'build-users-group' does not exist": "build users",
    "error: this system does not support the kernel namespaces required for sandboxing": "let Nix make its sandbox",
    "error: cloning builder process: Operation not permitted": "let Nix make its sandbox",
    "error: creating directory '/nix/store': Permission denied": "may not write to the Nix store",
    "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied": "may not write to the Nix store",
    "error: writing to file: No space left on device": "disk of the Nix store is full",
    "error: a 'aarch64-linux' with features {} is required to build '/nix/store/x.drv', but I am": "for aarch64-linux",
    "kbuild: not in a sandbox": "without its sandbox",
    "kbuild: cannot enter: unshare: unshare(0x14020000): Operation not permitted": "namespaces of its own",
}


@pytest.mark.parametrize("said", SAID)
def test_each_refusal_is_told_apart_and_says_what_to_do(said):
    fault = refusal(f"warning: something else\nthese 2 derivations will be built:\n{said}\n(use '--show-trace')")
    assert fault is not None
    assert SAID[said] in fault.message
    assert fault.where == said
    assert fault.hint


def test_a_shell_that_the_sandbox_is_to_show():
    said = """error:
       … while setting up the build environment

       error: getting attributes of path '/usr/bin/bash-static': No such file or directory"""
    fault = refusal(said)
    assert fault is not None
    assert "/usr/bin/bash-static" in fault.message
    assert "bash-static" in fault.hint


def test_other_words_are_no_refusal():
    assert refusal("error: syntax error, unexpected '}'") is None
    assert refusal("warning: the group 'nixbld' specified in 'build-users-group' does not exist") is None


def fake(folder, monkeypatch, version: str) -> None:
    for name in ("nix-build", "nix-store", "nix-prefetch-url"):
        (folder / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_no_nix(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="Nix is not installed: there is no nix-build") as caught:
        Nix()
    assert "nix-bin" in caught.value.hint


def test_an_old_nix(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "nix-build (Nix) 2.3.16")
    with pytest.raises(EnvironmentFault, match=r"Nix 2\.3 is too old; kbuild needs 2\.8"):
        Nix()


@pytest.mark.parametrize("version", ["nix-build (Nix) 2.26.3", "nix-build (Lix, like Nix) 2.91.0", "nix (Nix) 3.0"])
def test_a_newer_nix(version, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, version)
    assert Nix().version >= (2, 8)


def test_something_that_is_no_nix(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "hello")
    with pytest.raises(EnvironmentFault, match="nix-store does not say its version: hello"):
        Nix()
