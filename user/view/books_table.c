// SPDX-License-Identifier: BSD-2-Clause
/*
 * The runtime's own books as text; see books_table.h. A mesh, its parts and its chips have allocators of
 * their own that know nothing of each other: each has its row, and no row is a sum. Chips whose figures
 * are the same share one.
 */
#include "view/books_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "model/snapshot.h"
#include "view/grid.h"
#include "view/phrase.h"
#include "view/style.h"

#define BOOKS_LLU(value) ((unsigned long long)(value))

struct books_row {
	const struct snapshot_allocator *books; /* the first of those that share the row */
	int32_t last;                           /* chip, when several share it */
	uint32_t sharing;
};

/* Meshes first, the largest before its parts; then by type, then by chip. */
static int books_row_order(const void *a, const void *b)
{
	const struct snapshot_allocator *left = ((const struct books_row *)a)->books;
	const struct snapshot_allocator *right = ((const struct books_row *)b)->books;

	if (left->chip_count != right->chip_count)
		return left->chip_count > right->chip_count ? -1 : 1;
	if (left->type != right->type)
		return left->type < right->type ? -1 : 1;
	if (left->chip_count && left->chips[0] != right->chips[0])
		return left->chips[0] < right->chips[0] ? -1 : 1;
	return (left->id > right->id) - (left->id < right->id);
}

/* An allocator that nothing uses and nothing is wrong with is no news. */
static bool books_row_shown(const struct snapshot_allocator *books)
{
	return books->used_bytes || books->books != BOOKS_VERDICT_EQUAL;
}

static bool books_row_takes(const struct books_row *row, const struct snapshot_allocator *next)
{
	const struct snapshot_allocator *books = row->books;

	return books->chip_count == 1 && next->chip_count == 1 && phrase_is_next_chip(row->last, next->chips[0]) &&
	       books->type == next->type && books->banks == next->banks &&
	       books->capacity_bytes == next->capacity_bytes && books->used_bytes == next->used_bytes &&
	       books->free_bytes == next->free_bytes && books->largest_free_bytes == next->largest_free_bytes &&
	       books->books == next->books && books->table_only == next->table_only &&
	       books->books_only == next->books_only && !strcmp(books->why, next->why);
}

/* The rows, sorted; returns how many. */
static size_t books_rows(const struct snapshot_process *process, struct books_row *rows)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < process->allocator_count; i++) {
		const struct snapshot_allocator *books = &process->allocators[i];

		if (books_row_shown(books))
			rows[count++] = (struct books_row){
				.books = books,
				.last = books->chip_count ? books->chips[0] : -1,
				.sharing = 1,
			};
	}
	if (count)
		qsort(rows, count, sizeof(*rows), books_row_order);
	for (size_t i = 0; i < count; i++) {
		if (kept && books_row_takes(&rows[kept - 1], rows[i].books)) {
			rows[kept - 1].last++;
			rows[kept - 1].sharing++;
		} else {
			rows[kept++] = rows[i];
		}
	}
	return kept;
}

static void books_percent(struct strbuf *out, uint64_t part, uint64_t whole)
{
	double percent = whole ? 100.0 * (double)part / (double)whole : 0;

	if (!whole)
		strbuf_addc(out, '-');
	else if (part && percent < 1)
		strbuf_adds(out, "<1%");
	else
		strbuf_addf(out, "%.0f%%", percent);
}

/* "0-7" is one allocator for all of them; "each 0-7" are eight that look alike. */
static void books_chips(struct strbuf *out, const struct books_row *row)
{
	const struct snapshot_allocator *books = row->books;
	size_t start = out->len;

	if (row->sharing > 1) {
		strbuf_addf(out, "each %d-%d", books->chips[0], row->last);
		return;
	}
	phrase_chips(out, books->chips, books->chip_count);
	if (strbuf_error(out) || out->len - start <= 12)
		return;
	out->len = start;
	out->data[start] = '\0';
	strbuf_addf(out, "%u chips", books->chip_count);
}

enum books_column {
	BOOKS_CHIPS = 0,
	BOOKS_TYPE = 1,
	BOOKS_CAPACITY = 2,
	BOOKS_USED = 3,
	BOOKS_FREE = 4,
	BOOKS_LARGEST = 5,
	BOOKS_FRAGMENTED = 6,
	BOOKS_VERDICT = 7,
	BOOKS_COLUMNS = 8,
};

static const struct grid_column *books_column(size_t column)
{
	static const struct grid_column columns[BOOKS_COLUMNS] = {
		[BOOKS_CHIPS] = {"chips", false, false, 0},     [BOOKS_TYPE] = {"type", false, false, 0},
		[BOOKS_CAPACITY] = {"capacity", true, true, 1}, [BOOKS_USED] = {"used", true, true, 0},
		[BOOKS_FREE] = {"free", true, true, 2},         [BOOKS_LARGEST] = {"largest free", true, true, 0},
		[BOOKS_FRAGMENTED] = {"frag", true, true, 0},   [BOOKS_VERDICT] = {"books", false, false, 0},
	};

	return &columns[column];
}

