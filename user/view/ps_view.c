// SPDX-License-Identifier: BSD-2-Clause
/* Who holds device memory; see ps_view.h. */
#include "view/ps_view.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "view/chips_table.h"
#include "view/grid.h"
#include "view/phrase.h"

#define PS_MAX_DEPTH     64 /* of a tree of processes */
#define PS_COMMAND_WIDTH 12
#define PS_NO_PROCESS    SIZE_MAX

struct ps_sum {
	uint64_t processes, buffers, bytes;
};

struct ps_node {
	const struct snapshot_process *process;
	size_t parent, first_child, next; /* indices of nodes, or PS_NO_PROCESS */
	struct ps_sum tree;               /* itself and all below */
};

enum ps_kind {
	PS_FIGURES = 1, /* of a type on devices */
	PS_NOTHING = 2, /* a process without any */
	PS_TREE = 3,    /* what it holds together with all below */
};

struct ps_row {
	enum ps_kind kind;
	bool first; /* of its process */
	unsigned int depth;
	const struct ps_node *node;
	const struct snapshot_type *figures;
	int32_t first_device, last_device;
};

struct ps_table {
	const struct ps_view *view;
	const struct snapshot *snapshot;
	struct ps_node *nodes;
	size_t first_root;
	struct ps_row *rows;
	size_t row_count;
	bool any_held;
};

/* ---- the tree ---- */

static size_t ps_find(const struct snapshot *snapshot, uint32_t pid)
{
	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (snapshot->processes[i].pid == pid)
			return i;
	}
	return PS_NO_PROCESS;
}

/* The nearest ancestor that is in the table itself. */
static size_t ps_ancestor(const struct ps_table *table, size_t of)
{
	const struct ps_view *view = table->view;
	uint32_t pid = table->snapshot->processes[of].pid;

	for (int depth = 0; view->parent && depth < PS_MAX_DEPTH; depth++) {
		size_t found;

		pid = view->parent(view->context, pid);
		if (pid <= 1)
			break;
		found = ps_find(table->snapshot, pid);
		if (found != PS_NO_PROCESS)
			return found != of ? found : PS_NO_PROCESS;
	}
	return PS_NO_PROCESS;
}

static struct ps_sum ps_sum_of(const struct snapshot_process *process)
{
	struct ps_sum sum = {.processes = 1};

	for (size_t i = 0; i < process->buffer_count; i++) {
		if (process->buffers[i].state == BUFFER_LIVE) {
			sum.buffers++;
			sum.bytes += snapshot_buffer_bytes(&process->buffers[i]);
		}
	}
	return sum;
}

/* Parents are read one after the other, while processes come and go: what would make a circle is cut. */
static bool ps_is_below(const struct ps_table *table, size_t node, size_t above)
{
	for (; node != PS_NO_PROCESS; node = table->nodes[node].parent) {
		if (node == above)
			return true;
	}
	return false;
}

static void ps_add_up(struct ps_table *table)
{
	for (size_t i = 0; i < table->snapshot->process_count; i++) {
		struct ps_sum own = ps_sum_of(table->nodes[i].process);

		for (size_t at = i; at != PS_NO_PROCESS; at = table->nodes[at].parent) {
			table->nodes[at].tree.processes += own.processes;
			table->nodes[at].tree.buffers += own.buffers;
			table->nodes[at].tree.bytes += own.bytes;
		}
	}
}

/* Into a list that is kept in order: what holds most first, then by pid. */
static void ps_link(struct ps_table *table, size_t *list, size_t node)
{
	struct ps_node *nodes = table->nodes;

	while (*list != PS_NO_PROCESS && (nodes[*list].tree.bytes > nodes[node].tree.bytes ||
					  (nodes[*list].tree.bytes == nodes[node].tree.bytes &&
					   nodes[*list].process->pid <= nodes[node].process->pid)))
		list = &nodes[*list].next;
	nodes[node].next = *list;
	*list = node;
}

