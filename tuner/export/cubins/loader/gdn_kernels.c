/* The loader of gdn_kernels.h. The tables in the middle are made by `gdn export cubin`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gdn_kernels.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef GDN_NO_DLOPEN /* define it if you always give gdn_open a driver */
#include <dlfcn.h>
#endif

/* ---- what a set is ---------------------------------------------------------------------------- */

typedef struct {
    int64_t B, T, N, S, NT, NS; /* NT, NS: chunks and segments of packed sequences */
    int64_t stride_q, stride_k, stride_v, stride_g, stride_beta, stride_pool, stride_slots;
} sizes_of_call;

enum role { INPUT, INOUT, RESULT, WORKSPACE, TABLE };
enum kind { POINTER, INT32, INT64, FLOAT32, SCRATCH };

typedef struct {
    int tensor; /* GDN_... */
    const char *name;
    enum role role;
    int slot;     /* of the workspace or the tables; buffers of one slot are at one place */
    int strided;  /* bytes are the least number, not the number */
    int by_token; /* a result with a value per token: zero after the last packed sequence */
    int zeroed;   /* zero before the stages run */
} buffer_of_set;

typedef struct {
    const char *name;
    enum kind kind;
    size_t source;   /* POINTER: number of the buffer; else the offset in gdn_call */
    int64_t divisor; /* the address or number is a multiple of it */
} parameter;

typedef struct {
    const char *file, *entry;
    uint64_t bytes;
    unsigned threads, shared;
    const parameter *parameters;
    int count;
} kernel_of_file;

typedef struct {
    const char *name;
    int kernel;
    const int *buffers; /* of each parameter that is a pointer, its buffer in the set; else -1 */
    void (*grid)(const sizes_of_call *, int64_t *);
} stage_of_set;

typedef struct {
    const char *name;
    gdn_problem problem;
    int packed, one_token;
    int64_t segment_tokens;
    int64_t (*chunks)(int64_t);   /* of a packed sequence of so many tokens */
    int64_t (*segments)(int64_t);
    void (*bytes)(const sizes_of_call *, int64_t *);
    const buffer_of_set *buffers;
    int buffer_count;
    const stage_of_set *stages;
    int stage_count;
} kernel_set;

static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/*@SETS@*/

/* ---- refusals --------------------------------------------------------------------------------- */

#define LARGEST 2147483647
#define MOST_PROGRAMS 65535 /* in the second and third dimension of a grid */
#define ALIGNMENT 256       /* of each buffer in the workspace and the tables */
#define PROMISED 16         /* of the workspace and the tables themselves */

