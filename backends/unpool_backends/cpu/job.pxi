# The arguments of every kernel: the element types, the sizes of a call, and how it is cut into strips.

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define UNPOOL_OPENMP _OPENMP
    #else
    #define UNPOOL_OPENMP 0
    #define omp_get_max_threads() 1
    #endif
    #if defined(__GNUC__)
    #define unpool_prefetch(address) __builtin_prefetch((const void *)(address))
    #define UNPOOL_INLINED __attribute__((always_inline))
    #define UNPOOL_OUTLINED __attribute__((noinline))
    #else
    #define UNPOOL_OUTLINED
    #define unpool_prefetch(address) ((void)(address))
    #define UNPOOL_INLINED
    #endif
    /* `outlined`: functions that are not inlined, so that their loops share no registers with the caller.
     * `cloned`: such functions, compiled twice where the loader can select by processor: one wheel serves every x86-64,
     * and uses AVX2 where the processor has it. */
    #define UNPOOL_CLONED
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
    #if __has_attribute(target_clones)
    #undef UNPOOL_CLONED
    #define UNPOOL_CLONED __attribute__((target_clones("avx2", "default")))
    #endif
    #endif
    """
    ctypedef void cloned "UNPOOL_CLONED void"
    ctypedef void inlined "UNPOOL_INLINED void"
    ctypedef void outlined "UNPOOL_OUTLINED void"
    const int UNPOOL_OPENMP
    int omp_get_max_threads() nogil
    void prefetch "unpool_prefetch"(size_t) noexcept nogil


cdef extern from "unpool.h":
    ctypedef struct Call "unpool_call_1":
        int64_t operation
        int64_t[3] kernel
        int64_t[3] stride
        int64_t[3] padding
        int64_t[3] dilation
        int64_t[3] pooled
        int64_t[3] plane
        int64_t channels
        int64_t channels_last
        int64_t duplicates
        int64_t check
        int64_t fresh
    ctypedef struct Arrays "unpool_arrays_1":
        int64_t batch
        int64_t kind
        int64_t index_bytes
        void *pooled
        void *indices
        void *plane
    ctypedef struct Positions "unpool_found_1":
        int64_t bad
        int64_t repeated
    ctypedef enum Operation "enum unpool_operation":
        SCATTER "UNPOOL_SCATTER"
        GATHER "UNPOOL_GATHER"
        POOL "UNPOOL_POOL"
    ctypedef enum Duplicates "enum unpool_duplicates":
        LAST "UNPOOL_LAST"
        SUM "UNPOOL_SUM"
        ERROR "UNPOOL_ERROR"
    ctypedef enum Check "enum unpool_check":
        DROP "UNPOOL_DROP"
        IN_PLANE "UNPOOL_IN_PLANE"
        IN_WINDOW "UNPOOL_IN_WINDOW"
    ctypedef enum Kind "enum unpool_kind":
        BOOL "UNPOOL_BOOL"
        INT8 "UNPOOL_INT8"
        INT16 "UNPOOL_INT16"
        INT32 "UNPOOL_INT32"
        INT64 "UNPOOL_INT64"
        UINT8 "UNPOOL_UINT8"
        UINT16 "UNPOOL_UINT16"
        UINT32 "UNPOOL_UINT32"
        UINT64 "UNPOOL_UINT64"
        FLOAT16 "UNPOOL_FLOAT16"
        BFLOAT16 "UNPOOL_BFLOAT16"
        FLOAT32 "UNPOOL_FLOAT32"
        FLOAT64 "UNPOOL_FLOAT64"
        COMPLEX64 "UNPOOL_COMPLEX64"
        COMPLEX128 "UNPOOL_COMPLEX128"
    ctypedef enum Status "enum unpool_status":
        DONE "UNPOOL_DONE"
        FOUND "UNPOOL_FOUND"
        NO_MEMORY "UNPOOL_NO_MEMORY"
        REFUSED "UNPOOL_REFUSED"


cdef extern from "numbers.h" nogil:
    ctypedef struct half "unpool_half":
        pass
    ctypedef struct bfloat16 "unpool_bfloat16":
        pass
    ctypedef struct complex64 "unpool_complex64":
        pass
    ctypedef struct complex128 "unpool_complex128":
        pass
    ctypedef struct boolean "unpool_bool":
        pass
    ctypedef struct word8 "unpool_word8":
        pass
    ctypedef struct word16 "unpool_word16":
        pass
    ctypedef struct word32 "unpool_word32":
        pass
    ctypedef struct word64 "unpool_word64":
        pass
    ctypedef struct word128 "unpool_word128":
        pass
    half half_add "unpool_half_add"(half, half) noexcept
    bfloat16 bfloat16_add "unpool_bfloat16_add"(bfloat16, bfloat16) noexcept
    complex64 complex64_add "unpool_complex64_add"(complex64, complex64) noexcept
    complex128 complex128_add "unpool_complex128_add"(complex128, complex128) noexcept
    boolean boolean_add "unpool_bool_add"(boolean, boolean) noexcept


cdef extern from "stream.h" nogil:
    const bint STREAMS "UNPOOL_STREAMS"
    const Py_ssize_t LINE "UNPOOL_LINE"
    ctypedef struct Stream "unpool_stream":
        size_t pending
    void stream_write "unpool_stream_write"(Stream *, char *, char *, size_t) noexcept
    void stream_end "unpool_stream_end"(Stream *) noexcept
    void fence "unpool_fence"() noexcept


# Kernels move a `word`, and put an `item` into a cell: words are assigned, numbers are added.  dispatch.pxi lists their
# dtypes.
ctypedef fused word:
    word8
    word16
    word32
    word64
    word128

ctypedef fused item:
    word8
    word16
    word32
    word64
    word128
    boolean
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    half
    bfloat16
    float
    double
    complex64
    complex128

# uint8_t holds taps of windows, the others positions in the plane.
ctypedef fused index:
    uint8_t
    int32_t
    int64_t


cdef enum:
    # Taps of a window that a byte can number.
    BYTE_TAPS = 1 << 8
    # Bits of a thread's map of cells that have a value: half a megabyte.  Larger strips take several passes.
    SEEN_BITS = 1 << 22
    # How many values ahead a gather prefetches; it takes 0.85 of the time without prefetching.
    AHEAD = 64
    # Indices that a gather compares with their windows before it takes their values: they are still in cache then.
    TAKEN = 128
    # Elements of the larger side up to which a call uses one thread; from 1.5 times as many, two threads are faster.
    SERIAL = 1 << 15
    # Elements of the largest task: some milliseconds of work, since signals are checked between two tasks.  However, a
    # window is never cut: pooling one of 2**27 cells takes half a second.
    LONGEST = 1 << 21
    # Cells of a window that pooling compares in the time of moving one element.
    TAPS = 16
    # Parts per thread that a few large strips are cut into, so that others take over from a preempted thread.
    PARTS = 4
    # Elements of a chunk: a few megabytes, larger than the largest pages.  Each thread should have CHUNKS or more.
    CHUNK = 1 << 20
    CHUNKS = 8
    # Windows, or channels, that are pooled together: their values and the numbers of taps fit a first-level cache.
    TILE = 1024
    # Channels below which a row of windows is pooled channel by channel.
    FEW = 16
    # Rows of a window up to which indices are compared with it; taller windows are rare, and use the map of cells.
    MOST_ROWS = 16
    # Plans whose geometry is cached, as many as `unpool.plan` caches.
    PLANS = 1024
    # Bytes of a block of cells: with its indices and values, they fit a first-level cache twice.
    BLOCK = 1 << 13
    # The most cells of a map from a cell to its last window, which then takes 64 KB.
    MAPPED = 1 << 15
    # Blocks between two checks of `Share.stop`.
    BLOCKS = 64
    # Bytes of the stage, where a block is assembled before it is streamed out; more than BLOCK, for large windows.
    STAGE = 1 << 16
    # The most runs of cells that a streamed block has.
    STREAMED_RUNS = 16


# A double, since its square does not fit 64 bits; exact.
cdef double MOST_WORK = 1 << 60


cdef struct Found:
    # The flat positions of the first bad and the first repeated index that one thread found, or INT64_MAX.
    int64_t bad
    int64_t repeated
    int64_t _cache_line[6]


cdef struct Share:
    # The state that the threads of a call share.  The kind and number of tasks of the current round, and the next task.
    bint by_cells
    int64_t tasks
    int64_t next
    # How many threads finished the round, when it began, and when the first of them finished.
    int64_t finished
    double began
    double first_finished
    # True if signals are checked (see threads.pxi); the time of the last check; 1 if the call is stopped.
    bint watched
    double checked
    int64_t stop


cdef struct Chunk:
    # The tasks first..end-1, which a thread takes at once.
    Py_ssize_t first
    Py_ssize_t end
    int thread


cdef enum Numbers:
    # How lanes number the taps of a window (see `number_taps`).
    BY_OFFSET
    BY_TAP
    IN_GROUPS


cdef struct Bands:
    # How pooling works through a plane (see pooling.pxi).  A band has `height` rows of at most `piece` windows.  Of a
    # window, `rows` rows and `columns` columns are compared at once.
    Py_ssize_t height
    Py_ssize_t piece
    Py_ssize_t rows
    Py_ssize_t columns
    # After so many taps of a row, the next one is in the same phase.
    Py_ssize_t period
    # True if rows of windows share lines.  The lines of a row of windows; rows of cells from one to the next.
    bint shared
    Py_ssize_t lines
    Py_ssize_t step
    # Lines from a row of windows to the next, and from a row of a window to the next.
    Py_ssize_t row_apart
    Py_ssize_t tap_apart
    # The most lines that are kept, and that are loaded at once.
    Py_ssize_t kept
    Py_ssize_t loaded
    # True if the rows of windows of a band follow each other in memory.
    bint flat
    # How lanes number taps, and by how much the number grows along each axis.
    Numbers numbers
    int64_t[3] unit
    Py_ssize_t lines_bytes
    Py_ssize_t cells_bytes
    Py_ssize_t found_bytes
    Py_ssize_t starts_bytes


cdef struct Job:
    # The operation, the dtype of the values and its size, and the bytes of an index: these select the kernel.
    Operation operation
    Kind kind
    Py_ssize_t itemsize
    Py_ssize_t index_bytes
    # True if an index is a byte, the number of a tap.
    bint by_taps
    void *pooled
    void *indices
    void *plane
    Py_ssize_t[3] kernel
    Py_ssize_t[3] stride
    Py_ssize_t[3] padding
    Py_ssize_t[3] dilation
    Py_ssize_t[3] windows_along
    Py_ssize_t[3] cells_along
    Py_ssize_t[3] cell_apart
    Py_ssize_t batch
    Py_ssize_t channels
    Py_ssize_t windows
    Py_ssize_t cells
    # The strips of the call: `strips_each` per sample, `width` channels in each but the last.
    Py_ssize_t strips
    Py_ssize_t strips_each
    Py_ssize_t width
    Py_ssize_t step
    # The blocks of a strip: `rows` rows of windows of one depth each, or one of `pieces` pieces of a row.
    Py_ssize_t blocks
    Py_ssize_t rows
    Py_ssize_t row_blocks
    Py_ssize_t piece
    Py_ssize_t pieces
    # Tasks: the blocks of a strip are shared out in `parts`; without blocks, its cells in `ranges`.
    Py_ssize_t parts
    Py_ssize_t ranges
    Py_ssize_t chunk
    # Windows or cells of a strip, with all channels, between two checks of `Share.stop`; True if the call is long.
    Py_ssize_t segment
    bint long
    # The most threads that the caller allows; 0 for OpenMP's number and the back-off.  The threads that the call uses.
    int most_threads
    int threads
    Share *share
    int duplicates
    # True if windows share no cell; True if they are dense, have few rows, and 31 bits count the cells of a plane.
    bint apart
    bint dense
    # True if an index outside of its own window is bad, and not only one outside of its plane; True if bad indices are
    # skipped instead of reported.
    bint confined
    bint drops
    # True if a block's indices are compared with their windows before they are used.
    bint compared
    # For taps: True if selection moves the values, or else the cells of decoded taps.  True if values that are lost are
    # found by a map from each cell to its last window, or else by comparing pairs.
    bint selects
    bint decodes
    bint maps
    bint strikes
    # True if threads work by blocks first, and by cells only where an index lies outside of its block.
    bint in_blocks
    # True if planes are zero already; True if blocks are assembled in `stage` and streamed out.
    bint zeroed
    bint streamed
    # Each thread's scratch memory: blocks are assembled there, or bands of windows are compared.
    char *stage
    Py_ssize_t stage_bytes
    Bands bands
    # For each part of a strip, 1 if one of its indices lies outside of its block.
    uint8_t *strayed
    uint64_t *seen
    Py_ssize_t seen_words
    Found *found
    # What the only thread of a call found, which saves an allocation.
    Found alone
    # Bytes of the arrays above.
    Py_ssize_t scratch


cdef struct Strip:
    Py_ssize_t pooled
    Py_ssize_t plane
    Py_ssize_t width


# Most strips have one block or one range.  Dividing by 1 takes as long as moving ten elements.

cdef inline Py_ssize_t quotient(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if b == 1 else a // b


cdef inline Py_ssize_t rest(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return 0 if b == 1 else a % b


cdef inline Strip strip_at(const Job *job, Py_ssize_t nth) noexcept nogil:
    """Return where a strip starts in the pooled arrays and in the planes, and how many channels it has."""
    cdef Strip strip
    cdef Py_ssize_t sample = quotient(nth, job.strips_each)
    cdef Py_ssize_t channel = rest(nth, job.strips_each) * job.width
    cdef Py_ssize_t apart_pooled = 1 if job.step > 1 else job.windows
    cdef Py_ssize_t apart_plane = 1 if job.step > 1 else job.cells
    strip.pooled = sample * job.channels * job.windows + channel * apart_pooled
    strip.plane = sample * job.channels * job.cells + channel * apart_plane
    strip.width = min(job.width, job.channels - channel)
    return strip


# A call that needs no scratch memory has null pointers, to which C may not even add zero.

cdef inline char *stage_of(const Job *job, int thread) noexcept nogil:
    return job.stage + thread * job.stage_bytes if job.stage != NULL else NULL


cdef inline uint64_t *seen_of(const Job *job, int thread) noexcept nogil:
    return job.seen + thread * job.seen_words if job.seen != NULL else NULL


cdef inline void report(
    const Job *job, const Strip *strip, int thread, Py_ssize_t bad, Py_ssize_t repeated
) noexcept nogil:
    cdef Found *found = &job.found[thread]
    if bad >= 0:
        found.bad = min(found.bad, strip.pooled + bad)
    if repeated >= 0:
        found.repeated = min(found.repeated, strip.pooled + repeated)


cdef struct Block:
    # The windows of a block: some rows of one depth, or columns of one row.  They follow each other in the strip.
    Py_ssize_t depth
    Py_ssize_t row
    Py_ssize_t end_row
    Py_ssize_t column
    Py_ssize_t end_column
    Py_ssize_t first
    Py_ssize_t count


cdef inline Block block_at(const Job *job, Py_ssize_t nth) noexcept nogil:
    cdef Block block
    cdef Py_ssize_t rows = quotient(nth, job.pieces)
    block.column = rest(nth, job.pieces) * job.piece
    block.end_column = min(block.column + job.piece, job.windows_along[2])
    block.depth = quotient(rows, job.row_blocks)
    block.row = rest(rows, job.row_blocks) * job.rows
    block.end_row = min(block.row + job.rows, job.windows_along[1])
    block.first = (block.depth * job.windows_along[1] + block.row) * job.windows_along[2] + block.column
    block.count = (block.end_row - block.row - 1) * job.windows_along[2] + block.end_column - block.column
    return block


cdef inline bint any_strayed(const Job *job, Py_ssize_t strip, Py_ssize_t end) noexcept nogil:
    """Return True if any of the strips strip..end-1 still have to be done by cells."""
    cdef Py_ssize_t part
    if not job.in_blocks:
        return True
    if job.parts > 1:
        for part in range(strip * job.parts, end * job.parts):
            if job.strayed[part]:
                return True
    return False
