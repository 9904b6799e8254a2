/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * standin-workload: a program that uses the stand-in runtime as a script says.
 *
 *   standin-workload [--library FILE] SCRIPT
 *   standin-workload [--library FILE] -f SCRIPT-FILE
 *
 * Commands are separated by newlines or ';', words by blanks. Standard input is only for the
 * handshake: "wait NAME" prints "ready NAME" and goes on when a line arrives. End of input ends the
 * program, so that it never outlives the test that started it.
 *
 *   load [FILE]                     dlopen the runtime now (else: at the first command that needs it)
 *   mesh D CHIPS | submesh D PARENT FIRST COUNT | chip D NUMBER
 *   alloc B D TYPE SIZE PAGE [silent|hooked]       fails the program when out of memory
 *   alloc-oom D TYPE SIZE PAGE      must run out of memory; the exception is caught
 *   fill PREFIX D TYPE SIZE PAGE    allocate until out of memory; keeps what it got
 *   many PREFIX COUNT D TYPE SIZE PAGE             PREFIX0, PREFIX1, ...
 *   churn COUNT D TYPE SIZE PAGE    allocate and free, COUNT times
 *   free B                          deallocate and destroy
 *   dealloc B [silent]              deallocate, keep the object
 *   track-free B                    only the tracker call, whatever the object's state
 *   track-absent B                  the tracker call of an allocation, with no page of the heap in memory
 *   drop B | drop-all | drop-prefix PREFIX         the last reference goes
 *   close D [each] | drop-device D
 *   wait NAME | books NAME | echo TEXT
 *   map FILE                        maps its first page, as a runtime does with a device node
 *   threads COUNT COMMAND...        run COMMAND in COUNT threads at once; '%' becomes their number
 *   leader-exit                     the main thread ends; the rest of the script runs in another
 *   fork ... endfork                the child runs what is between and exits 0
 *   wait-child                      waits for a child, prints "child STATUS"
 *   vfork COMMAND...                vfork and exec a program
 *   exec PROGRAM ARG... | thread-exec PROGRAM ARG...   "self" is this program; the rest of the line
 *                                   is its script when PROGRAM is self, with '|' for ';'
 *   kill SIGNAL | kill-parent SIGNAL | exit N | exit-group N (no destructors) | abort
 *   abort-at-exit                   a destructor aborts
 *
 * "books" prints a line "books {...}": every allocation that this program holds, by its own account.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "standin.h"

#define MAX_WORDS   64
#define MAX_HANDLES 65536

static struct {
	__typeof__(&standin_open_mesh) open_mesh;
	__typeof__(&standin_open_submesh) open_submesh;
	__typeof__(&standin_open_chip) open_chip;
	__typeof__(&standin_close) close;
	__typeof__(&standin_drop_device) drop_device;
	__typeof__(&standin_device_object) device_object;
	__typeof__(&standin_alloc) alloc;
	__typeof__(&standin_deallocate) deallocate;
	__typeof__(&standin_deallocate_silent) deallocate_silent;
	__typeof__(&standin_track_deallocate) track_deallocate;
	__typeof__(&standin_track_allocate_absent) track_allocate_absent;
	__typeof__(&standin_drop) drop;
	__typeof__(&standin_facts) facts;
	__typeof__(&standin_error) error;
} api;

struct handle {
	char name[48];
	struct standin_device *device; /* one of the two */
	struct standin_buffer *buffer;
};

/* Threads of one script run only commands on handles of their own; the lock is for the table. */
static struct handle handles[MAX_HANDLES];
static size_t handle_count;
static pthread_mutex_t handle_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *library;
static char program[4096]; /* not /proc/self/exe later: that has nothing once the leader is gone */
static char *script_rest;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("standin-workload: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	_exit(98);
}

static void *symbol(void *handle, const char *name)
{
	void *address = dlsym(handle, name);

	if (!address)
		die("%s", dlerror());
	return address;
}

