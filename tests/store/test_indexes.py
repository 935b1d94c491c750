from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import EnvironmentFault
from builder.machine import Machine
from builder.store.indexes import NOWHERE, local_folder, places, uv_environment

MACHINE = Machine(store=Path("/nowhere"), jobs=1, offline=False)


@pytest.fixture(autouse=True)
def no_system_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may have settings of its own in /etc."""
    real = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda self: not str(self).startswith("/etc/") and real(self))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def write(home: dict[str, str], path: str, text: str) -> Path:
    file = Path(home["HOME"]) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def said(environment: dict[str, str]) -> dict[str, str]:
    """What an environment says about places and trust, without what is always there."""
    always = {"UV_PYTHON_DOWNLOADS", "UV_NO_PROGRESS", "UV_NO_CONFIG"}
    names = {name for name in environment if name.startswith("UV_") or name == "SSL_CERT_FILE"}
    return {name: environment[name] for name in names - always}


def test_without_settings_uv_knows_its_own_default(home: dict[str, str]) -> None:
    environment = uv_environment(MACHINE, home)
    assert said(environment) == {}
    assert environment["UV_PYTHON_DOWNLOADS"] == "never"
    assert environment["HOME"] == home["HOME"]


def test_the_own_variable_wins_over_all(home: dict[str, str]) -> None:
    write(home, ".config/uv/uv.toml", 'index-url = "https://uv.example.org/simple"')
    write(home, ".config/pip/pip.conf", "[global]\nindex-url = https://pip.example.org/simple\n")
    machine = replace(MACHINE, pypi_index="https://own.example.org/simple")
    environ = {"UV_INDEX": "https://x.example.org", "UV_FIND_LINKS": "/x", "PIP_INDEX_URL": "https://y.example.org"}
    assert said(uv_environment(machine, home | environ)) == {"UV_DEFAULT_INDEX": "https://own.example.org/simple"}


def test_a_folder_of_wheels_is_a_flat_index(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "with space").mkdir()
    (tmp_path / "with space" / "a-1-py3-none-any.whl").write_bytes(b"")
    machine = replace(MACHINE, pypi_index=(tmp_path / "with space").as_uri())
    assert said(uv_environment(machine, home)) == {
        "UV_DEFAULT_INDEX": NOWHERE,
        "UV_FIND_LINKS": str(tmp_path / "with space"),
    }


def test_uv_variables_win_over_pip_and_only_those_that_say_where_are_kept(home: dict[str, str]) -> None:
    environ = {
        "UV_DEFAULT_INDEX": "https://uv.example.org/simple",
        "UV_INDEX_CORP_USERNAME": "me",
        "UV_PRERELEASE": "allow",
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "UV_CONSTRAINT": "c.txt",
        "UV_OFFLINE": "1",
        "UV_TORCH_BACKEND": "cpu",
        "UV_PYTHON": "3.9",
        "PIP_INDEX_URL": "https://pip.example.org/simple",
    }
    assert said(uv_environment(MACHINE, home | environ)) == {
        "UV_DEFAULT_INDEX": "https://uv.example.org/simple",
        "UV_INDEX_CORP_USERNAME": "me",
    }


def test_uv_toml(home: dict[str, str]) -> None:
    write(
        home,
        ".config/uv/uv.toml",
        """
        prerelease = "allow"
        native-tls = true
        index-strategy = "unsafe-first-match"
        find-links = ["/links"]
        [[index]]
        name = "corp"
        url = "https://corp.example.org/simple"
        [[index]]
        url = "https://default.example.org/simple"
        default = true
        [[index]]
        url = "/flat"
        format = "flat"
        [[index]]
        name = "only-when-named"
        url = "https://explicit.example.org/simple"
        explicit = true
        """,
    )
    write(home, ".config/pip/pip.conf", "[global]\nindex-url = https://pip.example.org/simple\n")
    expected = {
        "UV_DEFAULT_INDEX": "https://default.example.org/simple",
        "UV_INDEX": "corp=https://corp.example.org/simple",
        "UV_FIND_LINKS": "/flat,/links",
        "UV_NATIVE_TLS": "true",
        "UV_INDEX_STRATEGY": "unsafe-first-match",
    }
    assert said(uv_environment(MACHINE, home)) == expected
    mine = home | {"UV_DEFAULT_INDEX": "https://mine.example.org/simple"}
    assert said(uv_environment(MACHINE, mine))["UV_DEFAULT_INDEX"] == "https://mine.example.org/simple"
    assert said(uv_environment(MACHINE, home | {"UV_NO_CONFIG": "1"})) == {
        "UV_DEFAULT_INDEX": "https://pip.example.org/simple"
    }


def test_uv_toml_of_the_system_and_a_named_one(home: dict[str, str], tmp_path: Path) -> None:
    write(home, "xdg/uv/uv.toml", 'no-index = true\nextra-index-url = ["https://never.example.org"]')
    assert said(uv_environment(MACHINE, home)) == {"UV_DEFAULT_INDEX": NOWHERE}
    named = write(home, "named.toml", '[pip]\nindex-url = "https://named.example.org/simple"')
    assert said(uv_environment(MACHINE, home | {"UV_CONFIG_FILE": str(named)})) == {
        "UV_DEFAULT_INDEX": "https://named.example.org/simple"
    }


def test_pip_files_and_variables_in_pips_order(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    write(home, "xdg/pip/pip.conf", "[global]\nindex-url = https://system.example.org/simple\ncert = /system.pem\n")
    write(
        home,
        ".config/pip/pip.conf",
        f"[global]\nindex-url = https://user.example.org/100%%/simple\n"
        f"extra-index-url =\n  https://a.example.org/simple\n  https://b.example.org/simple\n"
        f"find_links = {tmp_path / 'links'} /not/there https://l.example.org/\n"
        "[install]\ntrusted-host = a.example.org\n",
    )
    assert said(uv_environment(MACHINE, home)) == {
        "UV_DEFAULT_INDEX": "https://user.example.org/100%%/simple",
        "UV_INDEX": "https://a.example.org/simple https://b.example.org/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path / 'links'},https://l.example.org/",
        "UV_INSECURE_HOST": "a.example.org",
        "SSL_CERT_FILE": "/system.pem",
    }
    over = said(
        uv_environment(MACHINE, home | {"PIP_INDEX_URL": "https://v.example.org", "SSL_CERT_FILE": "/mine.pem"})
    )
    assert over["UV_DEFAULT_INDEX"] == "https://v.example.org"
    assert over["SSL_CERT_FILE"] == "/mine.pem"
    assert said(uv_environment(MACHINE, home | {"PIP_NO_INDEX": "1"}))["UV_DEFAULT_INDEX"] == NOWHERE
    assert said(uv_environment(MACHINE, home | {"PIP_CONFIG_FILE": "/dev/null"})) == {}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".config/pip/pip.conf", "index-url = no section"),
        (".config/uv/uv.toml", "index = ["),
        (".config/uv/uv.toml", "index = 3"),
        (".config/uv/uv.toml", "[[index]]\nname = 'no url'"),
        (".config/uv/uv.toml", "find-links = 7"),
    ],
)
def test_settings_that_cannot_be_understood_are_named(home: dict[str, str], path: str, text: str) -> None:
    file = write(home, path, text)
    with pytest.raises(EnvironmentFault, match="settings cannot be read") as caught:
        uv_environment(MACHINE, home)
    assert caught.value.where == str(file)


def test_places() -> None:
    environment = {"UV_INDEX": "corp=https://c.example.org/simple https://d.example.org/?a=b", "UV_FIND_LINKS": "/x,/y"}
    assert [(place.name, place.url) for place in places(environment)] == [
        ("corp", "https://c.example.org/simple"),
        ("", "https://d.example.org/?a=b"),
        ("", "/x"),
        ("", "/y"),
    ]
    assert [place.alone for place in places(environment)][::3] == [
        {"UV_DEFAULT_INDEX": "corp=https://c.example.org/simple"},
        {"UV_DEFAULT_INDEX": NOWHERE, "UV_FIND_LINKS": "/y"},
    ]


def test_local_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    assert local_folder("a b") == tmp_path / "a b"
    assert local_folder(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    for place in ("https://x.example.org/", "file://elsewhere/tmp", "none", ""):
        assert local_folder(place) is None
