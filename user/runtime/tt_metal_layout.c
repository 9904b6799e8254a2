/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layout of a Buffer, learnt from the machine code of the library's own functions: see
 * tt_metal.h.
 *
 * Each function is a witness: what it reads, compares or stores says where a field is. Most fields
 * have several witnesses, and two that disagree end in a refusal. The table of known layouts is only
 * a check on the result; a field is taken from it only when no code shows the field, and then the
 * report says so.
 *
 * Up to 0.78 the fields are in the Buffer. From 0.79 they are in a BufferImpl behind one pointer in
 * it, and the member functions that do the work get the BufferImpl as their first argument.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "runtime/tt_metal.h"

#define MAX_SOURCES 6
#define MAX_OFFSET  1024

enum field {
	FIELD_DEVICE,
	FIELD_SIZE,
	FIELD_TYPE,
	FIELD_ALLOCATOR,
	FIELD_STATUS,
	FIELD_HOOKED,
	FIELD_ADDRESS,
	FIELD_PAGE_SIZE,
	FIELD_COUNT, /* the rest are not places of fields */
	VALUE_ALLOCATED = FIELD_COUNT,
	VALUE_COUNT,
};

static const struct {
	const char *name;
	uint8_t width;
	bool needed; /* from code: no known layout can stand in for it */
} fields[VALUE_COUNT] = {
	[FIELD_DEVICE] = {"buffer.device", 8, false},
	[FIELD_SIZE] = {"buffer.size", 8, true},
	[FIELD_TYPE] = {"buffer.type", 4, true},
	[FIELD_ALLOCATOR] = {"buffer.allocator", 8, false},
	[FIELD_STATUS] = {"buffer.status", 1, true},
	[FIELD_HOOKED] = {"buffer.hooked", 1, false},
	[FIELD_ADDRESS] = {"buffer.address", 8, true},
	[FIELD_PAGE_SIZE] = {"buffer.page_size", 8, true},
	[VALUE_ALLOCATED] = {"value of buffer.status when allocated", 0, true},
};

static const struct known_layout {
	const char *versions;
	bool indirect;
	int32_t pointer;
	int32_t at[FIELD_COUNT];
} known_layouts[] = {
	{"ttnn 0.60.1 .. 0.78.0", false, 0, {16, 24, 32, 64, 72, 73, 80, 88}},
	{"ttnn 0.79.0 .. 0.81.1", true, 16, {0, 8, 16, 48, 56, 57, 64, 72}},
};

struct evidence {
	bool known, contradicted, assumed;
	int64_t value;
	size_t count;
	const char *source[MAX_SOURCES];
	int64_t other;
	const char *other_source;
};

struct layout {
	struct tt_metal_learn *learn;
	bool shape_known, indirect;
	int32_t pointer;
	struct evidence evidence[VALUE_COUNT];
	/* of the function that is being run */
	const char *source;
	bool impl; /* its first argument is the BufferImpl */
	bool said_something;
	bool device_seen, hooked_seen, after_hook, after_track, after_allocate;
};

static void witness(struct layout *l, size_t what, int64_t value)
{
	struct evidence *e = &l->evidence[what];

	l->said_something = true;
	if (e->known && e->value != value) {
		e->contradicted = true;
		e->other = value;
		e->other_source = l->source;
		return;
	}
	e->known = true;
	e->value = value;
	if (e->count < MAX_SOURCES && (e->count == 0 || e->source[e->count - 1] != l->source))
		e->source[e->count++] = l->source;
}

/* Is @value a field of the Buffer, @width bytes wide, of the shape that page_size() has shown? */
static bool is_member(const struct layout *l, const struct insn_value *value, int width, int32_t *offset)
{
	int hops = l->indirect && !l->impl ? 2 : 1;

	if (!insn_is_load(value, 0, hops, width) || (hops == 2 && value->hop[0] != l->pointer))
		return false;
	*offset = value->hop[hops - 1];
	return true;
}

static void witness_member(struct layout *l, enum field field, const struct insn_value *value, int width)
{
	int32_t offset;

	if (is_member(l, value, width, &offset))
		witness(l, field, offset);
}

