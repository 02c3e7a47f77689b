"""Generated C that reaches into a thread's state, as real sdists have it (Cython 0.29.10 and 0.29.14)."""

import pytest

from kiln_pipeline.core.cython_insides import without_insides
from kiln_pipeline.core.platforms import PythonTag

GENERATOR = """        if (exc_state->exc_traceback) {
            PyTracebackObject *tb = (PyTracebackObject *) exc_state->exc_traceback;
            PyFrameObject *f = tb->tb_frame;
            Py_XINCREF(tstate->frame);
            assert(f->f_back == NULL);
            f->f_back = tstate->frame;
        }
"""
RAISE = """        PyThreadState *tstate = __Pyx_PyThreadState_Current;
        PyObject* tmp_tb = tstate->curexc_traceback;
        if (tb != tmp_tb) {
            Py_INCREF(tb);
            tstate->curexc_traceback = tb;
            Py_XDECREF(tmp_tb);
        }
"""


@pytest.mark.parametrize("text", [GENERATOR, RAISE], ids=["generator", "raise"])
def test_no_member_that_is_gone_is_left_and_every_line_keeps_its_number(text: str) -> None:
    new = without_insides(text, PythonTag.parse("cp312"))
    assert ("tstate->" in new, new.count("\n")) == (False, text.count("\n"))


def test_a_frame_is_owned_as_before() -> None:
    """The function returns a new reference, so nothing is counted up by hand."""
    new = without_insides(GENERATOR, PythonTag.parse("cp311"))
    assert "f->f_back = PyThreadState_GetFrame(tstate);" in new
    assert "Py_XINCREF" not in new


@pytest.mark.parametrize(("text", "python"), [(GENERATOR, "cp310"), (RAISE, "cp311"), ("x->frame = 1;\n", "cp313")])
def test_what_the_python_has_or_nobody_generated_stays(text: str, python: str) -> None:
    assert without_insides(text, PythonTag.parse(python)) == text
