"""Verifying shell images on hosts that are what they say, and on hosts that die, hang and lie."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import scripted

from builder.errors import EnvironmentFault, KernelError, UsageError
from builder.harness.job import case
from builder.harness.verdict import Verdict, Verification
from builder.harness.verify import Settings, verify
from builder.hosts.exchange import RECEIPT
from builder.hosts.host import HERE, Conditions, RunResult, Variant
from builder.hosts.local import Local
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

pytestmark = pytest.mark.sandbox

FILES = scripted.results(right=[1.0, -0.0], wrong=[1.0, 0.0])
TURKISH = Conditions(environment={"LANGUAGE": "tr"})
GERMAN = Conditions(environment={"LANGUAGE": "de"})
BY_LANGUAGE = f"""
case ${{LANGUAGE-}} in
    tr) {scripted.put("wrong")};;
    *) {scripted.put("right")};;
esac
"""
"""A kernel whose bits follow the language."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("verify") / "store")


@pytest.fixture
def local(store: Store) -> Local:
    return Local("here", store)


@pytest.fixture
def verified(store: Store, local: Local, tmp_path: Path):
    """A function that verifies a script; a variant is a host, conditions for the local one, or both."""

    def call(script: str, *, files: Mapping[str, bytes] = FILES, repeat=1, timeout=20.0, fresh=True, **places: Any):
        variants = [
            Variant(name, local, place) if isinstance(place, Conditions) else Variant(name, place)
            for name, place in places.items()
        ]
        (tmp_path / "x.json").write_text('{"x": [1.0]}')
        return verify(
            scripted.DIGEST,
            [scripted.image(store, script, files)],
            [case("example", [tmp_path / "x.json"])],
            variants,
            settings=Settings(repeat=repeat, timeout=timeout, fresh=fresh, jobs=2),
            store=store,
            progress=Silent(),
        )

    return call


def verdicts(found: Verification) -> dict[str, Verdict]:
    assert len({(run.host, run.repeat) for run in found.runs}) == len(found.runs)
    return {run.host: run.verdict for run in found.runs}


