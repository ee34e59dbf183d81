/* A handler of XLA's foreign function interface (FFI) that runs the kernels: compiled JAX programs call it.
 *
 * No header of XLA's is needed: the parts of its C interface that are used here are declared below, as in version 0.1.
 * Its structs begin with their size, and later versions only append fields.  When a handler is registered, it reports
 * the version that it was written for; XLA accepts older versions than its own. */
#ifndef UNPOOL_XLA_H
#define UNPOOL_XLA_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "unpool.h"

static int unpool_run_call(const unpool_call_1 *, const unpool_arrays_1 *, unpool_found_1 *);
static int64_t unpool_first_of(const unpool_call_1 *, const unpool_arrays_1 *, int64_t);

/* --- XLA's declarations -------------------------------------------------------------------------------------------- */

/* The minor version of the interface that is reported to XLA. */
#ifndef UNPOOL_XLA_MINOR
#define UNPOOL_XLA_MINOR 1
#endif

enum { XLA_EXTENSION_METADATA = 1, XLA_STAGE_EXECUTE = 3, XLA_ATTRIBUTE_ARRAY = 1, XLA_ATTRIBUTE_STRING = 4 };
enum { XLA_INVALID_ARGUMENT = 3, XLA_RESOURCE_EXHAUSTED = 8, XLA_OUT_OF_RANGE = 11 };
enum { XLA_S8 = 2, XLA_S16, XLA_S32, XLA_S64, XLA_U8, XLA_U16, XLA_U32, XLA_U64 };

typedef struct xla_extension {
    size_t size;
    int type;
    struct xla_extension *next;
} xla_extension;
typedef struct {
    size_t size;
    xla_extension *extension;
    int major, minor;
} xla_version;
typedef struct {
    size_t size;
    xla_version version;
    uint32_t traits;
} xla_metadata;
typedef struct {
    xla_extension base;
    xla_metadata *metadata;
} xla_metadata_extension;
typedef struct {
    size_t size;
    xla_extension *extension;
    int dtype;
    void *data;
    int64_t rank;
    int64_t *dims;
} xla_buffer;
typedef struct {
    const char *start;
    size_t length;
} xla_string;
typedef struct {
    int dtype;
    size_t items;
    void *data;
} xla_array;
typedef struct {
    size_t size;
    xla_extension *extension;
    int64_t count;
    int *types;
    void **items;
} xla_buffers;
typedef struct {
    size_t size;
    xla_extension *extension;
    int64_t count;
    int *types;
    xla_string **names;
    void **items;
} xla_attributes;
typedef struct {
    size_t size;
    xla_extension *extension;
    const char *message;
    int code;
} xla_error;
typedef struct {
    size_t size;
    xla_extension *extension;
    xla_version version;
    const void *internal;
    void *(*create_error)(xla_error *);
} xla_api;
typedef struct {
    size_t size;
    xla_extension *extension;
    const xla_api *api;
    void *context;
    int stage;
    xla_buffers arguments, results;
    xla_attributes attributes;
} xla_frame;

/* --- frames -------------------------------------------------------------------------------------------------------- */

static void *unpool_xla_error(const xla_frame *frame, int code, const char *message) {
    xla_error error = {sizeof error, NULL, message, code};
    return frame->api->create_error(&error);
}

/* The unpool_kind of XLA's dtype; -1 for one that unpool lacks. */
static int unpool_xla_kind(int dtype) {
    switch (dtype) {
        case 1: return UNPOOL_BOOL;
        case 2: return UNPOOL_INT8;
        case 3: return UNPOOL_INT16;
        case 4: return UNPOOL_INT32;
        case 5: return UNPOOL_INT64;
        case 6: return UNPOOL_UINT8;
        case 7: return UNPOOL_UINT16;
        case 8: return UNPOOL_UINT32;
        case 9: return UNPOOL_UINT64;
        case 10: return UNPOOL_FLOAT16;
        case 11: return UNPOOL_FLOAT32;
        case 12: return UNPOOL_FLOAT64;
        case 15: return UNPOOL_COMPLEX64;
        case 16: return UNPOOL_BFLOAT16;
        case 18: return UNPOOL_COMPLEX128;
        default: return -1;
    }
}

