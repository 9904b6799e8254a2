// SPDX-License-Identifier: BSD-2-Clause
/*
 * What allocations, frees, closes and releases do to the buffers of a process. Every function first
 * gets the memory it needs and then changes the tables, so a failure leaves them as they were.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/process.h"

/* When an event's time is not known (census) figures still need one. */
static uint64_t buffers_time(const struct process *process, const struct event *event)
{
	return event->time_ns ? event->time_ns : process->shown.observed_ns;
}

void buffers_describe(const struct process *process, const struct record *record, struct snapshot_buffer *out)
{
	const struct shape_key *key = &process->shapes.shapes[record->shape].key;
	const struct device_entry *device = &process->devices.entries[key->device];

	*out = (struct snapshot_buffer){
		.serial = record->serial,
		.object = record->object,
		.address = record->address,
		.size_bytes = record->size_bytes,
		.page_size_bytes = key->page_size_bytes,
		.footprint_bytes = record->footprint_bytes,
		.allocated_ns = record->allocated_ns,
		.held_ns = key->state == BUFFER_LIVE ? 0 : process->closures[key->closure].time_ns,
		.allocator = key->allocator,
		.device_object = device->object,
		.chips = device->chips,
		.chip_count = device->chip_count,
		.thread = record->thread,
		.runtime = key->runtime,
		.allocator_id = books_id(&process->books, key->allocator, key->type),
		.type = (enum memory_type)key->type,
		.state = (enum buffer_state)key->state,
	};
}

static void buffers_notify(struct model *model, struct process *process, const struct event *event,
			   enum notice_kind kind, const struct record *record)
{
	struct snapshot_buffer buffer;
	struct notice notice = {.kind = kind, .buffer = &buffer};

	if (!model->listener)
		return;
	buffers_describe(process, record, &buffer);
	process_notify(model, process, event, &notice);
}

/* The shape of @key; a new one keeps its device entry alive. 0 or -ENOMEM. */
static int buffers_shape_get(struct process *process, const struct shape_key *key, uint32_t *shape)
{
	int made = shape_intern(&process->shapes, key, shape);

	if (made == 1)
		process->devices.entries[key->device].shapes++;
	return made < 0 ? made : 0;
}

/* Gives a shape back if no buffer has it (any more). */
static void buffers_shape_put(struct process *process, uint32_t shape)
{
	uint32_t device = process->shapes.shapes[shape].key.device;

	if (process->shapes.shapes[shape].buffers)
		return;
	shape_drop(&process->shapes, shape);
	device_put(&process->devices, device);
}

/* Takes a buffer's weight out of every figure; its record is out of the store already. */
static void buffers_uncount(struct model *model, struct process *process, const struct record *record)
{
	struct shape *shape = &process->shapes.shapes[record->shape];
	const struct shape_key *key = &shape->key;

	if (key->state == BUFFER_LIVE) {
		device_uncount_live(&process->devices, key->device, key->type, record->size_bytes);
		process->shown.live--;
		model->live--;
	} else {
		struct closure *closure = &process->closures[key->closure];

		device_uncount_held(&process->devices, key->device, key->type, record->size_bytes);
		closure->buffers--;
		closure->bytes -= record->size_bytes * device_spread(&process->devices.entries[key->device]);
		process->shown.held--;
		model->held--;
		if (key->state == BUFFER_UNCERTAIN)
			process->shown.uncertain--;
	}
	shape->buffers--;
	buffers_shape_put(process, record->shape);
}

/*
 * The end of a buffer whose record is out of the store: counted, then told. A live one goes as
 * @live_kind says (free, missed free), a held one is released.
 */
static void buffers_gone(struct model *model, struct process *process, const struct event *event,
			 enum notice_kind live_kind, const struct record *record)
{
	const struct shape_key key = process->shapes.shapes[record->shape].key;
	struct snapshot_buffer buffer;
	struct notice notice = {.kind = key.state == BUFFER_LIVE ? live_kind : NOTICE_RELEASE, .buffer = &buffer};

	if (notice.kind == NOTICE_FREE)
		process->shown.freed++;
	else if (notice.kind == NOTICE_MISSED_FREE)
		process->shown.missed_frees++;
	else
		process->shown.held_released++;
	if (!model->listener) {
		buffers_uncount(model, process, record);
		return;
	}
	/* The notice comes when all figures are right again; its chips must not go away before. */
	buffers_describe(process, record, &buffer);
	process->devices.entries[key.device].shapes++;
	buffers_uncount(model, process, record);
	process_notify(model, process, event, &notice);
	device_put(&process->devices, key.device);
}

