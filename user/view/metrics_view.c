// SPDX-License-Identifier: BSD-2-Clause
/* Metrics in two text formats; see metrics_view.h. One table of families per kind of label set. */
#include "view/metrics_view.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "model/chip_totals.h"
#include "model/notice.h"
#include "view/metrics_cells.h"

#define METRICS_LLU(value) ((unsigned long long)(value))
#define METRICS_CHIP_LABEL (CHIP_PCI_LEN + 32)

enum metrics_kind {
	METRICS_GAUGE = 1,
	METRICS_COUNTER = 2,
	METRICS_INFO = 3,
};

struct metrics_family {
	const char *name; /* without "bufscope_", and without "_total" */
	const char *unit; /* the end of the name, or NULL; figures in "seconds" are kept in ns */
	enum metrics_kind kind;
	size_t offset; /* of a uint64_t in the structure that the table is about */
	const char *help;
};

struct metrics_writer {
	struct strbuf *out;
	bool openmetrics;
};

/* One process, and all that have no series of their own (@process NULL). */
struct metrics_owner {
	const struct snapshot_process *process;
	struct metrics_cells cells;
	struct strbuf labels;
	uint64_t bytes;
	bool listed;
};

/* What is derived from a snapshot as a whole. */
struct metrics_instance {
	struct metrics_figures figures;
	uint64_t exact, processes, inexact_processes, unlisted_processes;
};

struct metrics_view {
	struct metrics_instance instance;
	struct metrics_owner *owners; /* the largest first */
	size_t owner_count;
	struct metrics_owner other;
	struct metrics_cells all;
	struct chip_totals *chips;
};

#define INSTANCE(field) offsetof(struct metrics_instance, field)
#define CELL(field)     offsetof(struct metrics_cell, field)
#define CHIP(field)     offsetof(struct chip_total_type, field)
#define PROCESS(field)  offsetof(struct snapshot_process, field)

static const struct metrics_family metrics_of_instance[] = {
	{"start_time_seconds", "seconds", METRICS_GAUGE, INSTANCE(figures.start_realtime_ns),
	 "When the collector started, and the counters with it, in Unix time."},
	{"snapshot_timestamp_seconds", "seconds", METRICS_GAUGE, INSTANCE(figures.snapshot_realtime_ns),
	 "When these figures were taken, in Unix time; all that was recorded before is in them."},
	{"exact", NULL, METRICS_GAUGE, INSTANCE(exact),
	 "1 when every live buffer is accounted for, 0 when some figure is in doubt."},
	{"processes", NULL, METRICS_GAUGE, INSTANCE(processes), "Running processes with a device runtime."},
	{"inexact_processes", NULL, METRICS_GAUGE, INSTANCE(inexact_processes), "Those whose figures are in doubt."},
	{"unlisted_processes", NULL, METRICS_GAUGE, INSTANCE(unlisted_processes),
	 "Those that have no series of their own and are summed as process other."},
	{"allocations", NULL, METRICS_COUNTER, INSTANCE(figures.totals.allocations),
	 "Buffers allocated, by all processes, ended ones included."},
	{"frees", NULL, METRICS_COUNTER, INSTANCE(figures.totals.frees), "Buffers freed."},
	{"unknown_frees", NULL, METRICS_COUNTER, INSTANCE(figures.totals.unknown_frees),
	 "Frees of buffers that were not known."},
	{"double_frees", NULL, METRICS_COUNTER, INSTANCE(figures.totals.double_frees),
	 "Frees of buffers that had been freed before."},
	{"lost_records", NULL, METRICS_COUNTER, INSTANCE(figures.totals.lost_records),
	 "Records that found no room on their way to the collector."},
	{"probe_hits", NULL, METRICS_COUNTER, INSTANCE(figures.probe_hits),
	 "How often a probe fired; only while kernel.bpf_stats_enabled is 1."},
	{"probe_seconds", "seconds", METRICS_COUNTER, INSTANCE(figures.probe_ns),
	 "Time that traced threads spent in the probes' programs, without the trap that leads there; likewise."},
	{"drain_records", NULL, METRICS_COUNTER, INSTANCE(figures.drain_records), "Records the collector took in."},
	{"drain_seconds", "seconds", METRICS_COUNTER, INSTANCE(figures.drain_ns), "Time it took for that."},
	{"collector_memory_bytes", "bytes", METRICS_GAUGE, INSTANCE(figures.memory_bytes),
	 "Memory of the collector's tables."},
};

