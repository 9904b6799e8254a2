// SPDX-License-Identifier: BSD-2-Clause
/* Birth, identity and end of a followed address space, and the reasons not to trust it. */
#include "model/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

struct process *process_find(struct model *model, uint32_t number)
{
	uint32_t slot;

	if (model->last && model->last_number == number)
		return model->last;
	if (!table_find(&model->by_number, number, &slot))
		return NULL;
	model->last = model->processes[slot];
	model->last_number = number;
	return model->last;
}

void process_notify(struct model *model, struct process *process, const struct event *event, struct notice *notice)
{
	if (!model->listener)
		return;
	notice->time_ns = event->time_ns;
	notice->thread = event->thread;
	notice->process = process ? &process->shown : NULL;
	model->listener(model->listener_context, notice);
}

int process_mark(struct mark_set *set, const char *reason, const char *text)
{
	struct mark *mark;

	if (!text)
		text = "";
	for (uint32_t i = 0; i < set->count; i++) {
		if (!strcmp(set->marks[i].reason, reason) && !strcmp(set->marks[i].text, text))
			return 0;
	}
	if (set->count == PROCESS_MAX_MARKS) {
		set->dropped++;
		return 0;
	}
	mark = &set->marks[set->count];
	mark->reason = strdup(reason);
	mark->text = strdup(text);
	if (!mark->reason || !mark->text) {
		free(mark->reason);
		free(mark->text);
		return -ENOMEM;
	}
	set->count++;
	return 0;
}

void process_marks_fini(struct mark_set *set)
{
	for (uint32_t i = 0; i < set->count; i++) {
		free(set->marks[i].reason);
		free(set->marks[i].text);
	}
	set->count = 0;
}

/* Takes the marks with this reason away. */
static void process_unmark(struct mark_set *set, const char *reason)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; set && i < set->count; i++) {
		if (strcmp(set->marks[i].reason, reason)) {
			set->marks[kept++] = set->marks[i];
		} else {
			free(set->marks[i].reason);
			free(set->marks[i].text);
		}
	}
	if (set)
		set->count = kept;
}

static void process_runtime_fini(struct snapshot_runtime *runtime)
{
	for (size_t i = 0; i < runtime->layout_count; i++)
		free((char *)runtime->layout[i].name);
	free((struct layout_field *)runtime->layout);
	free((char *)runtime->name);
	free((char *)runtime->library);
	free((char *)runtime->build_id);
	memset(runtime, 0, sizeof(*runtime));
}

static void process_forget_unmatched(struct process *process)
{
	for (size_t i = 0; i < process->shown.unmatched_count; i++)
		free((int32_t *)process->unmatched[i].chips);
	free(process->unmatched);
	process->unmatched = NULL;
	process->shown.unmatched = NULL;
	process->shown.unmatched_count = 0;
}

void process_free(struct process *process)
{
	struct snapshot_process *shown;

	if (!process)
		return;
	shown = &process->shown;
	for (size_t i = 0; i < shown->runtime_count; i++)
		process_runtime_fini((struct snapshot_runtime *)&shown->runtimes[i]);
	free((struct snapshot_runtime *)shown->runtimes);
	free((char *)shown->id);
	free((char *)shown->parent_id);
	free((char *)shown->command);
	free((char *)shown->cgroup);
	process_forget_unmatched(process);
	free(process->failures);
	free(process->closures);
	if (process->marks)
		process_marks_fini(process->marks);
	free(process->marks);
	store_fini(&process->store);
	shape_fini(&process->shapes);
	device_fini(&process->devices);
	freed_fini(&process->freed);
	books_fini(&process->books);
	free(process);
}

static int process_slot(struct model *model, uint32_t *slot)
{
	for (uint32_t i = 0; i < model->process_count; i++) {
		if (!model->processes[i]) {
			*slot = i;
			return 0;
		}
	}
	if (model->process_count == model->process_capacity) {
		uint32_t capacity = model->process_capacity ? 2 * model->process_capacity : 8;
		struct process **processes = realloc(model->processes, capacity * sizeof(struct process *));

		if (!processes)
			return -ENOMEM;
		model->processes = processes;
		model->process_capacity = capacity;
	}
	model->processes[model->process_count] = NULL;
	*slot = model->process_count++;
	return 0;
}