/* The bytes of an index of XLA's dtype; 0 for one that kernels do not read. */
static int unpool_xla_index_bytes(int dtype) {
    switch (dtype) {
        case XLA_U8: return 1;
        case XLA_S32: case XLA_U32: return 4;
        case XLA_S64: case XLA_U64: return 8;
        default: return 0;
    }
}

static int64_t unpool_xla_items(const xla_buffer *buffer) {
    int64_t items = 1, axis;
    for (axis = 0; axis < buffer->rank; axis++) items *= buffer->dims[axis];
    return items;
}

/* Return an attribute of this type, or NULL. */
static const void *unpool_xla_attribute(const xla_frame *frame, const char *name, int type) {
    const xla_attributes *given = &frame->attributes;
    int64_t i;
    for (i = 0; i < given->count; i++)
        if (given->names[i]->length == strlen(name) && memcmp(given->names[i]->start, name, strlen(name)) == 0)
            return given->types[i] == type ? given->items[i] : NULL;
    return NULL;
}

/* --- messages: Python formats the texts; the handler fills in position and value ---------------------------------- */

typedef struct {
    char text[1024];
    size_t length;
} unpool_text;

static void unpool_append(unpool_text *to, const char *from, size_t length) {
    const size_t room = sizeof to->text - 1 - to->length;
    if (length > room) length = room;
    memcpy(to->text + to->length, from, length);
    to->length += length;
    to->text[to->length] = 0;
}

/* Append a flat position in a buffer as one number per axis. */
static void unpool_append_position(unpool_text *to, const xla_buffer *buffer, int64_t flat) {
    int64_t axis, after = unpool_xla_items(buffer);
    char digits[32];
    for (axis = 0; axis < buffer->rank; axis++) {
        after /= buffer->dims[axis];
        const int length = snprintf(digits, sizeof digits, axis ? ", %lld" : "%lld", (long long)(flat / after));
        unpool_append(to, digits, (size_t)length);
        flat %= after;
    }
}

/* The integer at a flat position; a 64-bit one that is unsigned turns negative from 2**63 on. */
static int64_t unpool_integer_at(const xla_buffer *buffer, int64_t at) {
    switch (buffer->dtype) {
        case XLA_S8: return ((const int8_t *)buffer->data)[at];
        case XLA_S16: return ((const int16_t *)buffer->data)[at];
        case XLA_S32: return ((const int32_t *)buffer->data)[at];
        case XLA_U8: return ((const uint8_t *)buffer->data)[at];
        case XLA_U16: return ((const uint16_t *)buffer->data)[at];
        case XLA_U32: return ((const uint32_t *)buffer->data)[at];
        default: return ((const int64_t *)buffer->data)[at];
    }
}

static void unpool_append_integer(unpool_text *to, const xla_buffer *buffer, int64_t at) {
    const char *format = buffer->dtype == XLA_U64 ? "%llu" : "%lld";
    char digits[32];
    const int length = snprintf(digits, sizeof digits, format, (long long)unpool_integer_at(buffer, at));
    unpool_append(to, digits, (size_t)length);
}

/* Replace {position}, {value} and {first} in the attribute of this name.  `given` has the value that the user gave. */
static void *unpool_xla_finding(const xla_frame *frame, const unpool_call_1 *call, const unpool_arrays_1 *arrays,
                                const xla_buffer *given, const char *name, int64_t at) {
    const xla_string *words = (const xla_string *)unpool_xla_attribute(frame, name, XLA_ATTRIBUTE_STRING);
    const char *from, *end;
    unpool_text message = {"", 0};
    if (words == NULL) return unpool_xla_error(frame, XLA_OUT_OF_RANGE, "`indices` hold a bad or repeated index");
    from = words->start, end = from + words->length;
    while (from < end) {
        const size_t left = (size_t)(end - from);
        if (left >= 10 && memcmp(from, "{position}", 10) == 0) {
            unpool_append_position(&message, given, at);
            from += 10;
        } else if (left >= 7 && memcmp(from, "{first}", 7) == 0) {
            unpool_append_position(&message, given, unpool_first_of(call, arrays, at));
            from += 7;
        } else if (left >= 7 && memcmp(from, "{value}", 7) == 0) {
            unpool_append_integer(&message, given, at);
            from += 7;
        } else unpool_append(&message, from++, 1);
    }
    return unpool_xla_error(frame, XLA_OUT_OF_RANGE, message.text);
}

/* --- the handler --------------------------------------------------------------------------------------------------- */