static void ps_make_tree(struct ps_table *table)
{
	size_t count = table->snapshot->process_count;

	for (size_t i = 0; i < count; i++)
		table->nodes[i] = (struct ps_node){.process = &table->snapshot->processes[i],
						   .parent = PS_NO_PROCESS,
						   .first_child = PS_NO_PROCESS,
						   .next = PS_NO_PROCESS};
	for (size_t i = 0; i < count; i++) {
		size_t parent = ps_ancestor(table, i);

		if (parent != PS_NO_PROCESS && !ps_is_below(table, parent, i))
			table->nodes[i].parent = parent;
	}
	ps_add_up(table);
	table->first_root = PS_NO_PROCESS;
	for (size_t i = 0; i < count; i++) {
		size_t parent = table->nodes[i].parent;

		ps_link(table, parent == PS_NO_PROCESS ? &table->first_root : &table->nodes[parent].first_child, i);
	}
}

/* ---- rows ---- */

static const struct snapshot_type *ps_figures(const struct snapshot_device *device, enum memory_type type)
{
	for (uint32_t i = 0; i < device->type_count; i++) {
		if (device->types[i].type == type)
			return &device->types[i];
	}
	return NULL;
}

static bool ps_equal(const struct snapshot_type *a, const struct snapshot_type *b)
{
	return a->live_buffers == b->live_buffers && a->live_bytes == b->live_bytes &&
	       a->held_buffers == b->held_buffers && a->held_bytes == b->held_bytes && a->peak_bytes == b->peak_bytes;
}

static void ps_rows_of_type(struct ps_table *table, struct ps_row row, enum memory_type type)
{
	const struct snapshot_process *process = row.node->process;
	struct ps_row *last = NULL;

	for (size_t i = 0; i < process->device_count; i++) {
		const struct snapshot_device *device = &process->devices[i];
		const struct snapshot_type *figures = ps_figures(device, type);

		if (!figures)
			continue;
		table->any_held |= figures->held_buffers > 0;
		if (last && phrase_is_next_chip(last->last_device, device->device) &&
		    ps_equal(last->figures, figures)) {
			last->last_device = device->device;
			continue;
		}
		last = &table->rows[table->row_count++];
		*last = row;
		last->figures = figures;
		last->first_device = last->last_device = device->device;
	}
}

static void ps_rows_of_process(struct ps_table *table, const struct ps_node *node, unsigned int depth)
{
	struct ps_row row = {.kind = PS_FIGURES, .depth = depth, .node = node};
	size_t start = table->row_count;

	for (int type = 0; type <= MEMORY_TYPE_COUNT; type++)
		ps_rows_of_type(table, row, (enum memory_type)type);
	if (table->row_count == start) {
		row.kind = PS_NOTHING;
		table->rows[table->row_count++] = row;
	}
	table->rows[start].first = true;
	if (node->first_child != PS_NO_PROCESS) {
		row.kind = PS_TREE;
		table->rows[table->row_count++] = row;
	}
}

static void ps_rows_of_tree(struct ps_table *table)
{
	size_t at = table->first_root;
	unsigned int depth = 0;

	while (at != PS_NO_PROCESS) {
		const struct ps_node *node = &table->nodes[at];

		ps_rows_of_process(table, node, depth);
		if (node->first_child != PS_NO_PROCESS) {
			at = node->first_child;
			depth++;
			continue;
		}
		while (node->next == PS_NO_PROCESS && node->parent != PS_NO_PROCESS) {
			node = &table->nodes[node->parent];
			depth--;
		}
		at = node->next;
	}
}

/* ---- cells ---- */

enum {
	PS_PID,
	PS_USER,
	PS_AGE,
	PS_DEVICE,
	PS_TYPE,
	PS_BUFFERS,
	PS_NOW,
	PS_HELD,
	PS_PEAK,
	PS_CONTAINER,
	PS_COMMAND,
	PS_COLUMNS,
};

static const struct grid_column *ps_column(size_t column)
{
	static const struct grid_column columns[PS_COLUMNS] = {
		[PS_PID] = {"PID", true, false, 0},          [PS_USER] = {"USER", false, false, 2},
		[PS_AGE] = {"AGE", true, false, 4},          [PS_DEVICE] = {"DEVICE", false, false, 0},
		[PS_TYPE] = {"TYPE", false, false, 0},       [PS_BUFFERS] = {"BUFFERS", true, false, 1},
		[PS_NOW] = {"NOW", true, false, 0},          [PS_HELD] = {"HELD", true, true, 5},
		[PS_PEAK] = {"PEAK", true, false, 3},        [PS_CONTAINER] = {"CONTAINER", false, true, 6},
		[PS_COMMAND] = {"COMMAND", false, false, 0},
	};

	return &columns[column];
}

