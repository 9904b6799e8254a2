/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads, feeds and drains the BPF programs. Owns the skeleton and the ring; attachments are the caller's. */
#include "source/live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "runtime/runtime.h"
#include "source/pressure.h"
#include "source/privilege.h"
#include "source/ring_memory.h"
#include "tracer.skel.h"

_Static_assert(WIRE_WINDOW_BYTES == PLAN_WINDOW_BYTES, "an object's window");
_Static_assert(WIRE_MAX_CHIPS == EVENT_MAX_CHIPS, "chips of a mesh");
_Static_assert(WIRE_MAX_HOPS == PLAN_MAX_WALK, "hops to a mesh's chips");

struct live {
	struct tracer *bpf;
	struct ring_buffer *ring;
	struct pressure *pressure;
	enum attach_method method;
	live_reader reader; /* during live_drain() */
	void *context;
	size_t left;
};

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list ap)
{
	char line[2048];

	if (level == LIBBPF_DEBUG || !log_enabled(LOG_LEVEL_DEBUG))
		return 0;
	vsnprintf(line, sizeof(line), format, ap);
	line[strcspn(line, "\n")] = 0;
	log_debug("%s", line);
	return 0;
}

static int on_record(void *context, void *data, size_t len)
{
	struct live *live = context;

	live->reader(live->context, data, len);
	/* libbpf ends the round on a negative value; this record counts as read. */
	return --live->left ? 0 : -EAGAIN;
}

static void explain(const struct live *live, int err)
{
	unsigned long long needed = PRIVILEGE_TRACE | (live->method == ATTACH_PERF ? PRIVILEGE_PERF_LINKS : 0);
	char text[128];

	libbpf_strerror(err, text, sizeof(text));
	if (err == -EPERM || err == -EACCES)
		privilege_log(err, needed, "no permission to trace (run as root, or see README, Privileges)");
	else if (err == -ESRCH || err == -ENOENT)
		log_error(
			"this kernel has no BTF type information (/sys/kernel/btf/vmlinux): CONFIG_DEBUG_INFO_BTF is needed");
	else if (err == -EINVAL || err == -ENOTSUP)
		log_error("this kernel refuses the BPF programs: 5.15 or newer is needed (--verbose shows why)");
	else
		log_error("cannot load the BPF programs: %s", text);
}

static int attach_life(struct live *live)
{
	struct bpf_program *programs[] = {live->bpf->progs.on_exit, live->bpf->progs.on_exec, live->bpf->progs.on_fork};
	struct bpf_link **links[] = {&live->bpf->links.on_exit, &live->bpf->links.on_exec, &live->bpf->links.on_fork};

	for (size_t i = 0; i < 3; i++) {
		*links[i] = bpf_program__attach(programs[i]);
		if (!*links[i])
			return -errno;
	}
	return 0;
}

static int load(struct live *live, const struct live_options *options)
{
	size_t ring_bytes = options->ring_bytes ? options->ring_bytes : LIVE_RING_BYTES;
	struct pressure_marks marks = pressure_marks(ring_bytes);
	struct bpf_program *uprobes[4];
	int err;

	if (privilege_missing(PRIVILEGE_TRACE))
		return -EPERM;
	err = attach_detect(&live->method);
	if (err)
		return err;
	if (options->perf_links)
		live->method = ATTACH_PERF;
	err = live->method == ATTACH_PERF ? attach_perf_allowed() : 0;
	if (err)
		return err;
	live->bpf = tracer__open();
	if (!live->bpf)
		return -errno;
	uprobes[0] = live->bpf->progs.on_object;
	uprobes[1] = live->bpf->progs.on_close;
	uprobes[2] = live->bpf->progs.on_destroy;
	uprobes[3] = live->bpf->progs.on_failure;
	for (size_t i = 0; i < 4; i++) {
		bpf_program__set_autoattach(uprobes[i], false);
		if (live->method == ATTACH_MULTI && attach_expected_type(uprobes[i]))
			return -EINVAL;
	}
	err = bpf_map__set_max_entries(live->bpf->maps.ring, ring_bytes);
	if (err)
		return err;
	live->bpf->rodata->wake_bytes = marks.wake;
	live->bpf->rodata->object_bytes = marks.object;
	live->bpf->rodata->stop_bytes = options->lossless ? marks.stop : 0;
	err = attach_can_sleep(&live->bpf->rodata->may_sleep);
	if (err)
		return err;
	if (live->bpf->rodata->may_sleep)
		bpf_program__set_flags(live->bpf->progs.on_object, BPF_F_SLEEPABLE);
	err = tracer__load(live->bpf);
	if (err)
		return err;
	/* libbpf leaves out what it takes to be unknown to the kernel, also when its own trial failed by chance. */
	if (!live->bpf->bss)
		return -ENOTSUP;
	live->ring = ring_buffer__new(bpf_map__fd(live->bpf->maps.ring), on_record, live, NULL);
	if (!live->ring)
		return -errno;
	ring_memory_keep_from_children(ring_bytes);
	return attach_life(live);
}

