"""Alternatives, accounts, shells, certificates and dpkg's database, against the programs that usually make them."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from debs import CONTROL, package
from disk import symlinks, write_out
from trees import file, folder, symlink

from builder.errors import IntegrityError, SpecError
from builder.layers.accounts import declare_accounts, hide_passwords, list_shells
from builder.layers.alternatives import install_alternatives
from builder.layers.certificates import subject_hash, trust_certificates
from builder.layers.effects import Alternative, Copy, Folder, Link, Slave, Write, apply
from builder.layers.entry import Entry, Kind
from builder.layers.root import root_entries
from builder.layers.rootfs import Root

EPOCH = 1_700_000_000


def root(*entries: Entry) -> Root:
    return Root(entries, EPOCH)


def links(tree: Root) -> dict[str, str]:
    return {entry.path: entry.target for entry in tree.entries() if entry.kind is Kind.SYMLINK}


# Effects


def test_effects_leave_alone_what_is_there() -> None:
    tree = root(
        file("etc/kept", b"mine"), folder("var/run", mode=0o1777), file("usr/share/default", b"theirs", mode=0o600)
    )
    apply(
        [
            Write("etc/kept", "other"),
            Write("etc/new", "new", 0o640, 42),
            Copy("usr/share/default", "etc/kept"),
            Copy("usr/share/default", "etc/copied"),
            Link("var/run", "/run"),
            Link("etc/kept", "/nowhere"),
            Folder("var/run", 0o700),
            Folder("srv", 0o2775, 8),
            Write("var/run/through", ""),
        ],
        tree,
    )
    assert tree.read("etc/kept") == b"mine"
    new, copied, srv = tree.at("etc/new"), tree.at("etc/copied"), tree.at("srv")
    assert new is not None
    assert (new.mode, new.gid, new.mtime) == (0o640, 42, EPOCH)
    assert copied is not None
    assert (copied.mode, tree.read("etc/copied")) == (0o600, b"theirs")
    assert srv is not None
    assert (srv.mode, srv.gid) == (0o2775, 8)
    assert tree.at("run/through") is not None
    assert "run/through" in {entry.path for entry in tree.entries()}


def test_a_copy_of_nothing_is_an_error() -> None:
    with pytest.raises(SpecError, match="no package ships that file"):
        apply([Copy("usr/share/default", "etc/x")], root())


def test_a_folder_with_content_gives_way_to_no_link() -> None:
    with pytest.raises(SpecError, match="have a folder there"):
        apply([Link("var/run", "/run")], root(folder("var/run"), file("var/run/x", b"")))


# Alternatives

LESS = Alternative(
    "/usr/bin/pager",
    "pager",
    "/usr/bin/less",
    77,
    (Slave("/usr/share/man/pager.1", "pager.1", "/usr/share/man/less.1"), Slave("/usr/bin/lp", "lp", "/usr/bin/gone")),
)
MORE = Alternative("/usr/bin/pager", "pager", "/bin/more", 50, (Slave("/usr/bin/pg", "pg", "/usr/bin/more"),))
PAGERS = [
    symlink("bin", "usr/bin"),
    file("usr/bin/less", b"#!", mode=0o755),
    file("usr/bin/more", b"#!", mode=0o755),
    file("usr/share/man/less.1", b""),
    folder("etc/alternatives"),
    folder("var/lib/dpkg/alternatives"),
]


@pytest.mark.parametrize("order", [1, -1])
def test_the_highest_priority_wins(order: int) -> None:
    tree = root(*PAGERS)
    install_alternatives([LESS, MORE][::order], tree)
    assert links(tree) == {
        "bin": "usr/bin",
        "usr/bin/pager": "/etc/alternatives/pager",
        "etc/alternatives/pager": "/usr/bin/less",
        "usr/share/man/pager.1": "/etc/alternatives/pager.1",
        "etc/alternatives/pager.1": "/usr/share/man/less.1",
    }


def test_what_does_not_exist_is_no_candidate() -> None:
    tree = root(*(entry for entry in PAGERS if entry.path != "usr/bin/less"))
    install_alternatives([LESS, MORE], tree)
    assert tree.resolve("usr/bin/pager") == "usr/bin/more"
    assert tree.resolve("usr/bin/pg") == "usr/bin/more"
    empty = root()
    install_alternatives([LESS], empty)
    assert empty.entries() == []


def test_no_link_replaces_a_file() -> None:
    tree = root(*PAGERS, file("usr/bin/pager", b"mine"))
    install_alternatives([LESS], tree)
    assert tree.read("usr/bin/pager") == b"mine"


def test_equal_priorities_are_settled_by_path_and_disagreement_is_refused() -> None:
    a = Alternative("/usr/bin/x", "x", "/usr/bin/less", 1)
    b = Alternative("/usr/bin/x", "x", "/usr/bin/more", 1)
    for order in ([a, b], [b, a]):
        tree = root(*PAGERS)
        install_alternatives(order, tree)
        assert tree.resolve("usr/bin/x") == "usr/bin/less"
    with pytest.raises(SpecError, match="at different places"):
        install_alternatives([a, Alternative("/bin/x", "x", "/usr/bin/more", 1)], root(*PAGERS))


@pytest.mark.skipif(shutil.which("update-alternatives") is None, reason="not installed: update-alternatives")
def test_alternatives_equal_the_real_ones(tmp_path: Path) -> None:
    tree = root(*PAGERS)
    install_alternatives([LESS, MORE], tree)
    disk = write_out(PAGERS, tmp_path / "root")
    for one in (MORE, LESS):
        slaves = [part for slave in one.slaves for part in ("--slave", slave.link, slave.name, slave.path)]
        call = ["update-alternatives", "--root", disk, "--log", "/dev/null", "--install", one.link, one.name, one.path]
        subprocess.run([*call, str(one.priority), *slaves], check=True, capture_output=True)
    assert links(tree) == symlinks(disk)
    record = "var/lib/dpkg/alternatives/pager"
    assert tree.read(record) == (disk / record).read_bytes()


# Accounts

PASSWD = b"root:*:0:0:root:/root:/bin/bash\ndaemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
GROUP = b"root:*:0:\ndaemon:*:1:\nmail:*:8:\nshadow:*:42:\n"
ACCOUNTS = [file("etc/passwd", PASSWD), file("etc/group", GROUP)]


def declared(*files: str) -> Root:
    shipped = (file(f"usr/lib/sysusers.d/{number}.conf", text.encode()) for number, text in enumerate(files))
    tree = root(*ACCOUNTS, *shipped)
    declare_accounts(tree)
    return tree


def test_sysusers() -> None:
    tree = declared(
        '# comment\ng render -\nu httpd 404 "HTTP User" /srv/http /bin/sh\nu! zeta - "Zeta"\nr - 500-900\n',
        "u alpha -\nm alpha mail\nm alpha video\nu paired 300:mail\nu twin 7:8\nu daemon 77\n",
    )
    passwd, group = tree.read("etc/passwd"), tree.read("etc/group")
    assert passwd is not None
    assert group is not None
    assert passwd.startswith(PASSWD)
    assert passwd.decode().splitlines()[2:] == [
        "httpd:*:404:404:HTTP User:/srv/http:/bin/sh",
        "paired:*:300:8::/:/usr/sbin/nologin",
        "twin:*:7:8::/:/usr/sbin/nologin",
        "alpha:*:998:998::/:/usr/sbin/nologin",
        "zeta:*:997:997:Zeta:/:/usr/sbin/nologin",
    ]
    assert group.decode().splitlines()[2:] == [
        "mail:*:8:alpha", "shadow:*:42:", "render:*:999:", "httpd:*:404:", "alpha:*:998:", "zeta:*:997:",
        "video:*:996:alpha",
    ]  # fmt: skip


def test_automatic_ids_do_not_depend_on_the_files() -> None:
    one = declared("u alpha -\nu beta -\n", "u gamma -\n")
    two = declared("u gamma -\n", "u beta -\nu alpha -\n")
    assert one.read("etc/passwd") == two.read("etc/passwd")
    assert one.read("etc/group") == two.read("etc/group")


@pytest.mark.parametrize("text", ["u ../x -\n", "x what -\n", 'u x - "open\n', "u\n", "u x 99999\n"])
def test_malformed_declarations(text: str) -> None:
    with pytest.raises(SpecError, match=r".") as caught:
        declared(text)
    assert "sysusers.d" in caught.value.diagnostics()


def test_a_malformed_passwd() -> None:
    tree = root(file("etc/passwd", b"root:x\n"), file("usr/lib/sysusers.d/x.conf", b"u x -\n"))
    with pytest.raises(SpecError, match="malformed line"):
        declare_accounts(tree)


def test_shadow_files_belong_to_the_package_passwd() -> None:
    tree = root(*ACCOUNTS)
    hide_passwords(tree, packages=frozenset({"base-passwd"}))
    assert tree.at("etc/shadow") is None
    hide_passwords(tree, packages=frozenset({"base-passwd", "passwd"}))
    assert tree.read("etc/passwd") == PASSWD.replace(b"*", b"x")
    assert tree.read("etc/shadow") == b"root:*::0:99999:7:::\ndaemon:*::0:99999:7:::\n"
    assert tree.read("etc/gshadow") == b"root:*::\ndaemon:*::\nmail:*::\nshadow:*::\n"
    shadow = tree.at("etc/shadow")
    assert shadow is not None
    assert (shadow.mode, shadow.gid) == (0o640, 42)


def test_shells_as_update_shells_lists_them() -> None:
    tree = root(
        symlink("bin", "usr/bin"),
        file("usr/share/debianutils/shells", b"# /etc/shells: valid login shells\n/bin/sh\n"),
        file("usr/share/debianutils/shells.d/dash", b"/usr/bin/dash# small\n"),
        file("usr/share/debianutils/shells.d/bash", b"/bin/bash\n\n"),
    )
    list_shells(tree)
    head = b"# /etc/shells: valid login shells\n"
    listed = b"/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/usr/bin/dash\n"
    assert tree.read("etc/shells") == head + listed
    assert tree.read("var/lib/shells.state") == listed
    empty = root()
    list_shells(empty)
    assert empty.entries() == []


# Certificates

OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="not installed: openssl")
SUBJECTS = [
    "/C=DE/O=Example Trust/CN=Root One",
    "/C=de/O=example  trust/CN=ROOT ONE",
    "/O= spaces all   around /CN=x",
    "/C=HU/L=Budapest/O=NetLock Kft./CN=NetLock Főtanúsítvány",
    "/DC=org/DC=example/CN=domain components+UID=two in one",
    "/CN=" + "long " * 12,
    "/emailAddress=ca@example.org/CN=mail",
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A certificate of each subject."""
    scratch = tmp_path_factory.mktemp("certificates")
    found = {}
    for number, subject in enumerate(SUBJECTS):
        path = scratch / f"{number}.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-utf8",
             "-multivalue-rdn", "-subj", subject, "-keyout", "/dev/null", "-out", path],
            check=True, capture_output=True,
        )  # fmt: skip
        found[path.name] = path.read_bytes()
    return found