/* An object that is in the table is allocated anew: its old life ended without our seeing it. */
static void buffers_evict(struct model *model, struct process *process, const struct event *event)
{
	struct record record;

	if (store_remove(&process->store, event->buffer.object, &record))
		buffers_gone(model, process, event, NOTICE_MISSED_FREE, &record);
}

/*
 * The shape that allocations like this one got lately, if it still has buffers and its device entry
 * is still the newest of its object: then looking it up would find just that.
 */
static bool buffers_recall_shape(const struct process *process, const struct shape_key *key, uint64_t device_object,
				 uint32_t *recall, uint32_t *shape)
{
	const struct shape *known;

	*recall = (uint32_t)((key->allocator ^ key->page_size_bytes) * UINT64_C(0x9e3779b97f4a7c15) >> 32) + key->type;
	*recall %= PROCESS_RECALLED_SHAPES;
	*shape = process->recalled_shapes[*recall];
	if (*shape >= process->shapes.count)
		return false;
	known = &process->shapes.shapes[*shape];
	return known->buffers && known->key.allocator == key->allocator &&
	       known->key.page_size_bytes == key->page_size_bytes && known->key.runtime == key->runtime &&
	       known->key.type == key->type && known->key.state == BUFFER_LIVE &&
	       process->devices.entries[known->key.device].object == device_object &&
	       process->devices.entries[known->key.device].current;
}

/* The shape an allocation gets. What could not be read is left out, not guessed. */
static int buffers_allocation_shape(struct process *process, const struct event_buffer *buffer, uint32_t *shape)
{
	bool good = buffer->fault == BUFFER_FAULT_NONE;
	bool typed = good && (unsigned int)buffer->type < MEMORY_TYPE_COUNT;
	uint64_t device_object = good ? buffer->device_object : 0;
	struct shape_key key = {
		.allocator = good ? buffer->allocator : 0,
		.page_size_bytes = good ? buffer->page_size_bytes : 0,
		.runtime = buffer->runtime,
		.type = typed ? (uint8_t)buffer->type : MEMORY_TYPE_COUNT,
		.state = BUFFER_LIVE,
	};
	uint32_t recall;
	int err;

	if (buffers_recall_shape(process, &key, device_object, &recall, shape))
		return 0;
	err = device_get(&process->devices, device_object, &key.device);
	if (!err)
		err = buffers_shape_get(process, &key, shape);
	if (!err)
		process->recalled_shapes[recall] = *shape;
	return err;
}

static void buffers_doubt(struct process *process, const struct event_buffer *buffer, uint32_t device)
{
	if (buffer->fault == BUFFER_FAULT_UNREADABLE)
		process->doubts.unreadable++;
	else if (buffer->fault != BUFFER_FAULT_NONE || (unsigned int)buffer->type >= MEMORY_TYPE_COUNT)
		process->doubts.implausible++;
	else if (!process->devices.entries[device].known)
		process->doubts.unknown_device++;
}

/*
 * A census and the probe can both see one allocation, in either order. True when @event is the second
 * sight of a buffer that is in the table; then all is done.
 */
static bool buffers_seen_twice(struct process *process, const struct event *event)
{
	const struct event_buffer *buffer = &event->buffer;
	struct record *record;
	const struct shape_key *key;

	/* Without a census there is nothing to look for. */
	if (event->time_ns && !process->shown.before_attach)
		return false;
	record = store_find(&process->store, buffer->object);
	if (!record || buffer->fault || (event->time_ns && record->allocated_ns))
		return false;
	key = &process->shapes.shapes[record->shape].key;
	if (key->state != BUFFER_LIVE || key->type != (unsigned int)buffer->type ||
	    process->devices.entries[key->device].object != buffer->device_object ||
	    record->address != buffer->address || record->size_bytes != buffer->size_bytes)
		return false;
	if (buffer->footprint_bytes)
		record->footprint_bytes = buffer->footprint_bytes;
	if (event->time_ns) {
		record->allocated_ns = event->time_ns;
		record->thread = event->thread;
		process->shown.before_attach--;
		process->shown.allocated++;
	}
	return true;
}

int buffers_allocate(struct model *model, struct process *process, const struct event *event)
{
	const struct event_buffer *buffer = &event->buffer;
	struct record *record;
	struct shape *shape;
	uint32_t at;
	int err;

	if (buffers_seen_twice(process, event))
		return 0;
	err = buffers_allocation_shape(process, buffer, &at);
	if (err)
		return err;
	/* Held until the record has it, so that evicting the object's old life cannot drop it. */
	process->shapes.shapes[at].buffers++;
	buffers_evict(model, process, event);
	err = store_add(&process->store, buffer->object, model->serial + 1, &record);
	if (err) {
		process->shapes.shapes[at].buffers--;
		buffers_shape_put(process, at);
		return err;
	}
	shape = &process->shapes.shapes[at];
	model->serial++;
	record->address = buffer->fault ? 0 : buffer->address;
	record->size_bytes = buffer->fault ? 0 : buffer->size_bytes;
	record->footprint_bytes = buffer->fault ? 0 : buffer->footprint_bytes;
	record->allocated_ns = event->time_ns;
	record->thread = event->thread;
	record->shape = at;
	device_count_live(&process->devices, shape->key.device, shape->key.type, record->size_bytes,
			  buffers_time(process, event));
	if (event->time_ns)
		process->shown.allocated++;
	else
		process->shown.before_attach++;
	process->shown.live++;
	model->live++;
	buffers_doubt(process, buffer, shape->key.device);
	freed_forget(&process->freed, buffer->object);
	buffers_notify(model, process, event, NOTICE_ALLOCATE, record);
	return 0;
}