void process_forget(struct model *model, struct process *process)
{
	uint32_t slot;

	if (table_remove(&model->by_number, process->shown.process, &slot))
		model->processes[slot] = NULL;
	model->last = NULL;
	process_free(process);
}

static char *process_make_id(uint32_t pid, uint64_t start_ns, uint32_t exec_count)
{
	struct strbuf id = STRBUF_INIT;

	strbuf_addf(&id, "%u.%llu.%u", pid, (unsigned long long)start_ns, exec_count);
	if (strbuf_error(&id))
		strbuf_fini(&id);
	return id.data;
}

/* What the event leaves open, a child has from its parent; @from may be NULL. 0 or -ENOMEM. */
static int process_fill(struct process *process, const struct event_birth *birth, const struct process *from)
{
	struct snapshot_process *shown = &process->shown;
	const char *command = birth->command, *cgroup = birth->cgroup;
	size_t command_len = command ? birth->command_len : 0;
	char *copy;

	if (from && !command_len) {
		command = from->shown.command;
		command_len = from->shown.command_len;
		/* No command line: the event was made without looking at the process at all. */
		shown->user = from->shown.user;
	}
	if (from && (!cgroup || !*cgroup))
		cgroup = from->shown.cgroup;
	copy = malloc(command_len + 1);
	if (copy) {
		if (command_len)
			memcpy(copy, command, command_len);
		copy[command_len] = '\0';
	}
	shown->command = copy;
	shown->command_len = command_len;
	shown->cgroup = strdup(cgroup ? cgroup : "");
	shown->id = process_make_id(birth->pid, birth->start_ns, birth->exec_count);
	if (!shown->command || !shown->cgroup || !shown->id)
		return -ENOMEM;
	if (from)
		shown->parent_id = strdup(from->shown.id);
	else if (birth->how == BIRTH_EXEC && birth->exec_count)
		shown->parent_id = process_make_id(birth->pid, birth->start_ns, birth->exec_count - 1);
	else
		return 0;
	return shown->parent_id ? 0 : -ENOMEM;
}

/*
 * We start a command as ourselves, stopped, and it becomes the command by exec. Nobody wants to see
 * that first moment, so the successor takes its place: its name, its parent, its time.
 */
static int process_take_over(struct model *model, struct process *process, struct process *old)
{
	char *parent_id = NULL;

	if (!old || old->shown.born != BIRTH_LAUNCH || old->active || process_running(old))
		return 0;
	if (old->shown.parent_id) {
		parent_id = strdup(old->shown.parent_id);
		if (!parent_id)
			return -ENOMEM;
	}
	free((char *)process->shown.parent_id);
	process->shown.parent_id = parent_id;
	process->shown.parent = old->shown.parent;
	process->shown.observed_ns = old->shown.observed_ns;
	process->shown.born = BIRTH_LAUNCH;
	process->named = true;
	process_forget(model, old);
	return 0;
}

static int process_enter(struct model *model, struct process *process)
{
	uint32_t slot;
	int err;

	err = process_slot(model, &slot);
	if (err)
		return err;
	err = table_set(&model->by_number, process->shown.process, slot);
	if (err)
		return err;
	model->processes[slot] = process;
	process->order = ++model->births;
	return 0;
}

int process_birth(struct model *model, const struct event *event)
{
	const struct event_birth *birth = &event->birth;
	struct notice notice = {.kind = NOTICE_FORK};
	struct process *process, *from;
	int err;

	from = birth->parent ? process_find(model, birth->parent) : NULL;
	process = calloc(1, sizeof(*process));
	if (!process)
		return -ENOMEM;
	process->shown = (struct snapshot_process){
		.process = event->process,
		.pid = birth->pid,
		.exec_count = birth->exec_count,
		.user = birth->user,
		.start_ns = birth->start_ns,
		.observed_ns = event->time_ns,
		.parent = birth->parent,
		.born = birth->how,
		.end = PROCESS_RUNNING,
		.exit_status = -1,
	};
	process->born_ns = event->time_ns;
	process->named = birth->how == BIRTH_ATTACH || birth->how == BIRTH_LAUNCH;
	store_init(&process->store);
	shape_init(&process->shapes);
	if (birth->how == BIRTH_FORK && from && store_count(&from->store))
		process->forked_from = birth->parent;
	err = process_fill(process, birth, from);
	if (!err)
		err = process_enter(model, process);
	if (err) {
		process_free(process);
		return err;
	}
	if (birth->how == BIRTH_FORK) {
		notice.fork.parent = from ? &from->shown : NULL;
		process_notify(model, process, event, &notice);
	}
	if (birth->how == BIRTH_EXEC)
		err = process_take_over(model, process, from);
	return err;
}