static gdn_status refuse(gdn_error *error, gdn_status status, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

static gdn_status accept(gdn_error *error)
{
    if (error) {
        error->status = GDN_OK;
        error->message[0] = '\0';
    }
    return GDN_OK;
}

static gdn_status unknown_set(gdn_error *error, int set)
{
    return refuse(error, GDN_UNKNOWN_SET,
                  "there is no set %d; there are sets 0 to %d, find one with gdn_find or "
                  "gdn_nearest.", set, SET_COUNT - 1);
}

/* ---- the driver ------------------------------------------------------------------------------- */

struct gdn_library {
    gdn_driver driver;
    void *context;
    char *folder;
    int optional_shared; /* bytes of shared memory that a block may ask for */
    void *modules[KERNEL_COUNT];
    void *functions[KERNEL_COUNT];
};

enum { /* of the driver's API */
    SHARED_SIZE_BYTES = 1,
    MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    PREFER_SHARED = 1,
    CAPABILITY_MAJOR = 75,
    CAPABILITY_MINOR = 76,
    MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    UNASKED_SHARED = 49152
};

static gdn_status failed(gdn_error *error, const gdn_driver *driver, int result, const char *what,
                         const char *of)
{
    const char *name = NULL;
    if (driver->cuGetErrorName(result, &name) || !name)
        name = "an unknown error";
    return refuse(error, GDN_DRIVER_ERROR,
                  "%s of %s failed with %s (%d); an earlier launch may be the cause, see the "
                  "driver's documentation of this error.", what, of, name, result);
}

static gdn_status find_driver(gdn_driver *driver, gdn_error *error)
{
#ifdef GDN_NO_DLOPEN
    (void)driver;
    return refuse(error, GDN_NO_DRIVER,
                  "this loader was built with GDN_NO_DLOPEN; give gdn_open a driver.");
#else
    static const struct {
        const char *name;
        size_t place;
    } wanted[] = {
#define FUNCTION(name) {#name, offsetof(gdn_driver, name)}
        FUNCTION(cuDriverGetVersion), FUNCTION(cuGetErrorName), FUNCTION(cuCtxGetCurrent),
        FUNCTION(cuCtxGetDevice), FUNCTION(cuDeviceGetAttribute), FUNCTION(cuModuleLoadData),
        FUNCTION(cuModuleUnload), FUNCTION(cuModuleGetFunction), FUNCTION(cuFuncGetAttribute),
        FUNCTION(cuFuncSetAttribute), FUNCTION(cuFuncSetCacheConfig), FUNCTION(cuMemsetD8Async),
        FUNCTION(cuLaunchKernel),
#undef FUNCTION
    };
    void *found = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    size_t i;
    if (!found)
        return refuse(error, GDN_NO_DRIVER,
                      "libcuda.so.1 cannot be loaded (%s); install NVIDIA's driver.", dlerror());
    for (i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *function = dlsym(found, wanted[i].name);
        if (!function)
            return refuse(error, GDN_NO_DRIVER,
                          "libcuda.so.1 has no %s; update NVIDIA's driver.", wanted[i].name);
        memcpy((char *)driver + wanted[i].place, &function, sizeof function);
    }
    return GDN_OK;
#endif
}

static gdn_status check_device(gdn_library *library, gdn_error *error)
{
    const gdn_driver *driver = &library->driver;
    int device = 0, major = 0, minor = 0, version = 0, result;
    if ((result = driver->cuDriverGetVersion(&version)))
        return failed(error, driver, result, "cuDriverGetVersion", "the driver");
    result = driver->cuCtxGetCurrent(&library->context);
    if (result || !library->context)
        return refuse(error, GDN_NO_CONTEXT,
                      "no CUDA context is current on this thread; make one current first, e.g. "
                      "with cuCtxSetCurrent or cudaFree(0).");
    if ((result = driver->cuCtxGetDevice(&device)))
        return failed(error, driver, result, "cuCtxGetDevice", "the context");
    if ((result = driver->cuDeviceGetAttribute(&major, CAPABILITY_MAJOR, device)) ||
        (result = driver->cuDeviceGetAttribute(&minor, CAPABILITY_MINOR, device)) ||
        (result = driver->cuDeviceGetAttribute(&library->optional_shared,
                                               MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device)))
        return failed(error, driver, result, "cuDeviceGetAttribute", "the device");
    if (major != ARCH_MAJOR || (ARCH_EXACT ? minor != ARCH_MINOR : minor < ARCH_MINOR))
        return refuse(error, GDN_WRONG_DEVICE,
                      "the device has compute capability %d.%d, and these kernels are compiled "
                      "for " ARCH " (" TARGET "); run them on such a device, or export for this "
                      "one with gdn export cubin --target.", major, minor);
    if (version < LEAST_DRIVER)
        return refuse(error, GDN_NO_DRIVER,
                      "the driver supports CUDA %d.%d, and these kernels were assembled by ptxas "
                      PTXAS " and need CUDA %d.0; update the driver, or export with an older "
                      "Triton.", version / 1000, version % 1000 / 10, LEAST_DRIVER / 1000);
    return GDN_OK;
}

gdn_status gdn_open(gdn_library **opened, const char *folder, const gdn_driver *driver,
                    gdn_error *error)
{
    gdn_library *library = calloc(1, sizeof *library);
    gdn_status status = GDN_OK;
    *opened = NULL;
    if (!library || !(library->folder = malloc(strlen(folder) + 1))) {
        free(library);
        return refuse(error, GDN_NO_MEMORY, "there is no memory for the library; free some.");
    }
    strcpy(library->folder, folder);
    if (driver)
        library->driver = *driver;
    else
        status = find_driver(&library->driver, error);
    if (!status)
        status = check_device(library, error);
    if (status) {
        free(library->folder);
        free(library);
        return status;
    }
    *opened = library;
    return accept(error);
}

void gdn_close(gdn_library *library)
{
    int i;
    if (!library)
        return;
    for (i = 0; i < KERNEL_COUNT; i++)
        if (library->modules[i])
            library->driver.cuModuleUnload(library->modules[i]);
    free(library->folder);
    free(library);
}

static gdn_status check_context(const gdn_library *library, gdn_error *error)
{
    void *context = NULL;
    int result = library->driver.cuCtxGetCurrent(&context);
    if (result || context != library->context)
        return refuse(error, GDN_NO_CONTEXT,
                      "the current CUDA context is not that of gdn_open; make that one current, "
                      "or open the kernels in this one too.");
    return GDN_OK;
}

/* ---- finding a set ---------------------------------------------------------------------------- */

int gdn_sets(void) { return SET_COUNT; }

static int known(int set) { return set >= 0 && set < SET_COUNT; }

const char *gdn_name(int set) { return known(set) ? sets[set].name : NULL; }

const gdn_problem *gdn_problem_of(int set) { return known(set) ? &sets[set].problem : NULL; }

int gdn_find(const char *name)
{
    int i;
    for (i = 0; i < SET_COUNT; i++)
        if (!strcmp(sets[i].name, name))
            return i;
    return -1;
}

static int agree(const gdn_problem *a, const gdn_problem *b)
{
    return !strcmp(a->op, b->op) && !strcmp(a->gate, b->gate) && !strcmp(a->dtype, b->dtype) &&
           !strcmp(a->state_dtype, b->state_dtype) && a->delta == b->delta && a->H == b->H &&
           a->HV == b->HV && a->K == b->K && a->V == b->V && a->flags == b->flags;
}

/* How many doublings of a size lie between two numbers, which are rounded up to powers of two. */
static int doublings(int64_t a, int64_t b)
{
    int i = 0, j = 0;
    while (i < 62 && ((int64_t)1 << i) < a)
        i++;
    while (j < 62 && ((int64_t)1 << j) < b)
        j++;
    return i > j ? i - j : j - i;
}

int gdn_nearest(const gdn_problem *wanted)
{
    int i, nearest = -1, least = 0;
    for (i = 0; i < SET_COUNT; i++) {
        const gdn_problem *own = &sets[i].problem;
        int far = doublings(own->tokens, wanted->tokens) +
                  doublings(own->sequences, wanted->sequences);
        if (agree(own, wanted) && (nearest < 0 || far < least)) {
            nearest = i;
            least = far;
        }
    }
    return nearest;
}

/* ---- loading ---------------------------------------------------------------------------------- */

static gdn_status read_file(const char *folder, const kernel_of_file *kernel, void **content,
                            gdn_error *error)
{
    size_t size = (size_t)kernel->bytes, length = strlen(folder) + strlen(kernel->file) + 2;
    char *path = malloc(length), *data = malloc(size + 1);
    gdn_status status = GDN_OK;
    FILE *file = NULL;
    if (!path || !data)
        status = refuse(error, GDN_NO_MEMORY, "there is no memory for %s; free some.",
                        kernel->file);
    else {
        snprintf(path, length, "%s/%s", folder, kernel->file);
        file = fopen(path, "rb");
        if (!file)
            status = refuse(error, GDN_BAD_FILE,
                            "%s cannot be read; give gdn_open the folder with the cubins.", path);
        else if (fread(data, 1, size + 1, file) != size || memcmp(data, "\177ELF", 4))
            status = refuse(error, GDN_BAD_FILE,
                            "%s is not the file that was exported; check the folder with gdn "
                            "export verify, and export it again.", path);
    }
    if (file)
        fclose(file);
    free(path);
    if (status)
        free(data);
    else
        *content = data;
    return status;
}

/* A kernel with more shared memory than 48 KiB must ask for it; it gets all that a block may. */
static gdn_status ask_for_shared(const gdn_library *library, const kernel_of_file *kernel,
                                 void *function, gdn_error *error)
{
    const gdn_driver *driver = &library->driver;
    int fixed = 0, result;
    if (kernel->shared <= UNASKED_SHARED)
        return GDN_OK;
    if ((result = driver->cuFuncGetAttribute(&fixed, SHARED_SIZE_BYTES, function)))
        return failed(error, driver, result, "cuFuncGetAttribute", kernel->file);
    if ((int64_t)kernel->shared + fixed > library->optional_shared)
        return refuse(error, GDN_TOO_LARGE,
                      "%s needs %u bytes of shared memory per block, and the device allows %d; "
                      "export for this device with gdn export cubin --target.", kernel->file,
                      kernel->shared + (unsigned)fixed, library->optional_shared);
    if ((result = driver->cuFuncSetCacheConfig(function, PREFER_SHARED)) ||
        (result = driver->cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                             library->optional_shared - fixed)))
        return failed(error, driver, result, "asking for shared memory", kernel->file);
    return GDN_OK;
}

