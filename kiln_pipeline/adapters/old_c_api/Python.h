/* Python.h, and after it what C sources of older Pythons expect of it: the rung "as-of-old-c-api" puts this folder first in the
 * include path. Every name is given the meaning that it had, by what the target's own headers offer; where that cannot be done
 * (a buffer that nobody owns any more, a struct that is gone), the name stays missing and the build fails as before.
 *
 * For CPython 3.9 to 3.13. Checked on older and newer ones by their compilers only: what is known there is guarded by version.
 */
#ifndef KILN_OLD_C_API
#define KILN_OLD_C_API

/* Cython's own switches: C that it generated reads and writes no insides of CPython where a function does the same. */
#ifndef CYTHON_USE_PYLONG_INTERNALS
#define CYTHON_USE_PYLONG_INTERNALS 0
#endif
#ifndef CYTHON_USE_UNICODE_WRITER
#define CYTHON_USE_UNICODE_WRITER 0
#endif
#ifndef CYTHON_FAST_THREAD_STATE
#define CYTHON_FAST_THREAD_STATE 0
#endif
#ifndef CYTHON_USE_EXC_INFO_STACK
#define CYTHON_USE_EXC_INFO_STACK 0
#endif
#ifndef CYTHON_FAST_PYCALL
#define CYTHON_FAST_PYCALL 0
#endif
#ifndef CYTHON_FAST_PYCCALL
#define CYTHON_FAST_PYCCALL 0
#endif
#ifndef CYTHON_USE_DICT_VERSIONS
#define CYTHON_USE_DICT_VERSIONS 0
#endif
#ifndef CYTHON_FAST_GIL
#define CYTHON_FAST_GIL 0
#endif

#include_next <Python.h>

#if PY_VERSION_HEX >= 0x03090000 && !defined(PYPY_VERSION) && !defined(Py_LIMITED_API)

/* tp_print became tp_vectorcall_offset in 3.8; what sources write there is 0, which means the same to both */
#define tp_print tp_vectorcall_offset

#ifndef _PyGC_FINALIZED
#define _PyGC_FINALIZED(op) PyObject_GC_IsFinalized((PyObject *)(op))
#endif
#ifndef _PyObject_GC_TRACK
#define _PyObject_GC_TRACK(op) PyObject_GC_Track((PyObject *)(op))
#define _PyObject_GC_UNTRACK(op) PyObject_GC_UnTrack((PyObject *)(op))
#endif

#if PY_VERSION_HEX >= 0x030A0000

/* Floats became public in 3.11, with char for unsigned char. */
#if PY_VERSION_HEX >= 0x030B0000
#define _PyFloat_Pack2(x, p, le) PyFloat_Pack2(x, (char *)(p), le)
#define _PyFloat_Pack4(x, p, le) PyFloat_Pack4(x, (char *)(p), le)
#define _PyFloat_Pack8(x, p, le) PyFloat_Pack8(x, (char *)(p), le)
#define _PyFloat_Unpack2(p, le) PyFloat_Unpack2((const char *)(p), le)
#define _PyFloat_Unpack4(p, le) PyFloat_Unpack4((const char *)(p), le)
#define _PyFloat_Unpack8(p, le) PyFloat_Unpack8((const char *)(p), le)
#endif

/* Until 3.9 these could be assigned to. */
#ifndef Py_GIL_DISABLED
#undef Py_REFCNT
#define Py_REFCNT(ob) (((PyObject *)(ob))->ob_refcnt)
#endif
#undef Py_TYPE
#define Py_TYPE(ob) (((PyObject *)(ob))->ob_type)
#undef Py_SIZE
#define Py_SIZE(ob) (((PyVarObject *)(ob))->ob_size)

/* The buffer functions of Python 2, gone in 3.10, as 3.9 had them. */
static inline int kiln_PyObject_AsBuffer(PyObject *obj, const void **buffer, Py_ssize_t *length, int flags)
{
    Py_buffer view;
    if (PyObject_GetBuffer(obj, &view, flags) != 0)
        return -1;
    *buffer = view.buf;
    *length = view.len;
    PyBuffer_Release(&view);
    return 0;
}
#define PyObject_AsReadBuffer(obj, buffer, length) kiln_PyObject_AsBuffer(obj, (const void **)(buffer), length, PyBUF_SIMPLE)
#define PyObject_AsCharBuffer(obj, buffer, length) kiln_PyObject_AsBuffer(obj, (const void **)(buffer), length, PyBUF_SIMPLE)
#define PyObject_AsWriteBuffer(obj, buffer, length) kiln_PyObject_AsBuffer(obj, (const void **)(buffer), length, PyBUF_WRITABLE)
#define PyObject_CheckReadBuffer(obj) PyObject_CheckBuffer(obj)

