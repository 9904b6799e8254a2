/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C interface of the stand-in runtime (libstandin_tt_metal.so), for test drivers.
 *
 * The library has the mangled names, object layouts and call order of the real TT-Metal runtime,
 * and no device: addresses come from a first-fit allocator in host memory. It exists for the cases
 * that no real run can force (double free, fork in the middle, out of memory on demand); everything
 * else is tested on the real runtime.
 *
 * Ownership: a handle from a *_open or *_alloc function is freed by the matching *_drop function.
 * Functions that can fail return NULL or -1, with a text in standin_error() (per thread).
 */
#ifndef BUFSCOPE_TESTS_STANDIN_H
#define BUFSCOPE_TESTS_STANDIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STANDIN_MAX_CHIPS 64

struct standin_device; /* a mesh, a submesh or a single chip */
struct standin_buffer; /* what a tensor would hold: the owning Buffer and the per-chip views */

/* The runtime's own numbers. */
enum standin_type {
	STANDIN_DRAM = 0,
	STANDIN_L1 = 1,
	STANDIN_SYSTEM_MEMORY = 2,
	STANDIN_L1_SMALL = 3,
	STANDIN_TRACE = 4,
};

/* What the program itself knows of one allocation: the arbiter in tests. */
struct standin_facts {
	uint64_t object;        /* address of the Buffer object */
	uint64_t device_object; /* address of the MeshDevice or Device object */
	uint64_t allocator;
	uint64_t address;
	uint64_t size;
	uint64_t page_size;
	uint64_t bytes_per_bank;
	int type;
	int allocated;   /* status says so; also true for what is merely held after a close */
	int device_open; /* 0 after close, or when the device object is gone */
	int chip_count;
	int chips[STANDIN_MAX_CHIPS];
};

/* A mesh of chips 0..chips-1 (8 chips in the order of a real 2x4 mesh: 4 0 2 6 5 1 3 7). */
struct standin_device *standin_open_mesh(int chips);
/* @count chips of @parent from its @first on, with an allocator of its own. */
struct standin_device *standin_open_submesh(struct standin_device *parent, int first, int count);
/* One chip, as in the time before meshes: buffers point at the Device itself. */
struct standin_device *standin_open_chip(int chip);

enum standin_close {
	STANDIN_CLOSE_BULK = 0, /* all memory back at once, no tracker call: 0.66 and later */
	STANDIN_CLOSE_EACH = 1, /* DeallocateBuffer for every buffer: before #25914 */
};
void standin_close(struct standin_device *device, enum standin_close how);
/* The last reference to the device object; closes it if it is open. */
void standin_drop_device(struct standin_device *device);
uint64_t standin_device_object(const struct standin_device *device);

enum standin_alloc {
	STANDIN_ALLOC_TRACKED = 0,
	STANDIN_ALLOC_SILENT = 1, /* without the tracker call, as if it was made before a tracer came */
	STANDIN_ALLOC_HOOKED = 2, /* as in a graph capture without dispatch: no memory, address 0 */
};
/* NULL: out of memory, thrown and caught as std::runtime_error. */
struct standin_buffer *standin_alloc(struct standin_device *device, enum standin_type type, uint64_t size,
				     uint64_t page_size, enum standin_alloc how);
/* Gives the memory back; the object stays. */
void standin_deallocate(struct standin_buffer *buffer);
/* The same without the tracker call. */
void standin_deallocate_silent(struct standin_buffer *buffer);
/* Only the tracker call, whatever the object's status. */
void standin_track_deallocate(struct standin_buffer *buffer);
/* The tracker call of an allocation, while no page of the heap is in memory; main thread only. -1: it cannot be done. */
int standin_track_allocate_absent(struct standin_buffer *buffer);
/* The last reference: destroys the object, which frees the memory if that is still to be done. */
void standin_drop(struct standin_buffer *buffer);
void standin_facts(const struct standin_buffer *buffer, struct standin_facts *facts);

/* "plain" or "pimpl" */
const char *standin_layout(void);
const char *standin_error(void);

#ifdef __cplusplus
}
#endif
#endif
