"""From runs that part to findings: which pairs are searched, what is shown of the source, hosts that fail meanwhile."""

from dataclasses import dataclass, replace

import pytest
from made_up import A, B, Host

from builder.harness.compare.groups import groups
from builder.harness.job import Case
from builder.harness.localise_model import Found
from builder.harness.localise_verification import localisations, parted
from builder.harness.verdict import HostRun, Member, Verdict, Verification
from builder.hosts.host import Conditions, Runnable, Variant
from builder.progress import Silent

PLATFORM = "linux/amd64"


def run_of(host, outputs, verdict=Verdict.EQUAL, repeat=1, case="one"):
    tensors = {name: {"dtype": "float32", "shape": [2], "sha256": digest} for name, digest in outputs.items()}
    receipt = {"result": {"status": "ok", "outputs": {"tensors": tensors}}}
    return HostRun(host, "local", PLATFORM, Conditions(), case, repeat, verdict, receipt, None, 1.0)


def verification(*runs):
    cases = tuple(dict.fromkeys(run.case for run in runs))
    return Verification("small", "sha256:" + A, {PLATFORM: "sha256:" + B}, cases, runs, groups(runs))


def test_one_pair_for_each_other_set_of_outputs():
    found = verification(
        run_of("native", {"x": A, "y": A}),
        run_of("same", {"x": A, "y": A}),
        run_of("haswell", {"x": A, "y": B}, Verdict.DIFFERS),
        run_of("skylake", {"x": A, "y": B}, Verdict.DIFFERS),
        run_of("arm", {"x": B, "y": B}, Verdict.DIFFERS, repeat=2),
        run_of("gone", {}, Verdict.FAILED),
        run_of("native", {"x": A, "y": A}, case="two"),
        run_of("haswell", {"x": A, "y": A}, case="two"),
    )
    pairs = [(pair.a.host, pair.b.host, pair.b.repeat, pair.a.case) for pair in parted(found)]
    assert pairs == [("native", "haswell", 1, "one"), ("native", "arm", 2, "one")]


def test_platforms_that_are_held_to_each_other_are_one_search():
    both = (PLATFORM, "linux/arm64")
    native, arm = run_of("native", {"x": A}), run_of("arm", {"x": B}, Verdict.DIFFERS)
    runs = (native, replace(arm, platform="linux/arm64"))
    held = dict.fromkeys(both, both)
    found = replace(verification(*runs), groups=groups(runs, held), peers=held)
    (pair,) = parted(found)
    assert (pair.a.host, pair.b.host, pair.platforms) == ("native", "arm", both)
    assert parted(verification(*runs)) == []


@dataclass
class Place:
    """A host, as the harness knows it, around one that is made up."""

    made: Host

    def run(self, image, inputs, output, *, conditions, requests, timeout, progress):
        return self.made.ask(requests[".trace.json"], timeout)


@pytest.fixture
def located(tmp_path):
    """A function from two hosts that are made up to what a verification of them finds."""
    kernel = tmp_path / "kernel"
    kernel.mkdir()
    (kernel / "model.py").write_text("def f(x):\n    return x * 2\n")
    (tmp_path / "secret.py").write_text("not\nfor\nyou\n")
    (kernel / "link.py").symlink_to(tmp_path / "secret.py")

    def find(a, b):
        runs = (run_of("a", a.plain()), run_of("b", b.plain(), Verdict.DIFFERS))
        image = Runnable("small", PLATFORM, "sha256:" + B, (), (), {})
        return localisations(
            verification(*runs), [image], [Case("one", (), A)], [Variant("a", Place(a)), Variant("b", Place(b))],
            kernels=lambda _: kernel, folder=tmp_path / "work", timeout=1.0, progress=Silent(),
        )  # fmt: skip

    return find


def test_a_finding_with_its_source(located, tmp_path):
    (found,) = located(Host(tmp_path, "a", 9, 4), Host(tmp_path, "b", 9, 4))
    assert (found.platforms, found.case, found.a, found.b) == ((PLATFORM,), "one", Member("a", 1), Member("b", 1))
    assert (found.found.found, found.found.first.path) == (Found.OPERATION, "4")
    assert [(line.number, line.text, line.marked) for line in found.source] == [
        (1, "def f(x):", False),
        (2, "    return x * 2", True),
    ]


@pytest.mark.parametrize(
    "file", ["../secret.py", "/etc/passwd", "link.py", "none.py", "a/../../secret.py", "", ".", "a\0b", "x" * 900]
)
def test_a_host_does_not_choose_what_file_is_shown(located, tmp_path, file):
    lie = {"place": {"source": {"file": file, "line": 2, "function": "f"}}}
    (found,) = located(Host(tmp_path, "a", 9, 4, **lie), Host(tmp_path, "b", 9, 4))
    assert found.found.first.path == "4"
    assert found.source == ()


def test_a_host_that_is_gone_leaves_a_note(located, tmp_path):
    (found,) = located(Host(tmp_path, "a", 9, 4), Host(tmp_path, "b", 9, 4, mode="dead"))
    assert found.found.found is Found.NOTHING
    assert found.found.notes == ("the search failed: it was not done in time",)
