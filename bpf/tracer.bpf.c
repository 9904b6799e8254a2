/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * The kernel side. Three kinds of probe (copy an object, note a call, find the object whose allocation
 * failed) and the life of processes, all into one ring buffer, so that their order is known. Knows no runtime: what to copy comes from the
 * probe's cookie and the map of libraries.
 *
 * Runs inside the traced program's calls. It never waits and never writes to user memory; when the
 * ring is full the loss is counted per process and kind. With back-pressure, which only a user can ask
 * for, a thread that fills the ring stops its process until the collector has emptied it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "wire.h"

#define SIGNAL_GROUP_EXIT   4           /* include/linux/sched/signal.h: group_exit_code is valid */
#define JOBCTL_STOP_PENDING (1ul << 17) /* include/linux/sched/jobctl.h: the task is to stop */
#define SIGSTOP             19
#define EEXIST              17

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20); /* resized by the collector before loading */
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WIRE_MAX_PROCESSES);
	__type(key, u32);
	__type(value, struct wire_process);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WIRE_MAX_LIBRARIES);
	__type(key, u32);
	__type(value, struct wire_library);
} libraries SEC(".maps");

/* Device objects the collector has been told of. Losing an entry costs one repeated record. */
struct device_key {
	u64 object;
	u32 process;
	u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct device_key);
	__type(value, u8);
} devices SEC(".maps");

/* Processes that back-pressure has stopped, by pid, and since when. Who takes an entry out continues its process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WIRE_MAX_PROCESSES);
	__type(key, u32);
	__type(value, u64);
} stopped SEC(".maps");
/* By start time: processes that hit a probe and found no room in the map, so that each counts once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} refused SEC(".maps");

/* Shared with the collector through the mapped .bss. */
__u32 reader_waiting;  /* it sleeps: wake it with the next record */
__u32 last_process;    /* process numbers handed out so far, by both sides */
__u32 dead_unreported; /* ended processes for whose record the ring had no room */
__u64 processes_full;  /* processes not followed because the map was full */
__u32 follow_machine;  /* whoever hits a probe is followed from then on */

struct wire_pressure pressure;

/* Marks of the ring's fill, set by the collector before loading (source/pressure.h). */
const volatile __u64 wake_bytes;   /* a sleeping or slow reader is woken */
const volatile __u64 object_bytes; /* from here on there is room for process life only */
const volatile __u64 stop_bytes;   /* who writes is stopped; 0: never */
const volatile bool may_sleep;     /* on_object was loaded as a sleepable program */

static __always_inline u64 ring_fill(void)
{
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
}

