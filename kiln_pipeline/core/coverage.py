"""Which targets the wheels of each release cover, and what each release can be built from: facts, vectorised over a whole index.

Arrays, no rows: distinct filenames' tag sets and distinct requires-python strings are understood once, each becomes a bit mask
over targets, and a release covers what the OR over its wheels says. No recipe, attempt or clock has a say here; verdicts are
`core.missing_wheels`' business.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.requires_python import admits
from kiln_pipeline.core.tags import UNSERVED, Target, tag_ranks

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint64]
"""Shape (rows, words): target t is bit t % 64 of word t // 64."""

COLUMNS = ("project", "version", "filename", "kind", "requires_python", "yanked")
"""The columns of `release_metadata.SCHEMA` that the facts are made of."""
NONE = -1
_TAGS = r"-(?P<tags>[^-]+-[^-]+-[^-]+)\.whl$"
_NO_TIME = np.iinfo(np.int64).max
_SUFFIXES = (".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar")
"""sdists, best first: PEP 625 knows ``.tar.gz`` only, ``.zip`` is the one other that every tool takes."""


class TargetSet:
    """Targets in a fixed order, and what was found out about tag sets and requires-python strings: each is asked once."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self._ranks: dict[str, npt.NDArray[np.int32]] = {}
        self._admitted: dict[str, Bools] = {}

    def ranks(self, tag_sets: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return (distinct tag set, target) -> rank of its best tag, `UNSERVED` for none."""
        new = [text for text in tag_sets if text not in self._ranks]
        self._ranks.update(zip(new, tag_ranks(new, self.targets), strict=True))
        rows = [self._ranks[text] for text in tag_sets]
        return np.array(rows, dtype=np.int32).reshape(len(rows), len(self.targets))

    def admitted(self, requires_python: Sequence[str]) -> Bools:
        """Return (distinct requires-python, target) -> whether it admits the target's Python."""
        for text in requires_python:
            if text not in self._admitted:
                pythons = (target.identifier.python for target in self.targets)
                self._admitted[text] = np.array([admits(text, p.major, p.minor) for p in pythons], dtype=np.bool_)
        rows = [self._admitted[text] for text in requires_python]
        return np.array(rows, dtype=np.bool_).reshape(len(rows), len(self.targets))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wheels:
    """The wheels of a table, sorted by release: parallel arrays, and what their codes mean per target."""

    row: Ints
    """Row in the table of files."""
    release: Ints
    tag_set: Ints
    requires_python: Ints
    yanked: Bools
    ranks: npt.NDArray[np.int32]
    """(distinct tag set, target) -> rank of its best tag, `UNSERVED` for none."""
    admitted: Bools
    """(distinct requires-python, target)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReleaseFacts:
    """What a table of files says of every release in it: arrays over releases, in order of first appearance."""

    projects: Sequence[str]
    versions: Sequence[str]
    project: Ints
    """Index into `projects`."""
    version: Ints
    """Index into `versions`."""
    covered: Masks
    """Targets that some unyanked wheel serves, whose own requires-python admits the Python."""
    admitted: Masks
    """Targets whose Python the sdist's requires-python admits; none without an sdist."""
    sdist: Ints
    """Row of the best sdist in the table of files, unyanked before yanked; `NONE` without any."""
    sdist_yanked: Bools
    """Whether every sdist is yanked; False without any."""
    has_wheel: Bools
    has_platform_wheel: Bools
    """Whether some wheel is for a platform (its tag is not ``any``): the release has an extension module."""
    wheels: Wheels