int buffers_free(struct model *model, struct process *process, const struct event *event)
{
	uint64_t object = event->buffer.object;
	struct record record;

	if (!store_remove(&process->store, object, &record))
		return unmatched_free(model, process, event);
	buffers_gone(model, process, event, NOTICE_FREE, &record);
	return freed_note(&process->freed, object, event->time_ns, event->thread);
}

int buffers_release(struct model *model, struct process *process, const struct event *event)
{
	uint64_t object = event->buffer.object;
	const struct record *found = store_find(&process->store, object);
	struct record record;

	/* A live one is no business of ours: views of single chips are destroyed too. */
	if (!found || process->shapes.shapes[found->shape].key.state == BUFFER_LIVE)
		return 0;
	store_remove(&process->store, object, &record);
	buffers_gone(model, process, event, NOTICE_RELEASE, &record);
	return 0;
}

int buffers_unsure(struct model *model, struct process *process, const struct event *event)
{
	struct record *record = store_find(&process->store, event->buffer.object);
	struct shape_key key;
	uint32_t old, unsure;
	int err;

	(void)model;
	if (!record || process->shapes.shapes[record->shape].key.state != BUFFER_HELD)
		return 0;
	key = process->shapes.shapes[record->shape].key;
	key.state = BUFFER_UNCERTAIN;
	err = buffers_shape_get(process, &key, &unsure);
	if (err)
		return err;
	old = record->shape;
	record->shape = unsure;
	process->shapes.shapes[unsure].buffers++;
	process->shapes.shapes[old].buffers--;
	process->shown.uncertain++;
	buffers_shape_put(process, old);
	return 0;
}

/* Which live buffers a close or bulk free makes held. */
struct holding {
	const struct device_entry *device; /* a close: of this entry, and ... */
	uint64_t allocator;                /* a bulk free: of this allocator */
	uint32_t closure;
	size_t count;
	struct holding_member {
		uint64_t serial;
		uint64_t object;
	} * members; /* in order of serial */
	uint64_t first_object;
};

static bool holding_wants(const struct process *process, const struct holding *holding, const struct shape_key *key)
{
	if (key->state != BUFFER_LIVE)
		return false;
	if (!holding->device)
		return key->allocator == holding->allocator;
	/* ... only where the runtime's bulk free is not seen. */
	return &process->devices.entries[key->device] == holding->device &&
	       key->runtime < process->shown.runtime_count && !process->bulk_free_probed[key->runtime];
}

static int holding_closure(struct process *process, uint32_t *closure)
{
	for (uint32_t i = 0; i < process->closure_count; i++) {
		if (!process->closures[i].buffers) {
			*closure = i;
			return 0;
		}
	}
	if (process->closure_count == process->closure_capacity) {
		uint32_t capacity = process->closure_capacity ? 2 * process->closure_capacity : 4;
		struct closure *closures = realloc(process->closures, capacity * sizeof(*closures));

		if (!closures)
			return -ENOMEM;
		process->closures = closures;
		process->closure_capacity = capacity;
	}
	process->closures[process->closure_count].buffers = 0;
	*closure = process->closure_count++;
	return 0;
}

/* Makes the held twin of every shape concerned and counts the buffers. 0 or -ENOMEM. */
static int holding_shapes(struct process *process, struct holding *holding)
{
	/* Twins are added behind; they are held, so nothing wants them. */
	for (uint32_t i = 0; i < process->shapes.count; i++) {
		struct shape_key key = process->shapes.shapes[i].key;
		uint32_t twin;
		int err;

		process->shapes.shapes[i].held_twin = SHAPE_NONE;
		if (!process->shapes.shapes[i].buffers || !holding_wants(process, holding, &key))
			continue;
		key.state = BUFFER_HELD;
		key.closure = holding->closure;
		err = buffers_shape_get(process, &key, &twin);
		if (err)
			return err;
		process->shapes.shapes[i].held_twin = twin;
		holding->count += process->shapes.shapes[i].buffers;
	}
	return 0;
}

