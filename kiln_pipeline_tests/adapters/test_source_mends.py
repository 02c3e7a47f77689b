"""What a strategy changes in an sdist, the header for C API that is gone, and the program that loads a wheel's modules."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters import load_check
from kiln_pipeline.adapters.interpreters import find_interpreters
from kiln_pipeline.adapters.source_mends import OLD_C_API, compiler_flags, header_material, mend_source, mends_source
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.core.strategies import Strategy
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of

OLD_C = r"""
#define PY_SSIZE_T_CLEAN
#include "Python.h"
#include "frameobject.h"
#include "longintrepr.h"

static PyObject *made_with_what_is_gone(PyObject *self, PyObject *value)
{
    unsigned char bytes[4] = {0};
    PyObject *line, *code, *empty = PyTuple_New(0), *text = PyUnicode_FromString("a_module.py"), *none = PyBytes_FromString("");
    PyFrameObject *frame;
    Py_ssize_t length = 0;
    const char *read = NULL;
    code = (PyObject *)PyCode_New(0, 0, 0, 0, 0, none, empty, empty, empty, empty, empty, text, text, 7, none);
    frame = PyFrame_New(PyThreadState_Get(), (PyCodeObject *)code, PyEval_GetGlobals(), NULL);
    if (frame == NULL)
        return NULL;
    frame->f_lineno = 42;
    line = PyLong_FromLong(PyFrame_GetLineNumber(frame));
    if (_PyLong_AsByteArray((PyLongObject *)value, bytes, 4, 1, 1) < 0 || PyObject_AsCharBuffer(none, &read, &length) < 0)
        return NULL;
    Py_REFCNT(line) += 1;
    Py_REFCNT(line) -= 1;
    return Py_BuildValue("(NiNn)", line, (int)bytes[0], PyEval_CallObject((PyObject *)&PyList_Type, NULL), length);
}