static int open_pressure(struct live *live)
{
	struct pressure_marks marks = pressure_marks(bpf_map__max_entries(live->bpf->maps.ring));

	return pressure_open(&live->bpf->bss->pressure, bpf_map__fd(live->bpf->maps.ring),
			     bpf_map__fd(live->bpf->maps.stopped), &marks, &live->pressure);
}

int live_open(const struct live_options *options, struct live **out)
{
	struct live *live;
	struct stat st;
	int err;

	libbpf_set_print(print_libbpf);
	live = calloc(1, sizeof(*live));
	if (!live) {
		log_error("out of memory");
		return -ENOMEM;
	}
	err = stat("/sys/kernel/btf/vmlinux", &st) ? -ENOENT : load(live, options);
	if (err)
		explain(live, err);
	else if (options->lossless)
		err = open_pressure(live);
	if (err) {
		live_close(live);
		return err;
	}
	log_debug("attaching by %s", live->method == ATTACH_MULTI ? "uprobe_multi links" : "perf links");
	*out = live;
	return 0;
}

void live_close(struct live *live)
{
	if (!live)
		return;
	pressure_close(live->pressure);
	ring_buffer__free(live->ring);
	tracer__destroy(live->bpf);
	free(live);
}

enum attach_method live_method(const struct live *live)
{
	return live->method;
}

const struct bpf_program *live_object_program(const struct live *live)
{
	return live->bpf->progs.on_object;
}

int live_follow(struct live *live, uint32_t pid, uint64_t start_ns, uint32_t follow, uint32_t *process)
{
	struct wire_process fresh = {.start_ns = start_ns, .follow = follow}, present;
	int fd = bpf_map__fd(live->bpf->maps.processes);

	/* The counter is shared with the BPF side, which adds to it in the same way. */
	fresh.process = __atomic_add_fetch(&live->bpf->bss->last_process, 1, __ATOMIC_SEQ_CST);
	*process = fresh.process;
	if (!bpf_map_update_elem(fd, &pid, &fresh, BPF_NOEXIST))
		return 0;
	if (errno != EEXIST)
		return errno == E2BIG ? -ENOSPC : -errno;
	if (!bpf_map_lookup_elem(fd, &pid, &present) && !present.dead) {
		*process = present.process;
		return -EEXIST;
	}
	/* Of an earlier process with this pid, whose end nobody has taken in yet. */
	return bpf_map_update_elem(fd, &pid, &fresh, BPF_ANY) ? -errno : 0;
}

void live_follow_machine(struct live *live)
{
	__atomic_store_n(&live->bpf->bss->follow_machine, 1, __ATOMIC_SEQ_CST);
}

int live_lookup(struct live *live, uint32_t pid, struct wire_process *out)
{
	return bpf_map_lookup_elem(bpf_map__fd(live->bpf->maps.processes), &pid, out) ? -errno : 0;
}

void live_forget(struct live *live, uint32_t pid)
{
	bpf_map_delete_elem(bpf_map__fd(live->bpf->maps.processes), &pid);
}

int live_set_library(struct live *live, uint32_t index, const struct library_plan *plan)
{
	struct wire_library value = {
		.chip_vtable = plan->walk.chip_vtable,
		.mesh_vtable = plan->walk.mesh_vtable,
		.indirect = plan->read.indirect,
		.pointer_offset = plan->read.pointer_offset,
		.window_offset = plan->read.window_offset,
		.window_len = plan->read.window_len,
		.device_at = plan->read.device_at,
		.chip_id_offset = plan->walk.chip_id_offset,
		.hop_count = plan->walk.hop_count,
		.array_offset = plan->walk.array_offset,
		.stride = plan->walk.stride,
		.tagged = plan->walk.tagged,
		.type_at = (uint16_t)plan->field.type,
		.status_at = (uint16_t)plan->field.status,
		.size_at = (uint16_t)plan->field.size,
		.page_size_at = (uint16_t)plan->field.page_size,
		.self_at = plan->weak_this_offset,
	};

	if (index >= WIRE_MAX_LIBRARIES)
		return -ENOSPC;
	if (plan->read.device_at % 8 || plan->read.device_at > 56 || plan->read.window_len > WIRE_WINDOW_BYTES ||
	    plan->walk.hop_count > WIRE_MAX_HOPS)
		return -ERANGE;
	memcpy(value.hop, plan->walk.hop, sizeof(value.hop));
	return bpf_map_update_elem(bpf_map__fd(live->bpf->maps.libraries), &index, &value, BPF_ANY) ? -errno : 0;
}

/* Collects the plan's probes of the given roles (a bit each), in descending order of role. */
static size_t select_sites(const struct library_plan *plan, uint32_t index, unsigned int roles,
			   struct attach_site *sites)
{
	size_t count = 0;

	for (int role = PROBE_OUT_OF_MEMORY; role >= PROBE_ALLOCATE; role--) {
		for (size_t i = 0; i < plan->probe_count && count < ATTACH_MAX_SITES; i++) {
			const struct probe_plan *probe = &plan->probes[i];

			if ((int)probe->role != role || !(roles & 1u << role))
				continue;
			sites[count].offset = probe->place.file_offset;
			sites[count++].cookie = WIRE_COOKIE(role, probe->argument, index, probe->place.vaddr);
		}
	}
	return count;
}

