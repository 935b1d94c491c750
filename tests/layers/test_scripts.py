"""Maintainer scripts: what is recognised, what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from debs import package

from builder.errors import SpecError
from builder.layers import scripts
from builder.layers.effects import Alternative, Copy, Effect, Folder, Link, Slave, Step, Write
from builder.layers.scripts import TABLE, fingerprint, recognise, script_effects

CONFIGURE = (
    'if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] '
    '|| [ "$1" = "abort-remove" ] ; then'
)
MENU = """# Automatically added by dh_installmenu/13.24.2
if [ "$1" = "configure" ] && [ -x "`command -v update-menus`" ] && [ -x "$DPKG_ROOT`command -v update-menus`" ]; then
	update-menus
fi
# End automatically added section
"""
SYSTEMD = f"""# Automatically added by dh_installsystemd/13.24.2
{CONFIGURE}
	# The following line should be removed in trixie or trixie+1
	deb-systemd-helper unmask 'demo.timer' >/dev/null || true

	# was-enabled defaults to true, so new installations run enable.
	if deb-systemd-helper --quiet was-enabled 'demo.timer'; then
		deb-systemd-helper enable 'demo.timer' >/dev/null || true
	else
		deb-systemd-helper update-state 'demo.timer' >/dev/null || true
	fi
fi
# End automatically added section
# Automatically added by dh_installsystemd/13.24.2
{CONFIGURE}
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		if [ -n "$2" ]; then
			_dh_action=restart
		else
			_dh_action=start
		fi
		deb-systemd-invoke $_dh_action 'demo.service' 'demo.timer' >/dev/null || true
	fi
fi
# End automatically added section
"""
PYTHON = """# Automatically added by dh_python3
if command -v py3compile >/dev/null 2>&1; then
	py3compile -p python3-demo
fi
if command -v pypy3compile >/dev/null 2>&1; then
	pypy3compile -p python3-demo  || true
fi
# End automatically added section
"""
TMPFILES = f"""{CONFIGURE}
	if [ -x "$(command -v systemd-tmpfiles)" ]; then
		systemd-tmpfiles ${{DPKG_ROOT:+--root="$DPKG_ROOT"}} --create demo.conf || true
	fi
fi
"""
HELPER = 'dpkg-maintscript-helper rm_conffile /etc/old 1:1.8.0-1\\~ -- "$@"\n'
INIT = """if [ -z "$DPKG_ROOT" ] && [ -x "/etc/init.d/demo" ]; then
	update-rc.d demo defaults >/dev/null
	invoke-rc.d --skip-systemd-native demo start || exit 1
fi
"""
ALTERNATIVE = """update-alternatives --install /usr/bin/pager pager /usr/bin/less 77 \\
	--slave /usr/share/man/man1/pager.1.gz pager.1.gz \\
	/usr/share/man/man1/less.1.gz
"""
PAGER = Alternative(
    "/usr/bin/pager",
    "pager",
    "/usr/bin/less",
    77,
    (Slave("/usr/share/man/man1/pager.1.gz", "pager.1.gz", "/usr/share/man/man1/less.1.gz"),),
)
CASE = """case "$1" in
    configure|abort-upgrade)
{}
    ;;
    abort-remove|abort-deconfigure) ;;
    *)
        echo "postinst called with unknown argument \\`$1'" >&2
        exit 1
    ;;