/* Of all processes, so that nothing is left out. Not by device: its number means another chip in each process. */
static const struct metrics_family metrics_of_all[] = {
	{"live_bytes", "bytes", METRICS_GAUGE, CELL(live_bytes),
	 "Bytes asked for by live buffers, of all processes and over all chips."},
	{"live_buffers", "buffers", METRICS_GAUGE, CELL(live_buffers),
	 "Live buffers; one that lies on several chips counts on each."},
	{"held_bytes", "bytes", METRICS_GAUGE, CELL(held_bytes),
	 "Bytes of buffers whose device was closed under them; the memory is back with the runtime."},
	{"held_buffers", "buffers", METRICS_GAUGE, CELL(held_buffers), "Such buffers."},
	{"footprint_bytes", "bytes", METRICS_GAUGE, CELL(footprint_bytes),
	 "Bytes really taken by live buffers, of those for which it is known."},
	{"footprint_unknown_buffers", "buffers", METRICS_GAUGE, CELL(footprint_unknown_buffers),
	 "Live buffers for which it is not known."},
};

/* Only of chips that the driver tells apart: the same chip in all processes. */
static const struct metrics_family metrics_of_chip[] = {
	{"chip_live_bytes", "bytes", METRICS_GAUGE, CHIP(live_bytes),
	 "Bytes asked for by live buffers on this chip, of all processes that say which chip they use."},
	{"chip_live_buffers", "buffers", METRICS_GAUGE, CHIP(live_buffers), "Live buffers on it."},
	{"chip_held_bytes", "bytes", METRICS_GAUGE, CHIP(held_bytes),
	 "Bytes of buffers whose device was closed under them."},
	{"chip_held_buffers", "buffers", METRICS_GAUGE, CHIP(held_buffers), "Such buffers."},
	{"chip_capacity_bytes", "bytes", METRICS_GAUGE, CHIP(capacity_bytes),
	 "Bytes that the largest allocator there can give out, by the runtime's own books."},
};

static const struct metrics_family metrics_of_owner_cell[] = {
	{"process_live_bytes", "bytes", METRICS_GAUGE, CELL(live_bytes), "Bytes asked for by its live buffers."},
	{"process_live_buffers", "buffers", METRICS_GAUGE, CELL(live_buffers), "Its live buffers."},
	{"process_held_bytes", "bytes", METRICS_GAUGE, CELL(held_bytes),
	 "Bytes of its buffers whose device was closed under them."},
	{"process_held_buffers", "buffers", METRICS_GAUGE, CELL(held_buffers), "Such buffers."},
	{"process_footprint_bytes", "bytes", METRICS_GAUGE, CELL(footprint_bytes),
	 "Bytes really taken by its live buffers, of those for which it is known."},
	{"process_footprint_unknown_buffers", "buffers", METRICS_GAUGE, CELL(footprint_unknown_buffers),
	 "Its live buffers for which it is not known."},
};

/* Not of "other": the peaks of several processes were at several times, and one memory can be in many books. */
static const struct metrics_family metrics_of_process_cell[] = {
	{"process_peak_bytes", "bytes", METRICS_GAUGE, CELL(peak_bytes), "The most it ever had live at once."},
	{"process_peak_buffers", "buffers", METRICS_GAUGE, CELL(peak_buffers), "The most buffers it ever had live."},
	{"process_capacity_bytes", "bytes", METRICS_GAUGE, CELL(capacity_bytes),
	 "Bytes that its largest allocator there can give out, by the runtime's own books."},
	{"process_used_bytes", "bytes", METRICS_GAUGE, CELL(used_bytes),
	 "Bytes that its allocators there have given out, by their books; added up."},
	{"process_largest_free_bytes", "bytes", METRICS_GAUGE, CELL(largest_free_bytes),
	 "Largest free block, of the allocator where it is smallest."},
	{"process_allocators", NULL, METRICS_GAUGE, CELL(allocators), "Its allocators there; they can overlap."},
	{"process_unread_allocators", NULL, METRICS_GAUGE, CELL(unread_allocators),
	 "Those whose books could not be read: they are not in the figures."},
};

