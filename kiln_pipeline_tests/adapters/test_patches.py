"""Patches on real files, by the real git."""

import subprocess
from pathlib import Path

import pytest

from kiln_pipeline.adapters.patches import PatchRefused, apply_patches, patch_refused
from kiln_pipeline.core.patches import Patch

WORDS = "As upstream's 2.0 has it\n\n"
ONE = Patch(name="one.patch", text=WORDS + "--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n")
TWO = Patch(name="two.patch", text=WORDS + "--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,2 @@\n a\n-c\n+d\n")
NEW = Patch(name="new.patch", text=WORDS + "--- /dev/null\n+++ b/sub/new.c\n@@ -0,0 +1 @@\n+new\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source folder inside a git repository that ignores it, as `.kiln` is in a clone of ours."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*\n")
    folder = tmp_path / "source" / "foo-1.0"
    folder.mkdir(parents=True)
    (folder / "x.c").write_text("a\nb\n")
    (tmp_path / "log").touch()
    return folder


def test_patches_are_applied_in_order_and_get_their_time(tmp_path: Path, source: Path) -> None:
    """The second one stands on the first; a file is added in a folder that is new; nothing else is left there."""
    apply_patches(source, (ONE, TWO, NEW), mtime=1621358302, log=tmp_path / "log")
    assert ((source / "x.c").read_text(), (source / "sub" / "new.c").read_text()) == ("a\nd\n", "new\n")
    assert {(source / name).stat().st_mtime for name in ("x.c", "sub/new.c")} == {1621358302}
    assert sorted(path.name for path in source.parent.iterdir()) == ["foo-1.0"]
    assert "Applied patch x.c cleanly." in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("patch", "proof"),
    [
        (TWO, "patches/two.patch: patch failed: x.c:1"),
        (Patch(name="y.patch", text=ONE.text.replace("x.c", "y.c")), "patches/y.patch: y.c: No such file or directory"),
        (Patch(name="l.patch", text=NEW.text.replace("sub/", "out/")), "patches/l.patch: affected file 'out/new.c' is beyond a"),
        (Patch(name="cut.patch", text=ONE.text.removesuffix("+c\n")), "patches/cut.patch: corrupt patch at"),
    ],
    ids=["other lines", "no such file", "through a link", "cut off"],
)
def test_a_patch_that_does_not_fit_changes_nothing(tmp_path: Path, source: Path, patch: Patch, proof: str) -> None:
    """Refused with git's own word, which is the failure's proof."""
    (source / "out").symlink_to(tmp_path)
    with pytest.raises(PatchRefused) as caught:
        apply_patches(source, (patch,), mtime=0, log=tmp_path / "log")
    failure = patch_refused(caught.value)
    assert failure.failure_class == "patch-refused"
    assert failure.proof.startswith(proof)
    assert (source / "x.c").read_text() == "a\nb\n"
    assert not (tmp_path / "new.c").exists()
