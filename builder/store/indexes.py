"""Which Python package indexes this machine uses, put the one way that uv understands wherever they were said.

In order: `KBUILD_PYPI_INDEX`; uv's own variables and `uv.toml`; pip's variables and `pip.conf`; uv's default, which is
the public index. Nothing but where to look and how to get in is taken over: settings that would change what is chosen
(pre-releases, constraints, a cut-off date) belong to the spec, not to the machine.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tomli

from builder.errors import EnvironmentFault
from builder.machine import Machine

_KEPT = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|INDEX_STRATEGY|INSECURE_HOST|KEYRING_PROVIDER"
    r"|INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)|CREDENTIALS_DIR|NATIVE_TLS|SYSTEM_CERTS|CACHE_DIR|NO_CACHE"
    r"|CONCURRENT_DOWNLOADS|HTTP_TIMEOUT|REQUEST_TIMEOUT|HTTP_CONNECT_TIMEOUT|HTTP_RETRIES)"
)
"""uv's variables that say where to look and how; every other could change an answer."""

PLACES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")

NOWHERE = "file:///var/empty/kbuild-no-index"
"""Stands for "no index": uv has no variable for it, and takes a folder that is not there as an index of nothing."""


def uv_environment(machine: Machine, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment for a `uv` process that asks this machine's indexes.

    Run it with `--no-config` and away from any project, so that nothing else is read.

    Args:
        machine: holds `KBUILD_PYPI_INDEX`.
        environ: this process's environment.

    Raises:
        EnvironmentFault: a settings file cannot be understood.
    """
    result = {name: value for name, value in environ.items() if not name.startswith("UV_") or _KEPT.fullmatch(name)}
    result |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1"}
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"):
        if environ.get(name) and not environ.get("SSL_CERT_FILE"):
            result.setdefault("SSL_CERT_FILE", environ[name])
    if machine.pypi_index:
        for name in PLACES:
            result.pop(name, None)
        return result | _only(machine.pypi_index)
    settings = _uv_settings(environ)
    if not any(result.get(name) for name in PLACES) and not settings.keys() & {*PLACES}:
        settings = _pip_settings(environ)
    return settings | {name: value for name, value in result.items() if value}


def _only(index: str) -> dict[str, str]:
    """One index and nothing else; a folder that holds wheels themselves is a flat one."""
    folder = local_folder(index)
    if folder is not None and any(folder.glob("*.whl")):
        return {"UV_DEFAULT_INDEX": NOWHERE, "UV_FIND_LINKS": str(folder)}
    return {"UV_DEFAULT_INDEX": index}


def local_folder(place: str) -> Path | None:
    """The folder of this machine that a URL or path names, if it is one and exists."""
    parts = urlsplit(place)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = Path(unquote(parts.path))
    elif not parts.scheme and place:
        path = Path(place).expanduser()
    else:
        return None
    return path.absolute() if path.is_dir() else None


@dataclass(frozen=True, slots=True)
class Place:
    """An index or a folder or page of links; `name` is uv's name for an index, or empty."""

    variable: str
    name: str
    url: str

    @property
    def alone(self) -> dict[str, str]:
        """The variables that make it the only place."""
        if self.variable == "UV_FIND_LINKS":
            return {"UV_DEFAULT_INDEX": NOWHERE, "UV_FIND_LINKS": self.url}
        return {"UV_DEFAULT_INDEX": f"{self.name}={self.url}" if self.name else self.url}


def places(environment: Mapping[str, str]) -> list[Place]:
    """Every place in an environment that `uv_environment` made, each once."""
    found = []
    for variable in PLACES:
        separator = r"[\s,]+" if variable == "UV_FIND_LINKS" else r"\s+"
        for text in filter(None, re.split(separator, environment.get(variable, ""))):
            named = re.fullmatch(r"([A-Za-z0-9_.-]+)=(\S+)", text)
            found.append(Place(variable, named[1], named[2]) if named else Place(variable, "", text))
    return list(dict.fromkeys(found))


def _uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The indexes in `uv.toml`, of the user or else of the system, as uv's variables."""
    if environ.get("UV_NO_CONFIG", "").lower() in ("1", "true", "yes"):
        return {}
    named = environ.get("UV_CONFIG_FILE")
    files = [Path(named)] if named else [folder / "uv" / "uv.toml" for folder in _config_folders(environ)]
    for file in files:
        if file.is_file():
            try:
                table = tomli.loads(file.read_text("utf-8"))
                return _from_uv_toml(table | table.get("pip", {}))
            except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
                raise EnvironmentFault(f"uv's settings cannot be read: {error}", where=str(file)) from error
    return {}


def _from_uv_toml(table: Mapping[str, Any]) -> dict[str, str]:
    named = [item for item in table.get("index", []) if item.get("format") != "flat" and not item.get("explicit")]
    flat = [item["url"] for item in table.get("index", []) if item.get("format") == "flat"]
    first = [item["url"] for item in named if item.get("default")] or [table.get("index-url") or ""]
    extra = [_named(item) for item in named if not item.get("default")] + list(table.get("extra-index-url", []))
    return _variables(
        default=NOWHERE if table.get("no-index") else first[0],
        extra=[] if table.get("no-index") else extra,
        links=[*flat, *table.get("find-links", [])],
        insecure=table.get("allow-insecure-host", []),
    ) | {
        variable: str(value).lower() if isinstance(value, bool) else value
        for key, variable in (
            ("index-strategy", "UV_INDEX_STRATEGY"),
            ("keyring-provider", "UV_KEYRING_PROVIDER"),
            ("native-tls", "UV_NATIVE_TLS"),
            ("system-certs", "UV_SYSTEM_CERTS"),
            ("cache-dir", "UV_CACHE_DIR"),
        )
        if (value := table.get(key))
    }


def _named(item: Mapping[str, str]) -> str:
    return f"{item['name']}={item['url']}" if item.get("name") else item["url"]


def _variables(*, default: str, extra: Sequence[str], links: Sequence[str], insecure: Sequence[str]) -> dict[str, str]:
    values = {
        "UV_DEFAULT_INDEX": default,
        "UV_INDEX": " ".join(extra),
        "UV_FIND_LINKS": ",".join(links),
        "UV_INSECURE_HOST": " ".join(insecure),
    }
    return {name: value for name, value in values.items() if value}


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Pip's indexes as uv's variables; pip takes the best of all its indexes, so uv is told to do that too."""
    pip = _pip_options(environ)
    links = [str(local_folder(place) or place) for place in pip.get("find-links", "").split()]
    options = _variables(
        default=NOWHERE if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else pip.get("index-url", ""),
        extra=pip.get("extra-index-url", "").split(),
        # uv stops at a folder that is not there, pip does not.
        links=[place for place in links if "://" in place or Path(place).is_dir()],
        insecure=pip.get("trusted-host", "").split(),
    )
    if "UV_INDEX" in options:
        options["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if pip.get("cert") and not environ.get("SSL_CERT_FILE"):
        options["SSL_CERT_FILE"] = pip["cert"]
    return options


def _pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Pip's options in its own order: files of the system, of the user, of the environment, and variables."""
    named = environ.get("PIP_CONFIG_FILE", "")
    files: list[Path] = []
    if named != os.devnull:
        user, *system = _config_folders(environ)
        home = Path(environ.get("HOME") or Path.home())
        files = [*(folder / "pip" / "pip.conf" for folder in reversed(system)), Path("/etc/pip.conf")]
        files += [] if named else [home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
        files += [Path(sys.prefix) / "pip.conf", *([Path(named)] if named else [])]
    options: dict[str, str] = {}
    for file in files:
        if not file.is_file():
            continue
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(file.read_text("utf-8"), str(file))
        except (OSError, ValueError, configparser.Error) as error:
            raise EnvironmentFault(f"pip's settings cannot be read: {error}", where=str(file)) from error
        for section in ("global", "install"):
            if parser.has_section(section):
                options |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    return options | {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }


def _config_folders(environ: Mapping[str, str]) -> list[Path]:
    """The user's configuration folder and then the system's, as the XDG base directory specification has them."""
    home = Path(environ.get("HOME") or Path.home())
    system = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    return [Path(environ.get("XDG_CONFIG_HOME") or home / ".config"), *map(Path, filter(None, system)), Path("/etc")]
