/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layout of the allocator's books, learnt from the machine code: see tt_metal_census.h.
 *
 * Each offset has one function as witness: what it stores, returns or hands on. There is no table
 * of versions to fall back on. What was learnt is proven on every list that is read: vectors of
 * equal length whose blocks tile the bank.
 */
#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "runtime/tt_metal.h"
#include "runtime/tt_metal_census.h"

#define LIST_VTABLE     "_ZTVN2tt8tt_metal9allocator11FreeListOptE"
#define LIST_CONSTRUCT  "_ZN2tt8tt_metal9allocator11FreeListOptC1EmmmmNS2_12SearchPolicyE"
#define LIST_ADD_BLOCK  "_ZN2tt8tt_metal9allocator11FreeListOpt16alloc_meta_blockEmmllb"
#define LIST_ADD_BLOCK2 "_ZN2tt8tt_metal9allocator11FreeListOpt16alloc_meta_blockEmmmmb"
#define BANK_COUNT      "_ZNK2tt8tt_metal11BankManager9num_banksEv"
#define BANK_LIST       "_ZNK2tt8tt_metal11BankManager14get_statisticsEv"
#define BANK_LISTS      "_ZNK2tt8tt_metal11BankManager14get_statisticsEN4ttsl10StrongTypeIjNS0_14AllocatorIDTagEEE"
#define FREE_ALL        "_ZN2tt8tt_metal13AllocatorImpl18deallocate_buffersEv"
#define FREE_ALL_OLD    "_ZN2tt8tt_metal9Allocator18deallocate_buffersEv"
#define OWNS            "_ZN2tt8tt_metal6Buffer10deallocateEv"
#define OWNS_IMPL       "_ZN2tt8tt_metal10BufferImpl10deallocateERNS0_6BufferE"
#define MESH_ALLOCATOR  "_ZNK2tt8tt_metal11distributed10MeshDevice14allocator_implEv"
#define MESH_ALLOC_OLD  "_ZNK2tt8tt_metal11distributed10MeshDevice9allocatorEv"
#define MESH_IMPL       "_ZNK2tt8tt_metal11distributed14MeshDeviceImpl14allocator_implEv"
#define CHIP_ALLOCATOR  "_ZNK2tt8tt_metal6Device14allocator_implEv"
#define CHIP_ALLOC_OLD  "_ZNK2tt8tt_metal6Device9allocatorEv"
#define DEFAULT_MANAGER "_ZNK2tt8tt_metal23SubDeviceManagerTracker30get_default_sub_device_managerEv"
#define ACTIVE_MANAGER  "_ZNK2tt8tt_metal23SubDeviceManagerTracker29get_active_sub_device_managerEv"
#define SUB_ALLOCATOR   "_ZNK2tt8tt_metal16SubDeviceManager9allocatorEN4ttsl10StrongTypeIhNS0_14SubDeviceIdTagEEE"

#define ADDRESS_POINT 16
#define MAX_OFFSET    4096
#define MAX_LOADS     8

struct learn {
	struct tt_metal_learn common;
	const struct library_plan *library;
	struct tt_metal_books *books;
	struct census_plan *plan;
};

/* A value seen once, or several times the same. */
struct seen {
	bool known, contradicted;
	int32_t at;
};

struct facts {
	struct learn *learn;
	struct seen field[LIST_VECTORS]; /* meaning depends on the function */
	int32_t loads[MAX_LOADS];
	size_t load_count;
	struct seen span, count;
	struct insn_value call; /* argument 0 of the call that was looked for */
	bool called;
	struct insn_value virtual; /* argument 0 of a virtual call */
	bool called_virtual;
	struct insn_value result;
	bool returned;
	int root; /* the argument that is looked through: 1 where argument 0 is the place of the result */
	size_t managers;
};

static void see(struct seen *seen, int32_t at)
{
	if (at < 0 || at >= MAX_OFFSET || (seen->known && seen->at != at))
		seen->contradicted = true;
	seen->known = true;
	seen->at = at;
}

static bool certain(const struct seen *seen)
{
	return seen->known && !seen->contradicted;
}

static int refuse(struct learn *learn, const char *what, const char *who)
{
	strbuf_addf(learn->common.report, "refused books: %s: %s does not show it\n", what, who);
	return -ENOTSUP;
}

static void note(struct learn *learn, const char *name, int64_t value, const char *source)
{
	struct census_plan *plan = learn->plan;

	if (plan->layout_count < CENSUS_PLAN_FIELDS)
		plan->layout[plan->layout_count++] = (struct layout_field){.name = name, .value = value};
	strbuf_addf(learn->common.report, "ok %s %lld: %s\n", name, (long long)value, source);
}