static char *process_copy(const char *text)
{
	return strdup(text ? text : "");
}

static int process_runtime_fill(struct snapshot_runtime *runtime, const struct event_runtime *event)
{
	struct layout_field *layout;

	runtime->name = process_copy(event->name);
	runtime->library = process_copy(event->library);
	runtime->build_id = process_copy(event->build_id);
	runtime->earlier_objects = event->earlier_objects;
	if (!runtime->name || !runtime->library || !runtime->build_id)
		return -ENOMEM;
	if (!event->layout_count)
		return 0;
	layout = calloc(event->layout_count, sizeof(*layout));
	if (!layout)
		return -ENOMEM;
	runtime->layout = layout;
	for (size_t i = 0; i < event->layout_count; i++) {
		layout[i].name = process_copy(event->layout[i].name);
		layout[i].value = event->layout[i].value;
		if (!layout[i].name)
			return -ENOMEM;
		runtime->layout_count++;
	}
	return 0;
}

int process_runtime(struct model *model, struct process *process, const struct event *event)
{
	struct notice notice = {.kind = NOTICE_RUNTIME};
	struct snapshot_runtime *list = (struct snapshot_runtime *)process->shown.runtimes;
	struct snapshot_runtime made = {0};
	uint32_t at = event->runtime.runtime;
	int err;

	if (at > process->shown.runtime_count || at >= PROCESS_MAX_RUNTIMES) {
		model->ignored_events++;
		return process_mark(&model->marks, INEXACT_UNSUPPORTED, "too many copies of a runtime in one process");
	}
	err = process_runtime_fill(&made, &event->runtime);
	if (err)
		goto out;
	if (at == process->shown.runtime_count) {
		list = realloc(list, (at + 1) * sizeof(*list));
		if (!list) {
			err = -ENOMEM;
			goto out;
		}
		process->shown.runtimes = list;
		process->shown.runtime_count++;
		memset(&list[at], 0, sizeof(list[at]));
	}
	process_runtime_fini(&list[at]);
	list[at] = made;
	memset(&made, 0, sizeof(made));
	process->bulk_free_probed[at] = event->runtime.bulk_free_probed;
	process->covered[at] = false;
	process_notify(model, process, event, &notice);
out:
	/* The layout's names are counted as they are copied, so a half-made one is released whole. */
	process_runtime_fini(&made);
	return err;
}

static void process_set_end(struct snapshot_process *shown, const struct event *event)
{
	shown->end_ns = event->time_ns;
	if (event->kind == EVENT_EXEC) {
		shown->end = PROCESS_EXECED;
		return;
	}
	shown->end = event->exit.signal ? PROCESS_SIGNALLED : PROCESS_EXITED;
	shown->exit_status = event->exit.signal ? -1 : event->exit.status;
	shown->signal = event->exit.signal;
	shown->core_dumped = event->exit.core_dumped;
}

void process_end(struct model *model, struct process *process, const struct event *event)
{
	struct snapshot_process *shown = &process->shown;
	struct notice notice = {.kind = NOTICE_EXEC};
	bool awaits_successor;

	process_set_end(shown, event);
	shown->cleared = shown->live + shown->held;
	model->live -= shown->live;
	model->held -= shown->held;
	if (event->kind == EVENT_EXIT) {
		notice.kind = NOTICE_EXIT;
		notice.exit = event->exit;
	}
	process_notify(model, process, event, &notice);
	if (shown->cleared) {
		memset(&notice, 0, sizeof(notice));
		notice.kind = NOTICE_CLEAR;
		notice.cleared.buffers = shown->cleared;
		device_total(&process->devices, &notice.cleared.device_buffers, &notice.cleared.bytes);
		process_notify(model, process, event, &notice);
	}
	freed_fini(&process->freed);
	/* What the books said is only true of the end if nothing happened in between. */
	if (!process->books.fresh)
		books_drop(process);
	awaits_successor = shown->end == PROCESS_EXECED && shown->born == BIRTH_LAUNCH && !process->active;
	if (awaits_successor ||
	    ((model->options.keep_ended || process->keepers) && (process->active || process->named)))
		return;
	process_forget(model, process);
}

