"""Enrolled hosts: a strict file, and refusals that say what to do."""

from datetime import date

import pytest

from kiln_pipeline.core.hosts import Host, admitted, enrolment, parse_hosts
from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.errors import RecipeError, VerificationError

MAC = Host(name="mac-mini-1", platforms=(Platform.MACOSX_ARM64, Platform.MACOSX_X86_64), public_key=bytes(range(32)))
SOLD = Host(
    name="old.example.org",
    platforms=(Platform.MANYLINUX_X86_64,),
    public_key=bytes(32),
    revoked=date(2026, 11, 2),
    reason="the disk was sold",
)
TEXT = enrolment(MAC) + "\n" + enrolment(SOLD) + 'revoked = 2026-11-02\nreason = "the disk was sold"\n'


def test_what_is_enrolled_is_read_back():
    """The lines that `kiln host enroll` prints are the file's own form."""
    assert parse_hosts(TEXT, "hosts.toml") == {"mac-mini-1": MAC, "old.example.org": SOLD}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "hosts: is missing"),
        ("hosts = 1", "hosts: is an integer"),
        ("[[hosts]]", "public-key: is missing"),
        (TEXT.replace("mac-mini-1", "Mac Mini"), "no host name"),
        (TEXT.replace("macosx_arm64", "macos_arm64"), "is none of"),
        (TEXT.replace('"macosx_arm64", "macosx_x86_64"', ""), "may build nothing"),
        (TEXT.replace("AAECAwQF", "AAEC AwQF"), "no base64"),
        (TEXT.replace("AAECAwQF", "AAEC"), "29 bytes"),
        (TEXT.replace("old.example.org", "mac-mini-1"), "enrolled more than once"),
        (enrolment(MAC) + enrolment(MAC).replace("mac-mini-1", "b"), "another host too"),
        (TEXT.replace('reason = "the disk was sold"', ""), "is needed with `revoked`"),
        (enrolment(MAC) + 'reason = "x"', "is needed with `revoked`"),
        (TEXT.replace("2026-11-02", "2026-11-02T10:00:00"), "no plain date"),
        (TEXT.replace("2026-11-02", '"soon"'), "is a string"),
        (TEXT + "colour = 1", "colour: is unknown"),
        ("hosts = [", "no TOML"),
    ],
)
def test_every_wrong_value_is_named(text: str, word: str):
    with pytest.raises(RecipeError) as caught:
        parse_hosts(text, "hosts.toml")
    assert word in str(caught.value)
    assert str(caught.value).startswith("hosts.toml")


def test_a_host_signs_only_what_it_is_enrolled_for():
    hosts = parse_hosts(TEXT, "hosts.toml")
    assert admitted(hosts, "mac-mini-1", BuildIdentifier.parse("cp311-macosx_arm64")) == MAC
    for name, identifier, word in (
        ("mac-mini-1", "cp311-manylinux_x86_64", "not for manylinux_x86_64"),
        ("old.example.org", "cp311-manylinux_x86_64", "revoked on 2026-11-02: the disk was sold"),
        ("who", "cp311-manylinux_x86_64", "not enrolled"),
    ):
        with pytest.raises(VerificationError, match=word):
            admitted(hosts, name, BuildIdentifier.parse(identifier))