/* One side of a comparison is a field, the other a constant. */
static bool compares_member(const struct layout *l, const struct insn_fact *fact, int width, int32_t *offset,
			    int64_t *with)
{
	if (fact->kind != INSN_FACT_COMPARE)
		return false;
	if (fact->b.kind == INSN_CONSTANT && is_member(l, &fact->a, width, offset)) {
		*with = fact->b.add;
		return true;
	}
	return false;
}

static enum insn_verdict on_page_size(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;
	const struct insn_value *value = &fact->a;

	if (fact->kind != INSN_FACT_RETURN)
		return INSN_CONTINUE;
	if (!l->shape_known && (insn_is_load(value, 0, 1, 8) || insn_is_load(value, 0, 2, 8))) {
		l->shape_known = true;
		l->indirect = value->hops == 2;
		l->pointer = l->indirect ? value->hop[0] : 0;
	}
	if (l->shape_known)
		witness_member(l, FIELD_PAGE_SIZE, value, 8);
	return INSN_CONTINUE;
}

static enum insn_verdict on_is_allocated(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;
	int32_t offset;
	int64_t with;

	if (compares_member(l, fact, 1, &offset, &with)) {
		witness(l, FIELD_STATUS, offset);
		witness(l, VALUE_ALLOCATED, with);
	}
	if (fact->kind == INSN_FACT_RETURN)
		witness_member(l, FIELD_STATUS, &fact->a, 1);
	return INSN_CONTINUE;
}

static enum insn_verdict on_is_trace(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;
	int32_t offset;
	int64_t with;

	if (compares_member(l, fact, 4, &offset, &with) && with == 4)
		witness(l, FIELD_TYPE, offset);
	return INSN_CONTINUE;
}

static enum insn_verdict on_buffer_type(void *context, const struct insn_fact *fact)
{
	if (fact->kind == INSN_FACT_RETURN)
		witness_member(context, FIELD_TYPE, &fact->a, 4);
	return INSN_CONTINUE;
}

static enum insn_verdict on_size(void *context, const struct insn_fact *fact)
{
	if (fact->kind == INSN_FACT_RETURN)
		witness_member(context, FIELD_SIZE, &fact->a, 8);
	return INSN_CONTINUE;
}

static enum insn_verdict on_device(void *context, const struct insn_fact *fact)
{
	if (fact->kind == INSN_FACT_RETURN)
		witness_member(context, FIELD_DEVICE, &fact->a, 8);
	return INSN_CONTINUE;
}

/* The compiler has seen the assertion that an address fits 32 bits and reads only these. */
static enum insn_verdict on_address(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;
	int32_t offset;
	int64_t with;

	if (compares_member(l, fact, 1, &offset, &with))
		witness(l, FIELD_STATUS, offset);
	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(l->learn, fact)))
		return INSN_END_PATH;
	if (fact->kind == INSN_FACT_RETURN)
		witness_member(l, FIELD_ADDRESS, &fact->a, fact->a.width == 4 ? 4 : 8);
	return INSN_CONTINUE;
}

static enum insn_verdict on_is_valid_region(void *context, const struct insn_fact *fact)
{
	if (fact->kind == INSN_FACT_COMPARE) {
		witness_member(context, FIELD_SIZE, &fact->a, 8);
		witness_member(context, FIELD_SIZE, &fact->b, 8);
	}
	return INSN_CONTINUE;
}

/* allocator_->get_alignment(buffer_type_) */
static enum insn_verdict on_alignment(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;

	if (fact->kind == INSN_FACT_CALL && strstr(tt_metal_callee(l->learn, fact), "get_alignment")) {
		witness_member(l, FIELD_ALLOCATOR, &fact->argument[0], 8);
		witness_member(l, FIELD_TYPE, &fact->argument[1], 4);
	}
	return INSN_CONTINUE;
}

static enum insn_verdict on_mark_as_deallocated(void *context, const struct insn_fact *fact)
{
	if (fact->kind == INSN_FACT_STORE && fact->b.kind == INSN_CONSTANT)
		witness_member(context, FIELD_STATUS, &fact->a, 1);
	return INSN_CONTINUE;
}

