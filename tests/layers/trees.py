"""Trees for tests: a fixed one that covers the whole format, and a strategy for random ones."""

from __future__ import annotations

import io
from functools import partial

from hypothesis import strategies as st

from builder.layers.entry import Entry, Kind

EPOCH = 1_700_000_000


def file(path: str, data: bytes, mode: int = 0o644, mtime: int = EPOCH, **more) -> Entry:
    return Entry(path, Kind.FILE, mode, mtime, size=len(data), source=partial(io.BytesIO, data), **more)


def folder(path: str, mode: int = 0o755, mtime: int = EPOCH, **more) -> Entry:
    return Entry(path, Kind.DIRECTORY, mode, mtime, **more)


def symlink(path: str, target: str, mtime: int = EPOCH, **more) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, mtime, target=target, **more)


def hardlink(path: str, target: str, mode: int = 0o644, mtime: int = EPOCH) -> Entry:
    return Entry(path, Kind.HARDLINK, mode, mtime, target=target)


def fixed_tree() -> list[Entry]:
    """Every rule of docs/layer-format.md once."""
    return [
        folder("a"),
        file("a/b", b"below a\n"),
        file("a-b", b"after a and all that is below it\n"),
        folder("tmp", mode=0o1777),
        file("sudo", b"#!\n", mode=0o4755),
        file("empty", b"", mode=0o600, mtime=0),
        file("exact", b"x" * 512),
        file("owner", b"o", uid=2_097_151, gid=2_097_152),
        file("future", b"f", mtime=8**11),
        file("cap", b"c", xattrs=(("security.capability", b"\x01\x00\x00\x02=\n\x00"), ("user.a", b"1"))),
        folder("n" * 99),
        folder("n" * 100),
        file("f" * 100, b"100"),
        file("f" * 101, b"101"),
        symlink("link", "../anywhere/at all"),
        symlink("longlink", "/t" * 60),
        symlink("grüße", "ß"),
        file("z-origin", b"shared"),
        hardlink("m-link", "z-origin"),
        hardlink("zz-link", "m-link"),
    ]


_names = st.one_of(
    st.sampled_from(["a", "a-b", "a.b", "b", "ä", "z" * 120, "0", "…"]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
        lambda name: name not in (".", "..")
    ),
)
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)
_meta = st.fixed_dictionaries(
    {
        "mode": st.integers(0, 0o7777),
        "mtime": st.one_of(st.integers(0, 2**31), st.sampled_from([8**11 - 1, 8**11])),
        "uid": st.sampled_from([0, 1000, 8**7 - 1, 8**7, 2**32 - 2]),
        "gid": st.sampled_from([0, 42, 8**7]),
    }
)
_xattrs = st.dictionaries(
    st.sampled_from(["user.x", "user.ä", "security.capability"]), st.binary(min_size=1, max_size=9)
)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """A consistent tree: parents stated, links that lead to files."""
    paths = sorted(draw(st.sets(_paths, max_size=12)))
    parents = {path[:at] for path in paths for at, byte in enumerate(path) if byte == "/"}
    entries = [Entry(path, Kind.DIRECTORY, **draw(_meta)) for path in parents]
    files: list[str] = []
    for path in paths:
        if path in parents:
            continue
        kind = draw(st.sampled_from(list(Kind)))
        meta = draw(_meta)
        if kind is Kind.FILE or (kind is Kind.HARDLINK and not files):
            data = draw(st.one_of(st.binary(max_size=40), st.sampled_from([b"y" * 512, b"y" * 513])))
            entries.append(file(path, data, **meta, xattrs=tuple(draw(_xattrs).items())))
            files.append(path)
        elif kind is Kind.HARDLINK:
            entries.append(Entry(path, kind, **meta, target=draw(st.sampled_from(files))))
            files.append(path)
        elif kind is Kind.SYMLINK:
            entries.append(
                Entry(
                    path,
                    kind,
                    **meta,
                    target=draw(
                        st.text(
                            st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=120
                        )
                    ),
                )
            )
        else:
            entries.append(Entry(path, kind, **meta))
    return entries
