# The kernel for the dtypes of a call.
#
# Kernels are fused functions.  Cython compiles each once for every pair of an element type and an index type.  It
# selects by the types of the first two arguments, which are null pointers.  A dtype is a number at run time, so an `if`
# names each type once.  C compiles it to a jump table, which is used once a chunk of tasks.  There are two lists here,
# and that of pooling in pooling.h:
#
#     move_by_size     5 words   moving a value depends on its size only
#     add_by_dtype    11 types   signed integers are added as unsigned ones: two's complement
#     loops_for       12 types   bool is ordered as uint8; complex has no order

cdef dict KINDS = {
    "bool": BOOL, "int8": INT8, "int16": INT16, "int32": INT32, "int64": INT64,
    "uint8": UINT8, "uint16": UINT16, "uint32": UINT32, "uint64": UINT64,
    "float16": FLOAT16, "bfloat16": BFLOAT16, "float32": FLOAT32, "float64": FLOAT64,
    "complex64": COMPLEX64, "complex128": COMPLEX128,
}


cdef inline Py_ssize_t itemsize_of(Kind kind) noexcept nogil:
    if kind == BOOL or kind == INT8 or kind == UINT8:
        return 1
    if kind == INT16 or kind == UINT16 or kind == FLOAT16 or kind == BFLOAT16:
        return 2
    if kind == INT32 or kind == UINT32 or kind == FLOAT32:
        return 4
    return 16 if kind == COMPLEX128 else 8


cdef void do_chunk(const Job *job, const Chunk *chunk) noexcept nogil:
    """Run a chunk of tasks."""
    if job.operation == POOL:
        pool_chunk(job, chunk)
    elif job.by_taps:
        do_indexed_chunk(<uint8_t *> NULL, job, chunk)
    elif job.index_bytes == 4:
        do_indexed_chunk(<int32_t *> NULL, job, chunk)
    else:
        do_indexed_chunk(<int64_t *> NULL, job, chunk)


cdef inline void do_indexed_chunk(index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    if job.operation == SCATTER and job.duplicates == SUM:
        add_by_dtype(index_kind, job, chunk)
    else:
        move_by_size(index_kind, job, chunk)


cdef inline void move_by_size(index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    if job.itemsize == 1:
        move(<word8 *> NULL, index_kind, job, chunk)
    elif job.itemsize == 2:
        move(<word16 *> NULL, index_kind, job, chunk)
    elif job.itemsize == 4:
        move(<word32 *> NULL, index_kind, job, chunk)
    elif job.itemsize == 8:
        move(<word64 *> NULL, index_kind, job, chunk)
    else:
        move(<word128 *> NULL, index_kind, job, chunk)


cdef inline void move(word *kind, index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    if job.operation == GATHER:
        gather_chunk(kind, index_kind, job, chunk)
    else:
        scatter_chunk(kind, index_kind, job, chunk)


cdef inline void add_by_dtype(index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    if job.kind == BOOL:
        scatter_chunk(<boolean *> NULL, index_kind, job, chunk)
    elif job.kind == INT8 or job.kind == UINT8:
        scatter_chunk(<uint8_t *> NULL, index_kind, job, chunk)
    elif job.kind == INT16 or job.kind == UINT16:
        scatter_chunk(<uint16_t *> NULL, index_kind, job, chunk)
    elif job.kind == INT32 or job.kind == UINT32:
        scatter_chunk(<uint32_t *> NULL, index_kind, job, chunk)
    elif job.kind == INT64 or job.kind == UINT64:
        scatter_chunk(<uint64_t *> NULL, index_kind, job, chunk)
    elif job.kind == FLOAT16:
        scatter_chunk(<half *> NULL, index_kind, job, chunk)
    elif job.kind == BFLOAT16:
        scatter_chunk(<bfloat16 *> NULL, index_kind, job, chunk)
    elif job.kind == FLOAT32:
        scatter_chunk(<float *> NULL, index_kind, job, chunk)
    elif job.kind == FLOAT64:
        scatter_chunk(<double *> NULL, index_kind, job, chunk)
    elif job.kind == COMPLEX64:
        scatter_chunk(<complex64 *> NULL, index_kind, job, chunk)
    else:
        scatter_chunk(<complex128 *> NULL, index_kind, job, chunk)