/* Not of "other": processes come and go in it, so its counters would jump. */
static const struct metrics_family metrics_of_process[] = {
	{"process_allocations", NULL, METRICS_COUNTER, PROCESS(allocated), "Buffers it allocated."},
	{"process_frees", NULL, METRICS_COUNTER, PROCESS(freed), "Buffers it freed."},
	{"process_unknown_frees", NULL, METRICS_COUNTER, PROCESS(unknown_frees), "Its frees of unknown buffers."},
	{"process_double_frees", NULL, METRICS_COUNTER, PROCESS(double_frees), "Its frees of freed buffers."},
	{"process_lost_records", NULL, METRICS_COUNTER, PROCESS(lost_records), "Records of it that were lost."},
};

#define METRICS_COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct metrics_family metrics_build = {"build", NULL, METRICS_INFO, 0, "The collector's version."};
static const struct metrics_family metrics_chip = {"chip", NULL, METRICS_INFO, 0,
						   "What a chip is, as the driver tells."};
static const struct metrics_family metrics_chip_processes = {"chip_processes", NULL, METRICS_GAUGE, 0,
							     "Processes that use it."};
static const struct metrics_family metrics_process_exact = {"process_exact", NULL, METRICS_GAUGE, 0,
							    "1 when its figures are not in doubt."};

void metrics_count(struct metrics_totals *totals, const struct notice *notice)
{
	switch (notice->kind) {
	case NOTICE_ALLOCATE:
		totals->allocations += notice->buffer->allocated_ns != 0;
		break;
	case NOTICE_FREE:
		totals->frees++;
		break;
	case NOTICE_UNMATCHED_FREE:
		if (notice->unmatched->verdict == UNMATCHED_DOUBLE)
			totals->double_frees++;
		else
			totals->unknown_frees++;
		break;
	case NOTICE_LOST:
		totals->lost_records += notice->lost.allocations + notice->lost.frees + notice->lost.others;
		break;
	default:
		break;
	}
}

/* ---- text ---- */

static void metrics_head(const struct metrics_writer *writer, const struct metrics_family *family)
{
	static const char *const words[] = {
		[METRICS_GAUGE] = "gauge", [METRICS_COUNTER] = "counter", [METRICS_INFO] = "info"};
	const char *kind = words[family->kind], *suffix = "";

	/* The older format knows no info, and names a counter as its samples are named. */
	if (!writer->openmetrics && family->kind == METRICS_INFO) {
		kind = "gauge";
		suffix = "_info";
	} else if (!writer->openmetrics && family->kind == METRICS_COUNTER) {
		suffix = "_total";
	}
	strbuf_addf(writer->out, "# TYPE bufscope_%s%s %s\n", family->name, suffix, kind);
	if (writer->openmetrics && family->unit)
		strbuf_addf(writer->out, "# UNIT bufscope_%s %s\n", family->name, family->unit);
	strbuf_addf(writer->out, "# HELP bufscope_%s%s %s\n", family->name, suffix, family->help);
}

/* @labels: without braces, may be "". */
static void metrics_sample(const struct metrics_writer *writer, const struct metrics_family *family, const char *labels,
			   uint64_t value)
{
	static const char *const suffix[] = {
		[METRICS_GAUGE] = "", [METRICS_COUNTER] = "_total", [METRICS_INFO] = "_info"};

	strbuf_addf(writer->out, "bufscope_%s%s", family->name, suffix[family->kind]);
	if (*labels)
		strbuf_addf(writer->out, "{%s}", labels);
	if (family->unit && !strcmp(family->unit, "seconds"))
		strbuf_addf(writer->out, " %llu.%09llu\n", METRICS_LLU(value / 1000000000),
			    METRICS_LLU(value % 1000000000));
	else
		strbuf_addf(writer->out, " %llu\n", METRICS_LLU(value));
}

static uint64_t metrics_value(const struct metrics_family *family, const void *structure)
{
	return *(const uint64_t *)((const char *)structure + family->offset);
}