/* The last part of a cgroup's path says most; of a container's long id twelve digits are usual. */
static void ps_container(struct strbuf *out, const char *cgroup)
{
	const char *name = strrchr(cgroup, '/');
	size_t len, digits = 0;

	name = name ? name + 1 : cgroup;
	len = strlen(name);
	while (digits < len && strchr("0123456789abcdef", name[len - 1 - digits]))
		digits++;
	if (len > 6 && !strcmp(name + len - 6, ".scope")) {
		len -= 6;
		digits = 0;
		while (digits < len && strchr("0123456789abcdef", name[len - 1 - digits]))
			digits++;
	}
	if (digits >= 32)
		len -= digits - 12;
	escape_terminal(out, name, len);
}

static void ps_user(struct strbuf *out, const struct ps_view *view, uint32_t user)
{
	const char *name = view->user_name ? view->user_name(view->context, user) : NULL;

	if (name)
		escape_terminal(out, name, strlen(name));
	else
		strbuf_addf(out, "%u", user);
}

/* "python train.py": where the program lies is in a dump. */
static void ps_command(struct strbuf *out, const struct snapshot_process *process)
{
	size_t first = strnlen(process->command, process->command_len), skip = 0;

	for (size_t i = 0; i < first; i++) {
		if (process->command[i] == '/')
			skip = i + 1;
	}
	phrase_command(out, process->command + skip, process->command_len - skip);
}

static void ps_identity(struct strbuf *out, const struct ps_table *table, const struct ps_row *row, size_t column)
{
	const struct snapshot_process *process = row->node->process;
	uint64_t now = table->snapshot->now_ns;

	switch (column) {
	case PS_PID:
		strbuf_addf(out, "%u", process->pid);
		break;
	case PS_USER:
		ps_user(out, table->view, process->user);
		break;
	case PS_AGE:
		units_duration(out, now > process->start_ns ? now - process->start_ns : 0);
		break;
	case PS_CONTAINER:
		ps_container(out, process->cgroup);
		break;
	case PS_COMMAND:
		if (row->depth)
			strbuf_addf(out, "%*s%s ", 2 * (int)(row->depth - 1), "", table->view->style.utf8 ? "└" : "`");
		ps_command(out, process);
		break;
	}
}

static void ps_device(struct strbuf *out, const struct ps_row *row)
{
	if (row->first_device < 0)
		strbuf_adds(out, GRID_UNKNOWN);
	else if (row->first_device == row->last_device)
		strbuf_addf(out, "%d", row->first_device);
	else
		strbuf_addf(out, "%d-%d each", row->first_device, row->last_device);
}

static void ps_figure(struct strbuf *out, const struct ps_table *table, const struct ps_row *row, size_t column)
{
	const struct snapshot_type *figures = row->figures;

	switch (column) {
	case PS_DEVICE:
		ps_device(out, row);
		break;
	case PS_TYPE:
		strbuf_adds(out, memory_type_name(figures->type));
		break;
	case PS_BUFFERS:
		strbuf_addf(out, "%llu", (unsigned long long)figures->live_buffers);
		break;
	case PS_NOW:
		units_size(out, figures->live_bytes);
		break;
	case PS_HELD:
		if (table->any_held)
			units_size(out, figures->held_bytes);
		else
			strbuf_adds(out, GRID_UNKNOWN);
		break;
	case PS_PEAK:
		units_size(out, figures->peak_bytes);
		break;
	}
}

static void ps_tree(struct strbuf *out, const struct ps_row *row, size_t column)
{
	const struct ps_sum *tree = &row->node->tree;

	switch (column) {
	case PS_DEVICE:
		strbuf_adds(out, "all");
		break;
	case PS_TYPE:
		strbuf_adds(out, "tree");
		break;
	case PS_BUFFERS:
		strbuf_addf(out, "%llu", (unsigned long long)tree->buffers);
		break;
	case PS_NOW:
		units_size(out, tree->bytes);
		break;
	case PS_COMMAND:
		strbuf_addf(out, "%*s%llu processes", 2 * (int)row->depth, "", (unsigned long long)tree->processes);
		break;
	}
}

