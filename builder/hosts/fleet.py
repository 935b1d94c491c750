"""`hosts.toml`: the hosts of a comparison as data (docs/hosts.md).

As in a spec, unknown keys are errors, and all errors are shown at once, each at its place in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from builder.errors import EnvironmentFault, UsageError
from builder.hosts.host import Conditions
from builder.platforms import Platform
from builder.spec.explain import Explained, near
from builder.spec.findings import SpecErrors
from builder.spec.load import locate, parse
from builder.spec.model import Size, bytes_of
from builder.spec.refusal import shown

_LIMIT = 1 << 20
_MOST_CORES = 8192

_URL = r"^(unix:///.+|ssh://([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9\[][A-Za-z0-9.:\]-]*(/.*)?)$"
"""Nothing that an `ssh` started with it could take for an option."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _cores(value: Any) -> int | tuple[int, ...]:
    """How many cores, or which."""
    if type(value) is int and 1 <= value <= _MOST_CORES:
        return value
    if isinstance(value, tuple) and value and all(type(item) is int and 0 <= item < _MOST_CORES for item in value):
        return value
    raise ValueError("neither a number of cores nor a list of them")


Cores = Annotated[Any, AfterValidator(_cores)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, data: Any) -> Any:
        """TOML arrays arrive as lists, which a strict tuple would refuse."""
        if not isinstance(data, dict):
            return data
        return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


class _Anywhere(_Table):
    """What can be varied on any host."""

    cores: Cores | None = None
    memory: Size | None = None
    environment: dict[Variable, str] = {}

    def conditions(self) -> Conditions:
        """As the hosts take them."""
        return Conditions(
            cores=self.cores,
            memory=bytes_of(self.memory) if self.memory else None,
            environment=self.environment,
        )


class _Here(_Anywhere):
    """What can be varied on this machine alone."""

    locale: str | None = None
    timezone: str | None = None
    umask: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] | None = None
    randomised: bool | None = None
    shift: Annotated[int, Field(ge=0, le=100_000)] | None = None
    load: Annotated[int, Field(ge=0, le=1024)] | None = None

    def conditions(self) -> Conditions:
        """As the hosts take them."""
        plain = super().conditions()
        starter = {} if self.locale is None else {"LANG": self.locale, "LC_ALL": self.locale}
        return Conditions(
            cores=plain.cores,
            memory=plain.memory,
            environment=plain.environment,
            starter=starter | ({} if self.timezone is None else {"TZ": self.timezone}),
            umask=0o022 if self.umask is None else int(self.umask, 8),
            randomised=self.randomised is not False,
            shift=self.shift or 0,
            load=self.load or 0,
        )


class _Emulated(_Here):
    """What can be varied under emulation."""

    cpu: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._,=+-]*$")] | None = None

    def conditions(self) -> Conditions:
        """As the hosts take them."""
        plain = super().conditions()
        return Conditions(**{name: getattr(plain, name) for name in plain.__slots__} | {"cpu": self.cpu})


class LocalTable(_Here):
    """This machine."""

    kind: Literal["local"]
    vary: dict[Name, _Here] = {}


class QemuTable(_Emulated):
    """A CPU that the lock's QEMU emulates on this machine."""

    kind: Literal["qemu"]
    platform: Platform = "linux/amd64"
    vary: dict[Name, _Emulated] = {}


class DockerTable(_Anywhere):
    """A Docker engine."""

    kind: Literal["docker"]
    url: Annotated[str, Field(pattern=_URL)] | None = None
    platform: Platform | None = None
    vary: dict[Name, _Anywhere] = {}


HostTable = Annotated[LocalTable | QemuTable | DockerTable, Field(discriminator="kind")]


class Fleet(_Table):
    """All hosts of a file, in its order."""

    version: Literal[1] = Field(alias="schema")
    hosts: Annotated[dict[Name, HostTable], Field(min_length=1)]