static __always_inline u64 wake_flags(u32 sequence)
{
	if (reader_waiting) {
		reader_waiting = 0;
		return BPF_RB_FORCE_WAKEUP;
	}
	/* The fill is asked for now and then only: it costs more than the check is worth. */
	if ((sequence & 255) == 0 && ring_fill() > wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline bool heard_of(u64 now, u64 last_ns)
{
	/* Signed: it may have been heard of since @now was read. */
	return (s64)(now - last_ns) < WIRE_ALIVE_NS;
}

/* A SIGSTOP for the process that no thread has taken yet. Our own signals are the threads' and never among these. */
static __always_inline bool stop_is_pending(const struct task_struct *task)
{
	return BPF_CORE_READ(task, signal, shared_pending.signal.sig[0]) & 1ul << (SIGSTOP - 1);
}

/* The process is being stopped, and this thread has been told. */
static __always_inline bool stop_is_under_way(const struct task_struct *task)
{
	return BPF_CORE_READ(task, jobctl) & JOBCTL_STOP_PENDING;
}

/*
 * Somebody else is stopping this process right now: then it must not be us who continues it.
 *
 * The kernel tells only one thread of a signal for the process, and until that one gets a processor the others
 * would go on writing. So this thread gets a SIGSTOP of its own, without an entry: what ends the other's stop ends
 * that, too, if it comes later. That is so if the other's stop is still wanted afterwards; if not, it is our stop.
 */
static __always_inline bool stopped_by_another(u32 *pid)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (bpf_map_lookup_elem(&stopped, pid))
		return false;
	if (stop_is_under_way(task))
		return true;
	if (!stop_is_pending(task))
		return false;
	bpf_send_signal_thread(SIGSTOP);
	return stop_is_pending(task) || stop_is_under_way(task);
}

/*
 * Stops the current thread before it returns to user mode, and with it the process. The signal goes to
 * the thread: one that is pending for the process already would not reach the threads that go on writing.
 * The entry is made before the signal, as nobody may be stopped without one, and again after it: the
 * collector may have taken the first one out, and continued the process, in between.
 */
static __noinline void stop_current(u32 pid)
{
	u64 now = bpf_ktime_get_ns();
	int err; /* not long: up to 6.3 only its lower half is set */

	/* Who sets @off waits until this is 0 and looks at the map once more. */
	__sync_fetch_and_add(&pressure.stopping, 1);
	if (!pressure.off && heard_of(now, pressure.collector_ns) && heard_of(now, pressure.guard_ns) &&
	    !stopped_by_another(&pid)) {
		err = bpf_map_update_elem(&stopped, &pid, &now, BPF_NOEXIST);
		if (!err || err == -EEXIST) {
			bpf_send_signal_thread(SIGSTOP);
			if (!bpf_map_update_elem(&stopped, &pid, &now, BPF_NOEXIST) || !err)
				__sync_fetch_and_add(&pressure.stops, 1);
		}
	}
	__sync_fetch_and_sub(&pressure.stopping, 1);
}

/* How to submit a record of a probe. After it was reserved, so that the fill includes it. */
static __always_inline u64 submit_flags(u32 sequence, u64 pid_tgid)
{
	if (!stop_bytes || ring_fill() <= stop_bytes)
		return wake_flags(sequence);
	stop_current(pid_tgid >> 32);
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void head_fill(struct wire_head *head, struct wire_process *process, u64 pid_tgid, u8 kind)
{
	head->time_ns = bpf_ktime_get_boot_ns();
	head->process = process->process;
	head->pid = pid_tgid >> 32;
	head->thread = (u32)pid_tgid;
	head->sequence = __sync_fetch_and_add(&process->sequence, 1);
	head->kind = kind;
	head->role = 0;
	head->library = 0;
	head->flags = 0;
	if (process->lost_pending) {
		process->lost_pending = 0;
		head->flags = WIRE_LOST_BEFORE;
	}
}

/* A record that found no room still takes its sequence number. */
static __always_inline void count_lost(struct wire_process *process, u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
	__sync_fetch_and_add(&process->sequence, 1);
	process->lost_pending = 1;
}

/* The barriers keep clang from computing an address in the context, which the verifier refuses. */
static __always_inline u64 argument(struct pt_regs *ctx, u64 cookie)
{
	u64 first = ctx->di, second = ctx->si;

	barrier_var(first);
	barrier_var(second);
	return WIRE_COOKIE_ARGUMENT(cookie) == 0 ? first : second;
}

/* With @fault_in a page that is not there is brought in, which can take long: never while a place in the ring is taken. */
static __always_inline bool read_user(void *to, u32 len, u64 from, bool fault_in)
{
	if (fault_in)
		return bpf_copy_from_user(to, len, (const void *)from) == 0;
	return bpf_probe_read_user(to, len, (const void *)from) == 0;
}

static __always_inline bool read_pointer(u64 *value, u64 from)
{
	return read_user(value, sizeof(*value), from, false);
}

/* Fills in the chips of a mesh; without a record it only reads. False: something on the way could not be read. */
static __always_inline bool walk_mesh(struct wire_device *record, const struct wire_library *library, u64 at,
				      u64 chip_vtable, bool fault_in)
{
	u32 stride = library->stride;
	u64 count, end, chip, vtable;
	s32 id;
	u8 tag;

	for (int i = 0; i < WIRE_MAX_HOPS; i++) {
		if (i >= library->hop_count)
			break;
		if (!read_user(&at, sizeof(at), at + library->hop[i], fault_in))
			return false;
	}
	if (!read_user(&end, sizeof(end), at + library->array_offset + 8, fault_in) ||
	    !read_user(&at, sizeof(at), at + library->array_offset, fault_in))
		return false;
	if (!stride || end < at)
		return false;
	count = (end - at) / stride;
	for (u32 i = 0; i < WIRE_MAX_CHIPS; i++, at += stride) {
		if (i >= count)
			break;
		if (library->tagged) {
			if (!read_user(&tag, 1, at + 8, fault_in))
				return false;
			if (tag != 1)
				continue;
		}
		if (!read_user(&chip, sizeof(chip), at, fault_in) ||
		    !read_user(&vtable, sizeof(vtable), chip, fault_in) || vtable != chip_vtable ||
		    !read_user(&id, sizeof(id), chip + library->chip_id_offset, fault_in))
			return false;
		if (!record)
			continue;
		if (record->chip_count >= WIRE_MAX_CHIPS)
			break;
		record->chips[record->chip_count++] = id;
	}
	if (record && count > WIRE_MAX_CHIPS)
		record->cut_off = count - WIRE_MAX_CHIPS;
	return true;
}

/* Brings in what tell_device() will read. What cannot be brought in, it will find out. */
static __noinline void touch_device(const struct wire_library *library, u64 object, u64 base)
{
	u64 vtable;
	s32 id;

	if (!read_user(&vtable, sizeof(vtable), object, true))
		return;
	if (vtable == base + library->chip_vtable)
		read_user(&id, sizeof(id), object + library->chip_id_offset, true);
	else if (vtable == base + library->mesh_vtable)
		walk_mesh(NULL, library, object, base + library->chip_vtable, true);
}

/* Tells the collector what a device object stands for. Rare: once per object, so not inlined. */
static __noinline void tell_device(struct wire_process *process, const struct wire_library *library, u64 object,
				   u64 base, u64 pid_tgid)
{
	struct device_key key = {.object = object, .process = process->process};
	struct wire_device *record;
	u64 vtable = 0;
	bool ok = false;
	u8 one = 1;

	record = ring_fill() > object_bytes ? NULL : bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(process, &process->lost.others);
		return;
	}
	__builtin_memset(record, 0, sizeof(*record));
	head_fill(&record->head, process, pid_tgid, WIRE_DEVICE);
	record->object = object;
	read_pointer(&vtable, object);
	if (vtable == base + library->chip_vtable) {
		ok = read_user(&record->chips[0], 4, object + library->chip_id_offset, false);
		record->chip_count = 1;
	} else if (vtable == base + library->mesh_vtable) {
		record->is_mesh = 1;
		ok = walk_mesh(record, library, object, base + library->chip_vtable, false);
	}
	if (ok) {
		process->known_devices[(object >> 6) & (WIRE_KNOWN_DEVICES - 1)] = object;
		bpf_map_update_elem(&devices, &key, &one, BPF_ANY);
	} else {
		record->head.flags |= WIRE_UNREADABLE;
		record->chip_count = 0;
	}
	bpf_ringbuf_submit(record, wake_flags(record->head.sequence));
}

static __always_inline bool device_known(struct wire_process *process, u64 object)
{
	u64 *cached = &process->known_devices[(object >> 6) & (WIRE_KNOWN_DEVICES - 1)];
	struct device_key key = {.object = object, .process = process->process};

	if (*cached == object)
		return true;
	if (!bpf_map_lookup_elem(&devices, &key))
		return false;
	*cached = object;
	return true;
}

static __always_inline struct wire_process *current_process(u64 *pid_tgid)
{
	u32 pid;

	*pid_tgid = bpf_get_current_pid_tgid();
	pid = *pid_tgid >> 32;
	return bpf_map_lookup_elem(&processes, &pid);
}

/*
 * The first hit of a process that nobody follows. Its place in the ring is taken before others can see
 * the entry, so no record of another of its threads comes before the one that tells of it.
 */
static __noinline struct wire_process *adopt(u64 pid_tgid, u64 cookie)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct wire_process *process, fresh = {.follow = WIRE_FOLLOW_UNTIL_EXEC};
	u32 pid = pid_tgid >> 32;
	struct wire_adopt *record;
	u8 one = 1;

	fresh.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	fresh.process = __sync_fetch_and_add(&last_process, 1) + 1;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (bpf_map_update_elem(&processes, &pid, &fresh, BPF_NOEXIST)) {
		if (record)
			bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		process = bpf_map_lookup_elem(&processes, &pid); /* another thread was faster */
		if (!process && !bpf_map_update_elem(&refused, &fresh.start_ns, &one, BPF_NOEXIST))
			__sync_fetch_and_add(&processes_full, 1);
		return process;
	}
	process = bpf_map_lookup_elem(&processes, &pid);
	if (!record) {
		if (process)
			count_lost(process, &process->lost.others);
		return process;
	}
	if (!process) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return 0;
	}
	head_fill(&record->head, process, pid_tgid, WIRE_ADOPT);
	record->head.library = WIRE_COOKIE_LIBRARY(cookie);
	record->start_ns = fresh.start_ns;
	record->user = bpf_get_current_uid_gid();
	record->padding = 0;
	BPF_CORE_READ_STR_INTO(&record->name, task, group_leader, comm);
	bpf_ringbuf_submit(record, wake_flags(1));
	return process;
}