/* The constructor stores its arguments: bank size, first address. */
static enum insn_verdict on_construct(void *context, const struct insn_fact *fact)
{
	struct facts *facts = context;

	if (fact->kind == INSN_FACT_CALL)
		return INSN_STOP;
	if (fact->kind == INSN_FACT_STORE && insn_is_load(&fact->a, 0, 1, 8) && fact->b.kind == INSN_PATH &&
	    fact->b.hops == 0 && fact->b.add == 0 && (fact->b.root == 1 || fact->b.root == 2))
		see(&facts->field[fact->b.root - 1], fact->a.hop[0]);
	return INSN_CONTINUE;
}

/*
 * alloc_meta_block(address, size, previous, next, allocated) appends one element to each vector:
 * *end = argument, where end is the second word of the vector.
 */
static enum insn_verdict on_add_block(void *context, const struct insn_fact *fact)
{
	struct facts *facts = context;
	const struct insn_value *place = &fact->a, *value = &fact->b;

	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(&facts->learn->common, fact)))
		return INSN_END_PATH;
	if (fact->kind != INSN_FACT_STORE || place->kind != INSN_PATH || place->root != 0 || place->hops != 2 ||
	    place->hop[1] != 0)
		return INSN_CONTINUE;
	if (place->width == 8 && value->kind == INSN_PATH && value->hops == 0 && value->add == 0 && value->root >= 1 &&
	    value->root <= 4)
		see(&facts->field[value->root - 1], place->hop[0] - 8);
	/* the flags: the caller's, which may come through a register's low byte, and a plain 1 */
	if (place->width == 1 && value->kind == INSN_CONSTANT && value->add == 1)
		see(&facts->field[LIST_USED], place->hop[0] - 8);
	else if (place->width == 1)
		see(&facts->field[LIST_ALLOCATED], place->hop[0] - 8);
	return INSN_CONTINUE;
}

static int learn_list(struct learn *learn)
{
	static const char *const names[LIST_VECTORS] = {"list.addresses", "list.sizes",     "list.previous",
							"list.next",      "list.allocated", "list.used"};
	struct tt_metal_books *books = learn->books;
	struct facts facts = {.learn = learn}, blocks = {.learn = learn};
	struct elf_symbol vtable;
	int32_t end = 0;
	int err;

	if (elf_file_symbol(learn->common.file, LIST_VTABLE, false, &vtable) || vtable.function)
		return refuse(learn, "FreeListOpt", "its vtable is not exported, so the file");
	books->list_vtable = vtable.vaddr + ADDRESS_POINT;
	err = tt_metal_trace(&learn->common, LIST_CONSTRUCT, on_construct, &facts);
	if (err == -ENOMEM)
		return err;
	if (err || !certain(&facts.field[0]) || !certain(&facts.field[1]))
		return refuse(learn, "list.size, list.first", "FreeListOpt::FreeListOpt()");
	books->list_size = (uint16_t)facts.field[0].at;
	books->list_first = (uint16_t)facts.field[1].at;
	note(learn, "list.size", books->list_size, "FreeListOpt()");
	note(learn, "list.first", books->list_first, "FreeListOpt()");
	err = tt_metal_trace(&learn->common, LIST_ADD_BLOCK, on_add_block, &blocks);
	if (err == -ENOENT)
		err = tt_metal_trace(&learn->common, LIST_ADD_BLOCK2, on_add_block, &blocks);
	if (err == -ENOMEM)
		return err;
	for (size_t i = 0; i < LIST_VECTORS; i++) {
		if (err || !certain(&blocks.field[i]))
			return refuse(learn, names[i], "FreeListOpt::alloc_meta_block()");
		books->list_vector[i] = (uint16_t)blocks.field[i].at;
		note(learn, names[i], books->list_vector[i], "alloc_meta_block()");
		if (blocks.field[i].at + 24 > end)
			end = blocks.field[i].at + 24;
	}
	/* each vector is three words, and none stands in another */
	for (size_t i = 0; i < LIST_VECTORS; i++)
		for (size_t j = 0; j < i; j++)
			if (books->list_vector[i] < books->list_vector[j] + 24 &&
			    books->list_vector[j] < books->list_vector[i] + 24)
				return refuse(learn, "list", "alloc_meta_block() contradicts itself and");
	if (end <= books->list_size)
		end = books->list_size + 8;
	if (end <= books->list_first)
		end = books->list_first + 8;
	books->list_bytes = (uint16_t)end;
	return 0;
}

