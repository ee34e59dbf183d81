// The kernels: every index is checked before it is used, each element of the output is written by one thread, and no
// result depends on the order of threads.
//
// A build serves one kind of value and one of index.  kernels.py passes these options to the compiler:
//
//     -DKIND=Float32       the kind of a value (kinds.cuh): Word1 .. Word16 if values are moved only
//     -DINDEX=Index64      or Index32; taps also Index8 or Index16
//     -DBY_TAPS=1          if an index is the number of a tap of its window, not a position in the plane
//     -DWIDE=0             1 for calls that count to 2**31 or further
//     -DDUPLICATES=LAST    or SUM, or ERROR
//     -DPOOL, -DSCATTER or -DGATHER
//     -DCONFINED=1         if an index outside of its own window is bad; 0 if only one outside of its plane is
//     -DSIDE=2             if known: the side of windows, all of them whole, to pool; of the squares of cells that
//                          windows own, to unpool; of both, to unpool by taps
//
// Elements are counted in memory order, (outer windows + window) step + channel, and the same with cells:
//
//     channels first    outer = n C + c    step = 1    channel = 0
//     channels last     outer = n          step = C    channel = c
//
// If no two windows share a cell, each window owns the cells up to where the next one starts (windows.cuh).  A *block*
// of consecutive windows owns theirs: a thread block puts its values into shared memory, then writes its cells once, in
// units of 16 bytes (scatter.cuh).  A *strip* is a plane, or a few neighbouring channels of a sample.  An index of a
// cell that its window does not own marks the strip, which is then redone by ranges.  A tap marks none.
//
// If windows overlap, but few of them reach a cell, each cell is compared with their indices (cells.cuh).  A gather
// compares each index with those of the later windows that reach its cell.  An index of a cell that its window does not
// reach marks the strip, which is redone as above.
//
// Ranges are exact for all indices and all windows: a thread block takes a *range* of a strip's cells.  Of all windows
// that name a cell, the first or the last one claims it, in shared memory (ranges.cuh).
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
#ifndef BY_TAPS
#define BY_TAPS 0
#endif

#include "job.cuh"
#include "windows.cuh"
#include "indices.cuh"

#if defined(POOL)
#include "pooling.cuh"
#else
#include "ranges.cuh"
#endif
#if defined(SCATTER)
#include "scatter.cuh"
#include "cells.cuh"
#elif defined(GATHER)
#include "gather.cuh"
#endif
