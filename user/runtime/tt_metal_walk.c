/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a device object to the numbers of its chips: see tt_metal.h.
 *
 * A buffer's device is a Device (one chip) or a MeshDevice. Both have a vtable symbol, and the third
 * virtual function after the destructors is id(): the code behind a Device's gives the place of
 * its number. A mesh's chips stand in an array that MeshDevice::get_view() and
 * MeshDeviceView::get_devices() lead to.
 */
#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "runtime/tt_metal.h"

#define DEVICE_VTABLE "_ZTVN2tt8tt_metal6DeviceE"
#define MESH_VTABLE   "_ZTVN2tt8tt_metal11distributed10MeshDeviceE"
#define MESH_ID       "_ZNK2tt8tt_metal11distributed10MeshDevice2idEv"
#define GET_VIEW      "_ZNK2tt8tt_metal11distributed10MeshDevice8get_viewEv"
#define GET_DEVICES   "_ZNK2tt8tt_metal11distributed14MeshDeviceView11get_devicesEv"

#define ADDRESS_POINT 16 /* of a vtable: behind offset-to-top and typeinfo */
#define ID_SLOT       24 /* IDevice: two destructors, arch(), id() */
#define MAX_OFFSET    4096

/* One value that may be seen several times and must always be the same. */
struct single {
	bool seen, contradicted;
	struct insn_value value;
};

struct array_facts {
	struct tt_metal_learn *learn;
	struct single array; /* the place of the vector: a path plus its offset */
	struct single span;  /* end minus begin */
	struct single view;
	struct single number;
	unsigned int shift; /* log2 of the element size; 0: not seen */
	bool shift_contradicted;
	bool tag_seen, tag_contradicted;
	struct insn_value tag;
	uint64_t helper; /* get_devices() hands the vector to this function; 0: it reads it itself */
};

static void see(struct single *single, const struct insn_value *value)
{
	if (single->seen && !insn_same_value(&single->value, value))
		single->contradicted = true;
	single->seen = true;
	single->value = *value;
}

static int vtable(struct tt_metal_learn *learn, const char *symbol, const char *label, uint64_t *address,
		  uint64_t *id_function)
{
	struct elf_symbol found;

	if (elf_file_symbol(learn->file, symbol, false, &found) || found.function) {
		strbuf_addf(learn->report, "refused %s: its vtable is not exported (%s)\n", label, symbol);
		return -ENOTSUP;
	}
	if ((found.size != 0 && found.size < ADDRESS_POINT + ID_SLOT + 8) ||
	    elf_file_pointer(learn->file, found.vaddr + ADDRESS_POINT + ID_SLOT, id_function)) {
		strbuf_addf(learn->report, "refused %s: its vtable cannot be read\n", label);
		return -ENOTSUP;
	}
	*address = found.vaddr + ADDRESS_POINT;
	return 0;
}

static enum insn_verdict on_number(void *context, const struct insn_fact *fact)
{
	struct array_facts *facts = context;

	if (fact->kind == INSN_FACT_RETURN)
		see(&facts->number, &fact->a);
	return INSN_CONTINUE;
}

static int learn_number(struct tt_metal_learn *learn)
{
	struct device_walk *walk = &learn->plan->walk;
	struct array_facts facts = {.learn = learn};
	uint64_t chip_id, mesh_id;
	struct elf_symbol symbol;
	int chip_err = vtable(learn, DEVICE_VTABLE, "Device", &walk->chip_vtable, &chip_id);
	int mesh_err = vtable(learn, MESH_VTABLE, "MeshDevice", &walk->mesh_vtable, &mesh_id);

	if (chip_err || mesh_err)
		return -ENOTSUP;
	/* Device::id() has no exported name, but both vtables follow IDevice: MeshDevice::id() proves the slot. */
	if (elf_file_symbol(learn->file, MESH_ID, false, &symbol) || symbol.vaddr != mesh_id) {
		strbuf_adds(learn->report,
			    "refused device.id: slot 3 of MeshDevice's vtable is not MeshDevice::id()\n");
		return -ENOTSUP;
	}
	if (walk->chip_vtable == walk->mesh_vtable ||
	    insn_trace(learn->decoder, learn->file, chip_id, 0, on_number, &facts) || !facts.number.seen ||
	    facts.number.contradicted || !insn_is_load(&facts.number.value, 0, 1, 4) || facts.number.value.hop[0] < 8 ||
	    facts.number.value.hop[0] >= MAX_OFFSET) {
		strbuf_adds(learn->report,
			    "refused device.id: the code of Device::id() (vtable slot 3) is not understood\n");
		return -ENOTSUP;
	}
	walk->chip_id_offset = (uint16_t)facts.number.value.hop[0];
	strbuf_addf(learn->report, "ok device.id %u: Device::id()\n", walk->chip_id_offset);
	tt_metal_add_layout(learn->plan, "device.id", walk->chip_id_offset);
	return 0;
}