def load(path: Path) -> Fleet:
    """Read a file of hosts.

    Raises:
        UsageError: there is no such file, or it is too large.
        SpecErrors: it is wrong; holds every finding.
        EnvironmentFault: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"no file of hosts: {error.strerror}", where=str(path), hint="see docs/hosts.md") from None
    except OSError as error:
        raise EnvironmentFault(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(data) > _LIMIT:
        raise UsageError(f"larger than {_LIMIT} bytes", where=str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 at byte {error.start}", where=str(path)) from None
    return loads(text, str(path))


def loads(text: str, name: str) -> Fleet:
    """Read the text of a file of hosts.

    Raises:
        SpecErrors: it is wrong; holds every finding.
    """
    data = parse(text, name)
    try:
        return Fleet.model_validate(data)
    except ValidationError as error:
        found = [_explained(item) for item in error.errors(include_url=False)]
        raise SpecErrors(locate(found, text, name)) from None


def variations(table: LocalTable | QemuTable | DockerTable) -> Mapping[str, Conditions]:
    """The conditions to run under, by the ending that they give a host's name.

    The host's own keys hold where a variation sets none.
    """
    if not table.vary:
        return {"": table.conditions()}
    own = table.model_dump(exclude_none=True, exclude_unset=True, exclude={"kind", "url", "platform", "vary"})
    found: dict[str, Conditions] = {}
    for name, varied in table.vary.items():
        merged = own | varied.model_dump(exclude_none=True, exclude_unset=True)
        found[f"/{name}"] = type(varied).model_validate(merged).conditions()
    return found


def _explained(error: ErrorDetails) -> Explained:
    """One of pydantic's errors at its place in the file, in words."""
    loc, kind, value = error["loc"], error["type"], error["input"]
    at_key = loc[-1:] == ("[key]",)
    table = _KINDS.get(str(loc[2])) if len(loc) > _TAG and loc[0] == "hosts" else None
    place = (*loc[:_TAG], *loc[_TAG + 1 :]) if table else loc  # pydantic puts the kind into the place
    place = place[:-1] if at_key else place
    key = str(place[-1]) if place else "schema"
    if kind == "extra_forbidden":
        known = [*(table or Fleet).model_fields] if table else ["schema", "hosts"]
        meant = near(key, known)
        hint = f"did you mean {meant!r}?" if meant else f"known here: {', '.join(known)}"
        return Explained(place, "key", f"unknown key {shown(key)}", hint, meant=meant)
    if kind == "missing":
        return Explained(place[:-1], "key", f"key {key!r} is missing", _FORMS.get(key))
    if kind.startswith("union_tag"):
        where = (*place, "kind") if kind == "union_tag_invalid" else place
        return Explained(where, "value", "a host is of kind 'local', 'qemu' or 'docker'", 'write kind = "local"')
    if at_key:
        return Explained(place, "key", f"{shown(value)} is not a name", "write letters, digits, '.', '_' and '-'")
    words = error["msg"][0].lower() + error["msg"][1:]
    return Explained(place, "value", f"{key} cannot be {shown(value)}", _FORMS.get(key, words))


_TAG = 2
"""Where the kind stands in the place of an error below `hosts`."""

_KINDS: Mapping[str, type[BaseModel]] = {"local": LocalTable, "qemu": QemuTable, "docker": DockerTable}

_FORMS: Mapping[str, str] = {
    "schema": "write schema = 1",
    "hosts": 'add a table such as [hosts.here] with kind = "local"',
    "cores": "give a number of cores, or the numbers of some: 4 or [0, 2]",
    "memory": "give a size such as '4GiB'",
    "environment": 'write { NAME = "value" }',
    "umask": "give three octal digits in quotes: '077'",
    "shift": "give a number of bytes up to 100000",
    "load": "give a number of threads",
    "cpu": "give the name of a QEMU CPU model, such as 'Haswell'",
    "platform": "write 'linux/amd64' or 'linux/arm64'",
    "url": "write 'unix:///path/to/socket' or 'ssh://user@host'",
    "randomised": "write true or false",
}
