// SPDX-License-Identifier: BSD-2-Clause
/* bufscope top: who holds the devices' memory, live, asked of the service again and again. */
#include <argp.h>
#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cmd/ask.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/top_link.h"
#include "cmd/top_screen.h"
#include "cmd/top_view.h"
#include "view/style.h"

#define SECOND       UINT64_C(1000000000)
#define MIN_INTERVAL (SECOND / 10)
#define MAX_INTERVAL (3600 * SECOND)
#define SILENT       (3 * SECOND) /* so long an answer may take before somebody is told */
#define SHARE        10           /* of the time, at most one part is spent on answers */

struct top {
	struct ask ask;
	bool once;
	struct top_link link;
	struct top_data *data; /* what is shown */
	struct top_data *mark; /* may be the same */
	struct top_state state;
	struct top_rows rows;
	struct top_frame frame;
	uint64_t next_ns;         /* when to ask again */
	char trouble[CLIENT_WHY]; /* why the last request was not answered, or "" */
	bool quit;
};

static const char *user_name(uint32_t user)
{
	const struct passwd *entry = getpwuid(user);

	return entry ? entry->pw_name : NULL;
}

/* ---- asking ---- */

static void replace_data(struct top *top, struct top_data *data)
{
	if (top->data != top->mark)
		top_data_free(top->data);
	top->data = data;
}

static void clear_mark(struct top *top)
{
	if (top->mark != top->data)
		top_data_free(top->mark);
	top->mark = NULL;
	top->state.mark = NULL;
}

static void set_next(struct top *top)
{
	uint64_t now_ns = loop_now_ns();
	/* A long answer is work for both sides; that the service let us wait for it is none. */
	uint64_t took_ns = top->link.begun_ns ? now_ns - top->link.begun_ns : 0;

	top->next_ns = top->link.asked_ns + top->frame.interval_ns;
	if (top->next_ns < now_ns + (SHARE - 1) * took_ns)
		top->next_ns = now_ns + (SHARE - 1) * took_ns;
}

static void note_trouble(struct top *top, const char *why)
{
	snprintf(top->trouble, sizeof(top->trouble), "%s", why);
	set_next(top);
}

static void ask(struct top *top)
{
	if (top_link_ask(&top->link, top->ask.request))
		note_trouble(top, top->link.why);
}

/* 1: there is a new answer to show. 0: not yet. -errno: trouble. */
static int take_answer(struct top *top)
{
	int result = top_link_read(&top->link);
	struct top_data *data;

	if (result < 0)
		note_trouble(top, top->link.why);
	if (result <= 0)
		return result;
	data = top_data_parse(strbuf_str(&top->link.text), top->link.text.len, user_name);
	if (!data) {
		note_trouble(top, errno == ENOMEM ? "out of memory" : "the service's answer is not understood");
		return -EPROTO;
	}
	replace_data(top, data);
	*top->trouble = '\0';
	set_next(top);
	return 1;
}

/* The terminal is not ours yet: a service that is not there is told as by every other command. */
static int first_answer(struct top *top)
{
	char why[CLIENT_WHY];
	int result = 0, ready;

	ask(top);
	while (!result && !*top->trouble) {
		struct pollfd answer = {.fd = top->link.fd, .events = POLLIN};

		ready = poll(&answer, 1, client_patience() * 1000);
		if (ready > 0) {
			result = take_answer(top);
		} else if (!ready) {
			client_explain_silence(why, sizeof(why), top->link.path);
			note_trouble(top, why);
		}
	}
	if (*top->trouble)
		log_error("%s", top->trouble);
	return *top->trouble ? -EIO : 0;
}

/* ---- showing ---- */

static int rebuild(struct top *top)
{
	return top_rows_build(&top->rows, top->data, &top->state);
}

static int compose(struct top *top, struct strbuf *text)
{
	uint64_t waited_ns = top->link.fd >= 0 ? loop_now_ns() - top->link.asked_ns : 0;
	struct strbuf trouble = STRBUF_INIT;
	int err;

	if (waited_ns >= SILENT)
		strbuf_addf(&trouble, "no answer from the service for %u s", (unsigned int)(waited_ns / SECOND));
	else
		strbuf_adds(&trouble, top->trouble);
	top->frame.trouble = trouble.len ? strbuf_str(&trouble) : NULL;
	err = top_view(text, &top->frame, &top->rows, &top->state, top->data);
	top->frame.trouble = NULL;
	strbuf_fini(&trouble);
	return err;
}

