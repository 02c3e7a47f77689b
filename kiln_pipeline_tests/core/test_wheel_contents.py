"""Wheels read from their bytes: a sound one, every way to be unsound, and what a plan asks for."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest

from kiln_pipeline.core import wheel_contents
from kiln_pipeline.core.platforms import Floors
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.wheel_checks import check_declared, check_wheel
from kiln_pipeline.core.wheel_contents import WheelFacts, extension_names, read_wheel
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.builds import MARKUPSAFE, PYYAML, plan_of
from kiln_pipeline_tests.fakes import make_wheel

TAG = "cp311-cp311-manylinux_2_17_x86_64"
INFO = "markupsafe-2.0.1.dist-info"


def wheel(tag: str = TAG, extension: str | None = "_speedups", build: str = "1") -> tuple[str, bytes]:
    return make_wheel("markupsafe", "2.0.1", tag, extension=extension, requires_python=">=3.6", build=build)


def facts(tag: str = TAG, extension: str | None = "_speedups") -> WheelFacts:
    return read_wheel(*wheel(tag, extension))


def rewritten(data: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return the wheel with its members changed; RECORD is left as it was."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_sound_wheel_is_read_in_full() -> None:
    """Everything that provenance and pages say about a wheel."""
    filename, data = wheel()
    metadata = b"Metadata-Version: 2.1\nName: markupsafe\nVersion: 2.0.1\nRequires-Python: >=3.6\n"
    expected = WheelFacts(
        filename="markupsafe-2.0.1-1-cp311-cp311-manylinux_2_17_x86_64.whl",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        project="markupsafe",
        version="2.0.1",
        build="1",
        tags=("cp311-cp311-manylinux_2_17_x86_64",),
        metadata=metadata,
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        requires_python=">=3.6",
        license_expression="",
        license_files=(),
        extensions=("markupsafe._speedups",),
        is_purelib=False,
    )
    assert expected == read_wheel(filename, data)
    check_wheel(expected, plan_of(MARKUPSAFE))


def test_extension_modules_have_import_names() -> None:
    """Version suffixes go, libraries put aside by auditwheel and delocate are no modules."""
    members = [
        "yaml/_yaml.cpython-311-x86_64-linux-gnu.so",
        "a/b.abi3.so",
        "c.pyd",
        "d.cp311-win_amd64.pyd",
        "pkg-1.0.data/platlib/e/f.cpython-313t-darwin.so",
        "pkg.libs/libyaml-0.so.2",
        "pkg.libs/libz-abc.so",
        "pkg/.dylibs/libz.1.dylib",
        "pkg-1.0.data/data/lib/g.so",
        "yaml/__init__.py",
    ]
    assert extension_names(members) == ("a.b", "c", "d", "e.f", "yaml._yaml")


def set_member(name: str, content: bytes | None) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        if content is None:
            del members[name]
        else:
            members[name] = content

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_member("markupsafe/__init__.py", b"import os"), "markupsafe/__init__.py has another sha256 than RECORD states"),
        (set_member("markupsafe/extra.py", b""), "markupsafe/extra.py is not in RECORD"),
        (set_member("markupsafe/__init__.py", None), "RECORD lists markupsafe/__init__.py, which is not there"),
        (set_member("../evil.py", b""), "../evil.py is an unsafe path"),
        (set_member("/etc/passwd", b""), "/etc/passwd is an unsafe path"),
        (set_member("C:/x", b""), "C:/x is an unsafe path"),
        (set_member(f"{INFO}/RECORD", None), f"{INFO}/RECORD is missing"),
        (set_member(f"{INFO}/WHEEL", None), f"{INFO}/WHEEL is missing"),
        (set_member(f"{INFO}/METADATA", None), f"{INFO}/METADATA is missing"),
        (set_member("other-1.dist-info/METADATA", b""), "it has 2 .dist-info folders, not one"),
        (set_member(f"{INFO}/RECORD", b"a,b\n"), "RECORD has the line 'a,b', which is not path,hash,size"),
        (set_member(f"{INFO}/RECORD", b"markupsafe/__init__.py,md5=x,0\n"), "has no hash of sha256 or stronger in RECORD"),
    ],
)
def test_an_unsound_wheel_is_refused(change: Callable[[dict[str, bytes]], None], reason: str) -> None:
    """Each problem is named."""
    filename, data = wheel()
    with pytest.raises(VerificationError) as caught:
        read_wheel(filename, rewritten(data, change))
    assert reason in caught.value.reason


def test_every_problem_is_named_at_once() -> None:
    """Nobody mends one problem only to hear of the next."""
    filename, data = wheel()

    def change(members: dict[str, bytes]) -> None:
        members["markupsafe/__init__.py"] = b"x"
        members["new.py"] = b""

    with pytest.raises(VerificationError) as caught:
        read_wheel(filename, rewritten(data, change))
    assert caught.value.reason == ("markupsafe/__init__.py has another sha256 than RECORD states; new.py is not in RECORD")


def test_what_is_no_zip_or_no_wheel_name_is_refused() -> None:
    """Truncated downloads, and names that no installer would take."""
    filename, data = wheel()
    for name, content in ((filename, b"no zip"), (filename, data[:-40]), (filename, b""), ("markupsafe.whl", data)):
        with pytest.raises(VerificationError):
            read_wheel(name, content)


def test_duplicate_members_are_refused() -> None:
    """Two installers may take two different ones."""
    filename, data = wheel()
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("markupsafe/__init__.py", b"other")
    with pytest.raises(VerificationError, match=r"markupsafe/__init__\.py is there twice"):
        read_wheel(filename, buffer.getvalue())


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on what the members say they unpack to."""
    monkeypatch.setattr(wheel_contents, "MAX_UNPACKED_SIZE", 100)
    with pytest.raises(VerificationError, match="more than 100"):
        read_wheel(*wheel())


