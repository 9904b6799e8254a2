/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TT-Metal: which functions are probed and what a hit means. Facts: docs/architecture.md, "TT-Metal".
 *
 * Every allocation passes GraphTracker::track_allocate() as its last step and every free
 * GraphTracker::track_deallocate() as its first, so at both entries all fields of the Buffer are
 * valid. Buffers that outlive their device are not freed: the close and bulk-free functions tell.
 */
#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "runtime/tt_metal.h"
#include "runtime/tt_metal_census.h"

#define TRACK_ALLOCATE   "_ZN2tt8tt_metal12GraphTracker14track_allocateEPKNS0_6BufferE"
#define TRACK_DEALLOCATE "_ZN2tt8tt_metal12GraphTracker16track_deallocateEPNS0_6BufferE"
#define BULK_FREE        "_ZN2tt8tt_metal13AllocatorImpl18deallocate_buffersEv"
#define BULK_FREE_OLD    "_ZN2tt8tt_metal9Allocator18deallocate_buffersEv"
#define BUFFER_ADDRESS   "_ZNK2tt8tt_metal6Buffer7addressEv"

struct wanted {
	enum probe_role role;
	bool required;
	bool called_through_plt; /* otherwise it may be inlined everywhere and the probe silent */
	struct {
		const char *symbol, *label;
		uint8_t argument;
	} name[2]; /* the first that is defined */
};

/*
 * From 0.66 Allocator is only a view of AllocatorImpl and has a function of the same name, hence the
 * order. MeshDevice::close() forwards to close_impl(), which destruction calls too.
 */
static const struct wanted wanted[] = {
	{PROBE_ALLOCATE, true, true, {{TRACK_ALLOCATE, "GraphTracker::track_allocate", 1}}},
	{PROBE_FREE, true, true, {{TRACK_DEALLOCATE, "GraphTracker::track_deallocate", 1}}},
	{PROBE_BULK_FREE,
	 false,
	 true,
	 {{BULK_FREE, "AllocatorImpl::deallocate_buffers", 0}, {BULK_FREE_OLD, "Allocator::deallocate_buffers", 0}}},
	{PROBE_CLOSE,
	 false,
	 false,
	 {{"_ZN2tt8tt_metal11distributed14MeshDeviceImpl10close_implEPNS1_10MeshDeviceE", "MeshDeviceImpl::close_impl",
	   1},
	  {"_ZN2tt8tt_metal11distributed10MeshDevice5closeEv", "MeshDevice::close", 0}}},
	{PROBE_CLOSE, false, false, {{"_ZN2tt8tt_metal6Device5closeEv", "Device::close", 0}}},
	{PROBE_DESTROY, false, true, {{"_ZN2tt8tt_metal6BufferD1Ev", "Buffer::~Buffer", 0}}},
};

#define WANTED_COUNT (sizeof(wanted) / sizeof(wanted[0]))
_Static_assert(WANTED_COUNT + TT_METAL_MAX_FAILURES <= PLAN_MAX_PROBES, "probes do not fit a plan");

int tt_metal_trace(struct tt_metal_learn *learn, const char *symbol, insn_fact_fn *fact, void *context)
{
	struct elf_symbol found;
	int err = elf_file_symbol(learn->file, symbol, false, &found);

	if (err == 0 && !found.function)
		err = -ENOENT;
	return err ? err : insn_trace(learn->decoder, learn->file, found.vaddr, found.size, fact, context);
}

const char *tt_metal_callee(struct tt_metal_learn *learn, const struct insn_fact *fact)
{
	const char *name = "";
	struct elf_symbol found;

	if (fact->slot && elf_file_slot_target(learn->file, fact->slot, &name) == 0)
		return name;
	if (!fact->target)
		return "";
	if (elf_file_plt_target(learn->file, fact->target, &name) == 0 ||
	    elf_file_function_at(learn->file, fact->target, &found, &name) == 0)
		return name;
	return "";
}

bool tt_metal_is_noreturn(const char *name)
{
	static const char *const parts[] = {"8tt_throw", "_Unwind_Resume", "__cxa_throw",      "__cxa_rethrow",
					    "terminate", "__throw_",       "__stack_chk_fail", "abort"};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strstr(name, parts[i]))
			return true;
	return false;
}

void tt_metal_add_layout(struct library_plan *plan, const char *name, int64_t value)
{
	if (plan->layout_count < PLAN_MAX_FIELDS)
		plan->layout[plan->layout_count++] = (struct layout_field){.name = name, .value = value};
}

static bool recognise(struct elf_file *file)
{
	/*
	 * More than the two that are needed: a version that renamed those must be refused aloud, not
	 * passed over as if it were no runtime.
	 */
	static const char *const any[] = {TRACK_ALLOCATE, TRACK_DEALLOCATE, BULK_FREE, BUFFER_ADDRESS};
	struct elf_symbol symbol;

	for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++)
		if (elf_file_symbol(file, any[i], false, &symbol) == 0)
			return true;
	return false;
}