static void load(const char *file)
{
	void *handle;

	if (api.open_mesh)
		return;
	handle = dlopen(file, RTLD_NOW | RTLD_GLOBAL);
	if (!handle)
		die("%s", dlerror());
	api.open_submesh = symbol(handle, "standin_open_submesh");
	api.open_chip = symbol(handle, "standin_open_chip");
	api.close = symbol(handle, "standin_close");
	api.drop_device = symbol(handle, "standin_drop_device");
	api.device_object = symbol(handle, "standin_device_object");
	api.alloc = symbol(handle, "standin_alloc");
	api.deallocate = symbol(handle, "standin_deallocate");
	api.deallocate_silent = symbol(handle, "standin_deallocate_silent");
	api.track_deallocate = symbol(handle, "standin_track_deallocate");
	api.track_allocate_absent = symbol(handle, "standin_track_allocate_absent");
	api.drop = symbol(handle, "standin_drop");
	api.facts = symbol(handle, "standin_facts");
	api.error = symbol(handle, "standin_error");
	api.open_mesh = symbol(handle, "standin_open_mesh");
}

static struct handle *find(const char *name)
{
	struct handle *found = NULL;

	pthread_mutex_lock(&handle_lock);
	for (size_t i = handle_count; i-- > 0 && !found;)
		if (!strcmp(handles[i].name, name))
			found = &handles[i];
	pthread_mutex_unlock(&handle_lock);
	return found;
}

static void add(const char *name, struct standin_device *device, struct standin_buffer *buffer)
{
	struct handle *handle = NULL;

	if (!device && !buffer)
		die("%s: %s", name, api.error());
	pthread_mutex_lock(&handle_lock);
	for (size_t i = 0; i < handle_count && !handle; i++)
		if (!handles[i].name[0])
			handle = &handles[i];
	if (!handle && handle_count < MAX_HANDLES)
		handle = &handles[handle_count++];
	if (!handle)
		die("too many handles");
	snprintf(handle->name, sizeof(handle->name), "%s", name);
	handle->device = device;
	handle->buffer = buffer;
	pthread_mutex_unlock(&handle_lock);
}

static void forget(struct handle *handle)
{
	pthread_mutex_lock(&handle_lock);
	memset(handle, 0, sizeof(*handle));
	pthread_mutex_unlock(&handle_lock);
}

static struct standin_device *device(const char *name)
{
	struct handle *handle = find(name);

	if (!handle || !handle->device)
		die("no device '%s'", name);
	return handle->device;
}

static struct handle *buffer(const char *name)
{
	struct handle *handle = find(name);

	if (!handle || !handle->buffer)
		die("no buffer '%s'", name);
	return handle;
}

static const char *const type_names[] = {"DRAM", "L1", "SYSTEM_MEMORY", "L1_SMALL", "TRACE"};

/* D TYPE SIZE PAGE */
struct request {
	struct standin_device *device;
	enum standin_type type;
	uint64_t size, page;
};

static struct request parse_request(char **word)
{
	struct request request = {device(word[0]), 0, 0, 0};

	while (request.type < 5 && strcmp(word[1], type_names[request.type]))
		request.type++;
	if (request.type == 5)
		die("no type '%s'", word[1]);
	request.size = strtoull(word[2], NULL, 0);
	request.page = strtoull(word[3], NULL, 0);
	return request;
}

static struct standin_buffer *allocate(const struct request *request, enum standin_alloc how)
{
	return api.alloc(request->device, request->type, request->size, request->page, how);
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	fflush(stdout);
}

static void wait_for_line(const char *name)
{
	char c = 0;

	say("ready %s\n", name);
	while (c != '\n') {
		ssize_t got = read(STDIN_FILENO, &c, 1);

		if (got == 0)
			_exit(97);
		if (got < 0 && errno != EINTR)
			die("standard input: %s", strerror(errno));
	}
}