/* One screen without styles and blanks at the ends of lines. */
static int print_once(struct top *top)
{
	struct strbuf text = STRBUF_INIT;
	struct winsize size;
	size_t blanks = 0;
	int err;

	top->frame.width = STYLE_DEFAULT_WIDTH;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		top->frame.width = size.ws_col;
	err = rebuild(top);
	if (!err)
		err = compose(top, &text);
	for (size_t i = 0; !err && i < text.len; i++) {
		char c = text.data[i];

		if (c >= TOP_PLAIN && c <= TOP_REVERSE)
			continue;
		if (c == ' ') {
			blanks++;
			continue;
		}
		if (c != '\n')
			printf("%*s", (int)blanks, "");
		blanks = 0;
		putchar(c);
	}
	strbuf_fini(&text);
	if (err) {
		log_error("out of memory");
	} else if (fflush(stdout) || ferror(stdout)) {
		err = -errno;
		log_error("cannot write: %s", strerror(errno));
	}
	return err ? CMD_EXIT_FAILED : CMD_EXIT_DONE;
}

/* ---- keys ---- */

static void set_mark(struct top *top)
{
	clear_mark(top);
	top->mark = top->data;
	top->state.mark = top->mark;
	top->state.mark_number++;
}

static void pause_or_go_on(struct top *top)
{
	top->frame.paused = !top->frame.paused;
	if (top->frame.paused)
		top_link_stop(&top->link);
	else
		top->next_ns = 0;
}

static void change_interval(struct top *top, bool longer)
{
	uint64_t interval_ns = longer ? top->frame.interval_ns * 2 : top->frame.interval_ns / 2;

	if (interval_ns >= MIN_INTERVAL && interval_ns <= MAX_INTERVAL)
		top->frame.interval_ns = interval_ns;
	if (top->next_ns > loop_now_ns() + top->frame.interval_ns)
		set_next(top);
}

static char *filter(struct top *top)
{
	return top->state.filter[top->state.level == TOP_TYPE ? TOP_BUFFERS : TOP_PROCESSES];
}

static void type_key(struct top *top, int key)
{
	char *text = filter(top);
	size_t len = strlen(text);

	if (key == TOP_KEY_IN || key == TOP_KEY_ESCAPE)
		top->frame.typing = false;
	if (key == TOP_KEY_ESCAPE) {
		*text = '\0';
	} else if (key == TOP_KEY_ERASE) {
		while (len && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
			len--;
		text[len ? len - 1 : 0] = '\0';
	} else if (key < TOP_KEY_NONE && len + 1 < TOP_MAX_FILTER) {
		text[len] = (char)key;
		text[len + 1] = '\0';
	}
}

static void move_key(struct top *top, int key)
{
	long page = top->frame.height > 8 ? (long)top->frame.height - 8 : 1;
	long by = 0, all = (long)top->rows.count;

	if (key == TOP_KEY_UP || key == 'k')
		by = -1;
	else if (key == TOP_KEY_DOWN || key == 'j')
		by = 1;
	else if (key == TOP_KEY_PAGE_UP)
		by = -page;
	else if (key == TOP_KEY_PAGE_DOWN)
		by = page;
	else if (key == TOP_KEY_HOME)
		by = -all;
	else if (key == TOP_KEY_END)
		by = all;
	if (by)
		top_rows_move(&top->rows, &top->state, by);
}

static void command_key(struct top *top, int key)
{
	if (key == 'q')
		top->quit = true;
	else if (key == 'h' || key == '?')
		top->frame.help = true;
	else if (key == 'p' || key == ' ')
		pause_or_go_on(top);
	else if (key == 'm')
		set_mark(top);
	else if (key == 'u')
		clear_mark(top);
	else if (key == 's')
		top_rows_next_sort(&top->rows, &top->state);
	else if (key == '/')
		top->frame.typing = top->state.level != TOP_PROCESS;
	else if (key == '+' || key == '-')
		change_interval(top, key == '+');
	else if (key == TOP_KEY_IN)
		top_rows_enter(&top->rows, &top->state);
	else if (key == TOP_KEY_OUT || key == TOP_KEY_ERASE || key == TOP_KEY_ESCAPE)
		top_rows_leave(&top->state);
	else
		move_key(top, key);
}

static void take_key(struct top *top, int key)
{
	if (key == TOP_KEY_RESIZE)
		return;
	if (top->frame.help)
		top->frame.help = false;
	else if (top->frame.typing)
		type_key(top, key);
	else
		command_key(top, key);
}

/* ---- the loop ---- */

static int draw(struct top *top)
{
	struct strbuf text = STRBUF_INIT;
	int err;

	top_screen_size(&top->frame.width, &top->frame.height);
	err = compose(top, &text);
	if (!err)
		top_screen_draw(strbuf_str(&text));
	strbuf_fini(&text);
	return err;
}

/* Nanoseconds until there is something to do that no descriptor tells. Negative: never. */
static int64_t patience(const struct top *top)
{
	uint64_t now_ns = loop_now_ns();

	if (top->link.fd >= 0)
		return (int64_t)(SECOND - (now_ns - top->link.asked_ns) % SECOND);
	if (top->frame.paused)
		return -1;
	return top->next_ns > now_ns ? (int64_t)(top->next_ns - now_ns) : 0;
}

/* Returns whether there is a new answer. */
static bool wait_for_something(struct top *top, int signal_fd, const sigset_t *waiting)
{
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = signal_fd, .events = POLLIN},
		{.fd = top->link.fd, .events = POLLIN},
	};
	int64_t ns = patience(top);
	struct timespec limit = {.tv_sec = ns / (int64_t)SECOND, .tv_nsec = ns % (int64_t)SECOND};

	if (ppoll(fds, 3, ns < 0 ? NULL : &limit, waiting) <= 0)
		return false;
	/* Without a terminal there is nobody to show anything to. */
	if (fds[1].revents || fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
		top->quit = true;
	return fds[2].revents && take_answer(top) > 0;
}