static bool ps_is_identity(size_t column)
{
	return column == PS_PID || column == PS_USER || column == PS_AGE || column == PS_CONTAINER ||
	       column == PS_COMMAND;
}

static void ps_cell(struct strbuf *out, const void *context, size_t index, size_t column)
{
	const struct ps_table *table = context;
	const struct ps_row *row = &table->rows[index];

	if (column == PS_HELD && !table->any_held)
		strbuf_adds(out, GRID_UNKNOWN);
	else if (row->kind == PS_TREE)
		ps_tree(out, row, column);
	else if (ps_is_identity(column)) {
		if (row->first)
			ps_identity(out, table, row, column);
	} else if (row->kind == PS_FIGURES)
		ps_figure(out, table, row, column);
	else if (column == PS_BUFFERS)
		strbuf_addc(out, '0');
}

/* ---- what goes with the table ---- */

static void ps_doubts(struct strbuf *out, const struct ps_view *view, const struct snapshot *snapshot)
{
	struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];
		size_t start = out->len;

		if (process->exact || !process->reason_count)
			continue;
		style_on(out, &view->style, STYLE_RED);
		strbuf_addf(out, "NOT exact: %u", process->pid);
		style_off(out, &view->style);
		strbuf_adds(out, ": ");
		strbuf_reset(&text);
		escape_terminal(&text, process->reasons[0].text, strlen(process->reasons[0].text));
		style_wrap(out, &view->style, strbuf_str(&text), (unsigned int)(out->len - start), 4);
	}
	if (strbuf_error(&text))
		out->error = strbuf_error(&text);
	strbuf_fini(&text);
}

static void ps_total(struct strbuf *out, const struct ps_table *table)
{
	struct ps_sum all = {0};

	for (size_t root = table->first_root; root != PS_NO_PROCESS; root = table->nodes[root].next) {
		all.processes += table->nodes[root].tree.processes;
		all.buffers += table->nodes[root].tree.buffers;
		all.bytes += table->nodes[root].tree.bytes;
	}
	strbuf_addf(out, "%llu process%s, %llu buffers, ", (unsigned long long)all.processes,
		    all.processes == 1 ? "" : "es", (unsigned long long)all.buffers);
	units_size(out, all.bytes);
	strbuf_adds(out, " over all devices\n");
}

static size_t ps_max_rows(const struct snapshot *snapshot)
{
	size_t rows = 0;

	for (size_t i = 0; i < snapshot->process_count; i++)
		rows += snapshot->processes[i].device_count * (MEMORY_TYPE_COUNT + 1) + 2;
	return rows;
}

int ps_view(struct strbuf *out, const struct ps_view *view, const struct snapshot *snapshot)
{
	struct ps_table table = {.view = view, .snapshot = snapshot};
	struct grid grid = {
		.column_count = PS_COLUMNS,
		.column = ps_column,
		.cell = ps_cell,
		.context = &table,
		.cut_column = PS_COMMAND,
		.cut_width = PS_COMMAND_WIDTH,
	};
	size_t start = out->len;

	if (!snapshot->process_count) {
		strbuf_addf(out, "%s\n", view->nothing);
		return strbuf_error(out);
	}
	table.nodes = calloc(snapshot->process_count, sizeof(*table.nodes));
	table.rows = calloc(ps_max_rows(snapshot), sizeof(*table.rows));
	if (table.nodes && table.rows) {
		ps_make_tree(&table);
		ps_rows_of_tree(&table);
		grid.row_count = table.row_count;
		grid_print(out, &view->style, &grid);
		ps_total(out, &table);
		chips_table(out, &view->style, snapshot);
		ps_doubts(out, view, snapshot);
	} else {
		out->error = -ENOMEM;
	}
	free(table.nodes);
	free(table.rows);
	style_finish(out, &view->style, start);
	return strbuf_error(out);
}