static void print_books(const char *name)
{
	bool first = true;

	printf("books {\"name\": \"%s\", \"pid\": %d, \"buffers\": [", name, getpid());
	for (size_t i = 0; i < handle_count; i++) {
		struct standin_facts facts;

		if (!handles[i].buffer)
			continue;
		api.facts(handles[i].buffer, &facts);
		printf("%s{\"name\": \"%s\", \"object\": %llu, \"device_object\": %llu, \"allocator\": %llu, "
		       "\"type\": \"%s\", \"address\": %llu, \"size\": %llu, \"page_size\": %llu, "
		       "\"bytes_per_bank\": %llu, \"allocated\": %s, \"device_open\": %s, \"chips\": [",
		       first ? "" : ", ", handles[i].name, (unsigned long long)facts.object,
		       (unsigned long long)facts.device_object, (unsigned long long)facts.allocator,
		       type_names[facts.type], (unsigned long long)facts.address, (unsigned long long)facts.size,
		       (unsigned long long)facts.page_size, (unsigned long long)facts.bytes_per_bank,
		       facts.allocated ? "true" : "false", facts.device_open ? "true" : "false");
		for (int c = 0; c < facts.chip_count; c++)
			printf("%s%d", c ? ", " : "", facts.chips[c]);
		printf("]}");
		first = false;
	}
	say("]}\n");
}

static bool aborts_at_exit;

static void __attribute__((destructor)) at_exit(void)
{
	if (aborts_at_exit)
		abort();
}

static void run_command(char *line);
static void run_script(char *script);

/* Where the threads of one command wait for each other, so that they begin at once. */
static pthread_barrier_t threads_start;

static void *thread_main(void *argument)
{
	char *line = argument;

	pthread_barrier_wait(&threads_start);
	run_command(line);
	free(line);
	return NULL;
}

/* A copy of @template in which each '%' is @number. */
static char *numbered(const char *template, int number)
{
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	for (; *template; template ++)
		if (*template == '%')
			fprintf(out, "%d", number);
		else
			fputc(*template, out);
	fclose(out);
	return line;
}

static void run_threads(int count, const char *command)
{
	pthread_t *threads = calloc(count, sizeof(*threads));

	pthread_barrier_init(&threads_start, NULL, count);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, thread_main, numbered(command, i)))
			die("cannot start a thread");
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&threads_start);
	free(threads);
}

static void *rest_of_script(void *leader)
{
	pthread_join((pthread_t)leader, NULL);
	run_script(script_rest);
	exit(0);
}

static void leader_exit(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, rest_of_script, (void *)pthread_self()))
		die("cannot start a thread");
	pthread_exit(NULL);
}

/* "self SCRIPT" is this program with the script as one argument, '|' for ';'. */
static void exec_line(char *line)
{
	char *arguments[MAX_WORDS] = {0};
	int count = 0;

	if (!strncmp(line, "self ", 5)) {
		for (char *bar = line; (bar = strchr(bar, '|'));)
			*bar = ';';
		execl(program, "standin-workload", "--library", library, line + 5, NULL);
	} else {
		for (char *word = strtok(line, " "); word && count < MAX_WORDS - 1; word = strtok(NULL, " "))
			arguments[count++] = word;
		execvp(arguments[0], arguments);
	}
	_exit(errno == ENOENT ? 127 : 126);
}

static void *exec_thread(void *line)
{
	exec_line(line);
	return NULL;
}

static void command_thread_exec(char *line)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, exec_thread, line))
		die("cannot start a thread");
	pthread_join(thread, NULL);
}

/* Splits "... ; endfork ; ..." off script_rest; the child runs the first part. */
static void command_fork(void)
{
	char *end = script_rest ? strstr(script_rest, "endfork") : NULL;
	pid_t child;

	if (!end)
		die("fork without endfork");
	child = fork();
	if (child < 0)
		die("fork: %s", strerror(errno));
	if (child == 0) {
		*end = '\0';
		run_script(script_rest);
		exit(0);
	}
	say("forked %d\n", child);
	script_rest = end + strlen("endfork");
}

static void command_vfork(char *line)
{
	char copy[4096];
	pid_t child;

	snprintf(copy, sizeof(copy), "%s", line);
	child = vfork();
	if (child < 0)
		die("vfork: %s", strerror(errno));
	if (child == 0)
		exec_line(copy);
}