def pack(flags: Bools) -> Masks:
    """Return a matrix of flags (rows, targets) as bit masks (rows, words)."""
    padded = np.zeros((flags.shape[0], -(-max(flags.shape[1], 1) // 64) * 64), dtype=np.bool_)
    padded[:, : flags.shape[1]] = flags
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def bit(masks: Masks, rows: Ints, targets: Ints) -> Bools:
    """Return for each pair of row and target whether the target's bit is set."""
    words = masks[rows, targets >> 6]
    return ((words >> (targets & 63).astype(np.uint64)) & np.uint64(1)).astype(np.bool_)


def release_facts(files: pa.Table, targets: TargetSet) -> ReleaseFacts:
    """Return the facts of every release in `files` (at least `COLUMNS`; rows of one project contiguous or not)."""
    project_of, projects = _encode(files.column("project"))
    version_of, versions = _encode(files.column("version"))
    release_of, keys = _group(project_of * max(len(versions), 1) + version_of)
    requires_of, requires = _encode(files.column("requires_python"))
    admitted = targets.admitted(requires)
    wheels, platform_specific = _wheels(files, release_of, requires_of, admitted, targets)
    sdist, sdist_yanked = _sdists(files, release_of, len(keys))
    masks = pack(admitted)
    buildable = np.zeros((len(keys), masks.shape[1]), dtype=np.uint64)
    buildable[sdist != NONE] = masks[requires_of[sdist[sdist != NONE]]]
    return ReleaseFacts(
        projects=projects,
        versions=versions,
        project=keys // max(len(versions), 1),
        version=keys % max(len(versions), 1),
        covered=_covered(wheels, masks, len(keys)),
        admitted=buildable,
        sdist=sdist,
        sdist_yanked=sdist_yanked,
        has_wheel=_flagged(wheels.release, len(keys)),
        has_platform_wheel=_flagged(wheels.release[platform_specific[wheels.tag_set]], len(keys)),
        wheels=wheels,
    )


def covering_wheels(facts: ReleaseFacts, target: int) -> Ints:
    """Return for each release the row of the wheel that an installer on a target prefers, `NONE` where none covers it."""
    wheels, best = facts.wheels, np.full(len(facts.project), NONE, dtype=np.int64)
    rank = wheels.ranks[wheels.tag_set, target].astype(np.int64)
    served = np.flatnonzero((rank < UNSERVED) & wheels.admitted[wheels.requires_python, target] & ~wheels.yanked)
    if served.size:
        order = served[np.lexsort((wheels.row[served], rank[served], wheels.release[served]))]
        first = _starts(wheels.release[order])
        best[wheels.release[order[first]]] = wheels.row[order[first]]
    return best


def _encode(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """Return a code per row and the distinct values, in order of first appearance."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # pyarrow keeps an empty column chunked
        return np.zeros(0, dtype=np.int64), []
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _bools(column: pa.ChunkedArray) -> Bools:
    return column.to_numpy().astype(np.bool_)


def _starts(values: Ints) -> Ints:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1]))) if values.size else np.zeros(0, dtype=np.int64)


def _group(keys: Ints) -> tuple[Ints, Ints]:
    """Return a group number per row and the key of each group, groups in order of first appearance.

    Files of one release mostly stand together, so runs are found first and only those are sorted.
    """
    starts = _starts(keys)
    distinct, first, group_of_run = np.unique(keys[starts], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    lengths = np.diff(np.append(starts, len(keys)))
    return np.repeat(number[group_of_run], lengths), distinct[order]


def _wheels(files: pa.Table, release_of: Ints, requires_of: Ints, admitted: Bools, targets: TargetSet) -> tuple[Wheels, Bools]:
    """Return the wheels, and for each distinct tag set whether it is for a platform."""
    rows = np.flatnonzero(_bools(pc.equal(files.column("kind"), "wheel")))
    tags = pc.struct_field(pc.extract_regex(files.column("filename").take(pa.array(rows)), _TAGS), "tags")
    tag_of, tag_sets = _encode(pc.fill_null(tags, ""))
    order = np.argsort(release_of[rows], kind="stable")
    rows, tag_of = rows[order], tag_of[order]
    wheels = Wheels(
        row=rows,
        release=release_of[rows],
        tag_set=tag_of,
        requires_python=requires_of[rows],
        yanked=_bools(files.column("yanked"))[rows],
        ranks=targets.ranks(tag_sets),
        admitted=admitted,
    )
    return wheels, np.array([bool(text) and text.rpartition("-")[2] != "any" for text in tag_sets], dtype=np.bool_)


def _covered(wheels: Wheels, admitted: Masks, releases: int) -> Masks:
    covered = np.zeros((releases, admitted.shape[1]), dtype=np.uint64)
    masks = pack(wheels.ranks < UNSERVED)[wheels.tag_set] & admitted[wheels.requires_python]
    masks[wheels.yanked] = 0
    starts = _starts(wheels.release)
    if starts.size:
        covered[wheels.release[starts]] = np.bitwise_or.reduceat(masks, starts, axis=0)
    return covered


def _sdists(files: pa.Table, release_of: Ints, releases: int) -> tuple[Ints, Bools]:
    """Return the row of each release's best sdist, and whether all its sdists are yanked."""
    rows = np.flatnonzero(_bools(pc.equal(files.column("kind"), "sdist")))
    preference = _preferences(files.column("filename").take(pa.array(rows)))
    yanked = _bools(files.column("yanked"))[rows]
    order = np.lexsort((rows, preference, yanked, release_of[rows]))
    best = order[_starts(release_of[rows][order])]
    sdist, all_yanked = np.full(releases, NONE, dtype=np.int64), np.zeros(releases, dtype=np.bool_)
    sdist[release_of[rows[best]]] = rows[best]
    all_yanked[release_of[rows[best]]] = yanked[best]
    return sdist, all_yanked


def _preferences(sdists: pa.ChunkedArray) -> Ints:
    """Return each filename's place in `_SUFFIXES`; nearly all end in the first, so only the others are asked further."""
    preference = np.full(len(sdists), len(_SUFFIXES), dtype=np.int64)
    rest = np.arange(len(sdists))
    for number, suffix in enumerate(_SUFFIXES):
        found = _bools(pc.ends_with(sdists, suffix, ignore_case=True))
        preference[rest[found]] = number
        rest, sdists = rest[~found], sdists.filter(pa.array(~found))
    return preference


def _flagged(releases: Ints, count: int) -> Bools:
    flags = np.zeros(count, dtype=np.bool_)
    flags[releases] = True
    return flags
