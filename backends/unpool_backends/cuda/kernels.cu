// The kernels: every index is checked before it is used, each element of the output is written by one thread, and no
// result depends on which thread came first.
//
// A build serves one kind of value and of index, by the options that kernels.py passes to the compiler:
//
//     -DKIND=Float32       what a value is (kinds.cuh): Word1 .. Word16 where values are moved only
//     -DINDEX=Index64      or Index32
//     -DWIDE=0             1 for calls that count to 2**31 or further
//     -DDUPLICATES=LAST    or SUM, or ERROR
//     -DPOOL, -DSCATTER or -DGATHER
//     -DCONFINED=1         where an index outside of its own window is as bad as one outside of its plane; else 0
//     -DSIDE=2             where it is known: of windows, all of which are whole, to pool; of the squares that windows
//                          own, to unpool
//
// Elements are counted in memory order, (outer windows + window) step + channel, and the same with cells:
//
//     channels first    outer = n C + c    step = 1    channel = 0
//     channels last     outer = n          step = C    channel = c
//
// Windows that share no cell share the plane out among them: each has the cells from its own edges to those of its
// neighbours.  So has a *block* of windows that follow each other: a thread block puts its values into shared memory
// and writes its cells once, in units of 16 bytes (scatter.cuh).  An index outside of its own window's cells marks its
// *strip*, a plane or a few neighbouring channels of a sample, to be done anew.  That is also how everything else is
// done, exactly for every index: a thread block takes a *range* of a strip's cells, and of all windows that name a cell
// the first or the last claims it, in shared memory (ranges.cuh).
//
// The tests compile the same text for the CPU and run it thread by thread.

#ifdef __CUDACC__
#define UNPOOL_FUNCTION __device__ __forceinline__
#else
#define UNPOOL_FUNCTION inline
#endif

#include "kinds.cuh"

typedef KIND Kind;
typedef Kind::Word Word;
typedef INDEX Index;
enum Duplicates { LAST, SUM, ERROR };
#ifndef CONFINED
#define CONFINED 0
#endif

#include "job.cuh"

#if defined(POOL)
#include "pooling.cuh"
#else
#include "ranges.cuh"
#endif
#if defined(SCATTER)
#include "scatter.cuh"
#elif defined(GATHER)
#include "gather.cuh"
#endif