static void metrics_cell_labels(struct strbuf *out, const struct metrics_cell *cell)
{
	if (cell->device == METRICS_CELLS_ALL)
		strbuf_adds(out, "device=\"other\"");
	else if (cell->device < 0)
		strbuf_adds(out, "device=\"unknown\"");
	else
		strbuf_addf(out, "device=\"%d\"", cell->device);
	strbuf_addf(out, ",chip=\"%s\",type=\"%s\"", cell->chip ? cell->chip : "unknown", memory_type_name(cell->type));
}

/* One family's samples of an owner's cells. */
static void metrics_owner_samples(const struct metrics_writer *writer, const struct metrics_family *family,
				  const struct metrics_owner *owner)
{
	const struct metrics_cells *cells = &owner->cells;
	struct strbuf labels = STRBUF_INIT;

	for (size_t i = 0; i < cells->count; i++) {
		uint64_t value = metrics_value(family, &cells->cells[i]);

		if (value == METRICS_UNKNOWN)
			continue;
		strbuf_reset(&labels);
		strbuf_addf(&labels, "%s,", strbuf_str(&owner->labels));
		metrics_cell_labels(&labels, &cells->cells[i]);
		metrics_sample(writer, family, strbuf_str(&labels), value);
	}
	if (strbuf_error(&labels))
		writer->out->error = -ENOMEM;
	strbuf_fini(&labels);
}

static void metrics_write_instance(const struct metrics_writer *writer, const struct metrics_instance *instance)
{
	struct strbuf labels = STRBUF_INIT;
	const char *version = instance->figures.version;

	strbuf_adds(&labels, "version=\"");
	escape_label(&labels, version, strlen(version), METRICS_MAX_NAME);
	strbuf_adds(&labels, "\"");
	metrics_head(writer, &metrics_build);
	metrics_sample(writer, &metrics_build, strbuf_str(&labels), 1);
	if (strbuf_error(&labels))
		writer->out->error = -ENOMEM;
	strbuf_fini(&labels);
	for (size_t i = 0; i < METRICS_COUNT(metrics_of_instance); i++) {
		uint64_t value = metrics_value(&metrics_of_instance[i], instance);

		if (value == METRICS_UNKNOWN)
			continue;
		metrics_head(writer, &metrics_of_instance[i]);
		metrics_sample(writer, &metrics_of_instance[i], "", value);
	}
}

static void metrics_write_all(const struct metrics_writer *writer, const struct metrics_view *view,
			      const struct metrics_family *family)
{
	char label[32];

	metrics_head(writer, family);
	for (size_t i = 0; i < view->all.count; i++) {
		const struct metrics_cell *cell = &view->all.cells[i];

		snprintf(label, sizeof(label), "type=\"%s\"", memory_type_name(cell->type));
		metrics_sample(writer, family, label, metrics_value(family, cell));
	}
}

static size_t metrics_chip_count(const struct metrics_view *view)
{
	size_t count = 0;

	while (count < view->chips->row_count && count < METRICS_MAX_CHIPS && view->chips->rows[count].chip.known)
		count++;
	return count;
}

/* Of two boards that were at one address, one after the other, the second has its id beside it. */
static void metrics_chip_label(const struct metrics_view *view, size_t row, char label[METRICS_CHIP_LABEL])
{
	const struct chip_identity *chip = &view->chips->rows[row].chip;
	bool again = row && !strcmp(view->chips->rows[row - 1].chip.pci, chip->pci);
	char id[18] = "";

	if (again)
		snprintf(id, sizeof(id), "/%016llx", METRICS_LLU(chip->unique_id));
	snprintf(label, METRICS_CHIP_LABEL, "chip=\"%s%s\"", chip->pci, id);
}

static void metrics_write_chip_types(const struct metrics_writer *writer, const struct metrics_view *view, size_t row,
				     const struct metrics_family *family)
{
	const struct chip_total *chip = &view->chips->rows[row];
	char label[METRICS_CHIP_LABEL], labels[METRICS_CHIP_LABEL + 24];

	metrics_chip_label(view, row, label);
	for (uint32_t i = 0; i < chip->type_count; i++) {
		uint64_t value = metrics_value(family, &chip->types[i]);

		/* Who never read it has no capacity: 0 would be one. */
		if (!value && family->offset == CHIP(capacity_bytes))
			continue;
		snprintf(labels, sizeof(labels), "%s,type=\"%s\"", label, memory_type_name(chip->types[i].type));
		metrics_sample(writer, family, labels, value);
	}
}