def test_metadata_must_be_that_of_the_filename() -> None:
    """A wheel under another's name or version, tag or build tag."""
    _, data = wheel()
    for name in (
        f"markupsafe-2.0.2-1-{TAG}.whl",
        f"jinja2-2.0.1-1-{TAG}.whl",
        f"markupsafe-2.0.1-2-{TAG}.whl",
        "markupsafe-2.0.1-1-cp312-cp312-manylinux_2_17_x86_64.whl",
    ):
        with pytest.raises(VerificationError):
            read_wheel(name, data)


def test_the_wheel_of_another_release_is_refused() -> None:
    """A sdist can name itself as it likes."""
    with pytest.raises(VerificationError, match="it is project markupsafe, not pyyaml; it has version"):
        check_wheel(facts(), plan_of(PYYAML))


@pytest.mark.parametrize(
    ("tag", "identifier"),
    [
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp311-manylinux_x86_64"),
        ("cp36-abi3-manylinux_2_28_x86_64", "cp311-manylinux_x86_64"),
        ("py3-none-manylinux_2_17_x86_64", "cp311-manylinux_x86_64"),
        ("cp37-cp37m-manylinux1_x86_64", "cp37-manylinux_x86_64"),
        ("cp313-cp313t-manylinux_2_17_x86_64", "cp313t-manylinux_x86_64"),
        ("cp311-cp311-macosx_11_0_universal2", "cp311-macosx_arm64"),
        ("cp311-cp311-macosx_10_9_x86_64", "cp311-macosx_x86_64"),
        ("cp311-cp311-musllinux_1_2_aarch64", "cp311-musllinux_aarch64"),
        ("pp311-pypy311_pp73-manylinux_2_17_x86_64", "pp311-manylinux_x86_64"),
    ],
)
def test_tags_that_fit(tag: str, identifier: str) -> None:
    """Exactly the identifier's, the stable ABI, and older floors."""
    check_wheel(facts(tag), plan_of(MARKUPSAFE, identifier))