static gdn_status load_kernel(gdn_library *library, int number, gdn_error *error)
{
    const kernel_of_file *kernel = &kernels[number];
    const gdn_driver *driver = &library->driver;
    void *content = NULL, *module = NULL, *function = NULL;
    gdn_status status;
    int result;
    if (library->functions[number])
        return GDN_OK;
    if ((status = read_file(library->folder, kernel, &content, error)))
        return status;
    result = driver->cuModuleLoadData(&module, content);
    free(content);
    if (result)
        return failed(error, driver, result, "cuModuleLoadData", kernel->file);
    if ((result = driver->cuModuleGetFunction(&function, module, kernel->entry)))
        status = failed(error, driver, result, "cuModuleGetFunction", kernel->file);
    else
        status = ask_for_shared(library, kernel, function, error);
    if (status) {
        driver->cuModuleUnload(module);
        return status;
    }
    library->modules[number] = module;
    library->functions[number] = function;
    return GDN_OK;
}

gdn_status gdn_load(gdn_library *library, int set, gdn_error *error)
{
    gdn_status status = check_context(library, error);
    int i, j;
    if (!status && set != GDN_ALL && !known(set))
        status = unknown_set(error, set);
    for (i = 0; !status && i < SET_COUNT; i++)
        for (j = 0; !status && (set == GDN_ALL || set == i) && j < sets[i].stage_count; j++)
            status = load_kernel(library, sets[i].stages[j].kernel, error);
    return status ? status : accept(error);
}