static void metrics_write_chips(const struct metrics_writer *writer, const struct metrics_view *view)
{
	size_t count = metrics_chip_count(view);
	char label[METRICS_CHIP_LABEL], labels[METRICS_CHIP_LABEL + CHIP_BOARD_LEN + 64], id[17];

	metrics_head(writer, &metrics_chip);
	for (size_t i = 0; i < count; i++) {
		const struct chip_identity *chip = &view->chips->rows[i].chip;

		metrics_chip_label(view, i, label);
		snprintf(id, sizeof(id), "%016llx", METRICS_LLU(chip->unique_id));
		snprintf(labels, sizeof(labels), "%s,board=\"%s\",unique_id=\"%s\"", label, chip->board,
			 chip->unique_id ? id : "");
		metrics_sample(writer, &metrics_chip, labels, 1);
	}
	metrics_head(writer, &metrics_chip_processes);
	for (size_t i = 0; i < count; i++) {
		metrics_chip_label(view, i, label);
		metrics_sample(writer, &metrics_chip_processes, label, view->chips->rows[i].member_count);
	}
	for (size_t f = 0; f < METRICS_COUNT(metrics_of_chip); f++) {
		metrics_head(writer, &metrics_of_chip[f]);
		for (size_t i = 0; i < count; i++)
			metrics_write_chip_types(writer, view, i, &metrics_of_chip[f]);
	}
}

static void metrics_write_owner_cells(const struct metrics_writer *writer, const struct metrics_view *view,
				      const struct metrics_family *family, bool other)
{
	metrics_head(writer, family);
	for (size_t i = 0; i < view->owner_count; i++) {
		if (view->owners[i].listed)
			metrics_owner_samples(writer, family, &view->owners[i]);
	}
	if (other)
		metrics_owner_samples(writer, family, &view->other);
}

static void metrics_write_processes(const struct metrics_writer *writer, const struct metrics_view *view)
{
	for (size_t i = 0; i < METRICS_COUNT(metrics_of_owner_cell); i++)
		metrics_write_owner_cells(writer, view, &metrics_of_owner_cell[i], true);
	for (size_t i = 0; i < METRICS_COUNT(metrics_of_process_cell); i++)
		metrics_write_owner_cells(writer, view, &metrics_of_process_cell[i], false);
	for (size_t i = 0; i < METRICS_COUNT(metrics_of_process); i++) {
		metrics_head(writer, &metrics_of_process[i]);
		for (size_t k = 0; k < view->owner_count; k++) {
			const struct metrics_owner *owner = &view->owners[k];

			if (owner->listed)
				metrics_sample(writer, &metrics_of_process[i], strbuf_str(&owner->labels),
					       metrics_value(&metrics_of_process[i], owner->process));
		}
	}
	metrics_head(writer, &metrics_process_exact);
	for (size_t k = 0; k < view->owner_count; k++) {
		if (view->owners[k].listed)
			metrics_sample(writer, &metrics_process_exact, strbuf_str(&view->owners[k].labels),
				       view->owners[k].process->exact);
	}
}

/* ---- figures ---- */

static void metrics_view_fini(struct metrics_view *view)
{
	for (size_t i = 0; i < view->owner_count; i++) {
		metrics_cells_fini(&view->owners[i].cells);
		strbuf_fini(&view->owners[i].labels);
	}
	free(view->owners);
	metrics_cells_fini(&view->other.cells);
	strbuf_fini(&view->other.labels);
	metrics_cells_fini(&view->all);
	chip_totals_free(view->chips);
}

/* All of it was written by the process, or by who made its container. */
static void metrics_owner_labels(struct metrics_owner *owner)
{
	const struct snapshot_process *process = owner->process;
	const char *name = process->command;
	size_t len = strnlen(process->command, process->command_len);
	const char *slash = memrchr(name, '/', len);

	if (slash) {
		len -= (size_t)(slash + 1 - name);
		name = slash + 1;
	}
	strbuf_addf(&owner->labels, "pid=\"%u\",process=\"", process->pid);
	escape_label(&owner->labels, name, len, METRICS_MAX_NAME);
	strbuf_addf(&owner->labels, "\",user=\"%u\",container=\"", process->user);
	escape_label(&owner->labels, process->cgroup, strlen(process->cgroup), METRICS_MAX_CGROUP);
	strbuf_adds(&owner->labels, "\"");
}