@pytest.mark.parametrize(
    ("tag", "identifier", "reason"),
    [
        ("cp312-cp312-manylinux_2_17_x86_64", "cp311-manylinux_x86_64", "no tag of it fits cp311"),
        ("cp312-abi3-manylinux_2_17_x86_64", "cp311-manylinux_x86_64", "no tag of it fits cp311"),
        ("cp313-cp313-manylinux_2_17_x86_64", "cp313t-manylinux_x86_64", "no tag of it fits cp313t"),
        ("cp39-abi3-manylinux_2_17_x86_64", "cp313t-manylinux_x86_64", "no tag of it fits cp313t"),
        ("cp311-cp311-manylinux_2_34_x86_64", "cp311-manylinux_x86_64", "needs a newer system than glibc 2.28"),
        ("cp311-cp311-macosx_14_0_arm64", "cp311-macosx_arm64", "needs a newer system than macOS 11.0"),
        ("cp311-cp311-manylinux_2_17_aarch64", "cp311-manylinux_x86_64", "which is not manylinux_x86_64"),
        ("cp311-cp311-musllinux_1_2_x86_64", "cp311-manylinux_x86_64", "which is not manylinux_x86_64"),
        ("cp311-cp311-linux_x86_64", "cp311-manylinux_x86_64", "which is not manylinux_x86_64"),
        ("cp311-cp311-win_amd64", "cp311-manylinux_x86_64", "which is not manylinux_x86_64"),
    ],
)
def test_tags_that_do_not_fit(tag: str, identifier: str, reason: str) -> None:
    """A wheel for somebody else."""
    with pytest.raises(VerificationError, match=reason):
        check_wheel(facts(tag), plan_of(MARKUPSAFE, identifier))


def test_a_recipe_can_lower_the_floor() -> None:
    """glibc 2.17, where the maintainer asks for it."""
    with pytest.raises(VerificationError, match=r"newer system than glibc 2\.17"):
        check_wheel(facts("cp311-cp311-manylinux_2_28_x86_64"), plan_of(MARKUPSAFE, floors=Floors(glibc=(2, 17))))


def test_a_lost_extension_is_told_apart() -> None:
    """Builds that fall back to pure Python end with exit status 0."""
    plan = plan_of(MARKUPSAFE)
    named = replace(plan, settings=BuildSettings(extensions=("markupsafe._other",)))
    with pytest.raises(VerificationError) as caught:
        check_wheel(facts(), named)
    assert caught.value.reason == "lost extension: markupsafe._other not in the wheel"
    with pytest.raises(VerificationError, match="lost extension: the wheel has no extension module at all"):
        check_wheel(facts("py3-none-any", None), plan)
    with pytest.raises(VerificationError, match="lost extension: the wheel is tagged for a platform"):
        check_wheel(facts(extension=None), replace(plan, expects_extension=False))
    check_wheel(facts("py3-none-any", None), replace(plan, expects_extension=False))


def test_an_extension_that_the_build_began_and_the_wheel_lacks_is_lost() -> None:
    """setuptools' words; what a build requirement builds on the way, and what the recipe does without, does not count."""
    plan = plan_of(MARKUPSAFE)
    log = "building 'markupsafe._speedups' extension\nbuilding '_cffi_backend' extension\nbuilding '_speedups' extension\n"
    check_declared(facts(), plan, log)
    for line, lost in (
        ("building 'markupsafe._more' extension\n", "markupsafe._more"),
        ("building extension \"_optional\" failed: command 'gcc' failed with exit status 1\n", "_optional"),
    ):
        with pytest.raises(VerificationError) as caught:
            check_declared(facts(), plan, log + line)
        assert caught.value.reason == f"lost extension: the build began {lost}, which the wheel does not have"
        check_declared(facts(), replace(plan, settings=BuildSettings(extensions=("markupsafe._speedups",))), log + line)


def test_the_hint_of_a_lost_extension_names_the_system_packages() -> None:
    """What the reader is to do."""
    settings = BuildSettings(system_packages={"apt": ("libyaml-dev",), "dnf": ("libyaml-devel",)})
    with pytest.raises(VerificationError) as caught:
        check_wheel(facts("py3-none-any", None), plan_of(MARKUPSAFE, settings=settings))
    assert caught.value.hint == (
        "the recipe's system packages (apt: libyaml-dev; dnf: libyaml-devel) are installed where a container engine builds, "
        "and not without one"
    )