/* ---- sizes ------------------------------------------------------------------------------------ */

typedef struct {
    sizes_of_call sizes;
    int64_t bytes[MOST_BUFFERS];
    int64_t place[MOST_BUFFERS]; /* in the workspace or the tables */
    int64_t workspace, tables;
    int64_t end; /* packed: the end of the last sequence */
} layout;

static int64_t aligned(int64_t bytes) { return ceil_div(bytes, ALIGNMENT) * ALIGNMENT; }

static gdn_status count_packed(const kernel_set *set, const gdn_call *call, layout *found,
                               gdn_error *error)
{
    int64_t n;
    if (!call->offsets)
        return refuse(error, GDN_MISSING,
                      "set %s packs its sequences; give their N + 1 = %lld offsets on the host as "
                      "call.offsets.", set->name, (long long)call->N + 1);
    if (call->B != 1 || call->N < 1)
        return refuse(error, GDN_WRONG_SIZE,
                      "B is %lld and N %lld; packed sequences are one row, B = 1, of N >= 1.",
                      (long long)call->B, (long long)call->N);
    if (call->offsets[0] != 0)
        return refuse(error, GDN_WRONG_SIZE, "offsets start at %ld; the first one must be 0.",
                      (long)call->offsets[0]);
    for (n = 0; n < call->N; n++) {
        int64_t length = (int64_t)call->offsets[n + 1] - call->offsets[n];
        if (length < 0)
            return refuse(error, GDN_WRONG_SIZE,
                          "offsets decrease at sequence %lld; they must not.", (long long)n);
        if (set->one_token && length != 1)
            return refuse(error, GDN_WRONG_SIZE,
                          "sequence %lld has %lld tokens, and set %s decodes one token per "
                          "sequence; take a set of op forward.", (long long)n, (long long)length,
                          set->name);
        found->sizes.NT += set->chunks(length);
        found->sizes.NS += set->segments(length);
    }
    found->end = call->offsets[call->N];
    if (found->end > call->T)
        return refuse(error, GDN_WRONG_SIZE,
                      "offsets end at %lld and T is %lld; the last offset must be <= T.",
                      (long long)found->end, (long long)call->T);
    return GDN_OK;
}

