/* Kernels of the gated delta rule, compiled ahead of time, and how to launch them.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * C99, over the CUDA driver, which is found at run time: building needs neither nvcc nor the CUDA
 * toolkit. Compile gdn_kernels.c into your program (on older systems link with -ldl), keep the
 * files *.cubin in a folder, and then
 *
 *     gdn_open       once per CUDA context
 *     gdn_load       once per set of kernels; reads the cubins
 *     gdn_workspace  bytes of the memory for what the stages hand on to one another
 *     gdn_tables     for packed sequences, whenever their offsets change
 *     gdn_launch     every call: enqueues all stages on a stream, in order
 *
 * A function with a gdn_error returns GDN_OK or why it did nothing, and the error, which may be NULL,
 * has the sentence.
 * Nothing is launched by a call that is refused. gdn_launch, gdn_workspace and gdn_tables may run
 * in several threads at once; gdn_open, gdn_load and gdn_close of one library may not.
 * Times, errors and the origin of every set are in cubin.manifest.json.
 */
#ifndef GDN_KERNELS_H
#define GDN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*@ENUMS@*/

typedef enum {
    GDN_OK = 0,
    GDN_NO_DRIVER,     /* libcuda.so.1 cannot be used, or is too old */
    GDN_NO_CONTEXT,    /* no CUDA context is current, or another one than at gdn_open */
    GDN_WRONG_DEVICE,  /* the device cannot run the kernels */
    GDN_BAD_FILE,      /* a cubin cannot be read, or is another file */
    GDN_NO_MEMORY,     /* malloc failed */
    GDN_UNKNOWN_SET,   /* there is no such set */
    GDN_NOT_LOADED,    /* gdn_load was not called for the set */
    GDN_MISSING,       /* a tensor that the set reads or writes is not given */
    GDN_NOT_READ,      /* a tensor is given that the set does not read or write */
    GDN_MISALIGNED,    /* an address or a stride is not the multiple that the kernels assume */
    GDN_WRONG_SIZE,    /* a tensor, a size or an offset is not what the sizes of the call say */
    GDN_TOO_LARGE,     /* more programs, or larger numbers, than a launch can have */
    GDN_DRIVER_ERROR   /* the driver refused; the sentence has its error */
} gdn_status;

typedef struct {
    gdn_status status;
    char message[512];
} gdn_error;

typedef uint64_t gdn_pointer; /* a CUdeviceptr */

typedef struct {
    gdn_pointer at;
    uint64_t bytes;
} gdn_buffer;

/* One call. Set all of it to zero first, then what the set reads; see its buffers in the manifest.
 * Tensors are contiguous, outermost dimension first. Those of a pool (q, k, v, g, beta, pool,
 * slots) have strides, in elements. */
typedef struct {
    int64_t B, T; /* rows, and tokens per row; packed sequences are one row */
    int64_t N;    /* sequences: B, or those that are packed */
    int64_t S;    /* columns of slots, for sets that verify */
    int64_t stride_q, stride_k, stride_v, stride_g, stride_beta, stride_pool, stride_slots;
    float scale;            /* factor on the outputs, usually 1 / sqrt(K) */
    const int32_t *offsets; /* packed: N + 1 numbers on the host, the first token of each sequence
                               and the end of the last one; not of a pool, which has cu_seqlens */
    gdn_buffer tables;      /* packed: what gdn_tables made of the offsets, on the device */
    gdn_buffer workspace;   /* at least as many bytes as gdn_workspace says */
    gdn_buffer tensor[GDN_TENSORS];
} gdn_call;

/* What a set is for. The kernels run any number of tokens and sequences; they are the fastest ones
 * known for these. Everything else is built into them. */
typedef struct {
    const char *op, *gate, *dtype, *state_dtype;
    int64_t delta, H, HV, K, V, tokens, sequences;
    uint32_t flags;
} gdn_problem;

/* The functions of the driver that are used; give your own, or let gdn_open find them. */
typedef struct {
    int (*cuDriverGetVersion)(int *);
    int (*cuGetErrorName)(int, const char **);
    int (*cuCtxGetCurrent)(void **);
    int (*cuCtxGetDevice)(int *);
    int (*cuDeviceGetAttribute)(int *, int, int);
    int (*cuModuleLoadData)(void **, const void *);
    int (*cuModuleUnload)(void *);
    int (*cuModuleGetFunction)(void **, void *, const char *);
    int (*cuFuncGetAttribute)(int *, int, void *);
    int (*cuFuncSetAttribute)(void *, int, int);
    int (*cuFuncSetCacheConfig)(void *, int);
    int (*cuMemsetD8Async)(gdn_pointer, unsigned char, size_t, void *);
    int (*cuLaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                          unsigned, void *, void **, void **);
} gdn_driver;

typedef struct gdn_library gdn_library;

#define GDN_ALL (-1)

/* Open the kernels in a folder for the current context. driver: NULL for that of the system. */
gdn_status gdn_open(gdn_library **library, const char *folder, const gdn_driver *driver,
                    gdn_error *error);

/* Unload the kernels; the context must be current. NULL is allowed. */
void gdn_close(gdn_library *library);

/* The number of sets, and of one its name (the id of its problem) and problem; NULL if there is
 * no such set. */
int gdn_sets(void);
const char *gdn_name(int set);
const gdn_problem *gdn_problem_of(int set);

/* The set of a name; -1 if there is none. */
int gdn_find(const char *name);

/* The set for the nearest numbers of tokens (of the whole call) and sequences, among those that
 * agree in everything else; -1 if there is none. */
int gdn_nearest(const gdn_problem *problem);

/* Read the cubins of a set, or of GDN_ALL, once. Not while a CUDA graph is captured. */
gdn_status gdn_load(gdn_library *library, int set, gdn_error *error);

/* The bytes of workspace that a call needs; tensors need not be given yet. */
gdn_status gdn_workspace(int set, const gdn_call *call, uint64_t *bytes, gdn_error *error);

/* Make the tables of a packed call in host memory; copy them to the device as call.tables.
 * host: NULL to learn the bytes only. The call needs B, T, N and its offsets. */
gdn_status gdn_tables(int set, const gdn_call *call, void *host, uint64_t *bytes,
                      gdn_error *error);

/* Enqueue all stages of a call on a stream (a CUstream; NULL for the default one). */
gdn_status gdn_launch(const gdn_library *library, int set, const gdn_call *call, void *stream,
                      gdn_error *error);

#ifdef __cplusplus
}
#endif
#endif