bool process_is_late(const struct process *process)
{
	if (process->rebuilding)
		return true;
	if (!process->shown.runtime_count)
		return process->shown.born == BIRTH_ATTACH && !process->census_exact;
	for (size_t i = 0; i < process->shown.runtime_count; i++) {
		if (process->shown.runtimes[i].earlier_objects && !process->covered[i])
			return true;
	}
	return false;
}

/* Whether the table has every buffer that is older than our watch. */
static bool process_census_proves(const struct process *process, const struct event_census *said)
{
	if (!said->exact || !said->books_only)
		return said->exact;
	/* Those that were not told must have been in the table. */
	for (uint32_t i = 0; i < process->books.count; i++) {
		const struct books_entry *entry = &process->books.entries[i];

		if (entry->listed && entry->runtime == said->runtime &&
		    (entry->books_only || entry->verdict == BOOKS_VERDICT_UNREAD))
			return false;
	}
	return true;
}

int process_census(struct model *model, struct process *process, const struct event *event)
{
	const struct event_census *said = &event->census;
	struct notice notice = {.kind = NOTICE_CENSUS, .census = &process->census};
	const char *reason = said->reason ? said->reason : "unknown";
	int err;

	process->census = (struct snapshot_census){
		.time_ns = event->time_ns,
		.exact = said->exact,
		.scanned_bytes = said->scanned_bytes,
		.missing_bytes = said->missing_bytes,
	};
	if (!said->exact) {
		strncpy(process->census_reason, reason, sizeof(process->census_reason) - 1);
		process->census.reason = process->census_reason;
	}
	process->shown.census = &process->census;
	err = books_compare(process, said->runtime, &process->census);
	if (process_census_proves(process, said)) {
		process->census_exact = true;
		process->rebuilding = false;
		process->doubts.older = 0;
		if (said->runtime < PROCESS_MAX_RUNTIMES)
			process->covered[said->runtime] = true;
		process_unmark(process->marks, INEXACT_ATTACHED_LATE);
	}
	process_notify(model, process, event, &notice);
	return err;
}

static void process_drop_buffers(struct model *model, struct process *process)
{
	model->live -= process->shown.live;
	model->held -= process->shown.held;
	for (uint32_t i = 0; i < process->shapes.count; i++) {
		if (process->shapes.shapes[i].buffers)
			device_put(&process->devices, process->shapes.shapes[i].key.device);
	}
	store_fini(&process->store);
	shape_fini(&process->shapes);
	device_restart(&process->devices);
	process->closure_count = 0;
}

void process_resynchronise(struct model *model, struct process *process, uint64_t time_ns)
{
	/* What an exact census refutes; what it cannot (a library that is not observed) stays. */
	static const char *const refuted[] = {
		INEXACT_ATTACHED_LATE, INEXACT_LOST_RECORDS,   INEXACT_MISSED_FREE,
		INEXACT_BOOKS_DIFFER,  INEXACT_UNMATCHED_FREE,
	};
	struct snapshot_process *shown = &process->shown;

	process_drop_buffers(model, process);
	process_forget_unmatched(process);
	freed_fini(&process->freed);
	books_drop(process);
	model->lost_records -= shown->lost_records;
	process->doubts = (struct doubts){.out_of_memory = process->doubts.out_of_memory};
	for (size_t i = 0; i < sizeof(refuted) / sizeof(refuted[0]); i++)
		process_unmark(process->marks, refuted[i]);
	shown->before_attach = shown->allocated = shown->freed = shown->missed_frees = 0;
	shown->held_at_close = shown->held_released = shown->cleared = shown->live = shown->held = 0;
	shown->uncertain = shown->unknown_frees = shown->double_frees = shown->lost_records = 0;
	shown->observed_ns = time_ns;
	shown->census = NULL;
	shown->resynchronised++;
	process->rebuilding = true;
	process->active = true;
}

size_t process_memory_bytes(const struct process *process)
{
	return sizeof(*process) + store_memory_bytes(&process->store) + shape_memory_bytes(&process->shapes) +
	       device_memory_bytes(&process->devices) + freed_memory_bytes(&process->freed) +
	       books_memory_bytes(&process->books) + process->closure_capacity * sizeof(*process->closures) +
	       process->shown.unmatched_count * sizeof(*process->unmatched) +
	       process->shown.failure_count * sizeof(*process->failures);
}