/* Place the buffers of a role one slot after the other; the bytes of all. */
static int64_t place_buffers(const kernel_set *set, enum role role, layout *found)
{
    int64_t total = 0;
    int slot, i;
    for (slot = 0; slot < set->buffer_count; slot++) {
        int64_t largest = 0;
        for (i = 0; i < set->buffer_count; i++)
            if (set->buffers[i].role == role && set->buffers[i].slot == slot) {
                found->place[i] = total;
                if (found->bytes[i] > largest)
                    largest = found->bytes[i];
            }
        total += aligned(largest);
    }
    return total;
}

static gdn_status measure(const kernel_set *set, const gdn_call *call, layout *found,
                          gdn_error *error)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"B", call->B}, {"T", call->T}, {"N", call->N}, {"S", call->S},
        {"stride_q", call->stride_q}, {"stride_k", call->stride_k}, {"stride_v", call->stride_v},
        {"stride_g", call->stride_g}, {"stride_beta", call->stride_beta},
        {"stride_slots", call->stride_slots},
    };
    sizes_of_call *sizes = &found->sizes;
    int pool = !strcmp(set->problem.op, "pool"), i;
    gdn_status status;
    memset(found, 0, sizeof *found);
    for (i = 0; i < (int)(sizeof numbers / sizeof *numbers); i++)
        if (numbers[i].value < 0 || numbers[i].value > LARGEST)
            return refuse(error, GDN_TOO_LARGE,
                          "%s is %lld; it must be from 0 to %ld, split the call.",
                          numbers[i].name, (long long)numbers[i].value, (long)LARGEST);
    if (call->B * call->T > LARGEST || call->stride_pool < 0)
        return refuse(error, GDN_TOO_LARGE,
                      "B * T is %lld and stride_pool %lld; B * T must be at most %ld and "
                      "stride_pool >= 0, split the call.", (long long)(call->B * call->T),
                      (long long)call->stride_pool, (long)LARGEST);
    sizes->B = call->B;
    sizes->T = call->T;
    sizes->N = call->N;
    sizes->S = call->S;
    sizes->stride_q = call->stride_q;
    sizes->stride_k = call->stride_k;
    sizes->stride_v = call->stride_v;
    sizes->stride_g = call->stride_g;
    sizes->stride_beta = call->stride_beta;
    sizes->stride_pool = call->stride_pool;
    sizes->stride_slots = call->stride_slots;
    found->end = call->T;
    if (set->packed) {
        if ((status = count_packed(set, call, found, error)))
            return status;
    } else if (!pool && call->N != call->B)
        return refuse(error, GDN_WRONG_SIZE,
                      "N is %lld and B %lld; set %s has one sequence per row, so N = B.",
                      (long long)call->N, (long long)call->B, set->name);
    else if (set->one_token && call->T != 1)
        return refuse(error, GDN_WRONG_SIZE,
                      "T is %lld, and set %s decodes one token per sequence; take a set of op "
                      "forward.", (long long)call->T, set->name);
    set->bytes(sizes, found->bytes);
    found->workspace = place_buffers(set, WORKSPACE, found);
    found->tables = place_buffers(set, TABLE, found);
    return GDN_OK;
}