/* Is it a virtual call on a member of the Buffer: argument 0 is the member, and the function comes from its vtable? */
static bool is_virtual_call(const struct layout *l, const struct insn_fact *fact, int32_t *offset)
{
	const struct insn_value *object = &fact->argument[0];

	return fact->a.kind == INSN_PATH && is_member(l, object, 8, offset) && fact->a.hops == object->hops + 2 &&
	       fact->a.root == object->root &&
	       memcmp(fact->a.hop, object->hop, object->hops * sizeof(object->hop[0])) == 0 &&
	       fact->a.hop[object->hops] == 0;
}

static enum insn_verdict on_deallocate_call(struct layout *l, const struct insn_fact *fact)
{
	const char *name = tt_metal_callee(l->learn, fact);
	int32_t offset;

	if (tt_metal_is_noreturn(name))
		return INSN_END_PATH;
	/* device_->is_initialized() is the first virtual call */
	if (!l->device_seen && is_virtual_call(l, fact, &offset)) {
		l->device_seen = true;
		witness(l, FIELD_DEVICE, offset);
	}
	if (strstr(name, "16track_deallocate"))
		l->after_track = true;
	if (strstr(name, "15hook_deallocate"))
		l->after_hook = true;
	if (strstr(name, "17deallocate_buffer"))
		witness_member(l, FIELD_ALLOCATOR, &fact->argument[0], 8);
	return INSN_CONTINUE;
}

/*
 * if (status != ALLOCATED) return; if (device_->is_initialized() && size_ != 0) { track_deallocate;
 * if (!hook_deallocate() && !hooked_allocation_) allocator_->deallocate_buffer(this) } status = DEALLOCATED
 */
static enum insn_verdict on_deallocate_impl(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;
	int32_t offset;
	int64_t with;

	if (fact->kind == INSN_FACT_CALL)
		return on_deallocate_call(l, fact);
	if (!l->after_track && compares_member(l, fact, 1, &offset, &with) && with != 0) {
		witness(l, FIELD_STATUS, offset);
		witness(l, VALUE_ALLOCATED, with);
	}
	if (!l->after_track && compares_member(l, fact, 8, &offset, &with) && with == 0)
		witness(l, FIELD_SIZE, offset);
	if (l->after_hook && !l->hooked_seen && compares_member(l, fact, 1, &offset, &with)) {
		l->hooked_seen = true;
		witness(l, FIELD_HOOKED, offset);
	}
	return INSN_CONTINUE;
}

/* if (hook_allocate()) { address_ = 0; hooked_allocation_ = true; } else address_ = allocator_->allocate_buffer(this); ... */
static enum insn_verdict on_allocate_impl(void *context, const struct insn_fact *fact)
{
	struct layout *l = context;
	const char *name;
	int32_t offset;

	if (fact->kind == INSN_FACT_CALL) {
		name = tt_metal_callee(l->learn, fact);
		if (tt_metal_is_noreturn(name))
			return INSN_END_PATH;
		if (strstr(name, "13hook_allocate"))
			l->after_hook = true;
		l->after_allocate = strstr(name, "15allocate_buffer") != NULL;
		if (l->after_allocate)
			witness_member(l, FIELD_ALLOCATOR, &fact->argument[0], 8);
	}
	if (fact->kind != INSN_FACT_STORE)
		return INSN_CONTINUE;
	if (l->after_allocate && fact->b.kind == INSN_PATH && fact->b.root == INSN_ROOT_RESULT && fact->b.hops == 0)
		witness_member(l, FIELD_ADDRESS, &fact->a, 8);
	/* two flags are set to 1 here: the status, which is known by now, and the hooked flag */
	if (l->after_hook && fact->b.kind == INSN_CONSTANT && fact->b.add == 1 && is_member(l, &fact->a, 1, &offset) &&
	    !(l->evidence[FIELD_STATUS].known && l->evidence[FIELD_STATUS].value == offset))
		witness(l, FIELD_HOOKED, offset);
	return INSN_CONTINUE;
}

#define SHAPE_PLAIN    1
#define SHAPE_INDIRECT 2