def der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


@OPENSSL
def test_subject_hashes_equal_openssls(certificates: dict[str, bytes]) -> None:
    for pem in certificates.values():
        run = subprocess.run(["openssl", "x509", "-noout", "-subject_hash"], input=pem, capture_output=True, check=True)
        assert subject_hash(der(pem)) == run.stdout.decode().strip()


@OPENSSL
def test_the_bundle_and_its_links_equal_openssl_rehash(tmp_path: Path, certificates: dict[str, bytes]) -> None:
    shipped = [file(f"usr/share/ca-certificates/mozilla/{name}", data) for name, data in certificates.items()]
    first, second = list(certificates.values())[:2]
    shipped += [
        file("usr/share/ca-certificates/mozilla/A (name), with signs.crt", first),
        file("usr/share/ca-certificates/README", b"no certificate"),
        file("usr/share/ca-certificates/two.crt", first + second),
        file("usr/local/share/ca-certificates/own.crt", second.rstrip(b"\n")),
    ]
    tree = root(folder("etc/ssl/certs"), *shipped)
    trust_certificates(tree)
    bundle = tree.read("etc/ssl/certs/ca-certificates.crt")
    assert bundle is not None
    assert bundle.count(b"-----BEGIN CERTIFICATE-----\n") == bundle.count(b"-----END CERTIFICATE-----\n") == 11
    conf = tree.read("etc/ca-certificates.conf")
    assert conf is not None
    listed = [line for line in conf.decode().splitlines() if not line.startswith("#")]
    assert listed == [*("mozilla/" + name for name in sorted([*certificates, "A (name), with signs.crt"])), "two.crt"]

    made = {path: target for path, target in links(tree).items() if not re.search(r"/[0-9a-f]{8}\.[0-9]+$", path)}
    assert made["etc/ssl/certs/A_=name=__with_signs.pem"].endswith("A (name), with signs.crt")
    disk = tmp_path / "root"
    write_out((entry for entry in tree.entries() if entry.path in made or entry.kind is not Kind.SYMLINK), disk)
    for path in (disk / "etc/ssl/certs").glob("*.pem"):  # as the links lead to outside of the folder
        target = disk / path.readlink().relative_to("/")
        path.unlink()
        path.symlink_to(target)
    subprocess.run(["openssl", "rehash", disk / "etc/ssl/certs"], check=True, capture_output=True)
    real = {path: text for path, text in symlinks(disk).items() if not path.endswith(".pem")}
    ours = {path: text for path, text in links(tree).items() if not path.endswith(".pem")}
    assert ours == real
    assert len(ours) == len(certificates)