static void books_figure(struct strbuf *out, const struct snapshot_allocator *books, size_t column)
{
	uint64_t largest = books->largest_free_bytes;

	switch ((enum books_column)column) {
	case BOOKS_CAPACITY:
		units_size(out, books->capacity_bytes);
		break;
	case BOOKS_USED:
		units_size(out, books->used_bytes);
		strbuf_addc(out, ' ');
		books_percent(out, books->used_bytes, books->capacity_bytes);
		break;
	case BOOKS_FREE:
		units_size(out, books->free_bytes);
		break;
	case BOOKS_LARGEST:
		units_size(out, largest);
		break;
	default:
		books_percent(out, books->free_bytes > largest ? books->free_bytes - largest : 0, books->free_bytes);
		break;
	}
}

static void books_cell(struct strbuf *out, const void *context, size_t at, size_t column)
{
	const struct books_row *row = (const struct books_row *)context + at;

	if (column == BOOKS_CHIPS)
		books_chips(out, row);
	else if (column == BOOKS_TYPE)
		strbuf_adds(out, memory_type_name(row->books->type));
	else if (column == BOOKS_VERDICT)
		strbuf_adds(out, phrase_books_word(row->books->books));
	else if (row->books->books == BOOKS_VERDICT_UNREAD)
		strbuf_adds(out, GRID_UNKNOWN);
	else
		books_figure(out, row->books, column);
}

/* Why a row says "differs" or "unread". */
static void books_note(struct strbuf *out, const struct style *style, const struct books_row *row)
{
	const struct snapshot_allocator *books = row->books;
	struct strbuf text = STRBUF_INIT;

	strbuf_addf(&text, "%s on ", memory_type_name(books->type));
	books_chips(&text, row);
	if (books->books == BOOKS_VERDICT_UNREAD) {
		strbuf_adds(&text, " unread: ");
		escape_terminal(&text, books->why, strlen(books->why));
	} else {
		strbuf_addf(&text, " differs by %llu: ", BOOKS_LLU(books->table_only + books->books_only));
		if (books->table_only)
			strbuf_addf(&text, "%llu in the table only", BOOKS_LLU(books->table_only));
		if (books->books_only)
			strbuf_addf(&text, "%s%llu in the books only", books->table_only ? ", " : "",
				    BOOKS_LLU(books->books_only));
	}
	strbuf_adds(out, "  ");
	style_mark(out, style, STYLE_WARNING);
	strbuf_addc(out, ' ');
	style_wrap(out, style, strbuf_str(&text), 4, 4);
	if (strbuf_error(&text))
		out->error = strbuf_error(&text);
	strbuf_fini(&text);
}

static uint64_t books_unused(const struct snapshot_process *process)
{
	uint64_t unused = 0;

	for (size_t i = 0; i < process->allocator_count; i++)
		unused += !books_row_shown(&process->allocators[i]);
	return unused;
}

static void books_foot(struct strbuf *out, const struct snapshot_process *process)
{
	uint64_t unused = books_unused(process);

	if (unused)
		strbuf_addf(out, "  %llu unused allocator%s not shown\n", BOOKS_LLU(unused), unused == 1 ? "" : "s");
	if (!process->census)
		return;
	if (process->census->unchecked_buffers)
		strbuf_addf(out, "  live buffers that could not be compared, their books were not read: %llu\n",
			    BOOKS_LLU(process->census->unchecked_buffers));
	strbuf_adds(out, "  as read at ");
	phrase_since(out, process, process->census->time_ns);
	strbuf_addc(out, '\n');
}

void books_table(struct strbuf *out, const struct style *style, const struct snapshot_process *process)
{
	struct books_row *rows;
	struct grid grid = {.column_count = BOOKS_COLUMNS, .column = books_column, .cell = books_cell};

	if (!process->allocator_count)
		return;
	rows = calloc(process->allocator_count, sizeof(*rows));
	if (!rows) {
		out->error = -ENOMEM;
		return;
	}
	grid.row_count = books_rows(process, rows);
	grid.context = rows;
	strbuf_adds(out, "\nAllocators (the runtime's own books)\n");
	if (grid.row_count)
		grid_print(out, style, &grid);
	for (size_t i = 0; i < grid.row_count; i++) {
		if (rows[i].books->books != BOOKS_VERDICT_EQUAL)
			books_note(out, style, &rows[i]);
	}
	books_foot(out, process);
	free(rows);
}
