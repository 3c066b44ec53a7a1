/* A stand-in for the CUDA driver: it reads cubins, launches nothing, and notes every call.
 *
 * The size of each argument of a launch is what the ELF file says, so that the notes have the
 * bytes that a kernel would read.
 */
#include <cuda.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

typedef struct {
    char name[64];
    int count, size[MOST];
} function;

typedef struct {
    int count;
    function functions[4];
} module;

static struct {
    int major, minor, version, optin, has_context, failing;
} device = {9, 0, 13000, 232448, 1, 0};

static char notes[1 << 20];
static size_t length;
static int context;

static void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    length += (size_t)vsnprintf(notes + length, sizeof notes - length, format, arguments);
    va_end(arguments);
}

/* For tests: set the device up, and read the notes, which are forgotten then. */
void stand_in_device(int major, int minor, int version, int optin, int has_context, int failing)
{
    device.major = major;
    device.minor = minor;
    device.version = version;
    device.optin = optin;
    device.has_context = has_context;
    device.failing = failing;
}

const char *stand_in_notes(void)
{
    notes[length] = '\0';
    length = 0;
    return notes;
}

static uint64_t word(const unsigned char *at, int bytes)
{
    uint64_t found = 0;
    memcpy(&found, at, (size_t)bytes);
    return found;
}

static void read_function(function *own, const unsigned char *at, const unsigned char *end)
{
    while (at + 4 <= end) {
        int code = at[1], bytes = (int)word(at + 2, 2);
        const unsigned char *value = at + 4;
        at = value;
        if (value[-4] != 4)
            continue;
        if (code == 0x17) {
            int ordinal = (int)word(value + 4, 2);
            own->size[ordinal] = (int)(word(value + 8, 4) >> 18);
            if (own->count <= ordinal)
                own->count = ordinal + 1;
        }
        at += bytes;
    }
}

CUresult cuModuleLoadData(CUmodule *loaded, const void *image)
{
    static const char prefix[] = ".nv.info.";
    const unsigned char *file = image;
    const unsigned char *headers = file + word(file + 40, 8);
    int step = (int)word(file + 58, 2), count = (int)word(file + 60, 2);
    const unsigned char *names = file + word(headers + step * word(file + 62, 2) + 24, 8);
    module *own = calloc(1, sizeof *own);
    int i;
    for (i = 0; i < count; i++) {
        const unsigned char *header = headers + i * step;
        const char *name = (const char *)names + word(header, 4);
        if (!strncmp(name, prefix, sizeof prefix - 1)) {
            function *next = &own->functions[own->count++];
            const unsigned char *content = file + word(header + 24, 8);
            snprintf(next->name, sizeof next->name, "%s", name + sizeof prefix - 1);
            read_function(next, content, content + word(header + 32, 8));
        }
    }
    note("{\"call\": \"cuModuleLoadData\"}\n");
    *loaded = own;
    return device.failing;
}

CUresult cuModuleUnload(CUmodule loaded)
{
    note("{\"call\": \"cuModuleUnload\"}\n");
    free(loaded);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *found, CUmodule loaded, const char *name)
{
    module *own = loaded;
    int i;
    for (i = 0; i < own->count; i++)
        if (!strcmp(own->functions[i].name, name)) {
            *found = &own->functions[i];
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction of)
{
    (void)of;
    *value = attribute == 1 ? 1024 : -1;
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction of, int attribute, int value)
{
    function *own = of;
    note("{\"call\": \"cuFuncSetAttribute\", \"function\": \"%s\", \"attribute\": %d, "
         "\"value\": %d}\n", own->name, attribute, value);
    return CUDA_SUCCESS;
}

CUresult cuFuncSetCacheConfig(CUfunction of, int config)
{
    (void)of;
    (void)config;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction launched, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, CUstream stream,
                        void **arguments, void **extra)
{
    function *own = launched;
    int i, j;
    note("{\"call\": \"cuLaunchKernel\", \"function\": \"%s\", \"grid\": [%u, %u, %u], "
         "\"block\": [%u, %u, %u], \"shared\": %u, \"stream\": %llu, \"extra\": %d, "
         "\"arguments\": [", own->name, gx, gy, gz, bx, by, bz, shared,
         (unsigned long long)(uintptr_t)stream, extra != NULL);
    for (i = 0; i < own->count; i++) {
        note(i ? ", \"" : "\"");
        for (j = 0; j < own->size[i]; j++)
            note("%02x", ((unsigned char *)arguments[i])[j]);
        note("\"");
    }
    note("]}\n");
    return device.failing;
}

CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t bytes, CUstream stream)
{
    note("{\"call\": \"cuMemsetD8Async\", \"at\": %llu, \"value\": %d, \"bytes\": %llu, "
         "\"stream\": %llu}\n", (unsigned long long)at, value, (unsigned long long)bytes,
         (unsigned long long)(uintptr_t)stream);
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = error == CUDA_ERROR_NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_ILLEGAL_ADDRESS";
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version)
{
    *version = device.version;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *current)
{
    *current = device.has_context ? (char *)&context + device.has_context : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *current)
{
    *current = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice of)
{
    (void)of;
    *value = attribute == 75 ? device.major : attribute == 76 ? device.minor : device.optin;
    return attribute == 75 || attribute == 76 || attribute == 97 ? CUDA_SUCCESS : 1;
}

/* What a program uses besides; memory of the device is memory of the host. */

CUresult cuInit(unsigned flags)
{
    (void)flags;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *found, int number)
{
    *found = number;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *found, CUdevice of)
{
    (void)of;
    *found = &context;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext current)
{
    (void)current;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) { return CUDA_SUCCESS; }

CUresult cuMemAlloc(CUdeviceptr *at, size_t bytes)
{
    *at = (CUdeviceptr)(uintptr_t)aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *at ? CUDA_SUCCESS : 2;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, from, bytes);
    return CUDA_SUCCESS;
}
