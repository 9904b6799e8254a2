/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope census: what a process holds at this moment, or held when it dumped core, with the books beside it. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "cmd/confine.h"
#include "cmd/options.h"
#include "cmd/report.h"
#include "model/model.h"
#include "model/snapshot.h"
#include "runtime/runtime.h"
#include "source/census_events.h"
#include "source/chips.h"
#include "source/core_memory.h"
#include "source/freeze.h"
#include "source/privilege.h"
#include "source/process_memory.h"
#include "source/procfs.h"
#include "source/survey.h"

#define THE_PROCESS 1 /* process number: there is only one */

struct taking {
	const struct options *options;
	struct model *model;
	struct memory *memory;
	bool failed;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void emit(void *context, const struct event *event)
{
	struct taking *taking = context;

	if (model_apply(taking->model, event))
		taking->failed = true;
}

/* ---- whose memory it is ---- */

static void emit_birth(struct taking *taking)
{
	struct event event = {.kind = EVENT_BIRTH, .process = THE_PROCESS, .time_ns = now_ns()};
	struct strbuf command = STRBUF_INIT, cgroup = STRBUF_INIT;
	pid_t pid = taking->options->pid_count ? taking->options->pids[0] : 0;
	struct procfs_stat st = {0};
	struct core_facts facts;

	event.birth.how = BIRTH_ATTACH;
	if (pid) {
		procfs_command(pid, &command);
		procfs_cgroup(pid, &cgroup);
		procfs_user(pid, &event.birth.user);
		procfs_stat(pid, &st);
		event.birth.pid = (uint32_t)pid;
		event.birth.start_ns = st.start_ns;
	} else {
		core_memory_facts(taking->memory, &facts);
		strbuf_add(&command, facts.command, strlen(facts.command) + 1);
		event.birth.pid = (uint32_t)facts.pid;
		event.birth.user = facts.user;
	}
	event.birth.command = strbuf_str(&command);
	event.birth.command_len = command.len;
	event.birth.cgroup = strbuf_str(&cgroup);
	emit(taking, &event);
	strbuf_fini(&command);
	strbuf_fini(&cgroup);
}

/* ---- one library ---- */

static void emit_runtime(struct taking *taking, const struct survey_library *library, uint32_t runtime)
{
	struct event event = {.kind = EVENT_RUNTIME, .process = THE_PROCESS, .time_ns = now_ns()};
	uint64_t made;

	event.runtime = (struct event_runtime){
		.runtime = runtime,
		.name = library->plan.runtime->name,
		.library = library->path,
		.build_id = library->build_id,
		.layout = library->plan.layout,
		.layout_count = library->plan.layout_count,
		.earlier_objects = -1,
		.bulk_free_probed = true,
	};
	if (library->plan.made_counter_vaddr &&
	    !memory_read(taking->memory, library->base + library->plan.made_counter_vaddr, &made, sizeof(made)) &&
	    made <= INT64_MAX)
		event.runtime.earlier_objects = (int64_t)made;
	emit(taking, &event);
}

static int refuse(const struct survey_library *library)
{
	struct strbuf path = STRBUF_INIT;

	escape_terminal(&path, library->path, strlen(library->path));
	log_error("the books of %s cannot be read: its layout is not understood (\"bufscope check\" on it tells why)",
		  strbuf_str(&path));
	log_debug("%s", strbuf_str(&library->report));
	strbuf_fini(&path);
	return -ENOTSUP;
}

/* Of a process that runs: whose chips they were is not in a core file. */
static void emit_chips(struct taking *taking, const struct survey_library *library)
{
	const struct runtime_chips *names = library->plan.runtime->chips;
	struct event event = {.kind = EVENT_CHIP, .process = THE_PROCESS, .time_ns = now_ns()};
	struct chips_found found = {0};
	struct chips *chips;

	if (!taking->options->pid_count || !names)
		return;
	chips = chips_new("");
	if (!chips) {
		taking->failed = true;
		return;
	}
	if (!chips_of_process(chips, taking->options->pids[0], names, &found) && !found.unnumbered) {
		for (size_t i = 0; i < found.count; i++) {
			event.chip = (struct event_chip){.chip = (int32_t)i, .identity = found.chips[i]};
			emit(taking, &event);
		}
	}
	chips_free(chips);
}

static int take(struct taking *taking, const struct survey_library *library, uint32_t runtime)
{
	struct census_subject subject = {.process = THE_PROCESS, .runtime = runtime, .time_ns = now_ns()};
	struct census census;
	const char *reason = NULL;
	struct event event;
	int err;

	if (library->books_error)
		return refuse(library);
	err = survey_census(taking->memory, library, &census);
	if (err) {
		log_error("the census failed: %s", strerror(-err));
		goto out;
	}
	emit_runtime(taking, library, runtime);
	if (census.origin == CENSUS_ORIGIN_INHERITED) {
		log_info("what is in this process's memory came with fork and is its parent's (%s)",
			 census.origin_sign);
		census_emit_end(&census, &subject, NULL, false, emit, taking);
		goto out;
	}
	census_emit_devices(&census, &subject, emit, taking);
	emit_chips(taking, library);
	for (size_t i = 0; i < census.confirmed_count; i++) {
		census_buffer_event(&census, i, &subject, &event);
		emit(taking, &event);
	}
	err = census_emit_books(&census, &subject, emit, taking);
	census_is_exact(&census, &reason);
	census_emit_end(&census, &subject, reason, false, emit, taking);
	if (census.unconfirmed)
		log_info("%llu objects look like buffers, but the books do not confirm them: not counted",
			 (unsigned long long)census.unconfirmed);
	if (census.unexplained_blocks)
		log_info("%llu allocated blocks of the books have no buffer object that was found",
			 (unsigned long long)census.unexplained_blocks);
out:
	census_fini(&census);
	return err;
}

/* ---- the command ---- */

static int open_memory(const struct options *options, struct memory **out)
{
	unsigned long long needed = PRIVILEGE(CAP_CHECKPOINT_RESTORE);
	int err;

	if (options->core) {
		err = core_memory_open(options->core, out);
		if (err)
			log_error("cannot read the core file \"%s\": %s", options->core,
				  err == -ENOEXEC   ? "it is no core file"
				  : err == -ENOTSUP ? "it is of another machine"
				  : err == -EINVAL  ? "it is damaged"
				  : err == -ENODATA ? "it does not say which files were mapped"
				  : err == -EFBIG   ? "it is too large when decompressed"
						    : strerror(-err));
		return err;
	}
	err = process_memory_open(options->pids[0], out);
	if (err == -EPERM || err == -EACCES)
		needed |= PRIVILEGE_OTHERS;
	if (!err && privilege_missing(needed)) {
		memory_close(*out);
		*out = NULL;
		err = -EPERM;
	}
	if (err == -ESRCH)
		log_error("cannot read the memory of process %d: no such process", options->pids[0]);
	else if (err)
		privilege_log(err, needed, "cannot read the memory of process %d", options->pids[0]);
	return err;
}

static int freeze(const struct options *options, struct freeze *out)
{
	int err;

	memset(out, 0, sizeof(*out));
	if (!options->freeze)
		return 0;
	err = freeze_begin(options->pids[0], out);
	if (err)
		log_error("cannot stop process %d: %s", options->pids[0],
			  err == -EPERM ? "not allowed, or a debugger is attached to it" : strerror(-err));
	return err;
}

static void thaw(const struct options *options, struct freeze *freeze)
{
	if (freeze->count)
		log_info("process %d was stopped for %.1f ms", options->pids[0], (double)freeze_end(freeze) / 1e6);
}

static int survey_and_take(struct taking *taking)
{
	struct core_files files = {.memory = taking->memory, .sysroot = taking->options->sysroot};
	pid_t pid = taking->options->core ? 0 : taking->options->pids[0];
	struct survey survey;
	uint32_t taken = 0;
	int err;

	err = pid ? survey_find(taking->memory, survey_open_mapped, &pid, &survey)
		  : survey_find(taking->memory, core_memory_open_file, &files, &survey);
	if (err) {
		log_error("cannot look for the runtime's library: %s", strerror(-err));
		goto out;
	}
	for (size_t i = 0; !err && i < survey.count; i++) {
		if (!survey.libraries[i].plan_error || survey.count == 1)
			err = take(taking, &survey.libraries[i], taken++);
	}
	if (!err && !taken) {
		log_error(
			"no supported device runtime is mapped%s",
			survey.unopened && taking->options->core
				? ", or its library could not be found: --sysroot DIR names the folder that stands for /"
				: "");
		err = -ENOENT;
	}
out:
	survey_fini(&survey);
	return err;
}

/* A core is of a process that has ended: the snapshot is of the moment before. */
static void mark_ended(const struct taking *taking, struct snapshot *snapshot)
{
	struct core_facts facts;

	core_memory_facts(taking->memory, &facts);
	for (size_t i = 0; i < snapshot->process_count; i++) {
		struct snapshot_process *process = (struct snapshot_process *)&snapshot->processes[i];

		process->end = PROCESS_SIGNALLED;
		process->signal = facts.signal;
		process->core_dumped = true;
		process->cleared = process->live + process->held;
	}
}

static int write_report(struct taking *taking)
{
	struct snapshot *snapshot;
	struct report *report;
	int err;

	err = report_open(taking->options, &report);
	if (err)
		return err;
	snapshot = model_snapshot(taking->model, now_ns());
	if (!snapshot || taking->failed) {
		log_error("out of memory");
		err = -ENOMEM;
	} else {
		if (taking->options->core)
			mark_ended(taking, snapshot);
		err = report_final(report, snapshot);
	}
	snapshot_free(snapshot);
	report_close(report);
	return err;
}

int cmd_census(int argc, char **argv)
{
	struct model_options model_options = {.keep_ended = true};
	struct taking taking = {0};
	struct options options;
	struct freeze frozen;
	int err, status = CMD_EXIT_FAILED;

	options_parse_census(argc, argv, &options);
	log_set_level(options.verbose ? LOG_LEVEL_DEBUG : options.quiet ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO);
	if (confine(&options, CONFINE_CENSUS))
		return CMD_EXIT_FAILED;
	taking.options = &options;
	taking.model = model_new(&model_options);
	if (!taking.model) {
		log_error("out of memory");
		return CMD_EXIT_FAILED;
	}
	if (open_memory(&options, &taking.memory))
		goto out;
	emit_birth(&taking);
	if (freeze(&options, &frozen))
		goto out;
	err = survey_and_take(&taking);
	thaw(&options, &frozen);
	if (!err && !write_report(&taking))
		status = CMD_EXIT_DONE;
out:
	memory_close(taking.memory);
	model_free(taking.model);
	return status;
}