static const char *place_error(int err)
{
	switch (err) {
	case -EINVAL:
		return "its code does not decode";
	case -ENOTSUP:
		return "no instruction at its start can be probed safely";
	case -ERANGE:
		return "it is not in executable content of the file";
	default:
		return "no memory";
	}
}

/* Does another probe of the plan stand at the same function? Then the two cannot be told apart. */
static bool is_shared(const struct library_plan *plan, const struct elf_symbol *symbol)
{
	for (size_t i = 0; i < plan->probe_count; i++)
		if (plan->probes[i].place.vaddr - plan->probes[i].place.skipped_bytes == symbol->vaddr)
			return true;
	return false;
}

/* The first name that is defined as a function; @which: its number. */
static int find_wanted(struct tt_metal_learn *learn, const struct wanted *want, size_t *which,
		       struct elf_symbol *symbol)
{
	for (*which = 0; *which < 2 && want->name[*which].symbol; (*which)++)
		if (elf_file_symbol(learn->file, want->name[*which].symbol, false, symbol) == 0 && symbol->function)
			return 0;
	return -ENOENT;
}

/* -ENOTSUP with a line in the report. */
static int no_probe(struct tt_metal_learn *learn, const struct wanted *want, size_t which, const char *why)
{
	strbuf_addf(learn->report, "%s %s: %s (%s)\n", want->required ? "refused" : "no", want->name[which].label, why,
		    want->name[which].symbol);
	return -ENOTSUP;
}

static int plan_probe(struct tt_metal_learn *learn, const struct wanted *want)
{
	struct probe_plan *probe = &learn->plan->probes[learn->plan->probe_count];
	struct elf_symbol symbol;
	size_t which;
	int err;

	if (find_wanted(learn, want, &which, &symbol)) {
		for (which = 0; which < 2 && want->name[which].symbol; which++)
			no_probe(learn, want, which, "not exported as a function");
		return -ENOTSUP;
	}
	if (want->called_through_plt && !elf_file_called_through_plt(learn->file, want->name[which].symbol))
		return no_probe(learn, want, which, "exported, but not called through the PLT, so perhaps inlined");
	if (is_shared(learn->plan, &symbol))
		return no_probe(learn, want, which, "another probed function has the same address");
	err = place_entry(learn->file, symbol.vaddr, symbol.size, &probe->place);
	if (err == -ENOMEM)
		return err;
	if (err)
		return no_probe(learn, want, which, place_error(err));
	probe->role = want->role;
	probe->argument = want->name[which].argument;
	probe->symbol = want->name[which].symbol;
	learn->plan->probe_count++;
	strbuf_addf(learn->report, "ok %s: probe at 0x%llx, %s%s\n", want->name[which].label,
		    (unsigned long long)probe->place.vaddr, probe->place.instruction,
		    probe->place.cost == PLACE_SINGLE_STEP ? " (slow probe)" : "");
	return 0;
}

static int plan_probes(struct tt_metal_learn *learn)
{
	bool ends = false;
	int result = 0;

	for (size_t i = 0; i < WANTED_COUNT; i++) {
		int err = plan_probe(learn, &wanted[i]);

		if (err == -ENOMEM)
			return err;
		/* go on after a failure: the report shall list all of them */
		if (err && wanted[i].required)
			result = -ENOTSUP;
		if (!err && (wanted[i].role == PROBE_CLOSE || wanted[i].role == PROBE_BULK_FREE))
			ends = true;
	}
	if (!ends) {
		strbuf_adds(learn->report,
			    "refused no function that ends all buffers of a device (close or bulk free)\n");
		result = -ENOTSUP;
	}
	return result;
}

/* The counter of all Buffer objects ever made. Not having it is no reason to refuse. */
static void plan_counter(struct tt_metal_learn *learn)
{
	static const char *const names[] = {"_ZN2tt8tt_metal10BufferImpl14next_unique_idE",
					    "_ZN2tt8tt_metal6Buffer14next_unique_idE"};
	struct elf_symbol symbol;

	for (size_t i = 0; i < 2; i++) {
		if (elf_file_symbol(learn->file, names[i], false, &symbol) || symbol.function || symbol.size != 8 ||
		    symbol.vaddr % 8)
			continue;
		learn->plan->made_counter_vaddr = symbol.vaddr;
		strbuf_addf(learn->report, "ok counter of buffer objects at 0x%llx\n",
			    (unsigned long long)symbol.vaddr);
		return;
	}
	strbuf_adds(learn->report, "no counter of buffer objects: older buffers cannot be ruled out\n");
}

static int plan(struct elf_file *file, struct library_plan *out, struct strbuf *report)
{
	struct tt_metal_learn learn = {.file = file, .plan = out, .report = report};
	int err, result;

	memset(out, 0, sizeof(*out));
	out->runtime = &tt_metal_runtime;
	learn.decoder = insn_decoder_new();
	if (!learn.decoder)
		return -ENOMEM;
	/* all of them, even after a refusal, so that the report is complete */
	result = plan_probes(&learn);
	err = result == -ENOMEM ? result : tt_metal_learn_failure(&learn);
	if (err)
		result = err;
	plan_counter(&learn);
	err = result == -ENOMEM ? result : tt_metal_learn_buffer(&learn);
	if (err)
		result = err;
	err = result == -ENOMEM ? result : tt_metal_learn_walk(&learn);
	if (err)
		result = err;
	insn_decoder_free(learn.decoder);
	if (strbuf_error(report))
		result = -ENOMEM;
	return result;
}

