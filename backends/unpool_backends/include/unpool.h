/* The C interface of the CPU kernels: one function for pooling, scattering and gathering.
 *
 * It needs neither Python nor the GIL, may be called from any thread, and reports by status.  A program gets it from a
 * `PyCapsule`:
 *
 *     PyObject *module = PyImport_ImportModule("unpool_backends.cpu._kernels");
 *     PyObject *capsule = PyObject_GetAttrString(module, "unpool_run_1");
 *     unpool_run_1 run = (unpool_run_1)PyCapsule_GetPointer(capsule, UNPOOL_RUN_1);
 *
 * Arrays are C-contiguous, aligned and in native byte order:
 *
 *     channels first   pooled, indices [batch, channels, pooled[0..2]]   plane [batch, channels, plane[0..2]]
 *     channels last    pooled, indices [batch, pooled[0..2], channels]   plane [batch, plane[0..2], channels]
 *
 * The three axes are depth, height and width.  For fewer axes, the first ones have kernel, stride, dilation, pooled and
 * plane 1 and padding 0.  An index of 4 or 8 bytes is the flat position of a cell in its own plane.  An index of one
 * byte is a tap of its own window, those in the padding included: (d * kernel[1] + h) * kernel[2] + w.
 *
 * The structs consist of 64-bit words and pointers.  A change of their meaning gets new names that end in _2. */
#ifndef UNPOOL_H
#define UNPOOL_H

#include <stdint.h>

#define UNPOOL_RUN_1 "unpool_backends.cpu._kernels.unpool_run_1"

enum unpool_operation {
    UNPOOL_SCATTER, /* plane = zeros; plane[index] = value, in row-major order of the indices */
    UNPOOL_GATHER,  /* value = plane[index]; zero if a later index repeats it, except with UNPOOL_SUM */
    UNPOOL_POOL     /* value = the largest of a window, index = its cell; without indices if that pointer is NULL */
};

enum unpool_duplicates {
    UNPOOL_LAST, /* the last of repeated indices wins */
    UNPOOL_SUM,  /* values add up, in row-major order */
    UNPOOL_ERROR /* a repeated index is reported */
};

enum unpool_check {
    UNPOOL_DROP,     /* a bad index, which names no cell of its plane, is skipped, and gathers zero */
    UNPOOL_IN_PLANE, /* a bad index is reported */
    UNPOOL_IN_WINDOW /* so is an index outside its own window */
};

enum unpool_kind {
    UNPOOL_BOOL,
    UNPOOL_INT8,
    UNPOOL_INT16,
    UNPOOL_INT32,
    UNPOOL_INT64,
    UNPOOL_UINT8,
    UNPOOL_UINT16,
    UNPOOL_UINT32,
    UNPOOL_UINT64,
    UNPOOL_FLOAT16,
    UNPOOL_BFLOAT16,
    UNPOOL_FLOAT32,
    UNPOOL_FLOAT64,
    UNPOOL_COMPLEX64, /* not for pooling */
    UNPOOL_COMPLEX128 /* not for pooling */
};

enum unpool_status {
    UNPOOL_DONE,
    UNPOOL_FOUND,    /* a bad or repeated index: see unpool_found_1; the result may be partly written */
    UNPOOL_NO_MEMORY,/* nothing was written */
    UNPOOL_REFUSED   /* the call breaks a rule of the next struct; nothing was written */
};

/* 24 words.  A call is refused unless
 *
 *     operation, duplicates and check are listed above, and kind is, without the complex ones for pooling;
 *     all sizes are 1 or more, and products of sizes below 2**60;
 *     kernel, stride and dilation are below 2**31, and padding <= (kernel - 1) * dilation;
 *     for pooling, each window has a tap in the plane, its taps lie at most 2**31 - 1 cells apart, and index_bytes
 *     suffice for every cell; with indices of one byte, a window has at most 256 taps;
 *     the pointers that the operation uses are not NULL, except for an empty batch. */
typedef struct {
    int64_t operation;
    int64_t kernel[3], stride[3], padding[3], dilation[3]; /* padding counts cells before the plane */
    int64_t pooled[3], plane[3];
    int64_t channels, channels_last;
    int64_t duplicates, check;
    int64_t fresh; /* 1 if results lie in memory that was not touched yet: large ones then get large pages */
} unpool_call_1;

typedef struct {
    int64_t batch, kind, index_bytes; /* 0 or more; an unpool_kind; 4, 8 or 1: int32, int64, or taps in uint8 */
    void *pooled, *indices, *plane;
} unpool_arrays_1;

/* Flat positions in the indices of the first bad and the first repeated one, in row-major order; -1 for none. */
typedef struct {
    int64_t bad, repeated;
} unpool_found_1;

/* Returns an unpool_status.  No memory is kept, and the first argument may be shared by threads. */
typedef int (*unpool_run_1)(const unpool_call_1 *, const unpool_arrays_1 *, unpool_found_1 *);

#endif