static int holding_by_serial(const void *a, const void *b)
{
	const struct holding_member *left = a, *right = b;

	return (left->serial > right->serial) - (left->serial < right->serial);
}

static int holding_members(struct process *process, struct holding *holding)
{
	const struct record *record;
	size_t cursor = 0, count = 0;

	holding->members = malloc(holding->count * sizeof(*holding->members));
	if (!holding->members)
		return -ENOMEM;
	while (count < holding->count && (record = store_next(&process->store, &cursor))) {
		if (process->shapes.shapes[record->shape].held_twin == SHAPE_NONE)
			continue;
		holding->members[count++] = (struct holding_member){.serial = record->serial, .object = record->object};
	}
	holding->count = count;
	qsort(holding->members, count, sizeof(*holding->members), holding_by_serial);
	return 0;
}

/* One buffer from live to held. Needs no memory. */
static void holding_move(struct model *model, struct process *process, const struct event *event, uint64_t object)
{
	struct record *record = store_find(&process->store, object);
	struct shape *shape = &process->shapes.shapes[record->shape];
	struct closure *closure = &process->closures[process->shapes.shapes[shape->held_twin].key.closure];
	const struct device_entry *device = &process->devices.entries[shape->key.device];

	device_uncount_live(&process->devices, shape->key.device, shape->key.type, record->size_bytes);
	device_count_held(&process->devices, shape->key.device, shape->key.type, record->size_bytes);
	closure->buffers++;
	closure->bytes += record->size_bytes * device_spread(device);
	shape->buffers--;
	record->shape = shape->held_twin;
	process->shapes.shapes[record->shape].buffers++;
	process->shown.live--;
	process->shown.held++;
	process->shown.held_at_close++;
	model->live--;
	model->held++;
	buffers_notify(model, process, event, NOTICE_HOLD, record);
}

/* Gives back every shape that this left (or, after a failure, never gave) a buffer. */
static void holding_sweep(struct process *process)
{
	for (uint32_t i = 0; i < process->shapes.count; i++) {
		uint32_t twin = process->shapes.shapes[i].held_twin;

		if (twin == SHAPE_NONE)
			continue;
		process->shapes.shapes[i].held_twin = SHAPE_NONE;
		buffers_shape_put(process, twin);
		buffers_shape_put(process, i);
	}
}

/* Makes held what @holding wants; the notice gets what it came to. 0 or -ENOMEM, then nothing was. */
static int holding_apply(struct model *model, struct process *process, const struct event *event,
			 struct holding *holding, struct notice *notice)
{
	int err;

	err = holding_closure(process, &holding->closure);
	if (err)
		return err;
	err = holding_shapes(process, holding);
	if (!err && holding->count)
		err = holding_members(process, holding);
	if (err)
		goto out;
	process->closures[holding->closure] = (struct closure){.time_ns = buffers_time(process, event)};
	for (size_t i = 0; i < holding->count; i++)
		holding_move(model, process, event, holding->members[i].object);
	holding->first_object = holding->count ? holding->members[0].object : 0;
	notice->closed.held_buffers = holding->count;
	notice->closed.held_bytes = process->closures[holding->closure].bytes;
out:
	holding_sweep(process);
	free(holding->members);
	return err;
}

int buffers_close(struct model *model, struct process *process, const struct event *event)
{
	struct notice notice = {.kind = NOTICE_CLOSE, .closed = {.device_object = event->device_object}};
	struct device_entry *device = device_find(&process->devices, event->device_object);
	struct holding holding = {.device = device};
	bool first;
	int err;

	if (!device)
		return 0;
	/* The runtime's close runs twice for one device object. */
	first = !device->closing;
	device->closing = true;
	err = holding_apply(model, process, event, &holding, &notice);
	if (err)
		return err;
	notice.closed.chips = device->chips;
	notice.closed.chip_count = device->chip_count;
	if (first || notice.closed.held_buffers)
		process_notify(model, process, event, &notice);
	return 0;
}

int buffers_bulk_free(struct model *model, struct process *process, const struct event *event)
{
	struct notice notice = {.kind = NOTICE_CLOSE, .closed = {.allocator = event->allocator}};
	struct holding holding = {.allocator = event->allocator};
	const struct device_entry *device;
	const struct record *record;
	int err;

	err = holding_apply(model, process, event, &holding, &notice);
	if (err || !notice.closed.held_buffers)
		return err;
	/* An allocator serves one device object: that of any of its buffers. */
	record = store_find(&process->store, holding.first_object);
	device = &process->devices.entries[process->shapes.shapes[record->shape].key.device];
	notice.closed.chips = device->chips;
	notice.closed.chip_count = device->chip_count;
	process_notify(model, process, event, &notice);
	return 0;
}