static int metrics_owner_compare(const void *a, const void *b)
{
	const struct metrics_owner *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->process->process < y->process->process ? -1 : 1;
}

/* Adds up what every running process has. 0 or -ENOMEM. */
static int metrics_gather(struct metrics_view *view, const struct snapshot *snapshot)
{
	int err = 0;

	view->owners = calloc(snapshot->process_count + 1, sizeof(*view->owners));
	if (!view->owners)
		return -ENOMEM;
	for (size_t i = 0; !err && i < snapshot->process_count; i++) {
		struct metrics_owner *owner = &view->owners[view->owner_count];

		if (snapshot->processes[i].end != PROCESS_RUNNING || !snapshot->processes[i].runtime_count)
			continue;
		owner->process = &snapshot->processes[i];
		view->owner_count++;
		view->instance.inexact_processes += !owner->process->exact;
		err = metrics_cells_add_process(&owner->cells, owner->process);
		if (!err)
			err = metrics_cells_add_all(&view->all, &owner->cells);
		for (size_t k = 0; k < owner->cells.count; k++)
			owner->bytes += owner->cells.cells[k].live_bytes + owner->cells.cells[k].held_bytes;
		metrics_cells_sort(&owner->cells);
	}
	metrics_cells_sort(&view->all);
	qsort(view->owners, view->owner_count, sizeof(*view->owners), metrics_owner_compare);
	return err;
}

/* The rule of metrics_view.h. 0 or -ENOMEM. */
static int metrics_choose(struct metrics_view *view)
{
	size_t listed = 0, rows = 0;
	int err = 0;

	for (size_t i = 0; !err && i < view->owner_count; i++) {
		struct metrics_owner *owner = &view->owners[i];

		if (listed < METRICS_MAX_PROCESSES && rows + owner->cells.count <= METRICS_MAX_ROWS) {
			owner->listed = true;
			listed++;
			rows += owner->cells.count;
			metrics_owner_labels(owner);
			err = strbuf_error(&owner->labels);
		} else {
			err = metrics_cells_add_all(&view->other.cells, &owner->cells);
		}
	}
	metrics_cells_sort(&view->other.cells);
	view->instance.processes = view->owner_count;
	view->instance.unlisted_processes = view->owner_count - listed;
	strbuf_adds(&view->other.labels, "pid=\"other\",process=\"other\",user=\"other\",container=\"other\"");
	return err ? err : strbuf_error(&view->other.labels);
}

static int metrics_write_as(const struct snapshot *snapshot, const struct metrics_figures *figures,
			    const struct metrics_writer *writer)
{
	struct metrics_view view = {.instance = {.figures = *figures, .exact = snapshot->exact}};
	int err;

	view.chips = chip_totals_new(snapshot);
	err = view.chips ? metrics_gather(&view, snapshot) : -ENOMEM;
	if (!err)
		err = metrics_choose(&view);
	if (err)
		goto out;
	metrics_write_instance(writer, &view.instance);
	for (size_t i = 0; i < METRICS_COUNT(metrics_of_all); i++)
		metrics_write_all(writer, &view, &metrics_of_all[i]);
	metrics_write_chips(writer, &view);
	metrics_write_processes(writer, &view);
	if (writer->openmetrics)
		strbuf_adds(writer->out, "# EOF\n");
	err = strbuf_error(writer->out);
out:
	metrics_view_fini(&view);
	return err;
}

int metrics_write(const struct snapshot *snapshot, const struct metrics_figures *figures, struct strbuf *out)
{
	return metrics_write_as(snapshot, figures, &(struct metrics_writer){.out = out, .openmetrics = true});
}

int metrics_write_text(const struct snapshot *snapshot, const struct metrics_figures *figures, struct strbuf *out)
{
	return metrics_write_as(snapshot, figures, &(struct metrics_writer){.out = out});
}
