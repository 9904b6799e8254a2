// SPDX-License-Identifier: BSD-2-Clause
/*
 * A listening local socket; see endpoint.h. Its owner is who holds the lock of PATH.lock: a look at the
 * socket alone could not tell two servers apart that begin at the same moment.
 */
#include "server/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define BACKLOG 128

struct lock_path {
	char name[sizeof(((struct endpoint *)0)->path) + sizeof(".lock")];
};

static struct lock_path lock_path(const struct endpoint *endpoint)
{
	struct lock_path path;

	snprintf(path.name, sizeof(path.name), "%s.lock", endpoint->path);
	return path;
}

static void make_folder(const char *path)
{
	char folder[sizeof(((struct endpoint *)0)->path)];
	mode_t mask;
	char *slash;

	strcpy(folder, path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return;
	*slash = '\0';
	/* A failure shows when the lock is opened. No stricter umask counts: everyone may connect. */
	mask = umask(0022);
	mkdir(folder, 0755);
	umask(mask);
}

/* Is the locked file still the one of that name? A server that ends takes the name away. */
static bool is_named(int fd, const char *name)
{
	struct stat ours, named;

	return !fstat(fd, &ours) && !stat(name, &named) && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

static int lock(struct endpoint *endpoint)
{
	struct lock_path path = lock_path(endpoint);
	int err;

	for (;;) {
		endpoint->lock_fd = open(path.name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (endpoint->lock_fd < 0)
			return -errno;
		if (flock(endpoint->lock_fd, LOCK_EX | LOCK_NB)) {
			err = -errno;
			close(endpoint->lock_fd);
			endpoint->lock_fd = -1;
			return err;
		}
		if (is_named(endpoint->lock_fd, path.name))
			return 0;
		close(endpoint->lock_fd);
	}
}

/* A socket that nobody listens at refuses; the lock is ours, so a listener is another kind of program. */
static bool is_left_over(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool refused = false;

	if (fd >= 0) {
		refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;
		close(fd);
	}
	return refused;
}

static int make_way(const struct sockaddr_un *address)
{
	struct stat there;

	if (lstat(address->sun_path, &there))
		return 0; /* if not for want of a file, bind() fails too */
	if (!S_ISSOCK(there.st_mode) || !is_left_over(address))
		return -EEXIST;
	return unlink(address->sun_path) ? -errno : 0;
}

static int listen_at(struct endpoint *endpoint)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int err, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;

	if (fd < 0)
		return -errno;
	strcpy(address.sun_path, endpoint->path);
	err = make_way(&address);
	if (!err) {
		/* By a chmod() afterwards somebody else's file could be hit, in a folder that others write to. */
		mask = umask(0111);
		err = bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
		umask(mask);
	}
	if (err) {
		close(fd);
		return err;
	}
	endpoint->fd = fd; /* from here on the socket is ours to take away */
	return listen(fd, BACKLOG) ? -errno : 0;
}

int endpoint_open(const char *path, struct endpoint *out)
{
	int err;

	out->fd = out->lock_fd = -1;
	if (!*path || strlen(path) >= sizeof(out->path)) {
		log_error("\"%s\" is too %s for the path of a socket", path, *path ? "long" : "short");
		return *path ? -ENAMETOOLONG : -EINVAL;
	}
	strcpy(out->path, path);
	make_folder(path);
	err = lock(out);
	if (!err)
		err = listen_at(out);
	if (err == -EWOULDBLOCK)
		log_error("another bufscope serves at %s: end it first, or give another --socket", path);
	else if (err == -EEXIST)
		log_error("cannot serve at %s: there is something else of that name", path);
	else if (err)
		log_error("cannot serve at %s: %s", path, strerror(-err));
	if (err)
		endpoint_close(out);
	return err;
}

static void take_away(const char *name)
{
	if (unlink(name) && errno != ENOENT)
		log_warning("cannot take %s away: %s", name, strerror(errno));
}

void endpoint_close(struct endpoint *endpoint)
{
	struct lock_path path = lock_path(endpoint);

	if (endpoint->fd >= 0) {
		take_away(endpoint->path);
		close(endpoint->fd);
	}
	if (endpoint->lock_fd >= 0) {
		take_away(path.name);
		close(endpoint->lock_fd);
	}
	endpoint->fd = endpoint->lock_fd = -1;
}
