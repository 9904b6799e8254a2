// SPDX-License-Identifier: BSD-2-Clause
/* The terminal of `bufscope top`; see top_screen.h. */
#include "cmd/top_screen.h"

#include <errno.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/top_view.h"

enum { PAIR_GREEN = 1, PAIR_YELLOW = 2, PAIR_RED = 3 };

#define ESCAPE 27
#define DELETE 127

int top_screen_open(bool color)
{
	const char *term = getenv("TERM");
	SCREEN *screen;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		log_error("top needs a terminal; --once prints one screen as text");
		return -ENOTTY;
	}
	/* A lone Escape is told from the start of a key's sequence by the time between them. */
	set_escdelay(25);
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		log_error("top cannot use a terminal of type \"%s\" (TERM); --once prints one screen as text",
			  term ? term : "");
		return -ENOTTY;
	}
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	if (color && has_colors() && start_color() != ERR) {
		use_default_colors();
		init_pair(PAIR_GREEN, COLOR_GREEN, -1);
		init_pair(PAIR_YELLOW, COLOR_YELLOW, -1);
		init_pair(PAIR_RED, COLOR_RED, -1);
	}
	return 0;
}

void top_screen_size(size_t *width, size_t *height)
{
	*width = (size_t)getmaxx(stdscr);
	*height = (size_t)getmaxy(stdscr);
}

static void set_style(char style)
{
	static const attr_t attributes[] = {
		[TOP_PLAIN] = A_NORMAL,  [TOP_BOLD] = A_BOLD, [TOP_DIM] = A_DIM,         [TOP_GREEN] = A_NORMAL,
		[TOP_YELLOW] = A_NORMAL, [TOP_RED] = A_BOLD,  [TOP_REVERSE] = A_REVERSE,
	};
	static const short pairs[TOP_REVERSE + 1] = {
		[TOP_GREEN] = PAIR_GREEN, [TOP_YELLOW] = PAIR_YELLOW, [TOP_RED] = PAIR_RED};

	/* Without colours the pairs are as they were: the terminal's own. */
	attr_set(attributes[(int)style], pairs[(int)style], NULL);
}

static void draw_line(int y, const char *line, const char *end)
{
	move(y, 0);
	set_style(TOP_PLAIN);
	while (line < end) {
		const char *part = line;

		while (line < end && (*line < TOP_PLAIN || *line > TOP_REVERSE))
			line++;
		if (line > part)
			addnstr(part, (int)(line - part));
		if (line < end)
			set_style(*line++);
	}
	set_style(TOP_PLAIN);
}

void top_screen_draw(const char *text)
{
	const char *end;

	erase();
	for (int y = 0; (end = strchr(text, '\n')) && y < getmaxy(stdscr); y++, text = end + 1)
		draw_line(y, text, end);
	refresh();
}

static const struct {
	int code;
	enum top_key key;
} keys[] = {
	{KEY_UP, TOP_KEY_UP},         {KEY_DOWN, TOP_KEY_DOWN},
	{KEY_PPAGE, TOP_KEY_PAGE_UP}, {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
	{KEY_HOME, TOP_KEY_HOME},     {KEY_END, TOP_KEY_END},
	{KEY_ENTER, TOP_KEY_IN},      {KEY_RIGHT, TOP_KEY_IN},
	{'\r', TOP_KEY_IN},           {'\n', TOP_KEY_IN},
	{KEY_LEFT, TOP_KEY_OUT},      {KEY_BACKSPACE, TOP_KEY_ERASE},
	{DELETE, TOP_KEY_ERASE},      {'\b', TOP_KEY_ERASE},
	{ESCAPE, TOP_KEY_ESCAPE},     {KEY_RESIZE, TOP_KEY_RESIZE},
	{ERR, TOP_KEY_NONE},
};

int top_screen_key(void)
{
	int code = getch();

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (keys[i].code == code)
			return (int)keys[i].key;
	}
	return code >= ' ' && code < 0x100 ? code : TOP_KEY_OTHER;
}

void top_screen_close(void)
{
	endwin();
}