esac
"""


@pytest.mark.parametrize(
    ("body", "effects"),
    [
        ("", ()),
        ("# nothing\n\nexit 0\n", ()),
        (MENU, ()),
        (SYSTEMD, ()),
        (PYTHON, ()),
        (TMPFILES, ()),
        (HELPER, ()),
        (INIT, ()),
        (CASE.format(""), ()),
        (ALTERNATIVE, (PAGER,)),
        (ALTERNATIVE.rstrip() + " || true\n", (PAGER,)),
        (CASE.format(ALTERNATIVE), (PAGER,)),
        (MENU + HELPER + ALTERNATIVE + SYSTEMD, (PAGER,)),
        (f'{CONFIGURE}\n systemd-sysusers ${{DPKG_ROOT:+--root="$DPKG_ROOT"}} demo.conf\nfi\n', (Step("sysusers"),)),
        ('ucf "/usr/share/demo.conf" "/etc/demo.conf"\nucfr demo "/etc/demo.conf"\n',
         (Copy("usr/share/demo.conf", "etc/demo.conf"),)),
        ('if [ "$1" = upgrade ]; then\n  rm -rf /old\n  if true; then\n mv a b\n fi\nfi\n' + ALTERNATIVE, (PAGER,)),
        ('if [ "$1" = "install" ] && [ -n "$2" ]\nthen\n  chmod +x /etc/init.d/demo\nfi\n', ()),
        ('if test "$1" = upgrade &&\n   dpkg --compare-versions "$2" lt 2; then\n  rm /old\nfi\n', ()),
        ('if [ -n "$2" ]; then\n  rm /old\nelse\n' + ALTERNATIVE + "fi\n", (PAGER,)),
        ("update-alternatives --quiet --remove pager /bin/less\n", ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("head", ["#!/bin/sh\nset -e\n", "#! /bin/sh -e\n", "#!/bin/bash\nset -eu\n"])
def test_recognises_by_structure(head: str, body: str, effects: tuple[Effect, ...]) -> None:
    assert recognise((head + body).encode(), "amd64") == effects


@pytest.mark.parametrize(
    "body",
    [
        "rm -rf /\n",
        "adduser --system demo\n",
        "update-alternatives --install /usr/bin/pager pager /usr/bin/less high\n",
        "update-alternatives --install /usr/bin/pager pager /usr/bin/less\n",
        "update-alternatives --install /usr/bin/pager ../../etc/passwd /usr/bin/less 1\n",
        "update-alternatives --install usr/bin/pager pager /usr/bin/less 1\n",
        "update-alternatives --install /usr/bin/pager pager /usr/bin/less 1 --slave /a b\n",
        "update-alternatives --install /usr/bin/pager pager $LESS 1\n",
        "update-alternatives --set pager /usr/bin/less\n",
        "py3compile $(curl example.org)\n",
        "py3compile `curl example.org`\n",
        "py3compile; touch /x\n",
        "py3compile && touch /x\n",
        "py3compile | tee /x\n",
        "py3compile > /etc/passwd\n",
        "systemctl 'unclosed\n",
        "if rm /x; then\n  true\nfi\n",
        'if [ -f "$(rm /x)" ]; then\n  true\nfi\n',
        "if [ -f x ] | tee y; then\n  true\nfi\n",
        'if [ "$1" = upgrade ] || true; then\n  rm /old\nfi\n',
        'if [ -n "$2" ]; then\n  true\nelse\n  rm /new\nfi\n',
        'if [ "$1" = upgrade ]; then\n  true\nfi\nrm /new\n',
        "demo () {\n  true\n}\ndemo\n",
        "cat > /etc/x <<EOF\nsystemctl\nEOF\n",
        'ucf "$SOURCE" /etc/x\n',
        "\udcff\n",
    ],
)  # fmt: skip
def test_leaves_everything_else_unknown(body: str) -> None:
    assert recognise(("#!/bin/sh\nset -e\n" + body).encode("utf-8", "surrogateescape"), "amd64") is None


@pytest.mark.parametrize("script", [b"", b"true\n", b"#!/usr/bin/perl\n", b"#!/bin/sh -x\n", b"\x7fELF", b"\xff\xfe"])
def test_programs_of_other_kinds_are_unknown(script: bytes) -> None:
    assert recognise(script, "amd64") is None


def test_fingerprints_see_effects_only() -> None:
    script = (
        b"#!/bin/sh\nset -e\n\n# made by dh 13\npython3.13 -m x /usr/lib/x86_64-linux-gnu # y\ndpkg -L libx:amd64\n"
    )
    same = b"#!/bin/sh  \nset -e\n# made by dh 14\npython3.11 -m x /usr/lib/aarch64-linux-gnu # y\ndpkg -L libx:arm64\n"
    assert fingerprint(script) == fingerprint(same)
    for other in (script.replace(b"-m x", b"-m z"), script.replace(b"#!/bin/sh", b"#!/bin/dash"), script + b"x"):
        assert fingerprint(other) != fingerprint(script)


def test_unknown_scripts_are_all_named_with_what_to_do(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/a": b""}, postinst=b"#!/bin/sh\nrm /x\n", preinst=b"#!/bin/sh\nrm /y\n")
    two = package(tmp_path, "two", {"usr/b": b""}, postinst=b"#!/bin/sh\nadduser x\n")
    with pytest.raises(SpecError) as caught:
        script_effects([two, one], allow=())
    text = caught.value.diagnostics()
    assert caught.value.exit_code == 2
    assert text.count("sha256:") == 3
    assert "one 1:2.0-3 (amd64): preinst, sha256:" in text
    assert 'add "one", "two" to os.allow_scripts' in text
    with pytest.raises(SpecError) as caught:
        script_effects([two, one], allow=["one"])
    assert "one 1" not in caught.value.diagnostics()
    assert script_effects([two, one], allow=["two", "one"]) == []


def test_what_never_runs_on_installing_does_not_matter(tmp_path: Path) -> None:
    unknown = b"#!/bin/sh\nrm -rf /\n"
    demo = package(tmp_path, "demo", {"usr/a": b""}, prerm=unknown, postrm=unknown, config=unknown)
    assert script_effects([demo], allow=()) == []


def test_allowing_a_package_does_not_switch_off_what_is_known(tmp_path: Path) -> None:
    demo = package(tmp_path, "demo", {"usr/a": b""}, postinst=b"#!/bin/sh\n" + ALTERNATIVE.encode())
    assert script_effects([demo], allow=["demo"]) == [PAGER]


def test_the_table_is_well_formed() -> None:
    rows = tomllib.loads(TABLE.read_text())["script"]
    hashes = [sha256 for row in rows for sha256 in row["sha256"]]
    assert len(set(hashes)) == len(hashes)
    assert all(len(sha256) == 64 and int(sha256, 16) for sha256 in hashes)
    assert [(row["package"], row["script"]) for row in rows] == sorted((r["package"], r["script"]) for r in rows)
    for row in rows:
        assert row.keys() <= {"package", "script", "sha256", "effects", "note"}
        assert row["effects"] or row["note"]


def test_every_effect_of_the_table_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tomllib.loads(TABLE.read_text())["script"]
    sample = b"x86_64-linux-gnu python3.13\n" + ALTERNATIVE.encode()
    for row in rows:
        monkeypatch.setattr(scripts, "_table", lambda row=row: {fingerprint(sample): tuple(row["effects"])})
        found = recognise(sample, "amd64")
        assert found is not None
        assert len(found) == len(row["effects"])
        for effect in found:
            match effect:
                case Folder(path) | Write(path) | Link(path) | Copy(_, path):
                    assert not path.startswith("/")
                    assert "{" not in path
                case _:
                    assert isinstance(effect, Step) or effect == PAGER
