"""A program that starts a sandbox and ends it when whoever asked for it is gone; a script of its own, not a module.

bubblewrap's `--die-with-parent` comes too late: until its two processes have asked the kernel for the signal, some
milliseconds after each was started, a parent that is killed leaves them behind, and with them whatever they go on to
start. So a process that nobody has a reason to kill stands between: it reads from a pipe that only kbuild can write to,
and at the pipe's end it stops bubblewrap where it is, kills the first process of the sandbox, with which the kernel
ends all others, and then bubblewrap.

    python -I -S keeper.py PIPE REPORTS MEMORY PROGRAM [ARGUMENT...]

REPORTS is the end of a pipe from which kbuild reads what bubblewrap reports. Held here as well it does not break, which
would end bubblewrap's first process before its time, and leave the second.

MEMORY is how many bytes of their own all processes of the sandbox may have together, 0 for any number: a limit on each
(RLIMIT_DATA) does not hold many. It is looked at five times a second, and a sandbox that has more is ended.

It ends as the program does: with its exit status, or by its signal.
"""

import _signal  # type: ignore[import-not-found]  # `signal` takes long to import
import _thread
import posix  # `os` takes 1 ms to import
import sys
import time

# signal(7), the same on x86-64 and arm64.
_INTERRUPT, _KILL, _PIPE, _STOP, _TOO_LARGE = 2, 9, 13, 19, 25
_LOOK = 0.2
_PATIENCE = 10.0
"""Seconds to wait for a sandbox's end: what hangs in a device or a network file system may take for ever."""

_ENDED = (b"Z", b"X")
_STOPPED = (b"T", *_ENDED)


def _state(process: int) -> bytes:
    """A process's state as proc(5) says it, "X" where there is none any more."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - `pathlib` takes long to import
            return file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return b"X"


def _end(process: int) -> None:
    """End bubblewrap and its sandbox. While it is stopped it starts nothing, so what it has started is all there is.

    Nor does it wait for its child meanwhile. The first process of a PID namespace becomes a zombie when the kernel has
    ended and reaped all others of it (pid_namespaces(7)): until then they may still write.
    """
    posix.kill(process, _STOP)
    while _state(process) not in _STOPPED:
        posix.sched_yield()
    with open(f"/proc/{process}/task/{process}/children", "rb") as file:  # noqa: PTH123 - as above
        children = [int(child) for child in file.read().split()]
    for child in children:
        posix.kill(child, _KILL)
    until = time.monotonic() + _PATIENCE
    while any(_state(child) not in _ENDED for child in children) and time.monotonic() < until:
        time.sleep(0.001)


def _watch(lifeline: int, process: int) -> None:
    posix.read(lifeline, 1)  # returns at the pipe's end: nobody writes
    _end_surely(process)


def _end_surely(process: int) -> None:
    try:
        _end(process)
    except OSError:  # it has ended by itself, or this kernel does not list children
        pass
    finally:
        posix.kill(process, _KILL)  # a process that has ended stays until it is waited for


def _end_orphans() -> None:
    """End what a killed bubblewrap has left, if its second process had not yet asked for its death.

    They are nobody's children any more, but print to where this process does, which kbuild reads to its end.
    """
    output = posix.readlink("/proc/self/fd/1")
    for name in posix.listdir("/proc"):
        try:
            if name.isdigit() and int(name) != posix.getpid() and posix.readlink(f"/proc/{name}/fd/1") == output:
                posix.kill(int(name), _KILL)
        except OSError:  # it has ended, or is another user's
            continue


def _own(process: int) -> int:
    """Bytes of memory that a process and all below it have to themselves, not mapped from files."""
    try:
        with open(f"/proc/{process}/statm", "rb") as file:  # noqa: PTH123 - as above
            _, resident, shared, *_ = map(int, file.read().split())
        below = []
        for thread in posix.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - as above
                below += file.read().split()
    except (OSError, ValueError):  # it has ended meanwhile
        return 0
    return (resident - shared) * posix.sysconf("SC_PAGE_SIZE") + sum(_own(int(one)) for one in below)


def _guard(process: int, most: int) -> None:
    while (taken := _own(process)) <= most:
        time.sleep(_LOOK)
    posix.write(2, f"ended: it had taken {taken} bytes of memory, and {most} is the most that it may\n".encode())
    _end_surely(process)


def _main(lifeline: int, reports: int, memory: int, command: list[str]) -> None:
    posix.set_inheritable(lifeline, False)
    posix.set_inheritable(reports, False)
    # Python ignores these two, and what is ignored is inherited.
    defaults = [_PIPE, _TOO_LARGE]
    # Ctrl-C is the program's to answer, where it gets to it; whoever ignored it from the start goes on doing so.
    if _signal.signal(_INTERRUPT, _signal.SIG_IGN) != _signal.SIG_IGN:
        defaults.append(_INTERRUPT)
    process = posix.posix_spawn(command[0], command, posix.environ, setsigdef=defaults)
    _thread.start_new_thread(_watch, (lifeline, process))
    if memory:
        _thread.start_new_thread(_guard, (process, memory))
    status = posix.waitstatus_to_exitcode(posix.waitpid(process, 0)[1])
    if status < 0:
        _end_orphans()
        posix.kill(posix.getpid(), -status)
    posix._exit(status)  # noqa: SLF001


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
