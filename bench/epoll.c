// A byte echo on epoll, on one thread: the limit of what a server on this machine can do.
// Usage: epoll PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 1 << 16, READ_SIZE = 64 << 10, MAX_EVENTS = 1024 };

// What a socket did not take yet.
static struct pending { char *bytes; size_t len; } pending[MAX_FD];
static int poller;

static void watch(int op, int fd, uint32_t events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	if (epoll_ctl(poller, op, fd, &e) < 0) { perror("epoll_ctl"); exit(1); }
}

static void drop(int fd) {
	free(pending[fd].bytes);
	pending[fd] = (struct pending){0};
	close(fd);
}

static void accept_all(int listener) {
	int fd, on = 1;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (fd >= MAX_FD) { close(fd); continue; }
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		watch(EPOLL_CTL_ADD, fd, EPOLLIN);
	}
}

// send_bytes writes what it can and keeps the rest; a socket with bytes pending is not read from.
static void send_bytes(int fd, const char *bytes, size_t len) {
	ssize_t n = write(fd, bytes, len);
	if (n < 0 && errno != EAGAIN) { drop(fd); return; }
	if (n < 0) n = 0;
	size_t left = len - (size_t)n;
	char *rest = NULL;
	if (left > 0) {
		rest = malloc(left);
		memcpy(rest, bytes + n, left);
	}
	if ((pending[fd].bytes != NULL) != (left > 0)) watch(EPOLL_CTL_MOD, fd, left > 0 ? EPOLLOUT : EPOLLIN);
	free(pending[fd].bytes);
	pending[fd] = (struct pending){rest, left};
}

int main(int argc, char **argv) {
	static char buffer[READ_SIZE];
	static struct epoll_event events[MAX_EVENTS];
	if (argc != 2) { fprintf(stderr, "usage: epoll PORT\n"); return 2; }
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 4096) < 0) {
		perror("listen");
		return 1;
	}
	poller = epoll_create1(0);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	fprintf(stderr, "listening on 127.0.0.1:%s\n", argv[1]);
	for (;;) {
		int n = epoll_wait(poller, events, MAX_EVENTS, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) { accept_all(listener); continue; }
			if (pending[fd].bytes != NULL) { send_bytes(fd, pending[fd].bytes, pending[fd].len); continue; }
			ssize_t got = read(fd, buffer, sizeof buffer);
			if (got > 0) send_bytes(fd, buffer, (size_t)got);
			else if (got == 0 || errno != EAGAIN) drop(fd);
		}
	}
}