/* Compute what the attribute `call`, an unpool_call_1, says.  Arguments and results are
 *
 *     scatter   values, indices -> planes
 *     gather    planes, indices -> values
 *     pool      planes -> values, or values and indices
 *
 * A third argument of scatter and gather are the integers that indices were made of, which messages show. */
static void *unpool_xla_handler(xla_frame *frame) {
    const xla_extension *extension;
    const xla_array *words;
    const xla_buffer *values, *planes, *indices = NULL, *given = NULL;
    unpool_call_1 call;
    unpool_arrays_1 arrays;
    unpool_found_1 found;
    int64_t windows, cells;
    for (extension = frame->extension; extension; extension = extension->next) {
        if (extension->type == XLA_EXTENSION_METADATA) { /* a query for the version, at registration */
            xla_metadata *metadata = ((const xla_metadata_extension *)extension)->metadata;
            metadata->version.major = 0, metadata->version.minor = UNPOOL_XLA_MINOR;
            return NULL;
        }
    }
    if (frame->stage != XLA_STAGE_EXECUTE) return NULL;
    words = (const xla_array *)unpool_xla_attribute(frame, "call", XLA_ATTRIBUTE_ARRAY);
    if (words == NULL || words->dtype != XLA_S64 || words->items != sizeof call / sizeof(int64_t))
        return unpool_xla_error(frame, XLA_INVALID_ARGUMENT, "unpool: the attribute `call` is of another version");
    memcpy(&call, words->data, sizeof call);
    if (call.operation == UNPOOL_POOL) {
        if (frame->arguments.count != 1 || frame->results.count < 1 || frame->results.count > 2) goto unfit;
        planes = (const xla_buffer *)frame->arguments.items[0], values = (const xla_buffer *)frame->results.items[0];
        if (frame->results.count == 2) indices = (const xla_buffer *)frame->results.items[1];
    } else {
        if (frame->arguments.count < 2 || frame->arguments.count > 3 || frame->results.count != 1) goto unfit;
        indices = (const xla_buffer *)frame->arguments.items[1];
        given = (const xla_buffer *)frame->arguments.items[frame->arguments.count - 1];
        values = (const xla_buffer *)(call.operation == UNPOOL_SCATTER ? frame->arguments : frame->results).items[0];
        planes = (const xla_buffer *)(call.operation == UNPOOL_SCATTER ? frame->results : frame->arguments).items[0];
    }
    windows = call.pooled[0] * call.pooled[1] * call.pooled[2] * call.channels;
    cells = call.plane[0] * call.plane[1] * call.plane[2] * call.channels;
    if (windows < 1 || cells < 1 || values->dtype != planes->dtype) goto unfit;
    arrays.batch = unpool_xla_items(values) / windows;
    arrays.kind = unpool_xla_kind(values->dtype);
    if (unpool_xla_items(values) != arrays.batch * windows) goto unfit;
    if (unpool_xla_items(planes) != arrays.batch * cells) goto unfit;
    arrays.pooled = values->data, arrays.plane = planes->data;
    arrays.indices = NULL, arrays.index_bytes = 8;
    if (indices != NULL) {
        arrays.index_bytes = unpool_xla_index_bytes(indices->dtype);
        if (!arrays.index_bytes || unpool_xla_items(indices) != unpool_xla_items(values)) goto unfit;
        arrays.indices = indices->data;
    }
    if (given != NULL && unpool_xla_items(given) != unpool_xla_items(values)) goto unfit;
    switch (unpool_run_call(&call, &arrays, &found)) {
        case UNPOOL_DONE: return NULL;
        case UNPOOL_NO_MEMORY: return unpool_xla_error(frame, XLA_RESOURCE_EXHAUSTED, "unpool: no scratch memory");
        case UNPOOL_FOUND:
            if (found.bad >= 0) {
                const int64_t index = unpool_integer_at(indices, found.bad);
                const int inside = arrays.index_bytes > 1 && index >= 0 && index < cells / call.channels;
                return unpool_xla_finding(frame, &call, &arrays, given, inside ? "outside" : "bad", found.bad);
            }
            return unpool_xla_finding(frame, &call, &arrays, given, "repeated", found.repeated);
    }
unfit:
    return unpool_xla_error(frame, XLA_INVALID_ARGUMENT, "unpool: the arrays do not fit the attribute `call`");
}

#endif