static inline PyObject *kiln_PyGen_Send(PyObject *generator, PyObject *value)
{
    return PyObject_CallMethod(generator, "send", "(O)", value != NULL ? value : Py_None);
}
#define _PyGen_Send(generator, value) kiln_PyGen_Send((PyObject *)(generator), value)

#endif /* 3.10 */

#if PY_VERSION_HEX >= 0x030B0000

#ifndef Py_TRASHCAN_SAFE_BEGIN
#define Py_TRASHCAN_SAFE_BEGIN(op) Py_TRASHCAN_BEGIN(op, Py_TYPE(op)->tp_dealloc)
#define Py_TRASHCAN_SAFE_END(op) Py_TRASHCAN_END
#endif

/* The line of a frame that a module made for a traceback, and what tracers set: struct _frame begins so in 3.11, 3.12 and 3.13. */
#if PY_VERSION_HEX < 0x030E0000 && !defined(Py_BUILD_CORE)
struct _frame {
    PyObject_HEAD
    PyFrameObject *f_back;
    void *f_frame;
    PyObject *f_trace;
    int f_lineno;
    char f_trace_lines;
    char f_trace_opcodes;
};
#endif

/* The 15 arguments of before 3.11. Modules make codes without bytecode, for tracebacks and __code__: they get that of CPython's
 * own empty code, whose every place is the first line, since tracebacks ask the code for lines and positions. */