gdn_status gdn_workspace(int set, const gdn_call *call, uint64_t *bytes, gdn_error *error)
{
    layout found;
    gdn_status status;
    if (!known(set))
        return unknown_set(error, set);
    if ((status = measure(&sets[set], call, &found, error)))
        return status;
    *bytes = (uint64_t)found.workspace;
    return accept(error);
}

/* ---- tables of packed sequences --------------------------------------------------------------- */

static void fill_table(const kernel_set *set, const gdn_call *call, int tensor, int32_t *table)
{
    int64_t n, i, at = 0, first = 0;
    for (n = 0; n < call->N; n++) {
        int32_t start = call->offsets[n], end = call->offsets[n + 1];
        int64_t chunks = set->chunks(end - start), segments = set->segments(end - start);
        switch (tensor) {
        case GDN_cu_seqlens:
            table[n] = start;
            table[n + 1] = end;
            break;
        case GDN_chunk_indices:
            for (i = 0; i < chunks; i++) {
                table[at++] = (int32_t)n;
                table[at++] = (int32_t)i;
            }
            break;
        case GDN_chunk_offsets:
            table[n] = (int32_t)first;
            table[n + 1] = (int32_t)(first += chunks);
            break;
        case GDN_cu_segments:
            for (i = 0; i < segments; i++)
                table[at++] = (int32_t)(start + i * set->segment_tokens);
            table[at] = end;
            break;
        case GDN_sequence_of:
            for (i = 0; i < segments; i++)
                table[at++] = (int32_t)n;
            table[at] = (int32_t)(n + 1);
            break;
        case GDN_segment_offsets:
            table[n] = (int32_t)first;
            table[n + 1] = (int32_t)(first += segments);
            break;
        }
    }
}

gdn_status gdn_tables(int set, const gdn_call *call, void *host, uint64_t *bytes,
                      gdn_error *error)
{
    layout found;
    gdn_status status;
    int i;
    if (!known(set))
        return unknown_set(error, set);
    if ((status = measure(&sets[set], call, &found, error)))
        return status;
    if (host)
        memset(host, 0, (size_t)found.tables);
    for (i = 0; host && i < sets[set].buffer_count; i++)
        if (sets[set].buffers[i].role == TABLE)
            fill_table(&sets[set], call, sets[set].buffers[i].tensor,
                       (int32_t *)((char *)host + found.place[i]));
    *bytes = (uint64_t)found.tables;
    return accept(error);
}

/* ---- launching -------------------------------------------------------------------------------- */

static gdn_status place_within(const char *what, const char *function, const gdn_buffer *given,
                               int64_t bytes, gdn_error *error)
{
    if (bytes && !given->at)
        return refuse(error, GDN_MISSING,
                      "call.%s is not given; allocate the %lld bytes that %s says on the device.",
                      what, (long long)bytes, function);
    if (given->bytes < (uint64_t)bytes)
        return refuse(error, GDN_WRONG_SIZE,
                      "call.%s has %llu bytes, and %s says %lld; allocate as many.", what,
                      (unsigned long long)given->bytes, function, (long long)bytes);
    if (given->at % PROMISED)
        return refuse(error, GDN_MISALIGNED,
                      "call.%s is at address 0x%llx; it must be a multiple of %d.", what,
                      (unsigned long long)given->at, PROMISED);
    return GDN_OK;
}

