/* SPDX-License-Identifier: BSD-2-Clause */
/* The terminal of `bufscope top`, by ncurses, which sends only what has changed. Knows nothing of what it shows. */
#ifndef BUFSCOPE_CMD_TOP_SCREEN_H
#define BUFSCOPE_CMD_TOP_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

enum top_key {
	TOP_KEY_NONE = 0x1000, /* no key was pressed; below are characters */
	TOP_KEY_UP,
	TOP_KEY_DOWN,
	TOP_KEY_PAGE_UP,
	TOP_KEY_PAGE_DOWN,
	TOP_KEY_HOME,
	TOP_KEY_END,
	TOP_KEY_IN,
	TOP_KEY_OUT,
	TOP_KEY_ERASE,
	TOP_KEY_ESCAPE,
	TOP_KEY_RESIZE, /* the screen has another size now */
	TOP_KEY_OTHER,
};

/* 0, or -errno: one line was logged. */
int top_screen_open(bool color);
void top_screen_size(size_t *width, size_t *height);
/* @text: lines with styles, as top_view() makes them. */
void top_screen_draw(const char *text);
int top_screen_key(void); /* enum top_key or a byte; does not wait */
/* The terminal is as it was before. */
void top_screen_close(void);

#endif