static inline PyCodeObject *kiln_PyCode_New(
    int argcount, int posonly, int kwonly, int nlocals, int stacksize, int flags, PyObject *code, PyObject *consts, PyObject *names,
    PyObject *varnames, PyObject *freevars, PyObject *cellvars, PyObject *filename, PyObject *name, int line, PyObject *lines)
{
    PyCodeObject *made = NULL, *empty = NULL;
    PyObject *no_exceptions = PyBytes_FromStringAndSize(NULL, 0), *bytecode = NULL, *positions = NULL;
    if (PyBytes_Check(code) && PyBytes_GET_SIZE(code) == 0) {
        empty = PyCode_NewEmpty("", "", line);
        bytecode = empty != NULL ? PyObject_GetAttrString((PyObject *)empty, "co_code") : NULL;
        positions = bytecode != NULL ? PyObject_GetAttrString((PyObject *)empty, "co_linetable") : NULL;
        stacksize = stacksize > 0 ? stacksize : 1;
    } else {
        Py_INCREF(code);
        bytecode = code;
        Py_INCREF(lines);
        positions = lines;
    }
    if (no_exceptions != NULL && positions != NULL) {
#if PY_VERSION_HEX >= 0x030C0000
        made = PyUnstable_Code_NewWithPosOnlyArgs(
#else
        made = PyCode_NewWithPosOnlyArgs(
#endif
            argcount, posonly, kwonly, nlocals, stacksize, flags, bytecode, consts, names, varnames, freevars, cellvars, filename,
            name, name, line, positions, no_exceptions);
    }
    Py_XDECREF(no_exceptions);
    Py_XDECREF(bytecode);
    Py_XDECREF(positions);
    Py_XDECREF((PyObject *)empty);
    return made;
}
/* ... and the 16 of 3.8's first alphas, which some Cythons took for those of 3.8 */
#define KILN_CODE_OF_15(a, ...) kiln_PyCode_New(a, 0, __VA_ARGS__)
#define KILN_17TH(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, which, ...) which
#undef PyCode_New
#define PyCode_New(...) KILN_17TH(__VA_ARGS__, kiln_PyCode_New, KILN_CODE_OF_15, 0)(__VA_ARGS__)
#undef PyCode_NewWithPosOnlyArgs
#define PyCode_NewWithPosOnlyArgs(a, p, k, l, s, f, code, c, n, v, fv, cell, fn, name, line, lines) \
    kiln_PyCode_New(a, p, k, l, s, f, code, c, n, v, fv, cell, fn, name, line, lines)

#endif /* 3.11 */

#if PY_VERSION_HEX >= 0x030C0000

/* Strings have had one form only since 3.12: always ready, and Py_UNICODE is wchar_t. */
#define _PyUnicode_Ready(op) ((void)(op), 0)
#ifndef PyUnicode_WCHAR_KIND
#define PyUnicode_WCHAR_KIND 0
#endif
#if SIZEOF_WCHAR_T == 4
#ifndef PyUnicode_GET_SIZE
#define PyUnicode_GET_SIZE(op) PyUnicode_GET_LENGTH(op)
#define PyUnicode_GetSize(op) PyUnicode_GetLength(op)
#endif
#define PyUnicode_FromUnicode(text, size) ((text) != NULL ? PyUnicode_FromWideChar(text, size) : PyUnicode_New(size, 0x10FFFF))
#define PyUnicode_EncodeUTF8(text, size, errors) kiln_PyUnicode_EncodeUTF8(text, size, errors)
static inline PyObject *kiln_PyUnicode_EncodeUTF8(const wchar_t *text, Py_ssize_t size, const char *errors)
{
    PyObject *string = PyUnicode_FromWideChar(text, size);
    PyObject *encoded = string != NULL ? PyUnicode_AsEncodedString(string, "utf-8", errors) : NULL;
    Py_XDECREF(string);
    return encoded;
}
#endif

#endif /* 3.12 */

#if PY_VERSION_HEX >= 0x030D0000

/* Called like this until 3.12. */
#ifndef PyEval_CallObjectWithKeywords
static inline PyObject *kiln_PyEval_CallObjectWithKeywords(PyObject *callable, PyObject *args, PyObject *kwargs)
{
    PyObject *made = args == NULL ? PyTuple_New(0) : NULL;
    PyObject *result = args != NULL || made != NULL ? PyObject_Call(callable, args != NULL ? args : made, kwargs) : NULL;
    Py_XDECREF(made);
    return result;
}
#define PyEval_CallObjectWithKeywords(callable, args, kwargs) kiln_PyEval_CallObjectWithKeywords(callable, args, kwargs)
#define PyEval_CallObject(callable, args) kiln_PyEval_CallObjectWithKeywords(callable, args, NULL)
#define PyEval_CallFunction PyObject_CallFunction
#define PyEval_CallMethod PyObject_CallMethod
#endif
#ifndef PyCFunction_Call
#define PyCFunction_Call PyObject_Call
#endif

/* Names that became public, or private to the interpreter with a public one beside them. */
#define _PyThreadState_UncheckedGet PyThreadState_GetUnchecked
#define KILN_FIRST(first, ...) first
#define _PyLong_AsByteArray(value, bytes, size, little_endian, ...) \
    _PyLong_AsByteArray((PyLongObject *)(value), bytes, size, little_endian, KILN_FIRST(__VA_ARGS__, 0), 1)
#define _PyDict_NewPresized(size) PyDict_New()
#ifndef _PyDict_SetItem_KnownHash
#define _PyDict_SetItem_KnownHash(dict, key, value, hash) PyDict_SetItem(dict, key, value)
#endif
#ifndef _PyDict_GetItem_KnownHash
#define _PyDict_GetItem_KnownHash(dict, key, hash) PyDict_GetItemWithError(dict, key)
#endif
static inline PyObject *kiln_PyList_Extend(PyListObject *list, PyObject *values)
{
    return PyList_Extend((PyObject *)list, values) == 0 ? Py_NewRef(Py_None) : NULL;
}
#define _PyList_Extend(list, values) kiln_PyList_Extend(list, values)
static inline PyObject *kiln_PyDict_Pop(PyObject *dict, PyObject *key, PyObject *otherwise)
{
    PyObject *value = NULL;
    int found = PyDict_Pop(dict, key, &value);
    if (found == 0 && otherwise != NULL)
        return Py_NewRef(otherwise);
    if (found == 0)
        PyErr_SetObject(PyExc_KeyError, key);
    return value;
}
#define _PyDict_Pop(dict, key, otherwise) kiln_PyDict_Pop(dict, key, otherwise)
#ifndef _Py_HashPointer
#define _Py_HashPointer Py_HashPointer
#endif

#endif /* 3.13 */

#endif /* 3.9 and later, CPython */
#endif /* KILN_OLD_C_API */
