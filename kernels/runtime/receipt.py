"""The receipt of a run (docs/protocol.md, "Receipt"): what was run on what, and what came out, bound by one hash.

Two hashes: one of `result`, which holds nothing that differs between two hosts that computed the same thing; and one
that binds this result to the host that gave it. Durations, and what only people read, are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernels.runtime import canonical, host, memory
from kernels.runtime.declared import Declared
from kernels.runtime.errors import HostError, RunError, Step

PROTOCOL = 1

NUMERICS = 1
"""Major version of the numeric specification, docs/numerics/, which the profile `portable` computes by."""


class Draft:
    """A receipt that fills while the run goes on, so that a failure at any point still leaves one."""

    def __init__(self, *, image: str | None, index: str | None) -> None:
        self._result: dict[str, Any] = {"protocol": PROTOCOL, "image": image, "index": index}
        self._beside: dict[str, Any] = {}
        self._preview: dict[str, str] = {}
        self._host: dict[str, Any] = {}
        self._microseconds: dict[str, int] = {}

    def kernel(self, declared: Declared) -> None:
        """Say which kernel this is, and by which numbers it computes."""
        profile: dict[str, Any] = {"name": declared.profile, "threads": declared.threads}
        if declared.profile == "portable":
            profile["numerics"] = NUMERICS
        self._result |= {
            "kernel": {"name": declared.name, "version": declared.version},
            "profile": profile,
            "seed": declared.seed,
            "spec": f"sha256:{declared.identity}",
            "x64": declared.wide,
        }

    def admitted(self, platform: str, environment: Mapping[str, str]) -> None:
        """Say which platform's image this is, and which environment it was found to have."""
        self._result["platform"] = platform
        self._result["profile"]["environment"] = dict(environment)

    def host(self, facts: Mapping[str, str | int | list[str]]) -> None:
        """Say what the host is. Two hosts differ in this, so it is no part of what their results are compared by."""
        self._host |= facts

    def say(self, key: str, value: Any) -> None:
        """Add one field to the hashed part: `versions`, `inputs`, `prepared`, `program`, `outputs` or `operations`."""
        self._result[key] = value

    def show(self, name: str, text: str) -> None:
        """Add a result as people want to see it; never hashed."""
        self._preview[name] = text

    def traced(self, summary: Mapping[str, Any]) -> None:
        """Say what a trace left beside the results; never hashed, so that a traced run compares with a plain one."""
        self._beside["trace"] = dict(summary)

    def took(self, what: str, nanoseconds: int) -> None:
        """Add a duration; never hashed."""
        self._microseconds[what] = nanoseconds // 1000

    def done(self) -> bytes:
        """The receipt of a run that gave outputs."""
        return self._finished({"status": "ok"}, self._beside | {"preview": self._preview})

    def failed(self, step: Step, fault: RunError) -> bytes:
        """The receipt of a run that ended with a fault."""
        error: dict[str, Any] = {"step": step, "exit": fault.exit_code, "message": plain(fault.message)}
        if fault.hint:
            error["hint"] = plain(fault.hint)
        if isinstance(fault, HostError) and fault.unmet:
            error["unmet"] = [
                {key: plain(getattr(item, key)) for key in ("name", "needed", "found", "remedy")}
                for item in fault.unmet
            ]
        for taken_back in ("outputs", "operations"):
            self._result.pop(taken_back, None)
        return self._finished({"status": "error", "error": error}, {})

    def _finished(self, outcome: dict[str, Any], beside: dict[str, Any]) -> bytes:
        result = self._result | outcome
        document = {
            "result": result,
            "sha256": canonical.sha256(result),
            "host": self._host,
            "binding": canonical.sha256({"host": self._host, "result": result}),
            "microseconds": self._microseconds,
            "used": {"memory": memory.peak(), "threads": host.threads()},
        }
        return canonical.dumps(document | beside) + b"\n"


def plain(text: str) -> str:
    """Text from anywhere made fit for a terminal and for UTF-8: control characters and lone surrogates escaped."""
    return "".join(
        character
        if character == "\n" or character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