static enum insn_verdict on_view(void *context, const struct insn_fact *fact)
{
	struct array_facts *facts = context;

	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(facts->learn, fact)))
		return INSN_END_PATH;
	if (fact->kind == INSN_FACT_RETURN)
		see(&facts->view, &fact->a);
	return INSN_CONTINUE;
}

/* The hops from a mesh to its view. */
static int learn_view(struct tt_metal_learn *learn)
{
	struct device_walk *walk = &learn->plan->walk;
	struct array_facts facts = {.learn = learn};
	const struct insn_value *view = &facts.view.value;
	int err = tt_metal_trace(learn, GET_VIEW, on_view, &facts);

	if (err == -ENOMEM)
		return err;
	if (err || !facts.view.seen || facts.view.contradicted || view->hops < 1 || view->hops >= PLAN_MAX_WALK ||
	    !insn_is_load(view, 0, view->hops, 8)) {
		strbuf_addf(learn->report, "refused mesh: MeshDevice::get_view() %s\n",
			    err == -ENOENT ? "is not exported" : "is not understood");
		return -ENOTSUP;
	}
	for (uint8_t i = 0; i < view->hops; i++) {
		if (view->hop[i] < 0 || view->hop[i] >= MAX_OFFSET)
			return -ENOTSUP;
		walk->hop[walk->hop_count++] = (uint16_t)view->hop[i];
	}
	return 0;
}

/* What the code that goes over the array says, with the array's place as @base (root and hops). */
static void note_array(struct array_facts *facts, const struct insn_fact *fact)
{
	if (fact->kind == INSN_FACT_SHIFT && fact->a.kind == INSN_DIFFERENCE && fact->a.root == 1 && fact->a.add == 8 &&
	    fact->b.kind == INSN_CONSTANT && fact->b.add >= 3 && fact->b.add <= 8) {
		struct insn_value span = fact->a;

		see(&facts->span, &span);
		if (facts->shift && facts->shift != (unsigned int)fact->b.add)
			facts->shift_contradicted = true;
		facts->shift = (unsigned int)fact->b.add;
	}
	/* the alternative of a variant: one byte behind the pointer, compared with 1 */
	if (fact->kind == INSN_FACT_COMPARE && fact->a.kind == INSN_PATH && fact->a.root == 1 && fact->a.hops >= 2 &&
	    fact->a.width == 1 && fact->a.add == 0 && fact->b.kind == INSN_CONSTANT) {
		int32_t place = fact->a.hop[fact->a.hops - 1];

		/* the loop's later rounds read the tags of the next elements */
		if (fact->b.add != 1 || place < 8 || place % 16 != 8)
			facts->tag_contradicted = true;
		if (place != 8)
			return;
		facts->tag_seen = true;
		facts->tag = fact->a;
	}
}

static enum insn_verdict on_devices(void *context, const struct insn_fact *fact)
{
	struct array_facts *facts = context;
	struct elf_symbol helper;
	const char *name;

	note_array(facts, fact);
	if (fact->kind != INSN_FACT_CALL)
		return INSN_CONTINUE;
	name = tt_metal_callee(facts->learn, fact);
	if (tt_metal_is_noreturn(name))
		return INSN_END_PATH;
	/* the first call that gets a place inside the view is the one that copies the array */
	if (strstr(name, "extract_locals") && strstr(name, "MaybeRemote") && fact->argument[1].kind == INSN_PATH &&
	    fact->argument[1].root == 1) {
		see(&facts->array, &fact->argument[1]);
		if (elf_file_symbol(facts->learn->file, name, true, &helper) == 0)
			facts->helper = helper.vaddr;
	}
	return INSN_CONTINUE;
}

static enum insn_verdict on_helper(void *context, const struct insn_fact *fact)
{
	struct array_facts *facts = context;