static enum insn_verdict on_simple(void *context, const struct insn_fact *fact)
{
	struct facts *facts = context;

	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(&facts->learn->common, fact)))
		return INSN_END_PATH;
	if (fact->kind == INSN_FACT_RETURN && !facts->returned) {
		facts->returned = true;
		facts->result = fact->a;
	}
	if (fact->kind == INSN_FACT_LOAD && insn_is_load(&fact->a, facts->root, 1, 8) && facts->load_count < MAX_LOADS)
		facts->loads[facts->load_count++] = fact->a.hop[0];
	if (fact->kind == INSN_FACT_LOAD && insn_is_load(&fact->a, facts->root, 1, 4))
		see(&facts->count, fact->a.hop[0]);
	if (fact->kind == INSN_FACT_SHIFT && fact->a.kind == INSN_DIFFERENCE && fact->a.root == 0 &&
	    fact->a.hops == 1 && fact->a.add == 8)
		see(&facts->span, fact->a.hop[0]);
	return INSN_CONTINUE;
}

static int learn_banks(struct learn *learn)
{
	struct tt_metal_books *books = learn->books;
	struct facts count = {.learn = learn}, lists = {.learn = learn, .root = 1};
	int err = tt_metal_trace(&learn->common, BANK_COUNT, on_simple, &count);

	if (err == -ENOMEM)
		return err;
	if (err || !count.returned || !insn_is_load(&count.result, 0, 1, 4) || count.result.hop[0] < 4 ||
	    count.result.hop[0] >= MAX_OFFSET)
		return refuse(learn, "banks.count", "BankManager::num_banks()");
	books->bank_count = (uint16_t)count.result.hop[0];
	note(learn, "banks.count", books->bank_count, "num_banks()");
	/*
	 * Returns a struct: argument 0 is where to, argument 1 is this. The one pointer it reads are the
	 * lists; where there are many, it compares the wanted number with how many first.
	 */
	books->bank_lists_many = true;
	err = tt_metal_trace(&learn->common, BANK_LISTS, on_simple, &lists);
	if (err == -ENOENT) {
		books->bank_lists_many = false;
		err = tt_metal_trace(&learn->common, BANK_LIST, on_simple, &lists);
	}
	if (err == -ENOMEM)
		return err;
	if (err || lists.load_count != 1 || lists.loads[0] < 8 || lists.loads[0] >= MAX_OFFSET ||
	    (books->bank_lists_many && !certain(&lists.count)))
		return refuse(learn, "banks.lists", "BankManager::get_statistics()");
	if (books->bank_lists_many) {
		books->bank_list_count = (uint16_t)lists.count.at;
		note(learn, "banks.list_count", books->bank_list_count, "get_statistics()");
	}
	books->bank_lists = (uint16_t)lists.loads[0];
	note(learn, books->bank_lists_many ? "banks.lists" : "banks.list", books->bank_lists, "get_statistics()");
	return 0;
}

/* deallocate_buffers() hands each of its managers to deallocate_all(). */
static enum insn_verdict on_free_all(void *context, const struct insn_fact *fact)
{
	struct facts *facts = context;
	struct tt_metal_books *books = facts->learn->books;
	const char *name;

	if (fact->kind != INSN_FACT_CALL)
		return INSN_CONTINUE;
	name = tt_metal_callee(&facts->learn->common, fact);
	if (tt_metal_is_noreturn(name))
		return INSN_END_PATH;
	if (!strstr(name, "11BankManager14deallocate_all") || !insn_is_load(&fact->argument[0], 0, 1, 8) ||
	    fact->argument[0].hop[0] < 0 || fact->argument[0].hop[0] >= MAX_OFFSET)
		return INSN_CONTINUE;
	for (size_t i = 0; i < facts->managers; i++)
		if (books->manager[i] == fact->argument[0].hop[0])
			return INSN_CONTINUE;
	if (facts->managers < TT_METAL_MANAGERS)
		books->manager[facts->managers] = (uint16_t)fact->argument[0].hop[0];
	facts->managers++;
	return INSN_CONTINUE;
}

static enum insn_verdict on_owns(void *context, const struct insn_fact *fact)
{
	struct facts *facts = context;

	if (fact->kind != INSN_FACT_COMPARE || fact->b.kind != INSN_CONSTANT || !insn_is_load(&fact->a, 0, 1, 1))
		return INSN_CONTINUE;
	see(&facts->field[0], fact->a.hop[0]);
	return INSN_STOP; /* the first thing it asks */
}