/* In this order: the first shows the shape, allocate_impl() needs the status. */
static const struct accessor {
	const char *symbol, *label;
	unsigned int shapes;
	bool impl;
	insn_fact_fn *fact;
} accessors[] = {
	{"_ZNK2tt8tt_metal6Buffer9page_sizeEv", "page_size()", 3, false, on_page_size},
	{"_ZNK2tt8tt_metal6Buffer12is_allocatedEv", "is_allocated()", 3, false, on_is_allocated},
	{"_ZNK2tt8tt_metal6Buffer7addressEv", "address()", 3, false, on_address},
	{"_ZNK2tt8tt_metal6Buffer9alignmentEv", "alignment()", 3, false, on_alignment},
	{"_ZNK2tt8tt_metal6Buffer8is_traceEv", "is_trace()", 3, false, on_is_trace},
	{"_ZNK2tt8tt_metal6Buffer11buffer_typeEv", "buffer_type()", 3, false, on_buffer_type},
	{"_ZNK2tt8tt_metal6Buffer4sizeEv", "size()", 3, false, on_size},
	{"_ZNK2tt8tt_metal6Buffer6deviceEv", "device()", 3, false, on_device},
	{"_ZNK2tt8tt_metal6Buffer15is_valid_regionERKNS0_12BufferRegionE", "is_valid_region()", SHAPE_PLAIN, false,
	 on_is_valid_region},
	{"_ZNK2tt8tt_metal10BufferImpl15is_valid_regionERKNS0_12BufferRegionE", "is_valid_region()", SHAPE_INDIRECT,
	 true, on_is_valid_region},
	{"_ZN2tt8tt_metal6Buffer19mark_as_deallocatedEv", "mark_as_deallocated()", 3, false, on_mark_as_deallocated},
	{"_ZN2tt8tt_metal6Buffer15deallocate_implEv", "deallocate_impl()", SHAPE_PLAIN, false, on_deallocate_impl},
	{"_ZN2tt8tt_metal10BufferImpl15deallocate_implERNS0_6BufferE", "deallocate_impl()", SHAPE_INDIRECT, true,
	 on_deallocate_impl},
	{"_ZN2tt8tt_metal6Buffer13allocate_implEv", "allocate_impl()", SHAPE_PLAIN, false, on_allocate_impl},
	{"_ZN2tt8tt_metal10BufferImpl13allocate_implERNS0_6BufferE", "allocate_impl()", SHAPE_INDIRECT, true,
	 on_allocate_impl},
};

static int run_accessors(struct layout *l)
{
	int result = 0;

	for (size_t i = 0; i < sizeof(accessors) / sizeof(accessors[0]); i++) {
		const struct accessor *accessor = &accessors[i];
		int err;

		if (!(accessor->shapes & (l->indirect ? SHAPE_INDIRECT : SHAPE_PLAIN)))
			continue;
		l->source = accessor->label;
		l->impl = accessor->impl;
		l->said_something = false;
		l->device_seen = l->hooked_seen = l->after_hook = l->after_track = l->after_allocate = false;
		err = tt_metal_trace(l->learn, accessor->symbol, accessor->fact, l);
		if (err == -ENOMEM)
			return err;
		if (err == -EINVAL || err == -ERANGE) {
			/* other witnesses may do, but a library with such a function is not one we know */
			strbuf_addf(l->learn->report, "refused Buffer::%s: its code cannot be decoded\n",
				    accessor->label);
			result = -ENOTSUP;
		}
		if (err == 0 && i > 0 && !l->said_something)
			strbuf_addf(l->learn->report, "no Buffer::%s: its code shows nothing\n", accessor->label);
		if (i == 0 && !l->shape_known) {
			strbuf_addf(l->learn->report, "refused buffer.page_size: Buffer::page_size() %s\n",
				    err == -ENOENT ? "is not exported" : "is not understood");
			return -ENOTSUP;
		}
	}
	return result;
}