	note_array(facts, fact);
	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(facts->learn, fact)))
		return INSN_END_PATH;
	return INSN_CONTINUE;
}

/* The vector is read in get_devices() itself: begin and end are loads with 8 between them. */
static bool array_from_span(struct array_facts *facts)
{
	struct insn_value place = facts->span.value;

	if (!facts->span.seen || facts->span.contradicted)
		return false;
	place.kind = INSN_PATH;
	place.add = place.hop[--place.hops];
	facts->array = (struct single){.seen = true, .value = place};
	return true;
}

static bool array_from_helper(struct array_facts *facts)
{
	struct elf_symbol helper;
	const char *name;

	/* its own facts count from the vector: argument 1 */
	if (elf_file_function_at(facts->learn->file, facts->helper, &helper, &name) ||
	    insn_trace(facts->learn->decoder, facts->learn->file, helper.vaddr, helper.size, on_helper, facts))
		return false;
	return facts->span.seen && !facts->span.contradicted && facts->span.value.hops == 1 &&
	       facts->span.value.hop[0] == 0;
}

/*
 * The element: a plain pointer (8 bytes), or a variant of a remote marker and a pointer (16 bytes,
 * the byte at 8 says which). Nothing else is accepted.
 */
static bool understand_element(const struct array_facts *facts, struct device_walk *walk)
{
	const struct insn_value *span = &facts->span.value;

	if (facts->shift_contradicted || facts->tag_contradicted)
		return false;
	walk->stride = (uint16_t)(1u << facts->shift);
	walk->tagged = facts->tag_seen;
	if (!facts->tag_seen)
		return walk->stride == 8;
	/* the tag is read in an element of this very array: behind its begin */
	return walk->stride == 16 && facts->tag.hops == span->hops + 1 &&
	       memcmp(facts->tag.hop, span->hop, span->hops * sizeof(span->hop[0])) == 0;
}

static int learn_array(struct tt_metal_learn *learn)
{
	struct device_walk *walk = &learn->plan->walk;
	struct array_facts facts = {.learn = learn};
	const struct insn_value *array = &facts.array.value;
	int err = tt_metal_trace(learn, GET_DEVICES, on_devices, &facts);

	if (err == -ENOMEM)
		return err;
	if (err) {
		strbuf_addf(learn->report, "refused mesh: MeshDeviceView::get_devices() %s\n",
			    err == -ENOENT ? "is not exported" : "is not understood");
		return -ENOTSUP;
	}
	if (!(facts.helper ? array_from_helper(&facts) : array_from_span(&facts)) || facts.array.contradicted ||
	    !understand_element(&facts, walk) || walk->hop_count + array->hops > PLAN_MAX_WALK || array->add < 0 ||
	    array->add >= MAX_OFFSET) {
		strbuf_adds(learn->report,
			    "refused mesh: the array that MeshDeviceView::get_devices() reads is not understood\n");
		return -ENOTSUP;
	}
	for (uint8_t i = 0; i < array->hops; i++) {
		if (array->hop[i] < 0 || array->hop[i] >= MAX_OFFSET)
			return -ENOTSUP;
		walk->hop[walk->hop_count++] = (uint16_t)array->hop[i];
	}
	walk->array_offset = (uint16_t)array->add;
	return 0;
}

int tt_metal_learn_walk(struct tt_metal_learn *learn)
{
	static const char *const hop_names[PLAN_MAX_WALK] = {"mesh.hop0", "mesh.hop1", "mesh.hop2", "mesh.hop3"};
	struct device_walk *walk = &learn->plan->walk;
	int number_err = learn_number(learn);
	int err = learn_view(learn);

	if (!err)
		err = learn_array(learn);
	if (err)
		return err;
	strbuf_adds(learn->report, "ok mesh: chips at");
	for (uint8_t i = 0; i < walk->hop_count; i++) {
		strbuf_addf(learn->report, " [+%u]", walk->hop[i]);
		tt_metal_add_layout(learn->plan, hop_names[i], walk->hop[i]);
	}
	strbuf_addf(learn->report, " +%u, %u bytes each%s: MeshDevice::get_view(), MeshDeviceView::get_devices()\n",
		    walk->array_offset, walk->stride, walk->tagged ? ", with a tag" : "");
	tt_metal_add_layout(learn->plan, "mesh.devices", walk->array_offset);
	tt_metal_add_layout(learn->plan, "mesh.stride", walk->stride);
	return number_err;
}