class Fake:
    """A host that does what a test says, in place of a sandbox."""

    kind, machine = "fake", "elsewhere"

    def __init__(self, act=lambda output: None, name="fake") -> None:
        self.act, self.name, self.platform, self.calls = act, name, host_platform(), 0

    def identity(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def run(self, image, inputs, output, *, conditions, requests=None, timeout, progress) -> RunResult:
        self.calls += 1
        output.mkdir()
        (output / "outputs.safetensors").write_bytes(FILES["right.outputs"])
        (output / RECEIPT).write_bytes(FILES["right.receipt"])
        self.act(output)
        return RunResult(output, json.loads((output / RECEIPT).read_bytes()))

    def close(self) -> None:
        pass


# --- who agrees


def test_all_agree(verified):
    found = verified(scripted.put("right"), one=Conditions(), two=Conditions(cores=1), three=GERMAN)
    assert verdicts(found) == dict.fromkeys(("one", "two", "three"), Verdict.EQUAL)
    assert found.agreed
    assert [len(group.members) for group in found.groups] == [3]
    assert all((run.folder / "outputs.safetensors").read_bytes() == FILES["right.outputs"] for run in found.runs)


def test_one_differs_by_the_sign_of_a_zero(verified):
    found = verified(BY_LANGUAGE, one=Conditions(), two=TURKISH, three=GERMAN)
    assert verdicts(found) == {"one": Verdict.EQUAL, "two": Verdict.DIFFERS, "three": Verdict.EQUAL}
    assert (found.agreed, found.compared) == (False, True)
    assert [[member.host for member in group.members] for group in found.groups] == [["one", "three"], ["two"]]


def test_repeats_are_runs_of_their_own(verified):
    found = verified(scripted.put("right"), repeat=3, one=Conditions(), two=Conditions())
    assert [(run.host, run.repeat) for run in found.runs] == [(host, n) for host in ("one", "two") for n in (1, 2, 3)]
    assert found.agreed


def test_one_host_alone_proves_nothing(verified):
    found = verified(scripted.put("right"), repeat=2, one=Conditions())
    assert verdicts(found) == {"one": Verdict.ALONE}
    assert (found.agreed, found.compared) == (False, False)


# --- hosts that die, hang, refuse


def test_hosts_that_are_lost_leave_the_others_their_verdicts(verified):
    script = f"""
    case ${{LANGUAGE-}} in
        die) kill -9 $$;;
        hang) sleep 600;;
        crash) exit 1;;
        fool) exit 0;;
        refuse) cat /opt/refused > /io/out/receipt.json; exit 3;;
        *) {scripted.put("right")};;
    esac
    """
    files = {**FILES, "refused": scripted.receipt(golden="refused")}
    ways = ("die", "hang", "crash", "fool", "refuse")
    places = {way: Conditions(environment={"LANGUAGE": way}) for way in ways}
    found = verified(script, files=files, timeout=3, one=Conditions(), two=GERMAN, **places)
    assert verdicts(found) == {
        "one": Verdict.EQUAL, "two": Verdict.EQUAL, "die": Verdict.FAILED, "hang": Verdict.TIMED_OUT,
        "crash": Verdict.FAILED, "fool": Verdict.FAILED, "refuse": Verdict.REFUSED,
    }  # fmt: skip
    errors = {run.host: run.error for run in found.runs if run.error}
    assert errors.keys() == set(ways)
    assert "killed" in errors["die"]
    assert "3 s" in errors["hang"]
    assert "no receipt" in errors["fool"]
    refused = next(run for run in found.runs if run.host == "refuse")
    assert refused.receipt["result"]["error"]["unmet"], "a refused run leaves its receipt"
    assert (refused.folder / RECEIPT).is_file()


def test_a_host_that_cannot_be_reached(verified):
    class Gone(Fake):
        def identity(self):
            raise EnvironmentFault("no route to host", hint="switch it on")

    found = verified(scripted.put("right"), one=Conditions(), two=GERMAN, gone=Gone())
    assert verdicts(found) == {"one": Verdict.EQUAL, "two": Verdict.EQUAL, "gone": Verdict.FAILED}
    assert (found.runs[2].error, found.runs[2].hint) == ("no route to host", "switch it on")


def test_wrong_inputs_end_it_at_once_in_the_kernels_words(verified):
    files = {"receipt": scripted.receipt(golden="input")}
    slow = Fake(lambda _: time.sleep(0.2))
    with pytest.raises(KernelError, match=r"'x' .* is missing"):
        verified("cat /opt/receipt > /io/out/receipt.json; exit 2", files=files, one=Conditions(), two=slow)


# --- hosts that lie


def rewritten(output: Path, **changes: Any) -> None:
    document = json.loads((output / RECEIPT).read_bytes())
    document["result"] |= changes
    (output / RECEIPT).write_bytes(scripted.sealed(document))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def flip_seal(out: Path) -> None:
    document = json.loads((out / RECEIPT).read_bytes())
    document["result"]["seed"] = 7
    (out / RECEIPT).write_bytes(rfc8785.dumps(document) + b"\n")


def relink(path: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


LIES = {
    "other bytes than the receipt names": (lambda out: flip(out / "outputs.safetensors"), "the bytes of y are not"),
    "another image": (lambda out: rewritten(out, image=f"sha256:{'b' * 64}"), "image"),
    "no image": (lambda out: rewritten(out, image=None), "image"),
    "another platform": (lambda out: rewritten(out, platform="linux/arm64"), "platform"),
    "a broken seal": (flip_seal, "sha256|binding"),
    "more outputs than the file": (
        lambda out: rewritten(out, outputs=scripted.described(y=[1.0, -0.0], z=[1.0])), "names the outputs y, z",
    ),
    "no outputs at all": (lambda out: (out / "outputs.safetensors").unlink(), "no"),
    "outputs that are no safetensors": (lambda out: (out / "outputs.safetensors").write_bytes(b"x"), "header"),
    "outputs by way of a link": (lambda out: relink(out / "outputs.safetensors"), "link"),
    "other inputs": (
        lambda out: rewritten(out, inputs=scripted.described(x=[2.0])), "another inputs than the reference",
    ),
    "another seed": (lambda out: rewritten(out, seed=7), "another seed than the reference"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "said"), LIES.values(), ids=LIES)
def test_a_host_that_lies_has_failed(verified, act, said):
    found = verified(scripted.put("right"), one=Conditions(), two=GERMAN, liar=Fake(act))
    assert verdicts(found) == {"one": Verdict.EQUAL, "two": Verdict.EQUAL, "liar": Verdict.FAILED}
    assert re.search(said, found.runs[2].error), found.runs[2].error


def test_a_host_that_does_as_it_should_is_believed(verified):
    found = verified(scripted.put("right"), one=Conditions(), fake=Fake())
    assert found.agreed


def test_a_bug_in_a_host_is_not_a_verdict(verified):
    def broken(_: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verified(scripted.put("right"), one=Conditions(), fake=Fake(broken))


# --- what is remembered


def test_finished_runs_are_remembered_and_others_run_again(verified):
    good, bad = Fake(name="good"), Fake(lambda out: flip(out / "outputs.safetensors"), name="bad")
    places = {"first": good, "second": bad}
    once = verified(scripted.put("right"), fresh=False, **places)
    again = verified(scripted.put("right"), fresh=False, **places)
    assert (good.calls, bad.calls) == (1, 2)
    assert [run.cached for run in once.runs] == [False, False]
    assert [run.cached for run in again.runs] == [True, False]
    assert [run.verdict for run in once.runs] == [run.verdict for run in again.runs]
    verified(scripted.put("right"), fresh=True, **places)
    assert good.calls == 2


def test_a_remembered_run_is_that_of_the_same_inputs_host_conditions_and_repeat(verified, tmp_path, monkeypatch):
    host = Fake(name="exact")
    verified(scripted.put("right"), fresh=False, host=host)
    verified(scripted.put("right"), fresh=False, host=host, repeat=2)
    assert host.calls == 2, "one of the two was known"
    verified(scripted.put("right"), fresh=False, other=host)
    assert host.calls == 3, "two hosts of a file are two, even if they are the same machine"
    monkeypatch.setattr(host, "name", "moved")
    verified(scripted.put("right"), fresh=False, host=host)
    assert host.calls == 4


@pytest.mark.parametrize("harm", ["outputs.safetensors", RECEIPT, "all"])
def test_a_remembered_run_that_decayed_is_run_again(verified, store, harm):
    host = Fake(name=f"decay-{harm}")
    found = verified(scripted.put("right"), fresh=False, host=host)
    folder = found.runs[0].folder
    if harm == "all":
        for path in folder.iterdir():
            path.unlink()
    else:
        flip(folder / harm)
    again = verified(scripted.put("right"), fresh=False, host=host)
    assert (host.calls, again.runs[0].cached, again.runs[0].verdict) == (2, False, Verdict.ALONE)


def test_an_input_that_is_gone(store, local, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        case("x", [tmp_path / "absent.json"])
    with pytest.raises(UsageError, match="not a file"):
        case("x", [tmp_path])


# --- side by side


def test_machines_run_side_by_side_and_others_one_run_at_a_time(verified):
    running: dict[str, int] = {}
    most: dict[str, int] = {"all": 0}
    guard = threading.Lock()

    class Counted(Fake):
        def __init__(self, machine: str) -> None:
            super().__init__(self._busy, machine)
            self.machine = machine

        def _busy(self, _: Path) -> None:
            with guard:
                running[self.name] = running.get(self.name, 0) + 1
                most[self.name] = max(most.get(self.name, 0), running[self.name])
                most["all"] = max(most["all"], sum(running.values()))
            time.sleep(0.2)
            with guard:
                running[self.name] -= 1

    verified("true", repeat=4, here=Counted(HERE), a=Counted("a"), b=Counted("b"))
    assert (most[HERE], most["a"], most["b"]) == (2, 1, 1), "as many here as asked for"
    assert most["all"] == 4


def test_results_do_not_depend_on_who_is_ready_first(verified):
    slow = Fake(lambda _: time.sleep(0.3), name="slow")
    found = verified(scripted.put("right"), slow=slow, quick=Conditions())
    assert [run.host for run in found.runs] == ["slow", "quick"]
    assert found.groups[0].members[0].host == "slow", "the reference is the first of the list"


def test_everything_is_plain_frozen_data(verified):
    found = verified(scripted.put("right"), one=Conditions())
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.runs[0].verdict = Verdict.EQUAL
