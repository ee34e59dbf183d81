# cython: language_level=3
# cython: binding=True, embedsignature=True, freethreading_compatible=True
"""The memory of arrays: whether kernels can use it as it is, and arrays in reused memory or in that of other libraries.

Arrays in reused memory own their data like any other, through NumPy's allocator hook (NEP 49).  `memory.h` describes
that memory, and when the system may reclaim it.
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
    static int unpool_plain_dtype(PyObject *array) {
        const int plain = PyArray_CheckExact(array) && PyArray_ISCARRAY_RO((PyArrayObject *)array);
        return plain ? PyArray_TYPE((PyArrayObject *)array) : -1;
    }
    static PyObject *unpool_array_at(PyObject *owner, void *address, int dimensions, npy_intp *shape, PyObject *dtype) {
        PyObject *array;
        if (!PyArray_DescrCheck(dtype)) {
            PyErr_Format(PyExc_TypeError, "expected a numpy.dtype, got %R", dtype);
            return NULL;
        }
        Py_INCREF(dtype); /* PyArray_NewFromDescr takes a reference of its own */
        array = PyArray_NewFromDescr(
            &PyArray_Type, (PyArray_Descr *)dtype, dimensions, shape, NULL, address, NPY_ARRAY_C_CONTIGUOUS, NULL);
        if (array == NULL) return NULL;
        PyArray_UpdateFlags((PyArrayObject *)array, NPY_ARRAY_UPDATE_ALL);
        Py_INCREF(owner); /* so does PyArray_SetBaseObject */
        if (PyArray_SetBaseObject((PyArrayObject *)array, owner) < 0) { Py_DECREF(array); return NULL; }
        return array;
    }
    """
    int _import_array() except -1
    object PyDataMem_SetHandler(object)
    object unpool_handler_capsule()
    const void *unpool_block_of(object, object)
    int unpool_plain_dtype(object)
    object unpool_array_at(object, void *, int, Py_ssize_t *, object)

_import_array()
cdef object HANDLER = unpool_handler_capsule()

cdef enum:
    # A batch, channels and three axes.
    MOST_DIMENSIONS = 5

__all__ = ["array_at", "empty", "keep", "plain_dtype", "recycles", "release"]


def plain_dtype(array):
    """Return the number of an array's dtype, or -1 unless the array is plain.

    A plain array is a `numpy.ndarray` proper, C-contiguous, aligned and in native byte order.
    """
    return unpool_plain_dtype(array)


def array_at(owner, size_t address, shape, dtype):
    """Return a read-only array on the memory at an address, which `owner` keeps while the array is in use.

    The memory must hold that many elements, C-contiguous; `dtype` is a `numpy.dtype`.
    """
    cdef Py_ssize_t[MOST_DIMENSIONS] sizes
    cdef int dimensions = len(shape), axis
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"expected at most {MOST_DIMENSIONS} dimensions, got {dimensions}")
    for axis in range(dimensions):
        sizes[axis] = shape[axis]
    return unpool_array_at(owner, <void *> address, dimensions, sizes, dtype)


def recycles():
    """Return True if memory is reused on this system; elsewhere `empty` calls `numpy.zeros`."""
    return UNPOOL_RECYCLES


def empty(tuple shape, dtype):
    """Return an uninitialised array, and True if its memory was in use before; fresh memory is zero."""
    cdef const void *block
    if not UNPOOL_RECYCLES:
        return numpy.zeros(shape, dtype), False
    # Each of these calls may run finalizers, which may allocate with this handler or set another one.
    other = PyDataMem_SetHandler(HANDLER)
    try:
        array = numpy.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(other)
    block = unpool_block_of(array, HANDLER)
    return array, block == NULL or unpool_used(block)


def release():
    """Unmap the kept blocks, and return their size in bytes."""
    return unpool_release()


def keep(bint keeps):
    """Keep freed blocks from now on, or else unmap those kept now and keep none; return the previous setting."""
    return bool(unpool_keep(keeps))
