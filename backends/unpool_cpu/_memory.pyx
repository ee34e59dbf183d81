# cython: language_level=3
# cython: binding=True, embedsignature=True, freethreading_compatible=True
"""Arrays in memory that is used again, by NumPy's door for allocators (NEP 49): they own their data as any other does.

`memory.h` says where it comes from, and when the system may have it back.
"""

import numpy

cdef extern from "memory.h":
    const bint UNPOOL_RECYCLES
    bint unpool_used
    void unpool_release()
    void *unpool_malloc(void *, size_t)
    void *unpool_calloc(void *, size_t, size_t)
    void *unpool_realloc(void *, void *, size_t)
    void unpool_free(void *, void *, size_t)

cdef extern from *:
    """
    #define NPY_NO_DEPRECATED_API NPY_1_23_API_VERSION
    #define NPY_TARGET_VERSION NPY_1_23_API_VERSION
    #include <numpy/arrayobject.h>
    static PyDataMem_Handler unpool_handler = {
        "unpool", 1, {NULL, unpool_malloc, unpool_calloc, unpool_realloc, unpool_free}
    };
    static PyObject *unpool_handler_capsule(void) { return PyCapsule_New(&unpool_handler, "mem_handler", NULL); }
    """
    int _import_array() except -1
    object PyDataMem_SetHandler(object)
    object unpool_handler_capsule()

_import_array()
cdef object HANDLER = unpool_handler_capsule()

__all__ = ["empty", "recycles", "release"]


def recycles():
    """Whether this system has what it takes; elsewhere, `empty` is NumPy's."""
    return UNPOOL_RECYCLES


def empty(tuple shape, dtype):
    """Return an array that is not initialised, and whether its memory was in use before: if not, it is zero."""
    if not UNPOOL_RECYCLES:
        return numpy.zeros(shape, dtype), False
    other = PyDataMem_SetHandler(HANDLER)
    try:
        array = numpy.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(other)
    return array, bool(unpool_used)


def release():
    """Give back what is kept: for a process that wants its memory to look as small as it is."""
    unpool_release()
