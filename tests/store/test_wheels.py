from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest
from loopback import Handler, Server, serve

from builder.errors import EnvironmentFault, FetchError, IntegrityError, LockError
from builder.machine import Machine, from_environment
from builder.progress import Silent
from builder.store.blobs import Store
from builder.store.indexes import uv_environment
from builder.store.registries import sources
from builder.store.transfer import Wanted, fetch
from builder.store.wheels import Offer, batches, exact_python, locate, read_offers


def make_wheel(file: str, requires_python: str = "") -> bytes:
    name, version, *_ = file.split("-")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += f"Requires-Python: {requires_python}\n" if requires_python else ""
        archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
        archive.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return out.getvalue()


def wanted(file: str, data: bytes) -> Wanted:
    project = file.split("-", maxsplit=1)[0].replace("_", "-")
    return Wanted(project, "?", hashlib.sha256(data).hexdigest(), len(data), "pypi", f"{project}/{file}")


FILES = {
    file: make_wheel(file)
    for file in (
        "tiny_pkg-1.0-py3-none-any.whl",
        "tiny_pkg-1.0-cp313-cp313-manylinux_2_28_x86_64.whl",
        "tiny_pkg-1.0-cp313-cp313-manylinux_2_28_aarch64.whl",
        "tiny_pkg-2.0-cp39-abi3-manylinux_2_28_x86_64.whl",
        "other-0.1-py2.py3-none-any.whl",
    )
}
WANTED = [wanted(file, data) for file, data in FILES.items()]


@pytest.fixture
def index(server: Server) -> Server:
    """A simple index (PEP 503) with all of `FILES`."""
    publish(server, FILES)
    return server


def publish(server: Server, files: dict[str, bytes]) -> None:
    for project in {file.split("-")[0].replace("_", "-") for file in files}:
        own = {f: data for f, data in files.items() if f.split("-")[0].replace("_", "-") == project}
        links = [f'<a href="/files/{f}#sha256={hashlib.sha256(d).hexdigest()}">{f}</a><br>' for f, d in own.items()]
        page = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        server.files[f"/simple/{project}/"] = page
        server.scripts[f"/simple/{project}/"] = [
            lambda handler, page=page: handler.send(200, page, Content_Type="text/html")
        ]
        server.files |= {f"/files/{file}": data for file, data in own.items()}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A user with no settings; PIP_CONFIG_FILE keeps this machine's own out."""
    return {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "UV_HTTP_RETRIES": "0"}


def machine(index: str | None = None) -> Machine:
    return Machine(store=Path("/nowhere"), jobs=2, offline=False, pypi_index=index)


def test_every_wheel_of_an_index_is_found_and_fetched(index: Server, home: dict[str, str], store: Store) -> None:
    here = machine(index.url("/simple"))
    fetch(WANTED, store, lambda absent: sources(absent, here, snapshots={}, environ=home), Silent(), jobs=2)
    for item in WANTED:
        assert store.verified(item.sha256, item.size)


def test_a_local_index_by_url_and_by_path(tmp_path: Path, home: dict[str, str], store: Store) -> None:
    for item, data in zip(WANTED, FILES.values(), strict=True):
        folder = tmp_path / "simple" / item.name
        folder.mkdir(parents=True, exist_ok=True)
        file = item.path.rpartition("/")[2]
        (folder / file).write_bytes(data)
        with (folder / "index.html").open("a") as page:
            page.write(f'<a href="{file}#sha256={item.sha256}">{file}</a>\n')
    for place in ((tmp_path / "simple").as_uri(), str(tmp_path / "simple")):
        found = locate(WANTED, uv_environment(machine(place), home))
        assert set(found) == {item.sha256 for item in WANTED}
    fetch(WANTED, store, lambda _: found, Silent(), jobs=2)
    assert all(store.has(item.sha256) for item in WANTED)