static __always_inline struct wire_process *probed_process(u64 *pid_tgid, u64 cookie)
{
	struct wire_process *process = current_process(pid_tgid);

	if (!follow_machine)
		return process;
	if (!process)
		return adopt(*pid_tgid, cookie);
	if (!process->follow)
		process->follow = WIRE_FOLLOW_UNTIL_EXEC;
	return process;
}

/* Where the object's window is; false when its pointer cannot be read. */
static __always_inline bool find_window(const struct wire_library *library, u64 object, u64 *from, bool fault_in)
{
	*from = object;
	if (library->indirect && !read_user(from, sizeof(*from), object + library->pointer_offset, fault_in))
		return false;
	*from += library->window_offset;
	return true;
}

/* Copies what the library's plan says of an object; false when it cannot be read. */
static __always_inline bool copy_object(u8 *window, const struct wire_library *library, u64 object, bool fault_in)
{
	u32 len = library->window_len;
	u64 from;

	if (len > WIRE_WINDOW_BYTES)
		len = WIRE_WINDOW_BYTES;
	return find_window(library, object, &from, fault_in) && read_user(window, len, from, fault_in);
}

static __always_inline void lost_object(struct wire_process *process, u64 cookie, u64 pid_tgid)
{
	if (stop_bytes)
		stop_current(pid_tgid >> 32);
	/* Role 1 is PROBE_ALLOCATE, all other objects are being freed (runtime.h). */
	count_lost(process, WIRE_COOKIE_ROLE(cookie) == 1 ? &process->lost.allocations : &process->lost.frees);
}