static int learn_allocator(struct learn *learn)
{
	static const char *const names[TT_METAL_MANAGERS] = {"allocator.banks0", "allocator.banks1", "allocator.banks2",
							     "allocator.banks3"};
	struct tt_metal_books *books = learn->books;
	const struct object_read *read = &learn->library->read;
	struct facts facts = {.learn = learn}, owns = {.learn = learn};
	int err = tt_metal_trace(&learn->common, FREE_ALL, on_free_all, &facts);

	if (err == -ENOENT)
		err = tt_metal_trace(&learn->common, FREE_ALL_OLD, on_free_all, &facts);
	if (err == -ENOMEM)
		return err;
	if (err || facts.managers != TT_METAL_MANAGERS)
		return refuse(learn, "allocator.banks", "deallocate_buffers()");
	for (size_t i = 0; i < TT_METAL_MANAGERS; i++)
		note(learn, names[i], books->manager[i], "deallocate_buffers()");
	err = tt_metal_trace(&learn->common, read->indirect ? OWNS_IMPL : OWNS, on_owns, &owns);
	if (err == -ENOMEM)
		return err;
	if (err || !certain(&owns.field[0]) || owns.field[0].at < read->window_offset ||
	    owns.field[0].at >= read->window_offset + read->window_len)
		return refuse(learn, "buffer.owns", "Buffer::deallocate()");
	books->owns = (uint16_t)(owns.field[0].at - read->window_offset);
	note(learn, "buffer.owns", owns.field[0].at, "Buffer::deallocate()");
	return 0;
}

/* Which tracker does an allocator_impl() hand to get_default_sub_device_manager()? */
static enum insn_verdict on_tracker(void *context, const struct insn_fact *fact)
{
	struct facts *facts = context;
	const struct insn_value *object = fact->argument; /* NULL but at a call */
	const char *name;

	if (fact->kind == INSN_FACT_RETURN && !facts->returned) {
		facts->returned = true;
		facts->result = fact->a;
	}
	if (fact->kind != INSN_FACT_CALL)
		return INSN_CONTINUE;
	name = tt_metal_callee(&facts->learn->common, fact);
	if (tt_metal_is_noreturn(name))
		return INSN_END_PATH;
	if (strstr(name, "30get_default_sub_device_manager") && !facts->called) {
		facts->called = true;
		facts->call = *object;
	}
	if (!facts->called_virtual && fact->a.kind == INSN_PATH && object->kind == INSN_PATH && object->hops == 1 &&
	    fact->a.hops == 3 && fact->a.hop[0] == object->hop[0] && fact->a.hop[1] == 0) {
		facts->called_virtual = true;
		facts->virtual = *object;
	}
	return INSN_CONTINUE;
}

static bool is_hop(const struct insn_value *value)
{
	return insn_is_load(value, 0, 1, 8) && value->hop[0] >= 0 && value->hop[0] < MAX_OFFSET;
}

static int trace_either(struct learn *learn, const char *name, const char *old, insn_fact_fn *fact, struct facts *facts)
{
	int err = tt_metal_trace(&learn->common, name, fact, facts);

	return err == -ENOENT ? tt_metal_trace(&learn->common, old, fact, facts) : err;
}

static int learn_mesh(struct learn *learn)
{
	struct tt_metal_books *books = learn->books;
	struct facts mesh = {.learn = learn}, impl = {.learn = learn};
	int err = trace_either(learn, MESH_ALLOCATOR, MESH_ALLOC_OLD, on_tracker, &mesh);

	if (err == -ENOMEM)
		return err;
	if (!err && mesh.called && is_hop(&mesh.call)) {
		books->mesh_hop[books->mesh_hop_count++] = (uint16_t)mesh.call.hop[0];
	} else if (!err && mesh.called_virtual && is_hop(&mesh.virtual)) {
		err = tt_metal_trace(&learn->common, MESH_IMPL, on_tracker, &impl);
		if (err == -ENOMEM)
			return err;
		if (err || !impl.called || !is_hop(&impl.call))
			return refuse(learn, "mesh.tracker", "MeshDeviceImpl::allocator_impl()");
		books->mesh_hop[books->mesh_hop_count++] = (uint16_t)mesh.virtual.hop[0];
		books->mesh_hop[books->mesh_hop_count++] = (uint16_t)impl.call.hop[0];
	} else {
		return refuse(learn, "mesh.tracker", "MeshDevice::allocator_impl()");
	}
	if (books->mesh_hop_count > 1)
		note(learn, "mesh.pimpl", books->mesh_hop[0], "MeshDevice::allocator_impl()");
	note(learn, "mesh.tracker", books->mesh_hop[books->mesh_hop_count - 1], "MeshDevice::allocator_impl()");
	return 0;
}