/* The known layout that nothing learnt speaks against, or NULL. */
static const struct known_layout *match_known(const struct layout *l)
{
	for (size_t i = 0; i < sizeof(known_layouts) / sizeof(known_layouts[0]); i++) {
		const struct known_layout *known = &known_layouts[i];
		bool match = known->indirect == l->indirect && known->pointer == l->pointer;

		for (size_t f = 0; f < FIELD_COUNT; f++)
			if (l->evidence[f].known && l->evidence[f].value != known->at[f])
				match = false;
		if (match)
			return known;
	}
	return NULL;
}

static void report_field(struct layout *l, size_t what)
{
	const struct evidence *e = &l->evidence[what];
	struct strbuf *report = l->learn->report;

	if (e->contradicted) {
		strbuf_addf(report, "refused %s: %s says %lld, %s says %lld\n", fields[what].name, e->source[0],
			    (long long)e->value, e->other_source, (long long)e->other);
		return;
	}
	if (!e->known) {
		strbuf_addf(report, "refused %s: no function shows it\n", fields[what].name);
		return;
	}
	strbuf_addf(report, "ok %s %lld: ", fields[what].name, (long long)e->value);
	if (e->assumed)
		strbuf_adds(report, "assumed from layout row, no function shows it");
	for (size_t i = 0; i < e->count; i++)
		strbuf_addf(report, "%s%s", i ? ", " : "", e->source[i]);
	strbuf_addc(report, '\n');
}

/* Fills in what code did not show, where that is allowed. 0 or -ENOTSUP. */
static int complete(struct layout *l, const struct known_layout *known)
{
	int result = 0;

	for (size_t i = 0; i < VALUE_COUNT; i++) {
		struct evidence *e = &l->evidence[i];

		if (!e->known && known && !fields[i].needed) {
			e->known = e->assumed = true;
			e->value = known->at[i];
		}
		report_field(l, i);
		if (!e->known || e->contradicted)
			result = -ENOTSUP;
	}
	return result;
}

static int64_t at(const struct layout *l, enum field field)
{
	return l->evidence[field].value;
}

/* What has been true of every version since 0.59: the order of the members and what stands between them. */
static bool is_consistent(const struct layout *l)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (at(l, (enum field)i) < 0 || at(l, (enum field)i) > MAX_OFFSET ||
		    at(l, (enum field)i) % fields[i].width != 0)
			return false;
		for (size_t j = 0; j < i; j++)
			if (at(l, (enum field)i) < at(l, (enum field)j) + fields[j].width &&
			    at(l, (enum field)j) < at(l, (enum field)i) + fields[i].width)
				return false;
	}
	return at(l, FIELD_DEVICE) == at(l, FIELD_SIZE) - 8 && at(l, FIELD_TYPE) == at(l, FIELD_SIZE) + 8 &&
	       at(l, FIELD_STATUS) == at(l, FIELD_TYPE) + 40 && at(l, FIELD_ADDRESS) == at(l, FIELD_STATUS) + 8 &&
	       at(l, FIELD_PAGE_SIZE) == at(l, FIELD_ADDRESS) + 8 && at(l, FIELD_HOOKED) > at(l, FIELD_STATUS) &&
	       at(l, FIELD_HOOKED) < at(l, FIELD_ADDRESS) && at(l, FIELD_ALLOCATOR) > at(l, FIELD_TYPE) &&
	       at(l, FIELD_ALLOCATOR) < at(l, FIELD_STATUS) && l->evidence[VALUE_ALLOCATED].value > 0 &&
	       l->evidence[VALUE_ALLOCATED].value <= UINT8_MAX &&
	       (!l->indirect || (l->pointer >= 0 && l->pointer % 8 == 0 && l->pointer <= MAX_OFFSET));
}