SEC("uprobe")
int on_object(struct pt_regs *ctx)
{
	u8 window[WIRE_WINDOW_BYTES] __attribute__((aligned(8))) = {};
	struct wire_process *process;
	struct wire_library *library;
	struct wire_object *record;
	u64 cookie, object, device, base, pid_tgid;
	u32 index;
	bool readable;

	cookie = bpf_get_attach_cookie(ctx);
	process = probed_process(&pid_tgid, cookie);
	if (!process)
		return 0;
	index = WIRE_COOKIE_LIBRARY(cookie);
	library = bpf_map_lookup_elem(&libraries, &index);
	if (!library)
		return 0;
	object = argument(ctx, cookie);
	/*
	 * The ring keeps the order of reservation. So the device is settled before a place is taken:
	 * another thread may be telling of it, and this record must not come before that one.
	 */
	readable = copy_object(window, library, object, false);
	if (!readable && may_sleep)
		readable = copy_object(window, library, object, true);
	device = *(u64 *)(window + (library->device_at & 0x38));
	if (readable && !device_known(process, device)) {
		base = ctx->ip - WIRE_COOKIE_VADDR(cookie);
		if (may_sleep)
			touch_device(library, device, base);
		tell_device(process, library, device, base, pid_tgid);
	}
	record = ring_fill() > object_bytes ? NULL : bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		lost_object(process, cookie, pid_tgid);
		return 0;
	}
	head_fill(&record->head, process, pid_tgid, WIRE_OBJECT);
	record->head.role = WIRE_COOKIE_ROLE(cookie);
	record->head.library = index;
	if (!readable)
		record->head.flags |= WIRE_UNREADABLE;
	record->object = object;
	__builtin_memcpy(record->window, window, sizeof(window));
	bpf_ringbuf_submit(record, submit_flags(record->head.sequence, pid_tgid));
	return 0;
}

