/* Cython 0.29 wants no more of this header than the line of a frame, which the Python.h beside this folder gives. */
#include <Python.h>
