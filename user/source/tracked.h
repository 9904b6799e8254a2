/* SPDX-License-Identifier: BSD-2-Clause */
/* The processes that are followed, by pid and by process number. Owns its entries. */
#ifndef BUFSCOPE_SOURCE_TRACKED_H
#define BUFSCOPE_SOURCE_TRACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "base/strbuf.h"
#include "base/table.h"
#include "event.h"
#include "wire.h"

struct library;
struct tracer_hold;

#define TRACKED_MAX_RUNTIMES 8 /* copies of a runtime in one process */

struct tracked_runtime {
	struct library *library;
	uint64_t base;                 /* where it is loaded; 0: not known */
	uint64_t text_start, text_end; /* its executable mapping there */
	bool census_due;               /* found while records were taken in: its census comes after them */
	bool told;                     /* a forked child is not worth a word until it uses what it inherited */
	bool unprobed;                 /* it was said that its probes are gone */
};

struct tracked_books {         /* when the runtime's books are to be read again; see tracer_books.c */
	uint64_t changes;      /* events that change them */
	uint64_t read_changes; /* those that the last reading has seen */
	uint64_t read_ns;      /* when that was; 0: never */
	uint64_t due_ns;       /* 0: not */
	unsigned int attempts; /* since then */
	bool given_up;
};

struct tracked {
	uint32_t pid;
	uint32_t process; /* number of the present (process, exec) pair */
	enum birth_how how;
	int pidfd;            /* of a process that was named to us; -1: none */
	uint64_t born_ns;     /* when this address space began to be followed */
	uint64_t covered_ns;  /* no hit of it since then was passed over, and none was possible before; 0: not known */
	uint64_t seen_ns;     /* whatever was mapped at this time is among its runtimes; 0: not looked at yet */
	uint32_t user;        /* real uid */
	bool due;             /* to be looked at once the ring is empty */
	bool chips_due;       /* likewise, for the chips it uses */
	uint64_t chips_asked; /* a bit for each number that it was asked for */
	struct tracer_hold *hold; /* while a census is awaited or taken */
	bool endless;             /* a census of it takes too long: none is taken any more */
	struct strbuf command;
	struct wire_lost lost; /* already reported */
	struct tracked_books books;
	size_t runtime_count;
	struct tracked_runtime runtime[TRACKED_MAX_RUNTIMES];
};

struct tracked_set {
	struct tracked **slots; /* NULL when free */
	size_t capacity, count;
	struct table by_pid, by_process; /* -> slot */
};

void tracked_fini(struct tracked_set *set);
/* NULL: out of memory. The pid and the number must not be there yet. */
struct tracked *tracked_add(struct tracked_set *set, uint32_t pid, uint32_t process);
void tracked_drop(struct tracked_set *set, struct tracked *tracked);
/* After exec. 0 or -ENOMEM. */
int tracked_renumber(struct tracked_set *set, struct tracked *tracked, uint32_t process);
struct tracked *tracked_by_pid(const struct tracked_set *set, uint32_t pid);
struct tracked *tracked_by_process(const struct tracked_set *set, uint32_t process);
/* Walks all from *cursor = 0; NULL at the end. Not across changes. */
struct tracked *tracked_next(const struct tracked_set *set, size_t *cursor);

#endif