int live_attach(struct live *live, uint32_t index, const struct library_plan *plan, const char *path,
		struct live_attachment *out)
{
	struct attach_site sites[ATTACH_MAX_SITES];
	size_t count;
	int err;

	memset(out, 0, sizeof(*out));
	/*
	 * Closes before objects, frees before allocations: what falls into the gap is then a free of
	 * an unknown buffer, which is seen and said, and not a buffer that seems to live for ever.
	 */
	count = select_sites(plan, index, 1u << PROBE_CLOSE | 1u << PROBE_BULK_FREE, sites);
	err = attach_program(live->method, live->bpf->progs.on_close, path, sites, count, &out->parts[0]);
	if (err)
		return err;
	count = select_sites(plan, index, 1u << PROBE_FREE | 1u << PROBE_ALLOCATE, sites);
	err = attach_program(live->method, live->bpf->progs.on_object, path, sites, count, &out->parts[1]);
	count = select_sites(plan, index, 1u << PROBE_OUT_OF_MEMORY, sites);
	if (!err && count)
		err = attach_program(live->method, live->bpf->progs.on_failure, path, sites, count, &out->parts[2]);
	if (err)
		live_attachment_close(out);
	return err;
}

int live_attach_destroy(struct live *live, uint32_t index, const struct library_plan *plan, const char *path,
			struct live_attachment *out)
{
	struct attach_site sites[ATTACH_MAX_SITES];
	size_t count;

	memset(out, 0, sizeof(*out));
	count = select_sites(plan, index, 1u << PROBE_DESTROY, sites);
	return attach_program(live->method, live->bpf->progs.on_destroy, path, sites, count, &out->parts[0]);
}

void live_attachment_close(struct live_attachment *attachment)
{
	for (size_t i = 0; i < LIVE_MAX_ATTACHMENTS; i++)
		attachment_close(&attachment->parts[i]);
}

static bool kernel_counts_runs(void)
{
	int fd = open("/proc/sys/kernel/bpf_stats_enabled", O_RDONLY | O_CLOEXEC);
	char value = '0';
	bool counts;

	if (fd < 0)
		return false;
	counts = read(fd, &value, 1) == 1 && value == '1';
	close(fd);
	return counts;
}

int live_probe_cost(const struct live *live, uint64_t *hits, uint64_t *ns)
{
	const struct bpf_program *const programs[] = {live->bpf->progs.on_object, live->bpf->progs.on_close,
						      live->bpf->progs.on_destroy, live->bpf->progs.on_failure};

	if (!kernel_counts_runs())
		return -ENODATA;
	*hits = *ns = 0;
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		struct bpf_prog_info info = {0};
		uint32_t len = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(programs[i]), &info, &len))
			return -ENODATA;
		*hits += info.run_cnt;
		*ns += info.run_time_ns;
	}
	return 0;
}

int live_fd(const struct live *live)
{
	return ring_buffer__epoll_fd(live->ring);
}

int live_drain(struct live *live, live_reader reader, void *context, size_t max)
{
	int err;

	live->reader = reader;
	live->context = context;
	live->left = max;
	err = ring_buffer__consume(live->ring);
	if (err < 0 && err != -EAGAIN)
		return err;
	return (int)(max - live->left);
}

struct pressure *live_pressure(const struct live *live)
{
	return live->pressure;
}

void live_set_waiting(struct live *live, bool waiting)
{
	__atomic_store_n(&live->bpf->bss->reader_waiting, waiting, __ATOMIC_SEQ_CST);
}

void live_sweep_dead(struct live *live, live_dead_visitor visit, void *context)
{
	int fd = bpf_map__fd(live->bpf->maps.processes);
	struct wire_process process;
	uint32_t pid, *previous = NULL, *dead;
	size_t count = 0;

	if (!__atomic_exchange_n(&live->bpf->bss->dead_unreported, 0, __ATOMIC_SEQ_CST))
		return;
	/* Keys first: deleting while walking would start the walk again. */
	dead = calloc(WIRE_MAX_PROCESSES, sizeof(*dead));
	if (!dead) {
		__atomic_store_n(&live->bpf->bss->dead_unreported, 1, __ATOMIC_SEQ_CST);
		return;
	}
	while (count < WIRE_MAX_PROCESSES && !bpf_map_get_next_key(fd, previous, &pid)) {
		if (!bpf_map_lookup_elem(fd, &pid, &process) && process.dead)
			dead[count++] = pid;
		previous = &pid;
	}
	for (size_t i = 0; i < count; i++) {
		if (bpf_map_lookup_elem(fd, &dead[i], &process))
			continue;
		bpf_map_delete_elem(fd, &dead[i]);
		visit(context, dead[i], &process);
	}
	free(dead);
}

uint64_t live_processes_full(const struct live *live)
{
	return __atomic_load_n(&live->bpf->bss->processes_full, __ATOMIC_RELAXED);
}
