/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All processes of the machine: which of them map a runtime's library. Records of new mappings tell at
 * once; a look at all processes now and then is the net below them. Both ask about a file once: what is
 * no runtime's library is remembered by the kernel's name of it. Owns that memory.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "source/procfs.h"
#include "source/tracer_internal.h"

#define PASSED        8192            /* files; a power of two */
#define PASSED_NS     300000000000ull /* a file may be overwritten: then it is asked about again */
#define TICK_NS       10000000000ull
#define LOOK_NS       10000000000ull  /* from the first look at all processes to the second */
#define LOOK_MAX_NS   640000000000ull /* that doubles while no record of a mapping is lost, up to here */
#define LOOK_SHARE    2000            /* but so many times what a look takes: 0.05 % of a core */
#define HASTY_LOOK_NS 1000000000ull   /* when records of mappings were lost */
#define UNUSED_NS     600000000000ull /* then a library is let go; it holds its file system */

struct passed {
	struct map_file file;
	uint64_t until_ns;
};

struct tracer_machine {
	struct passed passed[PASSED];
	uint64_t next_tick_ns, next_look_ns, looked_ns;
	uint64_t period_ns; /* between two looks */
	bool behind;        /* records of mappings were lost since the last look */
	bool may_not_look;  /* it was said */
	bool out_of_files;  /* so was that, and nothing has changed */
};

static struct passed *passed_slot(struct tracer_machine *machine, const struct map_file *file)
{
	uint64_t mixed =
		(file->inode ^ (uint64_t)file->major << 52 ^ (uint64_t)file->minor << 32) * 0x9e3779b97f4a7c15ull;

	return &machine->passed[mixed >> 51];
}

bool tracer_machine_passes(struct tracer *tracer, const struct map_file *file)
{
	struct passed *slot = passed_slot(tracer->machine, file);

	if (slot->file.inode != file->inode || slot->file.major != file->major || slot->file.minor != file->minor ||
	    slot->until_ns <= tracer_now_ns())
		return false;
	/* /proc/PID/maps does not have the generation. */
	if (file->generation && !slot->file.generation)
		slot->file.generation = file->generation;
	return !file->generation || slot->file.generation == file->generation;
}

static void pass(struct tracer *tracer, const struct map_file *file)
{
	*passed_slot(tracer->machine, file) = (struct passed){*file, tracer_now_ns() + PASSED_NS};
}

struct look {
	struct tracer *tracer;
	pid_t pid;
	bool any; /* some mapping could be asked about */
};

static bool is_out_of_files(int err)
{
	return err == -EMFILE || err == -ENFILE;
}

/* What could not be looked at now is looked at again soon. */
static void say_out_of_files(struct tracer *tracer)
{
	struct rlimit limit = {0};

	tracer_machine_hasten(tracer);
	if (tracer->machine->out_of_files)
		return;
	tracer->machine->out_of_files = true;
	getrlimit(RLIMIT_NOFILE, &limit);
	log_warning("no file descriptor is left (the limit is %llu; of a service: LimitNOFILE): until some are free, "
		    "processes that begin to use a device are not seen",
		    (unsigned long long)limit.rlim_cur);
}

/* 1: this process has a runtime's library. */
static int look_at_mapping(void *context, const struct procfs_mapping *mapping)
{
	struct map_file file = {.major = mapping->major, .minor = mapping->minor, .inode = mapping->inode};
	struct look *look = context;
	struct tracer *tracer = look->tracer;
	struct library *library;
	int err;

	look->any = true;
	if (tracer_machine_passes(tracer, &file))
		return 0;
	err = libraries_of_mapping(tracer->libraries, look->pid, mapping, &library);
	if ((err == -EPERM || err == -EACCES) && !tracer->machine->may_not_look) {
		tracer->machine->may_not_look = true;
		log_warning(
			"some files that processes map may not be looked at: needed are root or CAP_CHECKPOINT_RESTORE "
			"and CAP_SYS_PTRACE, and file systems that root may read");
	}
	if (is_out_of_files(err))
		return err;
	if (err == -ENOMEM || err == -ESRCH)
		return 0;
	if (err || !library) {
		pass(tracer, &file);
		return 0;
	}
	return 1;
}

bool tracer_machine_look(struct tracer *tracer, pid_t pid)
{
	struct look look = {.tracer = tracer, .pid = pid};
	int err;

	if (pid == getpid())
		return true;
	err = procfs_mappings(pid, look_at_mapping, &look);
	if (err == 1) {
		err = tracer_follow_found(tracer, pid);
		if (err && err != -ESRCH && !is_out_of_files(err))
			log_warning("process %d is not followed: %s", pid,
				    err == -ENOSPC ? "too many are followed at once" : strerror(-err));
		look.any = true;
	}
	if (is_out_of_files(err)) {
		say_out_of_files(tracer);
		return true;
	}
	return look.any;
}

void tracer_machine_missed(struct tracer *tracer, const struct mapped *mapped)
{
	struct strbuf path = STRBUF_INIT;
	struct library *library;
	struct stat st;

	/* Only its path is left, and that as the process saw it: it must be the same file here. */
	if (stat(mapped->path, &st) || st.st_ino != mapped->file.inode ||
	    libraries_of_file(tracer->libraries, mapped->path, &library))
		return;
	if (!library) {
		pass(tracer, &mapped->file);
		return;
	}
	/* Attached to already: then it would have been followed at its first hit. */
	if (library->state != LIBRARY_PLANNED || tracer_attach_library(tracer, library))
		return;
	library->used_ns = tracer_now_ns();
	escape_terminal(&path, mapped->path, strlen(mapped->path));
	log_warning("process %u ended before its library could be attached to: its buffers were not seen (%s; the next "
		    "processes are seen from their start)",
		    mapped->pid, strbuf_str(&path));
	strbuf_fini(&path);
}

