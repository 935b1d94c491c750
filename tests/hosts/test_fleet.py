"""`hosts.toml`: what it may say, and how it is told what is wrong."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import UsageError
from builder.hosts.fleet import Fleet, load, loads, variations
from builder.hosts.host import Conditions
from builder.spec.findings import SpecErrors

DOCS = Path(__file__).parents[2] / "docs/hosts.md"

EVERYTHING = """
schema = 1

[hosts.here]
kind = "local"
cores = [0, 3]
memory = "2GiB"
locale = "tr_TR.UTF-8"
timezone = "Pacific/Chatham"
umask = "077"
randomised = false
shift = 7919
load = 4
environment = { LANGUAGE = "tr:de" }

[hosts.old]
kind = "qemu"
cpu = "Haswell"
cores = 2

[hosts.old.vary.same]

[hosts.old.vary.newer]
cpu = "max,sve=off"
cores = 1

[hosts.engine]
kind = "docker"
url = "ssh://me@far:2222"
platform = "linux/arm64"
"""


def conditions(fleet: Fleet) -> dict[str, Conditions]:
    return {f"{name}{end}": found for name, table in fleet.hosts.items() for end, found in variations(table).items()}


def test_everything_that_can_be_said():
    assert conditions(loads(EVERYTHING, "hosts.toml")) == {
        "here": Conditions(
            cores=(0, 3), memory=2 << 30, environment={"LANGUAGE": "tr:de"}, umask=0o077, randomised=False, shift=7919,
            starter={"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Chatham"}, load=4,
        ),
        "old/same": Conditions(cpu="Haswell", cores=2),
        "old/newer": Conditions(cpu="max,sve=off", cores=1),
        "engine": Conditions(),
    }  # fmt: skip


def test_hosts_keep_the_order_of_the_file():
    text = "schema = 1\n" + "".join(f'[hosts.{name}]\nkind = "local"\n' for name in "cab")
    assert list(loads(text, "hosts.toml").hosts) == ["c", "a", "b"]


WRONG = {
    "no schema": ('[hosts.a]\nkind = "local"', "hosts.toml", "'schema' is missing"),
    "another schema": ('schema = 2\n[hosts.a]\nkind = "local"', "1:10", "schema cannot be 2"),
    "no hosts": ("schema = 1", "hosts.toml", "'hosts' is missing"),
    "no kind": ("schema = 1\n[hosts.a]\ncores = 1", "2:8", "kind 'local', 'qemu' or 'docker'"),
    "an unknown kind": ('schema = 1\n[hosts.a]\nkind = "ssh"', "3:8", "kind 'local', 'qemu' or 'docker'"),
    "an unknown key": ('schema = 1\n[hosts.a]\nkind = "local"\ncore = 1', "4:1", "did you mean 'cores'"),
    "a key of another kind": ('schema = 1\n[hosts.a]\nkind = "local"\ncpu = "max"', "4:1", "unknown key 'cpu'"),
    "the engine's umask": ('schema = 1\n[hosts.a]\nkind = "docker"\numask = "077"', "4:1", "unknown key 'umask'"),
    "no cores": ('schema = 1\n[hosts.a]\nkind = "local"\ncores = 0', "4:9", "cores cannot be 0"),
    "an empty list": ('schema = 1\n[hosts.a]\nkind = "local"\ncores = []', "4:9", "cores cannot be"),
    "cores of truth": ('schema = 1\n[hosts.a]\nkind = "local"\ncores = true', "4:9", "cores cannot be true"),
    "a bare number": ('schema = 1\n[hosts.a]\nkind = "local"\nmemory = 4096', "4:10", "memory cannot be 4096"),
    "an engine over TCP": ('schema = 1\n[hosts.a]\nkind = "docker"\nurl = "tcp://x:1"', "4:7", "url cannot be"),
    "an option for ssh": (
        'schema = 1\n[hosts.a]\nkind = "docker"\nurl = "ssh://-oProxyCommand=x"',
        "4:7",
        "url cannot",
    ),
    "an option for qemu": ('schema = 1\n[hosts.a]\nkind = "qemu"\ncpu = "-h"', "4:7", "cpu cannot be '-h'"),
    "a path as a name": ('schema = 1\n[hosts."a/b"]\nkind = "local"', "2:8", "'a/b' is not a name"),
    "no variable": ('schema = 1\n[hosts.a]\nkind = "local"\nenvironment = {"A=B" = "1"}', "4:16", "not a name"),
    "a number as a value": ('schema = 1\n[hosts.a]\nkind = "local"\nenvironment = {A = 1}', "4:20", "A cannot be 1"),
    "a wrong variation": ('schema = 1\n[hosts.a]\nkind = "local"\n[hosts.a.vary.b]\ncpu = "max"', "5:1", "unknown key"),
    "no TOML": ("schema = ", "1:10", "."),
}


@pytest.mark.parametrize(("text", "place", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_shown_at_its_place(text, place, said):
    with pytest.raises(SpecErrors) as caught:
        loads(text, "hosts.toml")
    assert caught.value.exit_code == 2
    assert len(caught.value.findings) == 1
    finding = caught.value.findings[0]
    assert finding.place == (place if place == "hosts.toml" else f"hosts.toml:{place}")
    assert re.search(said, f"{finding.message} {finding.hint}"), finding


def test_everything_that_is_wrong_is_shown_at_once():
    with pytest.raises(SpecErrors) as caught:
        loads('schema = 1\n[hosts.a]\nkind = "local"\ncors = 1\n[hosts.b]\nkind = "qemu"\nmemory = "2"\n', "h.toml")
    assert [finding.line for finding in caught.value.findings] == [4, 7]


@pytest.mark.parametrize("data", [b"\xff", b"x" * (2 << 20)], ids=["not UTF-8", "too large"])
def test_files_that_are_none(tmp_path, data):
    (tmp_path / "hosts.toml").write_bytes(data)
    with pytest.raises(UsageError):
        load(tmp_path / "hosts.toml")


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_files_that_are_not_there(tmp_path, name):
    with pytest.raises(UsageError, match="no file of hosts"):
        load(tmp_path / name)


@given(st.text(max_size=200) | st.sampled_from([EVERYTHING[:n] for n in range(0, len(EVERYTHING), 7)]))
def test_any_text_is_a_fleet_or_an_error_of_ours(text):
    with contextlib.suppress(SpecErrors):
        assert loads(text, "hosts.toml").hosts


def test_the_examples_of_the_documentation_are_right():
    examples = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        assert conditions(loads(example, str(DOCS)))
