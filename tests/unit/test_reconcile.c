/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every way in which a buffer's life and an attachment can interleave. The moments are: the probes are
 * in place (P), the census reads (C), the ring is drained (D). What happens before P leaves no event;
 * what the census sees is the state at C; what happens between P and D is an event. Whatever the
 * interleaving, the model must hold what the process holds at D, with no free or allocation that it
 * cannot explain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "model/model.h"
#include "model/snapshot.h"
#include "source/reconcile.h"

#define OBJECT    0x1000u
#define DEVICE    0x2000u
#define ALLOCATOR 0x3000u

enum step {
	STEP_ALLOCATE = 1,
	STEP_FREE = 2,
	STEP_PROBES = 3,
	STEP_CENSUS = 4,
};

struct life {
	struct event events[8];
	size_t event_count;
	bool probes, taken;
	bool live;
	uint64_t address, at_census;
	bool live_at_census;
};

static void tell(struct life *life, enum event_kind kind)
{
	struct event *event = &life->events[life->event_count];

	if (!life->probes)
		return;
	*event = (struct event){.kind = kind, .process = 1, .thread = 5, .time_ns = 100 + life->event_count};
	event->buffer = (struct event_buffer){.object = OBJECT,
					      .device_object = DEVICE,
					      .allocator = ALLOCATOR,
					      .address = life->address,
					      .size_bytes = 64,
					      .page_size_bytes = 64,
					      .type = MEMORY_L1};
	life->event_count++;
}

/* The same object address is used by one buffer after the other, at another place on the device each time. */
static void step(struct life *life, enum step what)
{
	switch (what) {
	case STEP_ALLOCATE:
		life->live = true;
		life->address += 4096;
		tell(life, EVENT_ALLOCATE);
		break;
	case STEP_FREE:
		tell(life, EVENT_FREE);
		life->live = false;
		break;
	case STEP_PROBES:
		life->probes = true;
		break;
	case STEP_CENSUS:
		life->live_at_census = life->live;
		life->at_census = life->address;
		life->taken = true;
		break;
	}
}

static void apply(void *context, const struct event *event)
{
	assert_int_equal(model_apply(context, event), 0);
}

static void begin(struct model *model)
{
	struct event event = {.kind = EVENT_BIRTH, .process = 1, .time_ns = 1};

	event.birth = (struct event_birth){.how = BIRTH_ATTACH, .pid = 9, .command = "", .cgroup = ""};
	apply(model, &event);
	event = (struct event){.kind = EVENT_RUNTIME, .process = 1, .time_ns = 2};
	event.runtime = (struct event_runtime){
		.name = "r", .library = "l", .build_id = "", .earlier_objects = 3, .bulk_free_probed = true};
	apply(model, &event);
	event = (struct event){.kind = EVENT_DEVICE, .process = 1, .time_ns = 3};
	event.device = (struct event_device){.device_object = DEVICE, .readable = true, .chip_count = 1};
	apply(model, &event);
}

/* What a census of this moment is: books with one block, and the buffer that owns it. */
static void census_of(const struct life *life, struct census *census, struct census_block *block,
		      struct census_buffer *buffer, struct census_book *book, struct census_allocator *allocator)
{
	memset(census, 0, sizeof(*census));
	*allocator = (struct census_allocator){.object = ALLOCATOR, .device = CENSUS_NONE, .sub_device = -1};
	*book = (struct census_book){.type = MEMORY_L1, .banks = 2, .block_count = life->live_at_census};
	*block = (struct census_block){.address = life->at_census, .bytes = 64};
	*buffer = (struct census_buffer){.object = OBJECT,
					 .device_object = DEVICE,
					 .allocator = ALLOCATOR,
					 .address = life->at_census,
					 .size_bytes = 64,
					 .page_size_bytes = 64,
					 .type = MEMORY_L1,
					 .verdict = CENSUS_CONFIRMED};
	census->origin = CENSUS_ORIGIN_OWN;
	census->allocators = allocator;
	census->allocator_count = 1;
	census->books = book;
	census->book_count = 1;
	census->blocks = block;
	census->block_count = life->live_at_census;
	census->buffers = buffer;
	census->buffer_count = census->confirmed_count = life->live_at_census;
}

