from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from debian_archive import NOW, release_text, signed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pysequoia import Cert, SignatureMode, Tsk, sign

from builder.errors import IntegrityError
from builder.lock.debian.keyring import certificates
from builder.lock.debian.release import MAX_INRELEASE, Listed, Release, parse_date, verify_inrelease

FILES = {"main/binary-amd64/Packages": b"one", "main/binary-amd64/Packages.xz": b"two"}
TEXT = release_text(FILES)


@pytest.fixture(scope="module")
def good(key: Tsk) -> bytes:
    return signed(TEXT, key)


def read(data: bytes, certs: tuple[Cert, ...], *, asked: str = "trixie", now: datetime | None = NOW) -> Release:
    return verify_inrelease(data, certs, asked=asked, now=now)


def test_what_is_read(good: bytes, certs: tuple[Cert, ...]) -> None:
    release = read(good, certs)
    assert (release.codename, release.suite, release.by_hash) == ("trixie", "stable", True)
    assert release.date == datetime(2026, 9, 12, 7, 55, 41, tzinfo=UTC)
    assert release.valid_until is None
    assert release.architectures == ("all", "amd64", "arm64")
    assert release.files == {path: Listed(hashlib.sha256(data).hexdigest(), len(data)) for path, data in FILES.items()}
    assert release.signed_by == (certs[0].fingerprint,)


def test_asked_by_codename_or_suite_and_by_nothing_else(good: bytes, certs: tuple[Cert, ...]) -> None:
    assert read(good, certs, asked="stable").codename == "trixie"
    with pytest.raises(IntegrityError, match="not of bookworm"):
        read(good, certs, asked="bookworm")


# --- attacks ---------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_of_the_text_is_noticed(good: bytes, certs: tuple[Cert, ...]) -> None:
    start, end = good.index(b"Origin"), good.index(b"-----BEGIN PGP SIGNATURE")
    for position in range(start, end - 2, 7):
        flipped = good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
        with pytest.raises(IntegrityError):
            read(flipped, certs)


def test_a_flipped_byte_of_the_signature_changes_nothing_that_is_believed(good: bytes, certs: tuple[Cert, ...]) -> None:
    """Some bytes of a signature packet are advice, not signed; whatever is flipped, the text stays what was signed."""
    start = good.index(b"-----BEGIN PGP SIGNATURE")
    expected, refused = read(good, certs), 0
    for position in range(start, len(good)):
        flipped = good[:position] + bytes([good[position] ^ 2]) + good[position + 1 :]
        try:
            assert read(flipped, certs) == expected
        except IntegrityError:
            refused += 1
    assert refused > (len(good) - start) / 2


def test_signature_removed(good: bytes, certs: tuple[Cert, ...]) -> None:
    for data in (TEXT.encode(), good[: good.index(b"-----BEGIN PGP SIGNATURE")]):
        with pytest.raises(IntegrityError, match="not signed") as caught:
            read(data, certs)
        assert caught.value.exit_code == 4
        assert caught.value.hint


def test_signed_by_another_key(other_key: Tsk, certs: tuple[Cert, ...]) -> None:
    with pytest.raises(IntegrityError, match="no good signature") as caught:
        read(signed(TEXT, other_key), certs)
    assert "backtrace" not in caught.value.diagnostics()
    assert "\n" not in caught.value.message


def test_without_a_single_certificate(good: bytes) -> None:
    with pytest.raises(IntegrityError, match="no good signature"):
        read(good, ())


def test_text_around_the_signed_block(good: bytes, certs: tuple[Cert, ...]) -> None:
    for data in (b"Suite: evil\n\n" + good, good + b"Suite: evil\n", good + good, b"\n" + good):
        with pytest.raises(IntegrityError, match="around its signed part"):
            read(data, certs)


def test_a_field_smuggled_into_the_frame(good: bytes, certs: tuple[Cert, ...]) -> None:
    smuggled = re.sub(rb"(Hash: SHA\d+)\n", rb"\1\nCodename: evil\n", good)
    assert smuggled != good
    with pytest.raises(IntegrityError):
        read(smuggled, certs)


def test_a_signed_message_of_another_form(key: Tsk, certs: tuple[Cert, ...]) -> None:
    inline = sign(key.signer(), TEXT.encode(), mode=SignatureMode.INLINE)
    with pytest.raises(IntegrityError, match="not signed"):
        read(inline, certs)


def test_carriage_returns_are_not_debian(good: bytes, certs: tuple[Cert, ...]) -> None:
    with pytest.raises(IntegrityError):
        read(good.replace(b"\n", b"\r\n"), certs)


def test_huge(certs: tuple[Cert, ...]) -> None:
    with pytest.raises(IntegrityError, match="larger than"):
        read(b"-" * (MAX_INRELEASE + 1), certs)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"<html>no such page</html>", b"-----BEGIN PGP SIGNED MESSAGE-----\n"]
)
def test_garbage(data: bytes, certs: tuple[Cert, ...]) -> None:
    with pytest.raises(IntegrityError, match="not signed"):
        read(data, certs)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_mangled_in_any_way_it_says_the_same_or_is_refused(
    data: st.DataObject, good: bytes, certs: tuple[Cert, ...]
) -> None:
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 40)))
    mangled = good[:start] + data.draw(st.binary(max_size=20)) + good[end:]
    try:
        release = read(mangled, certs)
    except IntegrityError:
        return
    assert release == read(good, certs)


# --- time ------------------------------------------------------------------------------------------------------------

UNTIL = "Sat, 19 Sep 2026 07:55:41 UTC"