/* The address of every buffer of a set, each of the right size. */
static gdn_status find_buffers(const kernel_set *set, const gdn_call *call, const layout *found,
                               gdn_pointer *address, gdn_error *error)
{
    unsigned char read[GDN_TENSORS] = {0};
    gdn_status status;
    int i;
    if ((status = place_within("workspace", "gdn_workspace", &call->workspace, found->workspace,
                               error)) ||
        (status = place_within("tables", "gdn_tables", &call->tables, found->tables, error)))
        return status;
    for (i = 0; i < set->buffer_count; i++) {
        const buffer_of_set *own = &set->buffers[i];
        const gdn_buffer *given = &call->tensor[own->tensor];
        uint64_t wanted = (uint64_t)found->bytes[i];
        if (own->role == WORKSPACE || own->role == TABLE) {
            const gdn_buffer *in = own->role == TABLE ? &call->tables : &call->workspace;
            address[i] = in->at + (gdn_pointer)found->place[i];
            continue;
        }
        read[own->tensor] = 1;
        address[i] = given->at;
        if (wanted && !given->at)
            return refuse(error, GDN_MISSING,
                          "tensor %s is not given, and set %s %s it; set call.tensor[GDN_%s] to "
                          "its address and bytes.", own->name, set->name,
                          own->role == INPUT ? "reads" : "writes", own->name);
        if (own->strided ? given->bytes < wanted : given->bytes != wanted)
            return refuse(error, GDN_WRONG_SIZE,
                          "tensor %s has %llu bytes, and with these sizes set %s %s %s%llu; check "
                          "B, T, N, the strides and the tensor's dtype and shape.", own->name,
                          (unsigned long long)given->bytes, set->name,
                          own->role == INPUT ? "reads" : "writes", own->strided ? "at least " : "",
                          (unsigned long long)wanted);
    }
    for (i = 0; i < GDN_TENSORS; i++)
        if (call->tensor[i].at && !read[i])
            return refuse(error, GDN_NOT_READ,
                          "tensor %s is given, and set %s neither reads nor writes it; leave it "
                          "out, or take the set of a problem that has it.", tensor_names[i],
                          set->name);
    return GDN_OK;
}

typedef union {
    gdn_pointer pointer;
    int32_t int32;
    int64_t int64;
    float float32;
} value;

static gdn_status fill_arguments(const stage_of_set *stage, const gdn_call *call,
                                 const gdn_pointer *address, value *values, gdn_error *error)
{
    const kernel_of_file *kernel = &kernels[stage->kernel];
    int i;
    for (i = 0; i < kernel->count; i++) {
        const parameter *own = &kernel->parameters[i];
        const char *source = (const char *)call + own->source;
        int64_t number = 0;
        switch (own->kind) {
        case POINTER:
            values[i].pointer = address[stage->buffers[i]];
            if (values[i].pointer % (gdn_pointer)own->divisor)
                return refuse(error, GDN_MISALIGNED,
                              "tensor %s is at address 0x%llx; it must be a multiple of %lld, "
                              "which cuMemAlloc gives: copy the tensor.", own->name,
                              (unsigned long long)values[i].pointer, (long long)own->divisor);
            break;
        case SCRATCH:
            values[i].pointer = 0;
            break;
        case FLOAT32:
            memcpy(&values[i].float32, source, sizeof(float));
            break;
        default:
            memcpy(&number, source, sizeof number);
            if (own->kind == INT32)
                values[i].int32 = (int32_t)number; /* measure() checked that it fits */
            else
                values[i].int64 = number;
            if (number % own->divisor)
                return refuse(error, GDN_MISALIGNED,
                              "%s is %lld elements; it must be a multiple of %lld: copy the "
                              "tensor.", own->name, (long long)number, (long long)own->divisor);
        }
    }
    return GDN_OK;
}

