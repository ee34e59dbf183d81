def getVersion():  # noqa: N802
    return 13, 0