static int learn_chip(struct learn *learn)
{
	struct tt_metal_books *books = learn->books;
	struct facts chip = {.learn = learn};
	int err = trace_either(learn, CHIP_ALLOCATOR, CHIP_ALLOC_OLD, on_tracker, &chip);

	if (err == -ENOMEM)
		return err;
	books->chip_tracker = books->chip_allocator = -1;
	if (!err && chip.called && is_hop(&chip.call)) {
		books->chip_tracker = chip.call.hop[0];
		note(learn, "device.tracker", books->chip_tracker, "Device::allocator()");
	} else if (!err && chip.returned && chip.result.kind == INSN_PATH && chip.result.root == 0 &&
		   chip.result.hops == 0 && chip.result.add > 0 && chip.result.add < MAX_OFFSET) {
		/* a reference to the pointer that owns it */
		books->chip_allocator = (int32_t)chip.result.add;
		note(learn, "device.allocator", books->chip_allocator, "Device::allocator_impl()");
	} else {
		/* Chips have books of their own only for single-core allocations: not reason enough to refuse. */
		strbuf_adds(learn->common.report, "no device.allocator: Device::allocator_impl() does not show it\n");
	}
	return 0;
}

static int learn_managers(struct learn *learn)
{
	struct tt_metal_books *books = learn->books;
	struct facts standard = {.learn = learn}, active = {.learn = learn}, sub = {.learn = learn};
	int err = tt_metal_trace(&learn->common, DEFAULT_MANAGER, on_simple, &standard);
	size_t found = 0;

	if (err == -ENOMEM)
		return err;
	if (err || !standard.returned || !is_hop(&standard.result))
		return refuse(learn, "tracker.default", "get_default_sub_device_manager()");
	books->tracker_default = (uint16_t)standard.result.hop[0];
	note(learn, "tracker.default", books->tracker_default, "get_default_sub_device_manager()");
	books->tracker_active = -1;
	err = tt_metal_trace(&learn->common, ACTIVE_MANAGER, on_simple, &active);
	if (err == -ENOMEM)
		return err;
	if (!err && active.returned && is_hop(&active.result)) {
		books->tracker_active = active.result.hop[0];
		note(learn, "tracker.active", books->tracker_active, "get_active_sub_device_manager()");
	}
	/* allocator(id) compares the id with the length of one vector and then reads another */
	err = tt_metal_trace(&learn->common, SUB_ALLOCATOR, on_simple, &sub);
	if (err == -ENOMEM)
		return err;
	for (size_t i = 0; !err && i < sub.load_count; i++) {
		int32_t at = sub.loads[i];

		if (!certain(&sub.span) || at == sub.span.at || at == sub.span.at + 8)
			continue;
		books->allocators = (uint16_t)at;
		found += at >= 0 && at < MAX_OFFSET;
	}
	if (err || found != 1)
		return refuse(learn, "sub_devices.allocators", "SubDeviceManager::allocator()");
	note(learn, "sub_devices.allocators", books->allocators, "SubDeviceManager::allocator()");
	return 0;
}

int tt_metal_census_plan(struct elf_file *file, const struct library_plan *library, struct census_plan *plan,
			 struct strbuf *report)
{
	static int (*const steps[])(struct learn *) = {learn_list, learn_banks, learn_allocator,
						       learn_mesh, learn_chip,  learn_managers};
	struct tt_metal_books books = {.tracker_active = -1};
	struct learn learn = {.common = {.file = file, .report = report},
			      .library = library,
			      .books = &books,
			      .plan = plan};
	int result = 0;

	memset(plan, 0, sizeof(*plan));
	learn.common.decoder = insn_decoder_new();
	if (!learn.common.decoder)
		return -ENOMEM;
	if (library->weak_this_offset < 0) {
		strbuf_adds(report,
			    "refused books: buffer.weak_this is not known, so buffers cannot be found in memory\n");
		result = -ENOTSUP;
	}
	/* all of them, also after a refusal, so that the report is complete */
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && result != -ENOMEM; i++) {
		int err = steps[i](&learn);

		if (err)
			result = err;
	}
	insn_decoder_free(learn.common.decoder);
	memcpy(plan->word, &books, sizeof(books));
	return strbuf_error(report) ? -ENOMEM : result;
}