static void fill_plan(const struct layout *l)
{
	struct library_plan *plan = l->learn->plan;
	int64_t base = at(l, FIELD_DEVICE);

	plan->read = (struct object_read){.indirect = l->indirect,
					  .pointer_offset = (uint16_t)l->pointer,
					  .window_offset = (uint16_t)base,
					  .window_len = (uint16_t)(at(l, FIELD_PAGE_SIZE) + 8 - base),
					  .device_at = 0};
	plan->field.size = (int16_t)(at(l, FIELD_SIZE) - base);
	plan->field.type = (int16_t)(at(l, FIELD_TYPE) - base);
	plan->field.status = (int16_t)(at(l, FIELD_STATUS) - base);
	plan->field.hooked = (int16_t)(at(l, FIELD_HOOKED) - base);
	plan->field.address = (int16_t)(at(l, FIELD_ADDRESS) - base);
	plan->field.page_size = (int16_t)(at(l, FIELD_PAGE_SIZE) - base);
	plan->field.allocator = (int16_t)(at(l, FIELD_ALLOCATOR) - base);
	plan->field.status_allocated = (uint8_t)l->evidence[VALUE_ALLOCATED].value;
	if (l->indirect)
		tt_metal_add_layout(plan, "buffer.pimpl", l->pointer);
	for (size_t i = 0; i < FIELD_COUNT; i++)
		tt_metal_add_layout(plan, fields[i].name, at(l, (enum field)i));
}

struct weak_this {
	struct layout *layout;
	int root;
	bool seen, contradicted;
	int32_t control;
};

/* shared_from_this(): reads the 4-byte use count at +8 of the control block, which is the second word of the weak_ptr. */
static enum insn_verdict on_root_buffer(void *context, const struct insn_fact *fact)
{
	struct weak_this *weak = context;
	const struct layout *l = weak->layout;
	int64_t limit = l->indirect ? l->pointer : at(l, FIELD_DEVICE);

	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(l->learn, fact)))
		return INSN_END_PATH;
	if (fact->kind != INSN_FACT_LOAD || !insn_is_load(&fact->a, weak->root, 2, 4) || fact->a.hop[1] != 8 ||
	    fact->a.hop[0] < 8 || fact->a.hop[0] + 8 > limit)
		return INSN_CONTINUE;
	if (weak->seen && weak->control != fact->a.hop[0])
		weak->contradicted = true;
	weak->seen = true;
	weak->control = fact->a.hop[0];
	return INSN_CONTINUE;
}

/* Not having it is no reason to refuse: then nobody asks an object whether it still lives. */
static int learn_weak_this(struct layout *l)
{
	/* both return a shared_ptr, so argument 0 is where to; then this, and for BufferImpl the Buffer */
	const char *symbol = l->indirect ? "_ZN2tt8tt_metal10BufferImpl11root_bufferERNS0_6BufferE"
					 : "_ZN2tt8tt_metal6Buffer11root_bufferEv";
	struct weak_this weak = {.layout = l, .root = l->indirect ? 2 : 1};
	int err = tt_metal_trace(l->learn, symbol, on_root_buffer, &weak);

	l->learn->plan->weak_this_offset = -1;
	if (err == -ENOMEM)
		return err;
	if (err || !weak.seen || weak.contradicted) {
		strbuf_adds(l->learn->report, "no buffer.weak_this: root_buffer() does not show it\n");
		return 0;
	}
	l->learn->plan->weak_this_offset = (int16_t)(weak.control - 8);
	strbuf_addf(l->learn->report, "ok buffer.weak_this %d: root_buffer()\n", weak.control - 8);
	tt_metal_add_layout(l->learn->plan, "buffer.weak_this", weak.control - 8);
	return 0;
}

int tt_metal_learn_buffer(struct tt_metal_learn *learn)
{
	struct layout l = {.learn = learn};
	const struct known_layout *known;
	int accessors_err = run_accessors(&l), err;

	learn->plan->weak_this_offset = -1;
	if (accessors_err == -ENOMEM || !l.shape_known)
		return accessors_err;
	known = match_known(&l);
	if (l.indirect)
		strbuf_addf(learn->report, "ok buffer.pimpl %d: page_size()\n", l.pointer);
	err = complete(&l, known);
	if (err)
		return err;
	if (!is_consistent(&l)) {
		strbuf_adds(learn->report, "refused layout: the fields are not in the order of any known version\n");
		return -ENOTSUP;
	}
	snprintf(learn->plan->version_hint, sizeof(learn->plan->version_hint), "%s",
		 known ? known->versions : "new layout");
	strbuf_addf(learn->report, "ok layout: %s%s\n", known ? "as in " : "", learn->plan->version_hint);
	fill_plan(&l);
	err = learn_weak_this(&l);
	return err ? err : accessors_err;
}