@pytest.mark.parametrize("how", ["KBUILD_PYPI_INDEX", "UV_FIND_LINKS", "PIP_FIND_LINKS", "PIP_INDEX_URL"])
def test_a_folder_of_wheels(tmp_path: Path, home: dict[str, str], store: Store, how: str) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    for file, data in FILES.items():
        (folder / file).write_bytes(data)
    environ = home | {how: str(folder)}
    here = from_environment(environ)
    fetch(WANTED, store, lambda absent: sources(absent, here, snapshots={}, environ=environ), Silent(), jobs=2)
    assert all(store.has(item.sha256) for item in WANTED)


def test_wheels_of_one_version_in_two_indexes(index: Server, home: dict[str, str], tmp_path: Path) -> None:
    file = "tiny_pkg-1.0-cp313-cp313-win_amd64.whl"
    data = make_wheel(file)
    folder = tmp_path / "simple" / "tiny-pkg"
    folder.mkdir(parents=True)
    (folder / file).write_bytes(data)
    (folder / "index.html").write_text(f'<a href="{file}#sha256={wanted(file, data).sha256}">{file}</a>\n')
    environ = home | {"PIP_INDEX_URL": index.url("/simple"), "PIP_EXTRA_INDEX_URL": str(tmp_path / "simple")}
    both = [*WANTED, wanted(file, data)]
    assert set(locate(both, uv_environment(machine(), environ))) == {item.sha256 for item in both}


def test_a_project_whose_pythons_are_bounded_on_both_sides(home: dict[str, str], server: Server) -> None:
    file = "old-1.0-py3-none-any.whl"
    data = make_wheel(file, ">=3.10,<3.12")
    bounds = 'data-requires-python="&gt;=3.10,&lt;3.12"'
    page = f'<a href="/files/{file}#sha256={wanted(file, data).sha256}" {bounds}>{file}</a>'
    server.scripts["/simple/old/"] = [lambda handler: handler.send(200, page.encode(), Content_Type="text/html")]
    server.files[f"/files/{file}"] = data
    publish(server, {"other-0.1-py3-none-any.whl": make_wheel("other-0.1-py3-none-any.whl")})
    items = [wanted(file, data), wanted("other-0.1-py3-none-any.whl", make_wheel("other-0.1-py3-none-any.whl"))]
    found = locate(items, uv_environment(machine(server.url("/simple")), home))
    assert set(found) == {item.sha256 for item in items}


def test_another_file_under_the_same_name_is_an_integrity_error(index: Server, home: dict[str, str]) -> None:
    good = WANTED[0]
    bad = Wanted(good.name, good.version, "0" * 64, good.size, "pypi", good.path)
    with pytest.raises(IntegrityError, match=f"expected SHA-256 {'0' * 64}, got {good.sha256} from http") as caught:
        locate([bad], uv_environment(machine(index.url("/simple")), home))
    assert caught.value.where == "tiny-pkg"


def test_a_wheel_that_no_index_has(index: Server, home: dict[str, str]) -> None:
    gone = wanted("tiny_pkg-9.0-py3-none-any.whl", b"x")
    with pytest.raises(FetchError, match=r"does not have tiny_pkg-9.0-py3-none-any.whl(.|\n)*tiny-pkg==9.0"):
        locate([WANTED[0], gone], uv_environment(machine(index.url("/simple")), home))
    never = wanted("tiny_pkg-1.0-cp313-cp313-win32.whl", b"x")
    with pytest.raises(FetchError, match="do not list these files"):
        locate([never], uv_environment(machine(index.url("/simple")), home))


def test_an_index_that_is_down(home: dict[str, str]) -> None:
    with pytest.raises(FetchError, match="Connection refused"):
        locate(WANTED, uv_environment(machine("http://127.0.0.1:9/simple"), home))