/* Cold functions and destructors: only the argument. The collector is woken, as it must react at once. */
static __always_inline int note_call(struct pt_regs *ctx, bool closes_device)
{
	struct wire_process *process;
	struct wire_call *record;
	u64 cookie, flags, pid_tgid;

	cookie = bpf_get_attach_cookie(ctx);
	process = probed_process(&pid_tgid, cookie);
	if (!process)
		return 0;
	if (closes_device) {
		/* The object may be deleted and its address used for another device. */
		struct device_key key = {.object = argument(ctx, cookie), .process = process->process};

		process->known_devices[(key.object >> 6) & (WIRE_KNOWN_DEVICES - 1)] = 0;
		bpf_map_delete_elem(&devices, &key);
	}
	record = !closes_device && ring_fill() > object_bytes ? NULL : bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(process, &process->lost.others);
		return 0;
	}
	head_fill(&record->head, process, pid_tgid, WIRE_CALL);
	record->head.role = WIRE_COOKIE_ROLE(cookie);
	record->head.library = WIRE_COOKIE_LIBRARY(cookie);
	record->argument = argument(ctx, cookie);
	flags = submit_flags(record->head.sequence, pid_tgid);
	bpf_ringbuf_submit(record, closes_device ? BPF_RB_FORCE_WAKEUP : flags);
	return 0;
}

SEC("uprobe")
int on_close(struct pt_regs *ctx)
{
	return note_call(ctx, true);
}

SEC("uprobe")
int on_destroy(struct pt_regs *ctx)
{
	return note_call(ctx, false);
}

/* The general register with this number in the encoding of instructions. */
static __always_inline u64 numbered_register(struct pt_regs *ctx, u32 number)
{
	u64 value = 0;

#define TAKE(n, name)                   \
	do {                            \
		u64 loaded = ctx->name; \
		barrier_var(loaded);    \
		if (number == (n))      \
			value = loaded; \
	} while (0)
	TAKE(0, ax);
	TAKE(1, cx);
	TAKE(2, dx);
	TAKE(3, bx);
	TAKE(5, bp);
	TAKE(6, si);
	TAKE(7, di);
	TAKE(8, r8);
	TAKE(9, r9);
	TAKE(10, r10);
	TAKE(11, r11);
	TAKE(12, r12);
	TAKE(13, r13);
	TAKE(14, r14);
	TAKE(15, r15);
#undef TAKE
	return value;
}

static __always_inline bool points_to_itself(const struct wire_library *library, u64 object)
{
	u64 self;

	return library->self_at < 0 || (read_pointer(&self, object + library->self_at) && self == object);
}