def test_valid_until(key: Tsk, certs: tuple[Cert, ...]) -> None:
    data = signed(release_text(FILES, valid_until=UNTIL), key)
    assert read(data, certs, now=NOW - timedelta(days=5)).valid_until == datetime(2026, 9, 19, 7, 55, 41, tzinfo=UTC)
    with pytest.raises(IntegrityError, match="valid until 2026-09-19") as caught:
        read(data, certs)
    assert "clock" in (caught.value.hint or "")


def test_an_archive_of_the_past_may_serve_what_has_lapsed(key: Tsk, certs: tuple[Cert, ...]) -> None:
    data = signed(release_text(FILES, valid_until=UNTIL), key)
    assert read(data, certs, now=None).codename == "trixie"


def test_an_expired_key() -> None:
    key = Tsk.generate("Short Lived <short@example.org>", validity_seconds=3600)
    data, certs = signed(TEXT, key), (key.extract_certificate(),)
    today = datetime.now(UTC)
    assert read(data, certs, now=today).codename == "trixie"
    with pytest.raises(IntegrityError, match="no good signature"):
        read(data, certs, now=today + timedelta(hours=2))


def test_a_revoked_key(key: Tsk, good: bytes, certs: tuple[Cert, ...]) -> None:
    revoked = Cert.from_bytes(bytes(certs[0]) + bytes(certs[0].revoke(key.certifier())))
    assert revoked.is_revoked
    with pytest.raises(IntegrityError, match="no good signature"):
        read(good, (revoked,))
    with pytest.raises(IntegrityError, match="no good signature"):
        read(good, (revoked,), now=None)


@pytest.mark.parametrize("form", ["GMT", "+0000"])
def test_dates(form: str) -> None:
    assert parse_date(f"Sat, 12 Sep 2026 07:55:41 {form}") == datetime(2026, 9, 12, 7, 55, 41, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-09-12T07:55:41Z",
        "Sun, 12 Sep 2026 07:55:41 UTC",
        "Sat, 12 Sep 2026 07:55:41 CET",
        "Sat, 12 Sep 2026 07:55:41",
        "Sat, 12 sep 2026 07:55:41 UTC",
        "Sat, 12 Sep 26 07:55:41 UTC",
        "Sat, 31 Feb 2026 07:55:41 UTC",
        "Sat, 12 Sep 2026 24:55:41 UTC",
        "Sa, 12 Sep 2026 07:55:41 UTC",
        "Sat, 12 Sep 2026 07:55:41 UTC ",
    ],
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|day|hour"):
        parse_date(text)


# --- signed, but not what an archive signs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Codename: trixie\n", "", "codename is missing"),
        ("Codename: trixie\n", "Codename: trixie\nCodename: sid\n", "twice"),
        ("Codename: trixie\n", "Codename: trixie\nCODENAME: sid\n", "twice"),
        ("Codename: trixie\n", "Codename: ../trixie\n", "not a name"),
        ("Codename: trixie\n", "Codename: tri\n xie\n", "more than one line"),
        ("Date: Sat", "Date: Sun", "not a Sun"),
        ("SHA256:\n", "SHA512:\n", "no SHA256 list"),
        ("SHA256:\n", "SHA256:\n zz 3 main/x\n", "not a hash"),
        ("SHA256:\n", f"SHA256:\n {'a' * 64} -3 main/x\n", "not a hash"),
        ("SHA256:\n", f"SHA256:\n {'a' * 64} 99999999999999999999 main/x\n", "not a hash"),
        ("SHA256:\n", f"SHA256:\n {'a' * 64} 3 main/binary-amd64/Packages\n", "twice and differently"),
        ("Origin: Debian\n", "Origin Debian\n", "neither a field"),
        ("Origin: Debian\n", " Origin: Debian\n", "neither a field"),
    ],
)
def test_malformed(old: str, new: str, says: str, key: Tsk, certs: tuple[Cert, ...]) -> None:
    assert old in TEXT
    with pytest.raises(IntegrityError, match=says):
        read(signed(TEXT.replace(old, new, 1), key), certs)


def test_text_that_is_not_utf8(key: Tsk, certs: tuple[Cert, ...]) -> None:
    with pytest.raises(IntegrityError, match="malformed"):
        read(signed(TEXT.encode() + b"X: \xff\n", key), certs)


def test_too_many_files(key: Tsk, certs: tuple[Cert, ...]) -> None:
    many = "".join(f" {'a' * 64} 3 {number}\n" for number in range(50_001))
    with pytest.raises(IntegrityError, match="more than 50000 files"):
        read(signed(TEXT + many, key), certs)


# --- the shipped keys -------------------------------------------------------------------------------------------------


def test_the_shipped_keys_are_those_that_the_readme_names() -> None:
    folder = files("builder.lock.debian") / "keys"
    named = dict(re.findall(r"\| `(\S+\.asc)` \| `([0-9a-f]{64})` \|", (folder / "README.md").read_text()))
    there = {
        item.name: hashlib.sha256(item.read_bytes()).hexdigest()
        for item in folder.iterdir()
        if item.name.endswith(".asc")
    }
    assert named == there
    assert len(there) >= 6


def test_the_shipped_keys_are_debians() -> None:
    # As Debian publishes them on the page of its archive keys.
    assert {
        "b8b80b5b623eab6ad8775c45b7c5d7d6350947f8",
        "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0",
        "4d64fec119c2029067d6e791f8d2585b8783d481",
        "04b54c3cdca79751b16bc6b5225629df75b188bd",
        "5e04a1e3223a19a20706e20f9904613d4cce68c6",
        "41587f7db8c774bccf131416762f67a0b2c39de4",
    } <= {cert.fingerprint for cert in certificates()}
    assert not any(cert.is_revoked for cert in certificates())
