"""Cases: each follows from its seed and number alone, and makes a few calls with one geometry."""

import warnings
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import arrays
import calls
import geometry
import numpy as np
import unpool_backends.cpu
from guarded import Room, c_library

import unpool

try:
    from threadpoolctl import ThreadpoolController
except ModuleNotFoundError:
    ThreadpoolController = None

THREADS = (1, 2, 3, 8)
# The most taps of a window for which the oracle pools, and of all windows together: about a tenth of a second.
MOST_TAPS = 1000
MOST_COMPARISONS = 10**6
# Where new results are written past the caches, or lie in reused memory, for large arrays only: also for small ones.
THRESHOLDS = ("_PAST_CACHES", "_LARGE")


class Rooms(NamedTuple):
    """A room for each array of a call."""

    values: Room
    indices: Room
    out: Room
    other: Room


@dataclass
class Tally:
    cases: int = 0
    calls: int = 0
    errors: int = 0
    indices: int = 0
    hostile: int = 0
    # The function, the arguments and the arrays of the last call.
    last: tuple = ()

    def count(self, indices, hostile):
        self.calls += 1
        self.indices += indices.size
        self.hostile += indices.size if hostile else 0

    def add(self, other):
        for name in ("cases", "calls", "errors", "indices", "hostile"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def is_short(planned, planes):
    """Return True if the oracle pools so many planes soon."""
    return planned.taps <= MOST_TAPS and planes * planned.windows * planned.taps <= MOST_COMPARISONS


class Fuzz:
    def __init__(self, seed, large):
        library = c_library()
        self.seed, self.large, self.tally = seed, large, Tally()
        self._rooms = Rooms(*[Room(library) for _ in Rooms._fields])
        for room in self._rooms:
            room.place((1,), np.uint8, True)
        self._defaults = {name: getattr(unpool_backends.cpu, name) for name in THRESHOLDS}
        self._teams = []
        if ThreadpoolController is not None:
            self._teams = ThreadpoolController().select(user_api="openmp").lib_controllers
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", unpool.DataFormatWarning)

    def run(self, case):
        """Run one case; raise if the library does not do what the oracle says."""
        try:
            self._run(case)
        except Exception as error:
            error.add_note(f"case {case} of seed {self.seed}: {self._described() if self.tally.last else 'no call'}")
            raise

    def _run(self, case):
        random = Random(f"{self.seed} {case}")
        generator = np.random.Generator(np.random.SFC64(random.getrandbits(64)))
        for name, default in self._defaults.items():
            setattr(unpool_backends.cpu, name, random.choice((0, default, default, 1 << 62)))
        self._keep_memory(Random(f"memory {self.seed} {case}").random())
        self._set_threads(random.choice(THREADS))
        elements = self._elements(random)
        batch = random.choice((1, 1, 2, 3))
        channels = random.choice((1, 1, 2, 3, 5, 17)) if elements < 10**5 else random.choice((1, 3, 16, 70, 1500))
        cells = max(1, elements // (batch * channels))
        of_pooling = random.random() < 0.9
        planned = (geometry.pooling if of_pooling else geometry.without_window)(random, cells)
        if of_pooling and random.random() < 0.5 and is_short(planned, batch * channels):
            calls.pool(random, generator, self._problem(random, planned, batch, channels), self._rooms, self.tally)
        if of_pooling and random.random() < 0.5:
            planned = planned.resized(random)
        for _ in range(3 if elements < 10**5 else 1):
            problem = self._problem(random, planned, batch, channels)
            calls.move(random, generator, problem, self._rooms, self.tally, random.random() < 0.5)
        self.tally.cases += 1

    def _described(self):
        """Describe the last call."""
        function, arguments, *given = self.tally.last
        shapes = [array if array is None else (array.dtype.str, array.shape, array.strides) for array in given]
        named = {name: value for name, value in arguments.items() if name != "out"}
        return f"{function.__name__}, {named}, arrays {shapes}"

    def _set_threads(self, threads):
        for team in self._teams:
            team.set_num_threads(threads)
        if self._teams and unpool_backends.cpu.openmp() and unpool_backends.cpu.max_threads() != threads:
            raise RuntimeError(f"the kernels do not take the limit of {threads} threads")

    def told(self, seconds):
        tally = self.tally
        left_out = [] if arrays.bfloat16 else ["bfloat16, since ml_dtypes is not installed"]
        left_out += [] if self._teams else ["numbers of threads, since threadpoolctl finds no OpenMP"]
        return (
            f"seed {self.seed}: {tally.cases} cases, {tally.calls} calls ({tally.errors} of them errors), "
            f"{tally.indices:.3g} indices, {tally.hostile:.3g} in hostile arrays, in {seconds:.0f} s"
            f"{'; left out: ' if left_out else ''}{', '.join(left_out)}"
        )

    def _keep_memory(self, chance):
        """Keep freed memory in most cases, and release what is kept in a few, while other callers may allocate."""
        unpool.keep_memory(chance > 0.1)
        if chance > 0.95:
            unpool.release_memory()

    def _elements(self, random):
        """Return about how many cells the planes of a case have."""
        if random.random() < self.large:
            return random.choice((10**5, 10**5, 10**6, 10**6, 5 * 10**6))
        return random.choice((10, 50, 200, 1000, 10**4, 4 * 10**4))

    def _problem(self, random, planned, batch, channels):
        unbatched = random.random() < 0.2
        samples = 1 if unbatched else 0 if random.random() < 0.01 else batch
        channels_last = random.random() < 0.4
        names = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[planned.rank]
        plain = ("channels_first", "channels_last")[channels_last]
        word = random.choice((plain, names[channels_last], plain if channels_last else None))
        return calls.Problem(planned, samples, channels, channels_last, unbatched, word)