static gdn_status check_grid(const kernel_set *set, const stage_of_set *stage,
                             const sizes_of_call *sizes, int64_t *grid, gdn_error *error)
{
    int i;
    stage->grid(sizes, grid);
    for (i = 0; i < 3; i++) {
        int64_t most = i ? MOST_PROGRAMS : LARGEST;
        if (grid[i] > most)
            return refuse(error, GDN_TOO_LARGE,
                          "stage %s of set %s needs %lld programs in a grid dimension that is "
                          "limited to %lld; give fewer tokens per call.", stage->name, set->name,
                          (long long)grid[i], (long long)most);
    }
    return GDN_OK;
}

static int clear(const gdn_driver *driver, gdn_pointer at, int64_t bytes, void *stream)
{
    return bytes > 0 ? driver->cuMemsetD8Async(at, 0, (size_t)bytes, stream) : 0;
}

/* Zero what the kernels leave as it was: states of skipped sequences, or if `after` is set, the
 * tokens after the last packed sequence. */
static gdn_status clear_results(const gdn_driver *driver, const kernel_set *set,
                                const layout *found, const gdn_pointer *address, int after,
                                void *stream, gdn_error *error)
{
    int i, result = 0;
    for (i = 0; !result && i < set->buffer_count; i++) {
        const buffer_of_set *own = &set->buffers[i];
        if (own->role == RESULT && own->zeroed && !after)
            result = clear(driver, address[i], found->bytes[i], stream);
        if (own->role == RESULT && own->by_token && set->packed && after &&
            found->end < found->sizes.T) {
            int64_t kept = found->bytes[i] / found->sizes.T * found->end;
            result = clear(driver, address[i] + (gdn_pointer)kept, found->bytes[i] - kept, stream);
        }
    }
    return result ? failed(error, driver, result, "cuMemsetD8Async", set->name) : GDN_OK;
}

gdn_status gdn_launch(const gdn_library *library, int number, const gdn_call *call, void *stream,
                      gdn_error *error)
{
    const gdn_driver *driver = &library->driver;
    const kernel_set *set = &sets[known(number) ? number : 0];
    gdn_pointer address[MOST_BUFFERS];
    value values[MOST_PARAMETERS];
    void *arguments[MOST_PARAMETERS];
    int64_t grid[3];
    layout found;
    gdn_status status;
    int i, result;
    if (!known(number))
        return unknown_set(error, number);
    if ((status = check_context(library, error)) ||
        (status = measure(set, call, &found, error)) ||
        (status = find_buffers(set, call, &found, address, error)))
        return status;
    for (i = 0; i < set->stage_count; i++) { /* refuse before anything is launched */
        const stage_of_set *stage = &set->stages[i];
        if (!library->functions[stage->kernel])
            return refuse(error, GDN_NOT_LOADED, "set %s is not loaded; call gdn_load first.",
                          set->name);
        if ((status = check_grid(set, stage, &found.sizes, grid, error)) ||
            (status = fill_arguments(stage, call, address, values, error)))
            return status;
    }
    for (i = 0; i < MOST_PARAMETERS; i++)
        arguments[i] = &values[i];
    if ((status = clear_results(driver, set, &found, address, 0, stream, error)))
        return status;
    for (i = 0; i < set->stage_count; i++) {
        const stage_of_set *stage = &set->stages[i];
        const kernel_of_file *kernel = &kernels[stage->kernel];
        stage->grid(&found.sizes, grid);
        if (!grid[0] || !grid[1] || !grid[2])
            continue;
        fill_arguments(stage, call, address, values, NULL);
        result = driver->cuLaunchKernel(library->functions[stage->kernel], (unsigned)grid[0],
                                        (unsigned)grid[1], (unsigned)grid[2], kernel->threads, 1,
                                        1, kernel->shared, stream, arguments, NULL);
        if (result)
            return failed(error, driver, result, "cuLaunchKernel", stage->name);
    }
    status = clear_results(driver, set, &found, address, 1, stream, error);
    return status ? status : accept(error);
}