/* ---- the look at all processes ---- */

static void note_use(struct tracer *tracer, uint64_t now_ns)
{
	struct tracked *tracked;
	size_t cursor = 0;

	while ((tracked = tracked_next(&tracer->tracked, &cursor))) {
		for (size_t i = 0; i < tracked->runtime_count; i++)
			tracked->runtime[i].library->used_ns = now_ns;
	}
}

/*
 * A library that nobody maps any more is let go: it keeps its file, and so its disk space and its mount,
 * from going away. Should it be mapped again it is found again.
 */
static void let_unused_go(struct tracer *tracer, uint64_t now_ns)
{
	struct library *library;
	int err;

	note_use(tracer, now_ns);
	for (uint32_t i = 0; i < libraries_end(tracer->libraries); i++) {
		library = libraries_get(tracer->libraries, i);
		if (!library || library->used_ns == now_ns ||
		    (library->used_ns + UNUSED_NS > now_ns && !library_is_deleted(library) && !library->overwritten))
			continue;
		if (library->state == LIBRARY_ATTACHED) {
			err = library_begin_close(library);
			if (err)
				log_warning("cannot let go of an unused library: %s", strerror(-err));
			continue;
		}
		if (library->state == LIBRARY_CLOSING && !library_end_close(library, 0))
			continue;
		/* Someone may have come meanwhile; then the ring says so, and it stays. */
		tracer_drain_all(tracer);
		note_use(tracer, now_ns);
		/* Then it may be attached to already, or have been found to be another's twin and be gone. */
		if (libraries_get(tracer->libraries, i) != library)
			continue;
		if (library->used_ns < now_ns)
			libraries_remove(tracer->libraries, library);
		else if (library->state == LIBRARY_PLANNED)
			tracer_attach_library(tracer, library);
	}
}

static int look_at_all(struct tracer *tracer)
{
	struct dirent *entry;
	pid_t pid;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid = atoi(entry->d_name);
		if (pid > 0 && !tracked_by_pid(&tracer->tracked, (uint32_t)pid))
			tracer_machine_look(tracer, pid);
	}
	closedir(dir);
	return 0;
}

/* What others make us wait for is no load of ours. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/*
 * What the records of mappings tell of has been looked at already, so a look finds something only where
 * they fail, which they hardly do.
 */
static void look_now(struct tracer *tracer)
{
	struct tracer_machine *machine = tracer->machine;
	uint64_t spent_ns = cpu_ns();
	int err;

	machine->period_ns = machine->behind ? LOOK_NS : 2 * machine->period_ns;
	if (machine->period_ns > LOOK_MAX_NS)
		machine->period_ns = LOOK_MAX_NS;
	machine->behind = false;
	err = look_at_all(tracer);
	if (is_out_of_files(err))
		say_out_of_files(tracer);
	else if (err)
		log_warning("cannot look at all processes: %s", strerror(-err));
	machine->looked_ns = tracer_now_ns();
	spent_ns = cpu_ns() - spent_ns;
	/* Unless it has been hastened meanwhile. */
	if (!machine->behind) {
		machine->out_of_files = false;
		machine->next_look_ns = machine->looked_ns + later(LOOK_SHARE * spent_ns, machine->period_ns);
	}
	log_debug("a look at all processes took %llu us of a CPU", (unsigned long long)spent_ns / 1000);
}

void tracer_machine_tick(struct tracer *tracer)
{
	struct tracer_machine *machine = tracer->machine;

	if (tracer_now_ns() >= machine->next_look_ns)
		look_now(tracer);
	if (tracer_now_ns() < machine->next_tick_ns)
		return;
	libraries_check_contents(tracer->libraries);
	tracer_close_overwritten(tracer);
	let_unused_go(tracer, tracer_now_ns());
	machine->next_tick_ns = tracer_now_ns() + TICK_NS;
}

void tracer_machine_hasten(struct tracer *tracer)
{
	tracer->machine->behind = true;
	tracer->machine->next_look_ns = tracer->machine->looked_ns + HASTY_LOOK_NS;
}

void tracer_machine_catch_up(struct tracer *tracer)
{
	if (tracer->machine->behind)
		look_now(tracer);
}

int tracer_machine_timeout_ms(const struct tracer *tracer)
{
	const struct tracer_machine *machine = tracer->machine;
	uint64_t now_ns = tracer_now_ns(), next_ns = machine->next_tick_ns;

	if (machine->next_look_ns < next_ns)
		next_ns = machine->next_look_ns;
	if (tracer->rest_until_ns && tracer->rest_until_ns < next_ns)
		next_ns = tracer->rest_until_ns;
	return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns + 999999) / 1000000);
}

/* A library takes some twenty descriptors where it is attached to by perf links: more than a shell's limit allows for. */
static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int tracer_follow_machine(struct tracer *tracer)
{
	int err;

	allow_many_files();
	tracer->machine = calloc(1, sizeof(*tracer->machine));
	if (!tracer->machine) {
		log_error("out of memory");
		return -ENOMEM;
	}
	live_follow_machine(tracer->live);
	err = look_at_all(tracer);
	if (err)
		log_error("cannot look at all processes: %s", strerror(-err));
	tracer->machine->looked_ns = tracer_now_ns();
	tracer->machine->period_ns = LOOK_NS;
	tracer->machine->next_look_ns = tracer->machine->looked_ns + LOOK_NS;
	tracer->machine->next_tick_ns = tracer->machine->looked_ns + TICK_NS;
	return err;
}

void tracer_machine_free(struct tracer_machine *machine)
{
	free(machine);
}
