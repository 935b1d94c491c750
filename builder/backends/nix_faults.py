"""Why Nix refused: what its words mean, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from builder.errors import EnvironmentFault

OWN_WORDS: Final = "kbuild: "
"""What the last line of a log begins with where a script of the library ends with an error."""

NO_SANDBOX: Final = f"{OWN_WORDS}not in a sandbox"
NO_NAMESPACES: Final = f"{OWN_WORDS}cannot enter:"


@dataclass(frozen=True, slots=True)
class _Reason:
    """Words of Nix, what they mean, and what to do; `{0}` is what the pattern's first group found."""

    pattern: str
    what: str
    remedy: str


_REASONS: Final = (
    _Reason(
        r"(?:cannot connect to|getting status of)[^\n]*socket[^\n]*Permission denied|is not allowed to connect",
        "this user may not use Nix's daemon",
        "join the group `nix-users`, or be named in `allowed-users` of /etc/nix/nix.conf",
    ),
    _Reason(
        r"Connection reset by peer|unexpected end-of-file|remote store[^\n]*Broken pipe",
        "Nix's daemon hangs up",
        "`allowed-users` in its nix.conf has to name this user; its own log says what is wrong",
    ),
    _Reason(
        r"cannot (?:connect to|open connection to|reach)[^\n]*(?:daemon|socket)|Nix daemon disconnected unexpectedly",
        "Nix's daemon does not answer",
        "start it: `systemctl start nix-daemon`, or `nix-daemon &` as root",
    ),
    _Reason(
        r"experimental(?: Nix)? feature '([\w-]+)' is (?:disabled|not enabled)",
        "Nix's experimental feature {0} is switched off, and something in NIX_CONFIG or nix.conf makes it needed",
        "add `experimental-features = {0}` to /etc/nix/nix.conf",
    ),
    _Reason(
        r"the group '([^']*)' specified in 'build-users-group' (?:does not exist|has no members)",
        "Nix as root wants build users, and the group {0} is absent or empty",
        "create them (`man nix.conf`, build-users-group), or set `build-users-group =` for a one-user Nix",
    ),
    _Reason(
        re.escape(NO_SANDBOX),
        "Nix builds without its sandbox, so a result could depend on this machine",
        "set `sandbox = true` in /etc/nix/nix.conf, and restart nix-daemon if there is one",
    ),
    _Reason(
        re.escape(NO_NAMESPACES),
        "Nix's sandbox lets no build make user and mount namespaces of its own",
        "`sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000`; on Ubuntu also "
        "`kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    _Reason(
        r"is not allowed to refer to[^\n]*\n[^\n]*(/[^\s/]+/store/[^\s]+)",
        "what was compiled names a path of the Nix store, {0}, which no image has",
        "leave out flags that write paths down, such as -g",
    ),
    _Reason(
        r"does not support the kernel namespaces|cloning builder process: |private mount namespace|"
        r"unable to (?:start any build|make filesystem|bind mount)|(?:mount|pivot)[^\n]*Operation not permitted",
        "this machine does not let Nix make its sandbox",
        "run Nix where it may make namespaces: outside of a container, or in one started with `--privileged`",
    ),
    _Reason(
        r"setting up the build environment\s+error: getting attributes of path '([^']+)': No such file",
        "Nix's sandbox is to show {0} to every build, and that is not there",
        "install what holds it (on Debian the package `bash-static`), or set `sandbox-paths =` in nix.conf",
    ),
    _Reason(
        r"No space left on device",
        "the disk of the Nix store is full",
        "run `nix-collect-garbage`, or make room",
    ),
    _Reason(
        r"(?:Permission denied|Read-only file system)|you don't have sufficient rights",
        "this user may not write to the Nix store",
        "use a daemon (NIX_REMOTE=daemon), or be the owner of /nix",
    ),
    _Reason(
        r"a '([\w-]+)' with features \{[^}]*\} is required to build",
        "this Nix does not build for {0}",
        "unset `system` in nix.conf, or build with another --backend",
    ),
)


def refusal(said: str) -> EnvironmentFault | None:
    """What Nix's words say about this machine; None if they are about something else.

    Args:
        said: stderr, or the last line of a build's log.
    """
    said = "\n".join(line for line in said.splitlines() if not line.startswith("warning:"))
    for reason in _REASONS:
        if found := re.search(reason.pattern, said):
            names = [name or "" for name in found.groups()]
            return EnvironmentFault(
                reason.what.format(*names), where=_line(said, found.start()), hint=reason.remedy.format(*names)
            )
    return None


def _line(text: str, at: int) -> str:
    """The line that a position is in."""
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start : end if end >= 0 else None].strip()