def test_an_index_that_wants_credentials(index: Server, home: dict[str, str], store: Store) -> None:
    for path in list(index.files):
        before = index.scripts.get(path, [serve])[0]

        def guard(handler: Handler, before=before) -> None:
            if handler.headers.get("Authorization") == "Basic bWU6c2VjcmV0":
                before(handler)
            else:
                handler.send(401, WWW_Authenticate="Basic")

        index.scripts[path] = [guard]
    url = index.url("/simple")
    for environ in (
        {"UV_DEFAULT_INDEX": url.replace("http://", "http://me:secret@")},
        {"UV_INDEX": f"corp={url}", "UV_INDEX_CORP_USERNAME": "me", "UV_INDEX_CORP_PASSWORD": "secret"},
    ):
        found = locate(WANTED, uv_environment(machine(), home | environ))
        other = Store(store.root / str(len(environ)))
        fetch(WANTED, other, lambda _, found=found: found, Silent(), jobs=2)
        assert all(other.has(item.sha256) for item in WANTED)


def test_garbage_from_an_index(server: Server, home: dict[str, str]) -> None:
    server.scripts["/simple/tiny-pkg/"] = [lambda handler: handler.send(200, b"\x00garbage", Content_Type="text/html")]
    with pytest.raises(FetchError):
        locate(WANTED[:1], uv_environment(machine(server.url("/simple")), home))


@pytest.mark.parametrize(
    ("file", "python"),
    [
        ("a-1-cp313-cp313-manylinux_2_28_x86_64.whl", "3.13"),
        ("a-1-1-cp313-cp313t-manylinux_2_28_x86_64.whl", "3.13"),
        ("a-1-cp39-abi3-manylinux_2_28_x86_64.whl", None),
        ("a-1-py3-none-any.whl", None),
        ("a-1-cp313-none-any.whl", None),
        ("a-1-cp310.cp311-cp310-linux_x86_64.whl", None),
        ("a.whl", None),
    ],
)
def test_the_python_that_a_wheel_is_for(file: str, python: str | None) -> None:
    assert exact_python(file) == python


def test_batches_hold_a_project_once_and_ask_as_the_python_of_the_others() -> None:
    assert batches(WANTED) == [("3.13", ["other==0.1", "tiny-pkg==1.0"]), ("3.13", ["tiny-pkg==2.0"])]
    assert batches([wanted("a-1-cp312-cp312-any.whl", b""), wanted("b-1-cp313-cp313-any.whl", b"")]) == [
        ("3.12", ["a==1"]),
        ("3.13", ["b==1"]),
    ]
    with pytest.raises(LockError, match="not the path of a wheel"):
        batches([Wanted("x", "1", "0" * 64, 1, "pypi", "x/x.tar.gz")])


def test_reading_a_pylock() -> None:
    # After the example of PEP 751
    text = """
    lock-version = '1.0'
    created-by = 'mousebender'
    [[packages]]
    name = 'attrs'
    version = '25.1.0'
    wheels = [
      {name = 'attrs-25.1.0-py3-none-any.whl', upload-time = 2025-01-25T11:30:10.164985+00:00,
       url = 'https://files.example.org/attrs-25.1.0-py3-none-any.whl', size = 63152, hashes = {sha256 = 'c75a69'}},
    ]
    """
    url = "https://files.example.org/attrs-25.1.0-py3-none-any.whl"
    assert read_offers(text) == [Offer("attrs-25.1.0-py3-none-any.whl", "c75a69", url)]
    for bad in ("", "lock-version = 3", "not toml ["):
        with pytest.raises(EnvironmentFault, match="cannot be understood"):
            read_offers(bad)


@pytest.mark.network
def test_this_machines_own_index(store: Store) -> None:
    data = (
        "six-1.17.0-py2.py3-none-any.whl",
        "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
        11050,
    )
    item = Wanted("six", "1.17.0", data[1], data[2], "pypi", f"six/{data[0]}")
    here = from_environment(os.environ)
    fetch([item], store, lambda absent: sources(absent, here, snapshots={}), Silent(), jobs=1)
    assert store.verified(item.sha256, item.size)