def test_what_is_no_certificate() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"
    for body in (b"AAAA", base64.b64encode(b"\x30\x03\x30\x01\x00"), b"=", base64.b64encode(b"\x30\x82")):
        tree = root(file("usr/share/ca-certificates/x.crt", pem % body))
        with pytest.raises(IntegrityError, match="not a certificate") as caught:
            trust_certificates(tree)
        assert "x.pem" in caught.value.diagnostics()


# dpkg's database


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not installed: dpkg-query")
def test_dpkg_query_reads_it(tmp_path: Path) -> None:
    debs = [
        package(
            tmp_path, "libdemo", {"lib/demo.so": b"x", "usr/share/doc/libdemo/copyright": b"free"},
            Multi_Arch="same", md5sums=b"9dd4e461268c8034f5c8564e155c67a6  lib/demo.so\n",
        ),
        package(
            tmp_path, "demo", {"etc/demo.conf": b"x=1\n", "usr/bin/demo": b"#!"},
            Architecture="all", Homepage="https://example.org/demo", Depends="libdemo (>= 1)", Source="demo-source",
            conffiles=b"/etc/demo.conf\n", postinst=b"#!/bin/sh\nset -e\n", shlibs=b"x",
        ),
    ]  # fmt: skip
    disk = write_out(root_entries(debs, epoch=EPOCH), tmp_path / "root")
    admin = disk / "var/lib/dpkg"

    def query(*arguments: str) -> str:
        call = ["dpkg-query", f"--admindir={admin}", *arguments]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout

    fields = "${binary:Package}|${Version}|${db:Status-Status}|${source:Package}|${Conffiles}|${Homepage}\n"
    assert query("-W", "-f", fields) == (
        "demo|1:2.0-3|installed|demo-source| /etc/demo.conf f968f33f844c98de1d3b4fe70f2e1a0f|https://example.org/demo\n"
        "libdemo:amd64|1:2.0-3|installed|libdemo||\n"
    )
    assert query("-L", "libdemo:amd64").splitlines() == [
        "/.", "/lib", "/lib/demo.so", "/usr", "/usr/share", "/usr/share/doc", "/usr/share/doc/libdemo",
        "/usr/share/doc/libdemo/copyright",
    ]  # fmt: skip
    assert query("-S", "/usr/bin/demo").strip() == "demo: /usr/bin/demo"
    assert query("--control-list", "libdemo:amd64").split() == ["md5sums"]
    assert query("--control-show", "libdemo:amd64", "md5sums").startswith("9dd4")
    assert query("-W", "-f", "${Description}", "demo") == CONTROL["Description"]
    assert query("--control-show", "demo", "md5sums") == "ad540a4cc5c410795131d4d8db7a6d91  usr/bin/demo\n"
    check = subprocess.run(["dpkg", f"--admindir={admin}", "--audit"], check=True, capture_output=True, text=True)
    assert check.stdout == ""