/* Attaches in the middle of this life, and compares. @torn: the census saw the block but not its owner. */
static void check(const struct life *life, bool torn)
{
	struct census_subject subject = {.process = 1, .time_ns = 50};
	struct model_options options = {.max_unmatched_frees = 4};
	struct model *model = model_new(&options);
	struct census_allocator allocator;
	struct snapshot *snapshot;
	const struct snapshot_process *process;
	struct reconcile reconcile;
	struct census_buffer buffer;
	struct census_block block;
	struct census_book book;
	struct census census;
	const char *reason;

	assert_non_null(model);
	begin(model);
	census_of(life, &census, &block, &buffer, &book, &allocator);
	if (torn && life->live_at_census) {
		block.owner = CENSUS_NONE;
		census.buffer_count = census.confirmed_count = 0;
		census.unexplained_blocks = 1;
	}
	assert_int_equal(reconcile_init(&reconcile, life->events, life->event_count), 0);
	reason = reconcile_judge(&reconcile, &census);
	assert_int_equal(reconcile_emit(&reconcile, &census, &subject, apply, model), 0);
	for (size_t i = 0; i < life->event_count; i++)
		apply(model, &life->events[i]);
	census_emit_end(&census, &subject, reason, false, apply, model);
	snapshot = model_snapshot(model, 1000);
	assert_non_null(snapshot);
	process = &snapshot->processes[0];
	if (torn && life->live_at_census && !life->event_count) {
		/* Nothing explains the block: then it must be said. */
		assert_non_null(reason);
		assert_false(process->exact);
	} else {
		assert_null(reason);
		assert_int_equal(process->live, life->live);
		assert_int_equal(process->unknown_frees + process->double_frees + process->missed_frees, 0);
		if (life->live)
			assert_int_equal(process->buffers[0].address, life->address);
		assert_int_equal(process->before_attach + process->allocated, process->freed + process->live);
		assert_true(process->exact);
	}
	snapshot_free(snapshot);
	reconcile_fini(&reconcile);
	model_free(model);
}

/* All sequences: three operations in turn, with the two moments put in at every pair of places. */
static void test_every_interleaving(void **state)
{
	unsigned int checked = 0;

	(void)state;
	for (unsigned int operations = 0; operations <= 5; operations++) {
		for (unsigned int first = 0; first < 2; first++) {
			for (unsigned int probes = 0; probes <= operations; probes++) {
				for (unsigned int census = probes; census <= operations; census++) {
					struct life life = {.live = first, .address = 4096};

					for (unsigned int i = 0; i <= operations; i++) {
						if (i == probes)
							step(&life, STEP_PROBES);
						if (i == census)
							step(&life, STEP_CENSUS);
						if (i < operations)
							step(&life, life.live ? STEP_FREE : STEP_ALLOCATE);
					}
					assert_true(life.taken);
					check(&life, false);
					check(&life, true);
					checked++;
				}
			}
		}
	}
	assert_int_equal(checked, 2 * (1 + 3 + 6 + 10 + 15 + 21));
}

/* A second census that fails ends what the first one had begun, and ended. */
static void test_ended_twice(void **state)
{
	const struct event events[4] = {{.kind = EVENT_ALLOCATE}};
	struct reconcile reconcile;

	(void)state;
	assert_int_equal(reconcile_init(&reconcile, events, 4), 0);
	reconcile_fini(&reconcile);
	assert_null(reconcile.places);
	reconcile_fini(&reconcile);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_interleaving),
					   cmocka_unit_test(test_ended_twice)};

	return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
