/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From device objects to their chips and their allocators: see tt_metal_census.h.
 *
 * A MeshDevice or a Device leads to a SubDeviceManager, and that to its allocators: the first of the
 * standard one has the whole device, those of another manager that is loaded have a sub-device each.
 * Parts of a mesh (submeshes) are MeshDevices with allocators of their own.
 */
#include <errno.h>
#include <string.h>

#include "runtime/tt_metal_census.h"

#define MAX_SUB_DEVICES 64
#define MAX_CHIP_NUMBER 65535
#define ADDRESS_END     (1ULL << 47)

static bool is_pointer(uint64_t value)
{
	return value >= 4096 && value % 8 == 0 && value < ADDRESS_END;
}

/* The pointer at @address; 0 when there is none. */
static uint64_t follow(struct tt_metal_census *c, uint64_t address)
{
	uint64_t value;

	if (memory_read(c->memory, address, &value, sizeof(value)) || !is_pointer(value))
		return 0;
	return value;
}

/* A vector of pointers: how many, at most @limit; false: no vector. */
static bool read_vector(struct tt_metal_census *c, uint64_t address, size_t limit, uint64_t *begin, size_t *count)
{
	uint64_t word[3];

	if (memory_read(c->memory, address, word, sizeof(word)) || word[1] < word[0] || word[2] < word[1] ||
	    (word[1] - word[0]) % 8 || (word[1] - word[0]) / 8 > limit || (word[0] && !is_pointer(word[0])))
		return false;
	*begin = word[0];
	*count = (size_t)((word[1] - word[0]) / 8);
	return true;
}

static bool read_chip_number(struct tt_metal_census *c, uint64_t chip, int32_t *number)
{
	const struct device_walk *walk = &c->input->library->walk;
	uint64_t vtable;

	return memory_read(c->memory, chip, &vtable, sizeof(vtable)) == 0 &&
	       vtable == c->input->base + walk->chip_vtable &&
	       memory_read(c->memory, chip + walk->chip_id_offset, number, sizeof(*number)) == 0 && *number >= 0 &&
	       *number <= MAX_CHIP_NUMBER;
}

static bool read_mesh_chips(struct tt_metal_census *c, struct event_device *device)
{
	const struct device_walk *walk = &c->input->library->walk;
	uint64_t at = device->device_object, range[2];

	for (uint8_t i = 0; i < walk->hop_count; i++) {
		at = follow(c, at + walk->hop[i]);
		if (!at)
			return false;
	}
	if (memory_read(c->memory, at + walk->array_offset, range, sizeof(range)) || !is_pointer(range[0]) ||
	    range[1] < range[0] || (range[1] - range[0]) % walk->stride || (range[1] - range[0]) / walk->stride > 65536)
		return false;
	for (at = range[0]; at < range[1]; at += walk->stride) {
		uint64_t element[2] = {0};
		int32_t number;

		if (memory_read(c->memory, at, element,
				walk->stride < sizeof(element) ? walk->stride : sizeof(element)))
			return false;
		/* a chip of another host has no object here */
		if (walk->tagged && (element[1] & 0xff) != 1)
			continue;
		if (!is_pointer(element[0]) || !read_chip_number(c, element[0], &number))
			return false;
		if (device->chip_count == EVENT_MAX_CHIPS)
			device->cut_off++;
		else
			device->chips[device->chip_count++] = number;
	}
	return true;
}

static int add_allocators(struct tt_metal_census *c, uint64_t manager, uint32_t device, bool standard, bool *open)
{
	uint64_t begin, object;
	uint32_t index;
	size_t count;

	if (!manager || !read_vector(c, manager + c->layout->allocators, MAX_SUB_DEVICES, &begin, &count))
		return 0;
	for (size_t i = 0; i < count; i++) {
		int err;

		object = follow(c, begin + 8 * i);
		if (!object)
			continue;
		err = tt_metal_census_allocator(c, object, device, standard && i == 0 ? -1 : (int32_t)i, &index);
		if (err)
			return err;
		if (index != CENSUS_NONE)
			*open = true;
	}
	return 0;
}

static int add_device_allocators(struct tt_metal_census *c, uint64_t object, bool is_mesh, uint32_t device, bool *open)
{
	const struct tt_metal_books *layout = c->layout;
	uint64_t tracker = object, standard, active = 0;
	uint32_t index = CENSUS_NONE;
	int err;

	if (!is_mesh && layout->chip_tracker < 0) {
		uint64_t allocator =
			layout->chip_allocator < 0 ? 0 : follow(c, object + (uint64_t)layout->chip_allocator);

		err = allocator ? tt_metal_census_allocator(c, allocator, device, -1, &index) : 0;
		*open = index != CENSUS_NONE;
		return err;
	}
	if (is_mesh) {
		for (uint8_t i = 0; tracker && i < layout->mesh_hop_count; i++)
			tracker = follow(c, tracker + layout->mesh_hop[i]);
	} else {
		tracker = follow(c, object + (uint64_t)layout->chip_tracker);
	}
	if (!tracker)
		return 0;
	standard = follow(c, tracker + layout->tracker_default);
	if (layout->tracker_active >= 0)
		active = follow(c, tracker + (uint64_t)layout->tracker_active);
	err = add_allocators(c, standard, device, true, open);
	if (!err && active && active != standard)
		err = add_allocators(c, active, device, false, open);
	return err;
}

/* A destroyed object's memory may still begin with its vtable: then what it leads to is not what it should be. */
static int add_device(struct tt_metal_census *c, uint64_t object)
{
	struct census_device found = {.device = {.device_object = object}};
	struct census *out = c->out;
	uint32_t index;
	uint64_t vtable;
	int err;

	if (memory_read(c->memory, object, &vtable, sizeof(vtable)))
		return 0;
	found.device.is_mesh = vtable == c->input->base + c->input->library->walk.mesh_vtable;
	if (found.device.is_mesh) {
		found.device.readable = read_mesh_chips(c, &found.device);
	} else {
		found.device.readable = read_chip_number(c, object, &found.device.chips[0]);
		found.device.chip_count = found.device.readable ? 1 : 0;
	}
	if (!found.device.readable)
		found.device.chip_count = found.device.cut_off = 0;
	err = tt_metal_census_grow(c, &out->devices, out->device_count, &c->device_room, sizeof(*out->devices),
				   CENSUS_MAX_DEVICES);
	if (err)
		return err == -E2BIG ? 0 : err;
	index = (uint32_t)out->device_count++;
	out->devices[index] = found;
	err = table_set(&c->device_of, object, index);
	if (err)
		return err;
	return add_device_allocators(c, object, found.device.is_mesh, index, &out->devices[index].open);
}

int tt_metal_census_devices(struct tt_metal_census *c)
{
	for (size_t i = 0; i < c->devices.count; i++) {
		int err = add_device(c, c->devices.data[i]);

		if (err)
			return err;
	}
	return 0;
}
