# cython: language_level=3
# cython: binding=True, embedsignature=True, freethreading_compatible=True
"""Arrays in memory that is used again, by NumPy's door for allocators (NEP 49): they own their data as any other does.

`memory.h` says where it comes from, and when the system may have it back.
"""

import numpy

cdef extern from "memory.h":
    const bint UNPOOL_RECYCLES
    bint unpool_used(const void *)
    size_t unpool_release()
    bint unpool_keep(bint)
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
    static void *unpool_block_of(PyObject *array, PyObject *handler) {
        return PyArray_HANDLER((PyArrayObject *)array) == handler ? PyArray_DATA((PyArrayObject *)array) : NULL;
    }
    """
    int _import_array() except -1
    object PyDataMem_SetHandler(object)
    object unpool_handler_capsule()
    const void *unpool_block_of(object, object)

_import_array()
cdef object HANDLER = unpool_handler_capsule()

__all__ = ["empty", "keep", "recycles", "release"]


def recycles():
    """Whether this system has what it takes; elsewhere, `empty` is NumPy's."""
    return UNPOOL_RECYCLES


def empty(tuple shape, dtype):
    """Return an array that is not initialised, and whether its memory was in use before: if not, it is zero."""
    cdef const void *block
    if not UNPOOL_RECYCLES:
        return numpy.zeros(shape, dtype), False
    # Each of these calls may run finalizers, which allocate under this handler or set another one.
    other = PyDataMem_SetHandler(HANDLER)
    try:
        array = numpy.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(other)
    block = unpool_block_of(array, HANDLER)
    return array, block == NULL or unpool_used(block)


def release():
    """Unmap what is kept, and return how many bytes it had."""
    return unpool_release()


def keep(bint keeps):
    """Keep the memory of results that are gone, or none, what is kept now included; return what was so before."""
    return bool(unpool_keep(keeps))