static PyTypeObject Odd = {PyVarObject_HEAD_INIT(NULL, 0) "odd.Odd"};
static PyMethodDef methods[] = {{"made", made_with_what_is_gone, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "odd", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_odd(void)
{
    Odd.tp_print = 0;
    Py_TYPE(&Odd) = &PyType_Type;
    return PyModule_Create(&definition);
}
"""
"""C as it was written until 3.8: every line of it is refused by one of 3.9 to 3.13."""


def test_a_plain_strategy_changes_nothing(tmp_path: Path) -> None:
    plan = plan_of(MARKUPSAFE)
    mend_source(tmp_path, plan, log=tmp_path / "log")
    assert not mends_source(plan)
    assert (list(tmp_path.iterdir()), compiler_flags(plan, "/project"), header_material(plan)) == ([], "", ())


def test_requirements_and_header_are_laid_into_the_source_with_the_sdists_times(tmp_path: Path) -> None:
    """So that a build of the changed source can be repeated to the byte; the header is a material of its own."""
    plan = replace(plan_of(MARKUPSAFE), strategy=Strategy(adds=("numpy",), old_c_api=True))
    (tmp_path / "source").mkdir()
    mend_source(tmp_path / "source", plan, log=tmp_path / "log")
    assert (tmp_path / "log").read_text() == "kiln: numpy added to the build requirements of the sdist\n"
    assert '"numpy", "setuptools"' in (tmp_path / "source" / "pyproject.toml").read_text()
    headers = sorted((tmp_path / "source" / ".kiln-old-c-api").rglob("*.h"))
    assert [path.name for path in headers] == ["Python.h", "pycore_frame.h", "longintrepr.h"]
    assert {int(path.stat().st_mtime) for path in headers} == {plan.source_date_epoch}
    assert compiler_flags(plan, "/project") == "-I/project/.kiln-old-c-api"
    assert [(item.name, item.kind, len(item.sha256)) for item in header_material(plan)] == [("kiln-old-c-api", "header", 64)]


def test_a_pyproject_that_cannot_be_added_to_is_left_alone_and_the_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[build-system]\nbackend-path = []\n")
    mend_source(tmp_path, replace(plan_of(MARKUPSAFE), strategy=Strategy(adds=("numpy",))), log=tmp_path / "log")
    assert "no requirement is added" in (tmp_path / "log").read_text()
    assert (tmp_path / "pyproject.toml").read_text() == "[build-system]\nbackend-path = []\n"


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_c_of_python_3_8_compiles_and_means_the_same_on_every_python_here(tmp_path: Path, compiler: str) -> None:
    """Codes, frames, integers, buffers, calls, types and reference counts, on each interpreter of this host from 3.9 to 3.13."""
    (tmp_path / "odd.c").write_text(OLD_C)
    found = [one for one in find_interpreters() if one.has_headers and (3, 9) <= (one.tag.major, one.tag.minor) <= (3, 13)]
    assert found, "no interpreter with headers"
    for interpreter in found:
        ask = "import sysconfig; print(sysconfig.get_path('include')); print(sysconfig.get_config_var('EXT_SUFFIX'))"
        include, suffix = subprocess.check_output([interpreter.path, "-c", ask], text=True).split()
        folder = tmp_path / str(interpreter.tag)
        folder.mkdir()
        language = ["-x", "c++", "-fpermissive"] if compiler == "g++" else []
        command = [compiler, *language, "-shared", "-fPIC", f"-I{OLD_C_API}", f"-I{include}", tmp_path / "odd.c"]
        subprocess.run([*command, "-o", folder / f"odd{suffix}"], check=True, capture_output=True)
        use = "import json, odd; print(json.dumps(odd.made(5)))"
        answer = subprocess.check_output([interpreter.path, "-c", use], cwd=folder, text=True)
        line = 42 if interpreter.tag.minor > 9 else 7  # 3.9 asks a frame that is not traced for its code's line
        assert json.loads(answer) == [line, 5, [], 0], interpreter.tag


OLD_PYX = """
import sys

def numbers():
    try:
        raise ValueError("inside")
    except ValueError:
        yield sys._getframe() is not None
        yield 2

def raised_again():
    try:
        raise KeyError("first")
    except KeyError:
        kind, value, trace = sys.exc_info()
    raise kind, value, trace
"""
USE = """
import odd, traceback
print(list(odd.numbers()))
try:
    odd.raised_again()
except KeyError as error:
    print(error, [(frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)[1:]])
"""


@pytest.mark.slow
def test_c_that_cython_0_29_21_generated_runs_on_every_python_here(tmp_path: Path, tools_folder: Path) -> None:
    """A generator that yields while it handles an exception, and a traceback raised again: both went inside a thread's state."""
    python = ToolEnvironments(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, host=os.environ).python(
        "cython-0.29.21", ("Cython==0.29.21",)
    )
    (tmp_path / "odd.pyx").write_text(OLD_PYX)
    subprocess.run([python, "-I", "-m", "cython", "-2", "odd.pyx"], cwd=tmp_path, check=True, capture_output=True)
    found = [one for one in find_interpreters() if one.has_headers and (3, 11) <= (one.tag.major, one.tag.minor) <= (3, 13)]
    assert found, "no interpreter with headers"
    for interpreter in found:
        folder = tmp_path / str(interpreter.tag)
        folder.mkdir()
        copyfile(tmp_path / "odd.c", folder / "odd.c")
        plan = plan_of(MARKUPSAFE, f"{interpreter.tag}-manylinux_x86_64")
        mend_source(folder, replace(plan, strategy=Strategy(old_c_api=True)), log=tmp_path / "log")
        ask = "import sysconfig; print(sysconfig.get_path('include')); print(sysconfig.get_config_var('EXT_SUFFIX'))"
        include, suffix = subprocess.check_output([interpreter.path, "-c", ask], text=True).split()
        command = ["gcc", "-shared", "-fPIC", "-O1", f"-I{OLD_C_API}", f"-I{include}", "odd.c", "-o", f"odd{suffix}"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        answer = subprocess.check_output([interpreter.path, "-c", USE], cwd=folder, text=True)
        assert answer == "[True, 2]\n'first' [('odd.raised_again', 16), ('odd.raised_again', 13)]\n", interpreter.tag


def wheel_with(tmp_path: Path, source: str) -> Path:
    """A folder with a wheel whose only module, compiled for this Python, is `source`."""
    (tmp_path / "m.c").write_text(source)
    name = f"m{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = ["gcc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", tmp_path / "m.c", "-o", tmp_path / name]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "dist").mkdir()
    with zipfile.ZipFile(tmp_path / "dist" / "m-1-py3-none-any.whl", "w") as archive:
        archive.write(tmp_path / name, name)
    return tmp_path / "dist"


START = '#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "m"};\nPyMODINIT_FUNC PyInit_m(void) '


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words", "status", "said"),
    [
        ("{ return PyModule_Create(&d); }", [], 0, ""),
        ("{ PyGone_Call(); return PyModule_Create(&d); }", [], 1, "kiln: the wheel does not load: m: ImportError: "),
        ('{ return PyErr_Format(PyExc_OSError, "no display"); }', [], 0, "kiln: not imported here: m: OSError: no display"),
        ('{ return PyErr_Format(PyExc_OSError, "no display"); }', ["strict"], 1, "does not load: m: OSError: no display"),
        ('{ return PyImport_ImportModule("elsewhere"); }', ["strict"], 0, ""),
        ('{ PyGone_Call(); return PyImport_ImportModule("elsewhere"); }', [], 1, "undefined symbol: PyGone_Call"),
    ],
)
def test_a_module_that_misses_a_symbol_fails_the_build(
    tmp_path: Path, body: str, words: list[str], status: int, said: str
) -> None:
    """Compilers only warn. Other exceptions at import count for the strict; another project's absence means nothing."""
    folder = wheel_with(tmp_path, START.replace("PyMODINIT", "extern void *PyGone_Call(void);\nPyMODINIT") + body)
    ended = subprocess.run(
        [sys.executable, "-I", load_check.__file__, folder, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == status, ended.stderr
    assert said in ended.stdout + ended.stderr
