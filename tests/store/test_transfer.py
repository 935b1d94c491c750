from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import Behaviour, Handler, Server, serve

from builder.errors import EnvironmentFault, FetchError, IntegrityError, KbuildError
from builder.progress import Silent
from builder.store.attempt import Patience
from builder.store.blobs import Store
from builder.store.documents import document
from builder.store.transfer import Sources, Wanted, fetch

BODY = random.Random(1).randbytes(300_000)
HASTY = Patience(connect=2, read=0.3, window=0.4, least=50_000, attempts=3, total=8, first_wait=0.01, longest_wait=2)


def named(value: object) -> str:
    """A parameter's name; the default for functions holds an address, which differs between processes."""
    return getattr(value, "__name__", str(value))


def wanted(body: bytes, name: str = "thing", path: str = "thing.deb") -> Wanted:
    return Wanted(name, "1.0", hashlib.sha256(body).hexdigest(), len(body), "debian", path)


def at(*urls: str) -> Sources:
    return lambda items: {item.sha256: urls for item in items}


def bring(store: Store, item: Wanted, *urls: str, patience: Patience = HASTY) -> tuple[Wanted, ...]:
    return fetch([item], store, at(*urls), Silent(), jobs=2, patience=patience)


def leftovers(store: Store) -> list[str]:
    folder = store.root / "partial"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class Recorder(Silent):
    """A progress that counts."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.notes: list[str] = []

    def step(self, name: str, total: int | None = None, unit: str = "bytes") -> Recorder:
        self.total = total
        return self

    def advance(self, amount: int = 1) -> None:
        assert amount >= 0
        self.done += amount

    def note(self, text: str) -> None:
        self.notes.append(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


# Servers that misbehave


def begun(handler: Handler) -> bytes:
    """Send the header of what was asked for, the whole or the rest; return the bytes that it promises."""
    body, begin = handler.body or b"", 0
    if wish := handler.headers.get("Range"):
        begin = int(wish.removeprefix("bytes=").removesuffix("-"))
    handler.send_response(206 if begin else 200)
    if begin:
        handler.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(body) - begin))
    handler.end_headers()
    return body[begin:]


def truncate(count: int) -> Behaviour:
    """Promises all, sends `count` bytes of what was asked for, hangs up."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(begun(handler)[:count])
        handler.close_connection = True

    return behave


def stall(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(handler.body or b"")))
    handler.end_headers()
    handler.wfile.write((handler.body or b"")[:1000])
    handler.server.stop.wait(20)


def stall_before_answering(handler: Handler) -> None:
    handler.server.stop.wait(20)


def trickle(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(handler.body or b"")))
    handler.end_headers()
    for byte in handler.body or b"":
        handler.wfile.write(bytes([byte]))
        if handler.server.stop.wait(0.02):
            return