static int run(struct top *top, int signal_fd, const sigset_t *waiting)
{
	int err = rebuild(top), key;

	while (!top->quit && !err) {
		err = draw(top);
		if (err)
			break;
		/* A new answer has taken the place of the one that the rows are made of. */
		if (wait_for_something(top, signal_fd, waiting))
			err = rebuild(top);
		/* ncurses looks for a new size when it looks for a key. */
		while (!err && (key = top_screen_key()) != TOP_KEY_NONE) {
			take_key(top, key);
			err = rebuild(top);
		}
		if (top->link.fd < 0 && !top->frame.paused && loop_now_ns() >= top->next_ns)
			ask(top);
	}
	return err;
}

/* The signals that end it become readable. Returns their descriptor, or -errno: one line was logged. */
static int block_signals(sigset_t *waiting)
{
	sigset_t ending, blocked;
	int fd;

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, NULL);
	/* A new size is taken note of while waiting and at no other time: so none is missed between looking and waiting. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGWINCH);
	sigprocmask(SIG_BLOCK, &blocked, waiting);
	sigdelset(waiting, SIGWINCH);
	fd = signalfd(-1, &ending, SFD_CLOEXEC);
	if (fd >= 0)
		return fd;
	log_error("signalfd: %s", strerror(errno));
	return -errno;
}

static int live(struct top *top)
{
	int signal_fd, status = CMD_EXIT_FAILED;
	sigset_t waiting;

	signal_fd = block_signals(&waiting);
	if (signal_fd < 0)
		return status;
	top->frame.keys = true;
	if (!top_screen_open(top->ask.color)) {
		status = run(top, signal_fd, &waiting) ? CMD_EXIT_FAILED : CMD_EXIT_DONE;
		top_screen_close();
		if (status)
			log_error("out of memory");
	}
	close(signal_fd);
	return status;
}

/* ---- the command ---- */

enum { KEY_ONCE = 0x100 };

static const struct argp_option argp_options[] = {
	{"interval", 'd', "SECONDS", 0, "Ask that often (default 2)", 2},
	{"once", KEY_ONCE, NULL, 0, "Print what there is now as text, and end", 2},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct top *top = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = &top->ask;
		options_quiet_argp(state);
		return 0;
	case 'd':
		if (units_parse_duration(arg, &top->frame.interval_ns) || top->frame.interval_ns < MIN_INTERVAL ||
		    top->frame.interval_ns > MAX_INTERVAL)
			options_error(state, "--interval takes a time from 0.1 to 3600 seconds, not \"%s\"", arg);
		return 0;
	case KEY_ONCE:
		top->once = true;
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_top(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &ask_selection_argp}, {.argp = &ask_argp}, {0}};
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.doc = "Shows live, asked of the service (\"bufscope serve\"), which device is how full and who holds it.\v"
		       "Enter goes from a device to its processes, their memory types and buffers, Backspace back; h tells all "
		       "keys. A user sees their own processes; root and the group \"bufscope\" see all. MB is 2^20 bytes.",
		.children = children,
	};
	struct top top = {.frame = {.interval_ns = 2 * SECOND}};
	int status = CMD_EXIT_FAILED;

	argv[0] = (char *)"bufscope top";
	argp_err_exit_status = CMD_EXIT_USAGE;
	ask_init(&top.ask, "dump");
	options_parse(&argp, argc, argv, 0, &top);
	ask_set(&top.ask, "format", json_string("json"));
	top.frame.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	top_state_init(&top.state);
	top_link_init(&top.link, top.ask.socket);
	if (!first_answer(&top))
		status = top.once ? print_once(&top) : live(&top);
	clear_mark(&top);
	top_data_free(top.data);
	top_rows_fini(&top.rows);
	top_link_fini(&top.link);
	json_decref(top.ask.request);
	return status;
}