static void command_wait_child(void)
{
	int status;

	if (wait(&status) < 0)
		die("wait: %s", strerror(errno));
	say("child %d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static void command_fill(char **word, bool must_fail)
{
	struct request request = parse_request(word + (must_fail ? 1 : 2));
	char name[48];

	for (int i = 0;; i++) {
		struct standin_buffer *got = allocate(&request, STANDIN_ALLOC_TRACKED);

		if (!got)
			break;
		if (must_fail)
			die("there was memory");
		snprintf(name, sizeof(name), "%.32s%d", word[1], i);
		add(name, NULL, got);
	}
	say("oom %s\n", api.error());
}

static void command_many(char **word)
{
	struct request request = parse_request(word + 3);
	char name[48];

	for (int i = 0, count = atoi(word[2]); i < count; i++) {
		snprintf(name, sizeof(name), "%.32s%d", word[1], i);
		add(name, NULL, allocate(&request, STANDIN_ALLOC_TRACKED));
	}
}

static void command_churn(char **word)
{
	struct request request = parse_request(word + 2);

	for (int i = 0, count = atoi(word[1]); i < count; i++) {
		struct standin_buffer *got = allocate(&request, STANDIN_ALLOC_TRACKED);

		if (!got)
			die("churn: %s", api.error());
		api.drop(got);
	}
}

static void command_alloc(char **word)
{
	struct request request = parse_request(word + 2);
	enum standin_alloc how = STANDIN_ALLOC_TRACKED;

	if (word[6])
		how = !strcmp(word[6], "silent") ? STANDIN_ALLOC_SILENT : STANDIN_ALLOC_HOOKED;
	add(word[1], NULL, allocate(&request, how));
}

static void track_absent(const char *name)
{
	if (api.track_allocate_absent(buffer(name)->buffer))
		die("cannot take the heap out of memory: %m");
}

static void drop(struct handle *handle)
{
	struct standin_buffer *gone = handle->buffer;

	forget(handle);
	api.drop(gone);
}

static void drop_prefix(const char *prefix)
{
	for (size_t i = 0; i < handle_count; i++)
		if (handles[i].buffer && !strncmp(handles[i].name, prefix, strlen(prefix)))
			drop(&handles[i]);
}

static void command_free(char **word)
{
	struct handle *handle = buffer(word[1]);

	api.deallocate(handle->buffer);
	drop(handle);
}

static void command_dealloc(char **word)
{
	struct handle *handle = buffer(word[1]);

	if (word[2])
		api.deallocate_silent(handle->buffer);
	else
		api.deallocate(handle->buffer);
}

static void command_drop_device(const char *name)
{
	struct handle *handle = find(name);
	struct standin_device *gone = device(name);

	forget(handle);
	api.drop_device(gone);
}

static int signal_number(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {{"KILL", SIGKILL}, {"TERM", SIGTERM}, {"INT", SIGINT}, {"SEGV", SIGSEGV}, {"STOP", SIGSTOP}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(known[i].name, name))
			return known[i].number;
	return atoi(name);
}

static void map_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		die("cannot map %s: %s", path, strerror(errno));
	close(fd);
}

/* Commands that end or replace the process, or need the line as it was. True: done. */
static bool run_process_command(char **word, char *rest)
{
	if (!strcmp(word[0], "threads"))
		run_threads(atoi(word[1]), rest + strlen(word[1]) + 1);
	else if (!strcmp(word[0], "leader-exit"))
		leader_exit();
	else if (!strcmp(word[0], "fork"))
		command_fork();
	else if (!strcmp(word[0], "wait-child"))
		command_wait_child();
	else if (!strcmp(word[0], "vfork"))
		command_vfork(rest);
	else if (!strcmp(word[0], "exec"))
		exec_line(rest);
	else if (!strcmp(word[0], "thread-exec"))
		command_thread_exec(rest);
	else if (!strcmp(word[0], "kill"))
		kill(getpid(), signal_number(word[1]));
	else if (!strcmp(word[0], "kill-parent"))
		kill(getppid(), signal_number(word[1]));
	else if (!strcmp(word[0], "exit"))
		exit(atoi(word[1]));
	else if (!strcmp(word[0], "exit-group"))
		_exit(atoi(word[1]));
	else if (!strcmp(word[0], "abort"))
		abort();
	else if (!strcmp(word[0], "abort-at-exit"))
		aborts_at_exit = true;
	else if (!strcmp(word[0], "wait"))
		wait_for_line(word[1]);
	else if (!strcmp(word[0], "map"))
		map_file(word[1]);
	else if (!strcmp(word[0], "echo"))
		say("%s\n", rest);
	else
		return false;
	return true;
}

static bool run_device_command(char **word)
{
	if (!strcmp(word[0], "load"))
		load(word[1] ? word[1] : library);
	else if (!strcmp(word[0], "mesh"))
		add(word[1], api.open_mesh(atoi(word[2])), NULL);
	else if (!strcmp(word[0], "submesh"))
		add(word[1], api.open_submesh(device(word[2]), atoi(word[3]), atoi(word[4])), NULL);
	else if (!strcmp(word[0], "chip"))
		add(word[1], api.open_chip(atoi(word[2])), NULL);
	else if (!strcmp(word[0], "close"))
		api.close(device(word[1]), word[2] ? STANDIN_CLOSE_EACH : STANDIN_CLOSE_BULK);
	else if (!strcmp(word[0], "drop-device"))
		command_drop_device(word[1]);
	else if (!strcmp(word[0], "books"))
		print_books(word[1]);
	else
		return false;
	return true;
}

static bool run_buffer_command(char **word)
{
	if (!strcmp(word[0], "alloc"))
		command_alloc(word);
	else if (!strcmp(word[0], "alloc-oom"))
		command_fill(word, true);
	else if (!strcmp(word[0], "fill"))
		command_fill(word, false);
	else if (!strcmp(word[0], "many"))
		command_many(word);
	else if (!strcmp(word[0], "churn"))
		command_churn(word);
	else if (!strcmp(word[0], "free"))
		command_free(word);
	else if (!strcmp(word[0], "dealloc"))
		command_dealloc(word);
	else if (!strcmp(word[0], "track-free"))
		api.track_deallocate(buffer(word[1])->buffer);
	else if (!strcmp(word[0], "track-absent"))
		track_absent(word[1]);
	else if (!strcmp(word[0], "drop"))
		drop(buffer(word[1]));
	else if (!strcmp(word[0], "drop-prefix"))
		drop_prefix(word[1]);
	else if (!strcmp(word[0], "drop-all"))
		drop_prefix("");
	else
		return false;
	return true;
}

static void run_command(char *line)
{
	/* Not on the heap: scripts count on an object's memory being used again by the next one. */
	char copy[4096], *word[MAX_WORDS] = {0}, *save = NULL;
	char *rest = line + strspn(line, " \t");
	int count = 0;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", line) >= sizeof(copy))
		die("line too long");
	for (char *w = strtok_r(copy, " \t", &save); w && count < MAX_WORDS - 1; w = strtok_r(NULL, " \t", &save))
		word[count++] = w;
	if (count == 0)
		return;
	rest += strcspn(rest, " \t");
	rest += strspn(rest, " \t");
	if (run_process_command(word, rest))
		return;
	if (strcmp(word[0], "load"))
		load(library);
	if (!run_device_command(word) && !run_buffer_command(word))
		die("no command '%s'", word[0]);
}

static void run_script(char *script)
{
	script_rest = script;
	while (script_rest && *script_rest) {
		char *line = script_rest;

		script_rest += strcspn(script_rest, ";\n");
		if (*script_rest)
			*script_rest++ = '\0';
		if (line[strspn(line, " \t")] != '#')
			run_command(line);
	}
}

static char *read_file(const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = fopen(path, "r");

	if (!file || getdelim(&text, &size, '\0', file) < 0)
		die("%s: %s", path, strerror(errno));
	fclose(file);
	return text;
}

static const char *library_beside(void)
{
	static char path[sizeof(program) + 64];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (length < 0)
		die("/proc/self/exe: %s", strerror(errno));
	snprintf(path, sizeof(path), "%.*s/pimpl/libstandin_tt_metal.so", (int)(strrchr(program, '/') - program),
		 program);
	return path;
}

int main(int argc, char **argv)
{
	const char *script = NULL;

	library = library_beside();
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--library") && i + 1 < argc)
			library = argv[++i];
		else if (!strcmp(argv[i], "-f") && i + 1 < argc)
			script = read_file(argv[++i]);
		else
			script = argv[i];
	}
	if (!script)
		die("usage: standin-workload [--library FILE] SCRIPT | -f FILE");
	run_script(strdup(script));
	return 0;
}