/*
 * Is @object one of that type which is being allocated on a device? 0: no; otherwise the same for all that ask
 * for the same. Not static, so that the verifier looks at it once and not for every word of the stack.
 */
__noinline u64 pending_request(u64 object, u32 index, u64 base, u32 type)
{
	struct wire_library *library = bpf_map_lookup_elem(&libraries, &index);
	u64 from, device, size, page_size, vtable;
	u32 object_type;
	u8 status;

	if (!library || object < 4096 || object % 8 || object >> 47)
		return 0;
	if (!points_to_itself(library, object) || !find_window(library, object, &from, false) ||
	    bpf_probe_read_user(&object_type, sizeof(object_type), (const void *)(from + library->type_at)) ||
	    bpf_probe_read_user(&status, sizeof(status), (const void *)(from + library->status_at)))
		return 0;
	if (object_type != type || status != 0)
		return 0;
	if (!read_pointer(&device, from + library->device_at) || !read_pointer(&size, from + library->size_at) ||
	    !read_pointer(&page_size, from + library->page_size_at) || !read_pointer(&vtable, device))
		return 0;
	if (vtable != base + library->chip_vtable && vtable != base + library->mesh_vtable)
		return 0;
	if (!size || !page_size || size % page_size)
		return 0;
	return (device ^ size * 0x9e3779b97f4a7c15 ^ page_size * 0xc2b2ae3d27d4eb4f) | 1;
}

/*
 * Whoever called the allocator goes on with the object afterwards, so it is in a register that calls
 * preserve, or on the stack. There may also be one that failed before, where nobody has written since:
 * if it asked for something else, nothing is certain. 0: none, or not certain.
 */
static __always_inline u64 find_pending(struct pt_regs *ctx, u32 index, u64 base, u32 type)
{
	u64 saved[6] = {ctx->bx, ctx->bp, ctx->r12, ctx->r13, ctx->r14, ctx->r15};
	u64 stack = ctx->sp, word, request, first = 0, found = 0;

	for (u32 i = 0; i < 6 + WIRE_STACK_WORDS; i++) {
		if (i < 6)
			word = saved[i];
		else if (!read_pointer(&word, stack + (i - 6) * 8))
			break;
		request = pending_request(word, index, base, type);
		if (!request)
			continue;
		if (found && request != first)
			return 0;
		first = request;
		found = word;
	}
	return found;
}