static uint64_t read_u64(const uint8_t *window, int16_t at)
{
	uint64_t value;

	memcpy(&value, window + at, sizeof(value));
	return value;
}

static uint32_t read_u32(const uint8_t *window, int16_t at)
{
	uint32_t value;

	memcpy(&value, window + at, sizeof(value));
	return value;
}

/* BufferType as the runtime numbers it; SYSTEM_MEMORY (2) is never allocated on a device. */
static bool decode_type(uint32_t raw, enum memory_type *type)
{
	static const int8_t map[] = {MEMORY_DRAM, MEMORY_L1, -1, MEMORY_L1_SMALL, MEMORY_TRACE};

	if (raw >= sizeof(map) || map[raw] < 0)
		return false;
	*type = (enum memory_type)map[raw];
	return true;
}

static bool is_plausible(const struct event_buffer *buffer)
{
	return buffer->device_object != 0 && buffer->device_object % 8 == 0 && buffer->size_bytes > 0 &&
	       buffer->page_size_bytes > 0 && buffer->size_bytes % buffer->page_size_bytes == 0 &&
	       buffer->address <= UINT32_MAX; /* the runtime itself asserts this */
}

/* The buffer that could not be had: it has no address, and no status yet. */
static bool decode_failure(const struct library_plan *p, const uint8_t *window, struct event_buffer *buffer)
{
	struct event_buffer found = {.object = buffer->object, .runtime = buffer->runtime, .fault = buffer->fault};

	if (!decode_type(read_u32(window, p->field.type), &found.type)) {
		found.type = MEMORY_TYPE_COUNT;
		found.fault = BUFFER_FAULT_IMPLAUSIBLE;
	}
	*buffer = found;
	found.device_object = read_u64(window, (int16_t)p->read.device_at);
	found.allocator = read_u64(window, p->field.allocator);
	found.size_bytes = read_u64(window, p->field.size);
	found.page_size_bytes = read_u64(window, p->field.page_size);
	if (!found.fault && is_plausible(&found))
		*buffer = found;
	else if (!found.fault)
		buffer->fault = BUFFER_FAULT_IMPLAUSIBLE;
	return true;
}

static bool decode(const struct library_plan *p, enum probe_role role, const uint8_t *window,
		   struct event_buffer *buffer)
{
	struct event_buffer found = {.object = buffer->object, .runtime = buffer->runtime};
	uint8_t status, hooked;

	if (role == PROBE_OUT_OF_MEMORY)
		return decode_failure(p, window, buffer);
	*buffer = found;
	if (role != PROBE_ALLOCATE && role != PROBE_FREE)
		return true;
	status = window[p->field.status];
	hooked = window[p->field.hooked];
	found.device_object = read_u64(window, (int16_t)p->read.device_at);
	found.allocator = read_u64(window, p->field.allocator);
	found.address = read_u64(window, p->field.address);
	found.size_bytes = read_u64(window, p->field.size);
	found.page_size_bytes = read_u64(window, p->field.page_size);
	if (status != p->field.status_allocated || hooked > 1 ||
	    !decode_type(read_u32(window, p->field.type), &found.type) || !is_plausible(&found)) {
		buffer->fault = BUFFER_FAULT_IMPLAUSIBLE;
		return true;
	}
	/* a graph capture without dispatch pretends to allocate: no memory is taken */
	if (hooked)
		return false;
	*buffer = found;
	return true;
}

/*
 * The driver, tt-kmd: chardev.c names the nodes' class and makes the PCI device their parent,
 * docs/sysfs-attributes.md has the files, telemetry.c their forms ("%08X%08X"; a word of a fixed list).
 *
 * The user-mode driver, tt-umd: PCIDevice::enumerate_devices() brings the chips that TT_VISIBLE_DEVICES leaves
 * into an order, and TopologyDiscovery numbers them in that order; chips without a node (behind a cable) come
 * after them. Since 305bb6b08 (2026-03-11) the order is that of the PCI address as text, by the function below.
 * Before 6c6ba3b4a (2026-01-28) it was that of a unique id that is not the driver's, so nothing outside tells it.
 */
static const struct runtime_chips tt_metal_chips = {
	.node_folder = "/tenstorrent/",
	.node_class = "tenstorrent",
	.unique_id_file = "tt_asic_id",
	.board_file = "tt_card_type",
	.numbering_library = "libtt-umd.so",
	.numbering_symbol = "_ZN2tt3umd9PCIDevice21sort_ids_based_on_bdfERKSt6vectorIiSaIiEE",
};

const struct runtime tt_metal_runtime = {
	.name = "tt-metal",
	.chips = &tt_metal_chips,
	.recognise = recognise,
	.plan = plan,
	.decode = decode,
	.census_plan = tt_metal_census_plan,
	.census = tt_metal_census,
};
