"""What a run was put under, in a few words."""

from __future__ import annotations

import pytest

from builder.harness.report_words import conditions
from builder.harness.simulate import hostile
from builder.hosts.host import Conditions

HOSTILE = (
    "9 variables inside, 8 variables outside, umask 077, addresses not randomised, memory shifted by 7919 B, "
    "2 busy threads beside it"
)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Conditions(), ""),
        (Conditions(cores=1), "1 core"),
        (Conditions(cores=(0, 2)), "cores 0 2"),
        (Conditions(cpu="Haswell", cores=2), "2 cores, cpu Haswell"),
        (Conditions(memory=3 << 29), "1.5 GiB"),
        (Conditions(environment={"LANGUAGE": "tr"}), "environment LANGUAGE=tr"),
        (hostile(2), HOSTILE),
        (Conditions(environment={"A": "\x1b[31m"}), "environment A=\N{REPLACEMENT CHARACTER}[31m"),
    ],
)
def test_words(found, words):
    assert conditions(found.described()) == words
