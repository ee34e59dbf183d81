/* A stand-in for NVIDIA's driver, as much of it as CUDA's runtime asks before it has devices: DRIVER_VERSION says what
   it serves, DRIVER_STATUS what starting it answers (0 is success), and each start adds a line to the file
   DRIVER_STARTS.  It cannot get further: the runtime then checks that the driver is NVIDIA's own. */

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

/* As the real one: a process that was forked after it had started cannot start it. */
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

/* The runtime looks everything up by this one; what it does not find, it does without as long as nobody calls it. */
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
