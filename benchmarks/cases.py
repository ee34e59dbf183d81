"""The cases: those with a target for their speed (`QUICK`), variants of them, and shapes of published models.

Cases use float32 and int64, and pool (8, 64, 224, 224) to (8, 64, 112, 112), unless the name says otherwise.  A shape
in a name is the pooled one.  Channels and planes are those of the models' layers; the batch sizes are chosen here.
"""

from __future__ import annotations

from dataclasses import replace

from unpool.bench.cases import Case


def twin(case: Case, suffix: str, **changes: object) -> Case:
    return replace(case, name=f"{case.name}, {suffix}", **changes)


UNPOOL = Case("unpool k2", "unpool")
INTO = Case("unpool k2, out=", "unpool", out=True)
GRADIENT = Case("gradient of unpool, last", "unpool_backward")
SUM = Case("gradient of unpool, sum", "unpool_backward", duplicates="sum")
POOL = Case("pool k2", "pool")
POOL_BACK = Case("gradient of pool k2", "pool_backward")
POOL3 = Case("pool k3 s2", "pool", kernel=3, stride=2)
LAST = {"suffix": "channels last", "data_format": "channels_last"}
HALF = {"suffix": "float16", "dtype": "float16"}
NARROW = {"suffix": "int32", "index_dtype": "int32"}

QUICK = (
    UNPOOL,
    twin(UNPOOL, **LAST),
    INTO,
    Case("unpool k2, (16, 512, 14, 14)", "unpool", (16, 512, 28, 28)),
    Case("unpool k2, (1, 1, 2048, 2048)", "unpool", (1, 1, 4096, 4096)),
    Case("unpool k2, (1, 1, 2, 2)", "unpool", (1, 1, 4, 4)),
    Case("unpool k3 s2", "unpool", kernel=3, stride=2),
    GRADIENT,
    SUM,
    twin(SUM, **LAST),
    POOL_BACK,
    POOL,
    twin(POOL, **LAST),
    POOL3,
    twin(POOL3, **LAST),
    Case("pool k3 s1", "pool", kernel=3, stride=1),
)

VARIANTS = (
    *(twin(case, **HALF) for case in (UNPOOL, INTO, SUM, POOL)),
    *(twin(case, **NARROW) for case in (UNPOOL, INTO, SUM, POOL)),
    twin(INTO, **LAST),
    twin(POOL_BACK, **LAST),
    Case("pool k2, (1, 1, 2048, 2048)", "pool", (1, 1, 4096, 4096)),
    Case("unpool k2, (1, 1, 4096, 4096)", "unpool", (1, 1, 8192, 8192)),
)

OVERLAP = {"kernel": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}

USERS = (
    # SegNet at CamVid's 360 x 480, whose two lowest planes have an odd side.
    Case("SegNet unpool (4, 512, 12, 15)", "unpool", (4, 512, 23, 30), ceil=True),
    Case("SegNet unpool (4, 512, 23, 30)", "unpool", (4, 512, 45, 60), ceil=True),
    Case("SegNet unpool (4, 256, 45, 60)", "unpool", (4, 256, 90, 120)),
    Case("SegNet unpool (4, 128, 90, 120)", "unpool", (4, 128, 180, 240)),
    Case("SegNet unpool (4, 64, 180, 240)", "unpool", (4, 64, 360, 480)),
    Case("SegNet pool (4, 512, 12, 15)", "pool", (4, 512, 23, 30), ceil=True),
    Case("SegNet pool (4, 64, 180, 240)", "pool", (4, 64, 360, 480)),
    # DeconvNet; its last level has the default shape of the cases.
    Case("DeconvNet unpool (8, 512, 7, 7)", "unpool", (8, 512, 14, 14)),
    Case("DeconvNet unpool (8, 256, 28, 28)", "unpool", (8, 256, 56, 56)),
    Case("DeconvNet unpool (8, 128, 56, 56)", "unpool", (8, 128, 112, 112)),
    # ENet at Cityscapes' 512 x 1024.
    Case("ENet unpool (4, 64, 64, 128)", "unpool", (4, 64, 128, 256)),
    Case("ENet unpool (4, 16, 128, 256)", "unpool", (4, 16, 256, 512)),
    # TASED-Net, video saliency in 3-D; two of its three levels overlap.
    Case("TASED-Net unpool (1, 832, 4, 7, 12)", "unpool", (1, 832, 4, 14, 24), kernel=(1, 2, 2)),
    Case("TASED-Net unpool (1, 480, 4, 14, 24)", "unpool", (1, 480, 4, 28, 48), **OVERLAP),
    Case("TASED-Net unpool (1, 192, 4, 28, 48)", "unpool", (1, 192, 4, 56, 96), **OVERLAP),
    Case("TASED-Net pool (1, 192, 4, 28, 48)", "pool", (1, 192, 4, 56, 96), **OVERLAP),
    # Attribution in genomics (DeepLIFT adds values where windows overlap).
    Case("genomics unpool k15, (64, 128, 133)", "unpool", (64, 128, 2000), kernel=15),
    Case("genomics pool k15, (64, 128, 133)", "pool", (64, 128, 2000), kernel=15),
    Case("genomics unpool k10 s5, sum, (64, 128, 399)", "unpool", (64, 128, 2000), 10, 5, duplicates="sum"),
)

ALL = (*QUICK, *VARIANTS, *USERS)
