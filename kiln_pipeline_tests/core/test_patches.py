"""What a patch of a recipe must say, and may not do."""

import re

import pytest

from kiln_pipeline.core.patches import patched_files

WORDS = "Say what it does, as upstream's 2.0 has it\n\n"


def diff(old: str, new: str) -> str:
    return f"--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n"


def test_the_files_of_a_patch() -> None:
    """git's own lines between them, a file that is new, time stamps behind a tab; a line that starts like a header is none."""
    text = (
        WORDS
        + f"diff --git a/src/x.c b/src/x.c\nindex 1..2 100644\n{diff('a/src/x.c', 'b/src/x.c')}"
        + diff("/dev/null", "b/b.txt\t2021-01-01 00:00:00")
        + "@@ -9 +9 @@\n--- a/gone\n+++ b/come\n"
    )
    assert patched_files(text) == ("b.txt", "src/x.c")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no unified diff"),
        (WORDS + "*** a/x\n--- b/x\n", "is no unified diff"),
        (diff("a/x", "b/x"), "says nothing before its first '---'"),
        (WORDS + diff("x", "x"), "names x and x; write a/x and b/x"),
        (WORDS + diff("a/x", "b/y"), "names a/x and b/y"),
        (WORDS + diff("a/x", "/dev/null"), "removes a/x"),
        (WORDS + diff("a/../x", "b/../x"), "is no path inside the sdist"),
        (WORDS + diff("a/C:\\x", "b/C:\\x"), "is no path inside the sdist"),
        (WORDS + "rename from a\nrename to b\n" + diff("a/x", "b/x"), "has 'rename from a'"),
        (WORDS + "old mode 100644\nnew mode 100755\n" + diff("a/x", "b/x"), "has 'old mode 100644'"),
        (WORDS + diff("a/x", "b/x") + "new file mode 120000\n" + diff("/dev/null", "b/l"), "has 'new file mode 120000'"),
        (WORDS + diff("a/x", "b/x") + "GIT binary patch\n", "has 'GIT binary patch'"),
    ],
)
def test_what_a_patch_may_not_be(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        patched_files(text)
