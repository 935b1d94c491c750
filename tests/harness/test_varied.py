"""The influence table of a report says what was varied, by which hosts, and whether bits moved."""

from builder.determinism.held import holdings, nobodys
from builder.determinism.influences import CORES, HOSTILE, INFLUENCES, MODELS
from builder.harness.report_model import Effect
from builder.harness.varied import varied
from builder.harness.verdict import HostRun, Verdict, Verification
from builder.hosts.host import PLAIN, Conditions

AMD64 = "linux/amd64"


def run(host, conditions=PLAIN, verdict=Verdict.EQUAL, kind="local"):
    return HostRun(host, kind, AMD64, conditions, "case", 1, verdict, {}, None, 1.0)


def table(*runs):
    found = Verification("k", "sha256:" + "0" * 64, {}, ("case",), tuple(runs), ())
    return {item.name: item for item in varied(found, holdings(nobodys(), AMD64))}


def test_every_way_of_varying_is_one_that_a_condition_gives():
    assert {item.varied for item in INFLUENCES} == {"", MODELS, CORES, HOSTILE}


def test_nothing_varied():
    assert {item.effect for item in table(run("native")).values()} == {Effect.NOT_VARIED}


def test_each_condition_varies_its_own():
    found = table(
        run("native"),
        run("haswell", Conditions(cpu="Haswell"), Verdict.DIFFERS, "qemu"),
        run("1-core", Conditions(cores=1)),
        run("hostile", Conditions(umask=0o077, randomised=False)),
        run("dead", Conditions(cores=3), Verdict.FAILED),
    )
    assert (found["fma-contraction"].effect, found["fma-contraction"].varied) == (Effect.MOVED, ("haswell",))
    assert (found["threads"].effect, found["threads"].varied) == (Effect.HELD, ("1-core",))
    assert (found["memory-layout"].effect, found["memory-layout"].varied) == (Effect.HELD, ("hostile",))
    assert found["seed"].effect is Effect.NOT_VARIED


def test_what_nothing_holds_is_not_called_pinned():
    found = table(run("native"))
    assert found["cache-sizes"].pinned is None
    assert found["threads"].pinned == "NPROC=2, PJRT_NPROC=2"
    assert found["weights"].pinned == "bytes of a layer, by the lock"


def test_one_row_for_an_influence_of_two_platforms():
    both = [item for platform in (AMD64, "linux/arm64") for item in holdings(nobodys(), platform)]
    names = [item.name for item in varied(Verification("k", "d", {}, (), (), ()), both)]
    assert len(names) == len(set(names))
    assert {"sme", "fma-contraction"} <= set(names)
