/* A stand-in for NVIDIA's driver, with the functions that CUDA's runtime calls before it has devices. It reads the
   environment: DRIVER_VERSION is the CUDA version of the driver, and DRIVER_STATUS the result of cuInit (0 is success).
   Each cuInit adds a line to the file DRIVER_STARTS. The runtime then checks that the driver is NVIDIA's, and stops. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_INITIALIZED = 3, NOT_FOUND = 500 };

static int number(const char *variable)
{
    return atoi(getenv(variable));
}

int cuDriverGetVersion(int *version)
{
    *version = number("DRIVER_VERSION");
    return SUCCESS;
}

/* Like the real driver, fail in a process that was forked after the first cuInit. */
int cuInit(unsigned flags)
{
    static pid_t first;
    FILE *starts = fopen(getenv("DRIVER_STARTS"), "a");
    fputs("started\n", starts);
    fclose(starts);
    if (!first)
        first = getpid();
    return first == getpid() ? number("DRIVER_STATUS") : NOT_INITIALIZED;
}

/* The runtime looks up all functions here. A missing function is an error only once it is called. */
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long flags, int *status)
{
    if (!strcmp(name, "cuInit"))
        *function = (void *)cuInit;
    else if (!strcmp(name, "cuDriverGetVersion"))
        *function = (void *)cuDriverGetVersion;
    else if (!strncmp(name, "cuGetProcAddress", 16))
        *function = (void *)cuGetProcAddress_v2;
    else
        *function = NULL;
    if (status)
        *status = *function ? 0 : 1; /* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
    return *function ? SUCCESS : NOT_FOUND;
}