/* Stands where an allocation has failed and not yet thrown. Cold, so it may take its time. */
SEC("uprobe")
int on_failure(struct pt_regs *ctx)
{
	u8 window[WIRE_WINDOW_BYTES] __attribute__((aligned(8))) = {};
	struct wire_process *process;
	struct wire_library *library;
	struct wire_object *record;
	u64 cookie, device, base, object, pid_tgid;
	u32 index, type = 0;

	cookie = bpf_get_attach_cookie(ctx);
	process = probed_process(&pid_tgid, cookie);
	if (!process)
		return 0;
	index = WIRE_COOKIE_LIBRARY(cookie);
	library = bpf_map_lookup_elem(&libraries, &index);
	if (!library)
		return 0;
	base = ctx->ip - WIRE_COOKIE_VADDR(cookie);
	bpf_probe_read_user(&type, sizeof(type), (const void *)numbered_register(ctx, WIRE_COOKIE_ARGUMENT(cookie)));
	object = find_pending(ctx, index, base, type);
	if (object && !copy_object(window, library, object, false))
		object = 0;
	device = *(u64 *)(window + (library->device_at & 0x38));
	/* As in on_object(): the device's record comes first. */
	if (object && !device_known(process, device))
		tell_device(process, library, device, base, pid_tgid);
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(process, &process->lost.others);
		return 0;
	}
	head_fill(&record->head, process, pid_tgid, WIRE_OBJECT);
	record->head.role = WIRE_COOKIE_ROLE(cookie);
	record->head.library = index;
	record->object = object;
	if (object) {
		__builtin_memcpy(record->window, window, sizeof(window));
	} else {
		/* Of what was asked only the type is known. */
		record->head.flags |= WIRE_NOT_FOUND;
		__builtin_memset(record->window, 0, sizeof(record->window));
		*(u32 *)(record->window + (library->type_at & 0x3c)) = type;
	}
	bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	struct wire_process *from, *process, fresh = {};
	u32 parent_pid = BPF_CORE_READ(parent, tgid);
	u32 pid = BPF_CORE_READ(child, tgid);
	struct wire_fork *record;

	if (pid == parent_pid) /* a thread */
		return 0;
	from = bpf_map_lookup_elem(&processes, &parent_pid);
	if (!from || !from->follow)
		return 0;
	fresh.start_ns = BPF_CORE_READ(child, start_boottime);
	fresh.process = __sync_fetch_and_add(&last_process, 1) + 1;
	fresh.previous = from->process;
	fresh.follow = from->follow;
	if (bpf_map_update_elem(&processes, &pid, &fresh, BPF_ANY)) {
		__sync_fetch_and_add(&processes_full, 1);
		return 0;
	}
	process = bpf_map_lookup_elem(&processes, &pid);
	if (!process)
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(process, &process->lost.others);
		return 0;
	}
	head_fill(&record->head, process, (u64)pid << 32 | pid, WIRE_FORK);
	record->start_ns = fresh.start_ns;
	record->parent = from->process;
	record->parent_pid = parent_pid;
	bpf_ringbuf_submit(record, wake_flags(1));
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct wire_process *process;
	struct wire_exec *record;
	u64 pid_tgid;
	u32 next;

	process = current_process(&pid_tgid);
	if (!process)
		return 0;
	next = __sync_fetch_and_add(&last_process, 1) + 1;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (record) {
		head_fill(&record->head, process, pid_tgid, WIRE_EXEC);
		record->start_ns = process->start_ns;
		record->next = next;
		record->exec_count = process->exec_count + 1;
		bpf_ringbuf_submit(record, wake_flags(1));
	} else {
		count_lost(process, &process->lost.others);
	}
	/* Other threads are gone by now: nobody else looks at this entry. */
	process->previous = process->process;
	process->process = next;
	process->exec_count++;
	/* What it becomes may have nothing to do with a device: its children count again when it has. */
	if (process->follow == WIRE_FOLLOW_UNTIL_EXEC)
		process->follow = 0;
	__builtin_memset(process->known_devices, 0, sizeof(process->known_devices));
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct wire_process *process;
	struct wire_exit *record;
	u64 *stopped_ns, for_ns;
	u32 pid, code;

	/* A process is dead when its last thread exits; the leader may have gone long before. */
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	pid = BPF_CORE_READ(task, tgid);
	process = bpf_map_lookup_elem(&processes, &pid);
	if (!process || process->dead)
		return 0;
	stopped_ns = bpf_map_lookup_elem(&stopped, &pid);
	for_ns = stopped_ns ? bpf_ktime_get_ns() - *stopped_ns : 0;
	/* Before the pid can be used again: it must not be continued for this one. */
	bpf_map_delete_elem(&stopped, &pid);
	if (BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT)
		code = BPF_CORE_READ(task, signal, group_exit_code);
	else
		code = BPF_CORE_READ(task, group_leader, exit_code);
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		process->exit_code = code;
		process->exit_ns = bpf_ktime_get_boot_ns();
		process->dead = 1;
		__sync_fetch_and_add(&dead_unreported, 1);
		return 0;
	}
	head_fill(&record->head, process, bpf_get_current_pid_tgid(), WIRE_EXIT);
	record->exit_code = code;
	record->padding = 0;
	record->stopped_ns = for_ns;
	record->lost = process->lost;
	bpf_map_delete_elem(&processes, &pid);
	bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
