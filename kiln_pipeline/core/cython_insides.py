"""C that an old Cython generated and that reaches into a thread's state: the same in CPython's own functions. Pure.

A header cannot give these their old meaning, since the members of the struct are gone: ``frame`` since 3.11,
``curexc_traceback`` since 3.12. What replaces them is what later Cythons generate.
"""

import re
from dataclasses import dataclass

from kiln_pipeline.core.platforms import PythonTag


@dataclass(frozen=True, kw_only=True, slots=True)
class Insides:
    """One way in which generated C reaches inside, and what it becomes."""

    pattern: str
    replacement: str
    since: tuple[int, int]
    """The first Python without the member."""

    def rewrite(self, text: str) -> str:
        """Return the C text with every place replaced; line numbers stay."""
        return re.sub(self.pattern, self._in_as_many_lines, text)

    def _in_as_many_lines(self, match: re.Match[str]) -> str:
        new = match.expand(self.replacement)
        return new + "\n" * (match[0].count("\n") - new.count("\n"))


RULES = (
    # a generator's frame is linked to its caller's: the function returns a new reference
    Insides(
        pattern=r"Py_X?INCREF\((?P<thread>\w+)->frame\);(?P<between>\s*assert\(\w+->f_back == NULL\);)?(?P<gap>\s*)"
        r"(?P<frame>\w+)->f_back = (?P=thread)->frame;",
        replacement=r"\g<between>\g<gap>\g<frame>->f_back = PyThreadState_GetFrame(\g<thread>);",
        since=(3, 11),
    ),
    # the traceback of the exception being raised
    Insides(
        pattern=r"PyThreadState ?\*(?P<thread>\w+) = __Pyx_PyThreadState_Current;\s*"
        r"PyObject ?\* ?(?P<old>\w+) = (?P=thread)->curexc_traceback;\s*"
        r"if \((?P<tb>\w+) != (?P=old)\) \{\s*Py_INCREF\((?P=tb)\);\s*(?P=thread)->curexc_traceback = (?P=tb);\s*"
        r"Py_XDECREF\((?P=old)\);\s*\}",
        replacement=r"PyObject *kiln_type, *kiln_value, *\g<old>; PyErr_Fetch(&kiln_type, &kiln_value, &\g<old>);"
        r" Py_INCREF(\g<tb>); PyErr_Restore(kiln_type, kiln_value, \g<tb>); Py_XDECREF(\g<old>);",
        since=(3, 12),
    ),
)


def without_insides(text: str, python: PythonTag) -> str:
    """Return generated C that compiles where `python` has no such members any more; any other text as it is."""
    for rule in RULES:
        if (python.major, python.minor) >= rule.since:
            text = rule.rewrite(text)
    return text
