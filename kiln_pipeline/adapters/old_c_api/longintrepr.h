/* Python 3.11 moved this header; Python.h includes it there. */
#include <Python.h>
#if PY_VERSION_HEX < 0x030B0000
#include_next <longintrepr.h>
#endif