def too_much(handler: Handler) -> None:
    """Goes on for ever."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    while not handler.server.stop.is_set():
        handler.wfile.write(BODY)


def too_much_in_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while not handler.server.stop.is_set():
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(BODY), BODY))


def chunked(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for begin in range(0, len(handler.body or b""), 50_001):
        piece = (handler.body or b"")[begin : begin + 50_001]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def without_length(handler: Handler) -> None:
    handler.send(200, handler.body or b"", Content_Length=None, Connection="close")
    handler.close_connection = True


def ignore_range(handler: Handler) -> None:
    handler.send(200, handler.body or b"")


def garbage(handler: Handler) -> None:
    handler.send(200, random.Random(2).randbytes(len(handler.body or b"")))


def captive_portal(handler: Handler) -> None:
    handler.send(200, b"<html>please log in</html>")


def not_http(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01garbage\r\n\r\n" * 10)
    handler.close_connection = True


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def status(code: int, **headers: object) -> Behaviour:
    return lambda handler: handler.send(code, b"no", **headers)


def redirect(target: str) -> Behaviour:
    return lambda handler: handler.send(302, b"", Location=target)


# What goes well


def test_fetch_brings_what_is_missing_and_nothing_else(server: Server, store: Store) -> None:
    bodies = {f"/pool/{number}": random.Random(number).randbytes(number * 10_000) for number in range(12)}
    server.files = dict(bodies)
    items = [wanted(body, path=path) for path, body in bodies.items()]
    store.add(bodies["/pool/3"])
    seen: list[Wanted] = []

    def sources(absent: Sequence[Wanted]) -> Mapping[str, tuple[str, ...]]:
        seen.extend(absent)
        return {item.sha256: (server.url(item.path),) for item in absent}

    progress = Recorder()
    got = fetch([*items, items[5]], store, sources, progress, jobs=4, patience=HASTY)
    assert list(got) == seen == [item for item in items if item.path != "/pool/3"]
    assert progress.total == progress.done == sum(item.size for item in got)
    for item in items:
        assert store.verified(item.sha256, item.size).read_bytes() == bodies[item.path]
    assert "/pool/3" not in [path for path, _ in server.log]
    assert leftovers(store) == []
    log = len(server.log)
    assert fetch(items, store, sources, progress, jobs=4) == ()
    assert len(server.log) == log


@pytest.mark.parametrize("behaviour", [serve, chunked, without_length])
def test_ways_to_send_a_body(server: Server, store: Store, behaviour: Behaviour) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [behaviour]
    bring(store, wanted(BODY), server.url("/f"))
    assert store.verified(wanted(BODY).sha256)


def test_an_empty_artifact_needs_no_network(store: Store) -> None:
    bring(store, wanted(b""))
    assert store.open(wanted(b"").sha256).read() == b""


@pytest.mark.parametrize("form", ["path", "url", "localhost", "escaped"])
def test_local_files_are_sources_too(tmp_path: Path, store: Store, form: str) -> None:
    path = tmp_path / "with space" / "f"
    path.parent.mkdir()
    path.write_bytes(BODY)
    url = {"path": str(path), "url": path.as_uri(), "localhost": f"file://localhost{path}", "escaped": f"file://{path}"}
    bring(store, wanted(BODY), str(tmp_path / "missing"), url[form])
    assert store.verified(wanted(BODY).sha256)
    assert path.read_bytes() == BODY


def test_local_things_that_are_no_files_are_refused(tmp_path: Path, store: Store) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "short").write_bytes(BODY[:-1])
    sources = [str(tmp_path), str(tmp_path / "fifo"), str(tmp_path / "none"), "file://elsewhere/x", "/dev/zero"]
    with pytest.raises(FetchError) as caught:
        bring(store, wanted(BODY), *sources)
    assert all(source in str(caught.value) for source in sources)
    with pytest.raises(IntegrityError, match="299999 bytes instead of 300000"):
        bring(store, wanted(BODY), str(tmp_path / "short"))


def test_an_encoding_that_a_server_adds_is_not_undone(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [lambda handler: handler.send(200, BODY, Content_Encoding="gzip")]
    bring(store, wanted(BODY), server.url("/f"))
    assert store.verified(wanted(BODY).sha256)


# What goes wrong once


@pytest.mark.parametrize(
    "behaviour",
    [
        truncate(1000),
        truncate(0),
        stall,
        stall_before_answering,
        trickle,
        status(500),
        status(503, Retry_After="0"),
        status(429),
        not_http,
        hang_up,
    ],
    ids=["cut", "empty", "stall", "mute", "trickle", "500", "503", "429", "not http", "hang up"],
)
def test_a_hiccup_is_retried(server: Server, store: Store, behaviour: Behaviour) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [behaviour, serve]
    progress = Recorder()
    fetch([wanted(BODY)], store, at(server.url("/f")), progress, jobs=1, patience=HASTY)
    assert store.verified(wanted(BODY).sha256)
    assert progress.done == len(BODY)
    assert len(server.log) == 2
    assert leftovers(store) == []


def test_retry_after_is_honoured(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [status(503, Retry_After="1"), serve]
    before = time.monotonic()
    bring(store, wanted(BODY), server.url("/f"))
    assert time.monotonic() - before >= 1


def test_a_server_that_asks_for_too_long_a_wait_is_passed_over(server: Server, store: Store) -> None:
    server.files = {"/f": BODY, "/g": BODY}
    server.scripts["/f"] = [status(503, Retry_After="100000")]
    bring(store, wanted(BODY), server.url("/f"), server.url("/g"))
    assert [path for path, _ in server.log] == ["/f", "/g"]


def test_a_cut_download_goes_on_where_it_stopped(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [truncate(100_000), serve]
    bring(store, wanted(BODY), server.url("/f"))
    assert server.log[1][1]["range"] == "bytes=100000-"
    assert store.verified(wanted(BODY).sha256)


def test_progress_keeps_a_failing_server_alive_up_to_a_bound(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [truncate(50_000)]
    bring(store, wanted(BODY), server.url("/f"))  # six pieces, five failures, never two in a row
    assert len(server.log) == 6
    server.scripts["/f"] = [truncate(1)]
    other = BODY[::-1]
    server.files["/f"] = other
    server.log.clear()
    with pytest.raises(FetchError, match="the body ended early"):
        bring(store, wanted(other), server.url("/f"))
    assert len(server.log) == HASTY.total


def test_a_body_that_ends_early_without_having_said_its_length(server: Server, store: Store) -> None:
    def cut(handler: Handler) -> None:
        handler.send(200, BODY[:5000], Content_Length=None, Connection="close")
        handler.close_connection = True

    server.files["/f"] = BODY
    server.scripts["/f"] = [cut]
    with pytest.raises(FetchError, match="ended after 5000 of 300000 bytes"):
        bring(store, wanted(BODY), server.url("/f"))
    server.scripts["/f"] = [cut, serve]
    bring(store, wanted(BODY), server.url("/f"))


def test_the_next_process_goes_on_too(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [truncate(200_000), status(500), status(500), status(500), serve]
    with pytest.raises(FetchError):
        bring(store, wanted(BODY), server.url("/f"))
    [partial] = leftovers(store)
    assert partial == wanted(BODY).sha256
    server.log.clear()
    progress = Recorder()
    fetch([wanted(BODY)], Store(store.root), at(server.url("/f")), progress, jobs=1, patience=HASTY)
    assert server.log[0][1]["range"] == "bytes=200000-"
    assert progress.done == len(BODY)
    assert leftovers(store) == []


def test_if_range_starts_anew_when_the_file_changed(server: Server, store: Store) -> None:
    old, new = BODY, BODY[::-1]
    server.files["/f"] = old

    def cut_with_tag(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(old)))
        handler.send_header("ETag", f'"{hash(old)}"')
        handler.end_headers()
        handler.wfile.write(old[:100_000])
        handler.close_connection = True
        handler.server.files["/f"] = new

    server.scripts["/f"] = [cut_with_tag, serve]
    bring(store, wanted(new), server.url("/f"))
    assert server.log[1][1]["if-range"] == f'"{hash(old)}"'
    assert store.verified(wanted(new).sha256)
    assert len(server.log) == 2


@pytest.mark.parametrize("left", [100, 300_000, 300_001, 0])
@pytest.mark.parametrize("content", [BODY + b"x", bytes(300_001)], ids=["good", "rotten"])
@pytest.mark.parametrize("behaviour", [serve, ignore_range], ids=["ranges", "no ranges"])
def test_whatever_a_partial_file_holds_the_result_is_right(
    server: Server, store: Store, left: int, content: bytes, behaviour: Behaviour
) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [behaviour]
    folder = store.root / "partial"
    folder.mkdir(parents=True)
    (folder / wanted(BODY).sha256).write_bytes(content[:left])
    bring(store, wanted(BODY), server.url("/f"))
    assert store.verified(wanted(BODY).sha256).read_bytes() == BODY
    assert leftovers(store) == []


@dataclass(frozen=True)
class Weather:
    """One answer: how many bytes until the cut, and whether the server knows ranges."""

    cut: int
    ranges: bool

    def __call__(self, handler: Handler) -> None:
        if not self.ranges:
            del handler.headers["Range"]
        truncate(self.cut)(handler)


weathers = st.builds(Weather, cut=st.integers(0, 4000), ranges=st.booleans())
rests = st.sampled_from([0, 1, 2, 3]).flatmap(lambda seed: st.binary(max_size=5000) if seed else st.just(b""))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=st.lists(weathers, max_size=6), left=st.integers(0, 5000), rotten=rests)
def test_cuts_anywhere_with_or_without_ranges_end_well(
    server: Server, store: Store, days: list[Weather], left: int, rotten: bytes
) -> None:
    body = random.Random(repr((days, left, rotten))).randbytes(4000)
    item = wanted(body)
    server.files["/f"] = body
    server.scripts["/f"] = [*days, serve]
    if not store.has(item.sha256):
        (store.root / "partial").mkdir(parents=True, exist_ok=True)
        (store.root / "partial" / item.sha256).write_bytes(rotten or (body + bytes(1000))[:left])
    bring(store, item, server.url("/f"), patience=Patience(attempts=10, total=20, first_wait=0, connect=5, read=5))
    assert store.verified(item.sha256).read_bytes() == body
    assert leftovers(store) == []


# What goes wrong for good


@pytest.mark.parametrize(
    ("behaviour", "error", "says"),
    [
        (garbage, IntegrityError, "has SHA-256"),
        (captive_portal, IntegrityError, "offers 26 bytes instead of 300000"),
        (too_much, IntegrityError, "more than 300000 bytes"),
        (too_much_in_chunks, IntegrityError, "more than 300000 bytes"),
        (lambda handler: handler.send(200, BODY + b"x"), IntegrityError, "offers 300001 bytes"),
        (truncate(0), FetchError, "ended early"),
        (stall, FetchError, "stalled"),
        (stall_before_answering, FetchError, "stalled"),
        (trickle, FetchError, "stalled"),
        (status(404), FetchError, "404 Not Found"),
        (status(403), FetchError, "403 Forbidden"),
        (status(500), FetchError, "500 Internal"),
        (status(204), FetchError, "204"),
        (status(206), FetchError, "206"),
        (status(799), FetchError, "799"),
        (not_http, FetchError, "broke"),
        (redirect("/f"), FetchError, "redirects more than 5 times"),
        (redirect("file:///etc/passwd"), FetchError, "never followed"),
        (redirect("http://[bad"), FetchError, "URL"),
        (redirect("http://:/x"), FetchError, "URL"),
        (redirect("http://a b/"), FetchError, "URL"),
    ],
    ids=named,
)
def test_failures_for_good_are_one_clear_error(
    server: Server, store: Store, behaviour: Behaviour, error: type[KbuildError], says: str
) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [behaviour]
    url = server.url("/f")
    with pytest.raises(error, match=says) as caught:
        bring(store, wanted(BODY), url)
    assert caught.value.exit_code == (4 if error is IntegrityError else 3)
    assert url in str(caught.value)
    assert wanted(BODY).sha256 in str(caught.value)
    assert caught.value.where == "thing"
    assert caught.value.hint
    assert not store.has(wanted(BODY).sha256)


@pytest.mark.parametrize(
    "bad", [garbage, captive_portal, too_much, status(404), status(500), stall, not_http], ids=named
)
def test_the_next_source_is_asked(server: Server, store: Store, bad: Behaviour) -> None:
    server.files = {"/bad": BODY, "/good": BODY}
    server.scripts["/bad"] = [bad]
    bring(store, wanted(BODY), server.url("/bad"), server.url("/good"))
    assert store.verified(wanted(BODY).sha256)


def test_rotten_bytes_from_one_source_do_not_spoil_the_next(server: Server, store: Store) -> None:
    def rotten_and_cut(handler: Handler) -> None:
        handler.send(200, bytes(100_000), Content_Length=len(BODY))
        handler.close_connection = True

    server.files = {"/bad": BODY, "/good": BODY}
    server.scripts["/bad"] = [rotten_and_cut, status(404)]
    bring(store, wanted(BODY), server.url("/bad"), server.url("/good"))
    assert [headers.get("range") for path, headers in server.log if path == "/good"] == ["bytes=100000-", None]
    assert store.verified(wanted(BODY).sha256)


def test_nothing_is_read_of_a_body_that_announces_too_much(server: Server, store: Store) -> None:
    written = threading.Event()

    def boast(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**15))
        handler.end_headers()
        while not handler.server.stop.is_set():
            handler.wfile.write(bytes(1 << 20))
            handler.server.log.append(("MiB", {}))
        written.set()

    server.scripts["/f"] = [boast]
    with pytest.raises(IntegrityError, match="offers 1000000000000000 bytes"):
        bring(store, wanted(BODY), server.url("/f"))
    time.sleep(0.05)
    assert len(server.log) < 20  # what fits into socket buffers


def test_all_failures_are_told_at_once_and_the_rest_is_kept(server: Server, store: Store) -> None:
    server.files = {"/good": BODY}
    items = [wanted(BODY, "good", "/good"), *(wanted(b"%d" % number, f"gone{number}", "/gone") for number in range(3))]
    with pytest.raises(FetchError, match="404") as caught:
        fetch(items, store, lambda all_: {i.sha256: (server.url(i.path),) for i in all_}, Silent(), jobs=2)
    assert caught.value.where == "gone0, gone1, gone2"
    assert store.has(items[0].sha256)


def test_no_source_at_all(store: Store) -> None:
    with pytest.raises(FetchError, match="no source of this machine serves the registry 'debian'"):
        bring(store, wanted(BODY))


def test_network_down_is_found_out_once_not_for_each_artifact(store: Store) -> None:
    items = [wanted(b"%d" % number, f"n{number}") for number in range(50)]
    before = time.monotonic()
    with pytest.raises(FetchError, match=r"no connection.*refused") as caught:
        fetch(items, store, at("http://127.0.0.1:9/x"), Silent(), jobs=1, patience=HASTY)
    assert "and 40 more" in str(caught.value)
    assert time.monotonic() - before < 2


def test_a_name_that_does_not_resolve(store: Store) -> None:
    with pytest.raises(FetchError, match="cannot be resolved"):
        bring(store, wanted(BODY), "http://no-such-host.invalid/x")


def test_offline_lists_everything_that_is_missing(store: Store) -> None:
    store.add(b"here")
    items = [wanted(b"here", "here"), wanted(b"a" * 1000, "one"), wanted(b"b" * 500, "two")]
    with pytest.raises(EnvironmentFault) as caught:
        fetch(items, store, at("http://127.0.0.1:9/x"), Silent(), jobs=1, offline=True)
    assert caught.value.exit_code == 3
    assert not isinstance(caught.value, FetchError)
    said = str(caught.value)
    assert "2 artifacts (1500 bytes)" in said
    assert "one 1.0  1000 bytes" in said
    assert "two 1.0  500 bytes" in said
    assert "here" not in said
    assert fetch(items[:1], store, at(), Silent(), jobs=1, offline=True) == ()


def test_credentials_are_used_and_never_shown(server: Server, store: Store) -> None:
    url = server.url("/f?token=hunter3").replace("http://", "http://user:hunter2@")
    with pytest.raises(FetchError) as caught:
        bring(store, wanted(BODY), url)
    assert server.log[0][1]["authorization"] == "Basic dXNlcjpodW50ZXIy"  # RFC 7617: base64 of user:hunter2
    assert "hunter" not in caught.value.diagnostics()


def test_credentials_do_not_follow_a_redirect_to_another_host(server: Server, store: Store) -> None:
    other = server.url("/g").replace("127.0.0.1", "localhost")
    server.files = {"/g": BODY, "/same": BODY}
    server.scripts["/f"] = [redirect(other)]
    server.scripts["/h"] = [redirect("/same")]
    bring(store, wanted(BODY), server.url("/f").replace("http://", "http://user:hunter2@"))
    assert ["authorization" in headers for _, headers in server.log] == [True, False]
    server.log.clear()
    bring(Store(store.root / "2"), wanted(BODY), server.url("/h").replace("http://", "http://user:hunter2@"))
    assert ["authorization" in headers for _, headers in server.log] == [True, True]


def test_a_full_disk_stops_everything(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(EnvironmentFault, match="file would be larger") as caught:
            bring(store, wanted(BODY), server.url("/f"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(store.root) in str(caught.value)
    bring(store, wanted(BODY), server.url("/f"))
    assert store.verified(wanted(BODY).sha256)


# Many processes, killed processes


def _fetch_slowly(root: str, url: str) -> None:
    fetch([wanted(BODY)], Store(Path(root)), at(url), Silent(), jobs=1, patience=Patience(first_wait=0.01))


def slow(handler: Handler) -> None:
    body = begun(handler)
    for position in range(0, len(body), 10_000):
        handler.wfile.write(body[position : position + 10_000])
        handler.server.stop.wait(0.01)


def start(target: Callable[..., None], *args: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    return process  # type: ignore[return-value]


def test_two_processes_download_a_blob_once(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [slow]
    workers = [start(_fetch_slowly, str(store.root), server.url("/f")) for _ in range(3)]
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(server.log) == 1
    assert store.verified(wanted(BODY).sha256)
    assert leftovers(store) == []


def test_killed_again_and_again_a_download_still_ends_and_is_right(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [slow]
    generator = random.Random(3)
    kills = 0
    while not store.has(wanted(BODY).sha256) and kills < 100:
        worker = start(_fetch_slowly, str(store.root), server.url("/f"))
        worker.join(generator.uniform(0.05, 0.2))
        if worker.is_alive() and worker.pid:
            os.kill(worker.pid, signal.SIGKILL)
            kills += 1
        worker.join()
    assert kills > 1
    assert store.verified(wanted(BODY).sha256).read_bytes() == BODY
    assert sum("range" in headers for _, headers in server.log) > 0


def test_an_interrupt_does_not_wait_for_a_stalled_server(server: Server, store: Store) -> None:
    server.files["/f"] = BODY
    server.scripts["/f"] = [stall]

    def interrupt() -> None:
        while not server.log:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        bring(store, wanted(BODY), server.url("/f"), patience=Patience(read=20))
    assert time.monotonic() - before < 15


# Documents


def test_documents_are_bounded_and_come_from_the_first_that_has_them(server: Server) -> None:
    server.files = {"/InRelease": b"signed", "/big": b"x" * 101}
    urls = [server.url("/none"), server.url("/InRelease")]
    assert document(urls, limit=100, patience=HASTY) == (b"signed", server.url("/InRelease"))
    server.scripts["/InRelease"] = [status(503), serve]
    assert document(urls[1:], limit=100, patience=HASTY)[0] == b"signed"
    with pytest.raises(FetchError, match="more than 100 bytes"):
        document([server.url("/big")], limit=100, patience=HASTY)
    server.scripts["/InRelease"] = [truncate(3)]
    with pytest.raises(FetchError, match="ended early"):
        document(urls, limit=100, patience=HASTY)
    with pytest.raises(FetchError, match="404"):
        document(urls[:1], limit=100, patience=HASTY)
