/*
 * The streaming upstream of the benchmark: one thread, epoll, one timer, one heap of due times, every byte prepared
 * before the first connection. A request says in its message what it wants: "mock gap=<ms> deltas=<n>".
 *   gap > 0   role event at once, then a delta every gap, then finish, usage and [DONE] together
 *   gap = 0   the whole stream in one write
 *   gap < 0   role event, then silence: an idle stream
 * A message without such an order gets the JSON of the file named by the first argument, so that a gateway can be
 * started and asked in the usual way.
 * It listens on a free port of 127.0.0.1 and prints the port. For loopback only: it trusts what it is sent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DELTAS = 512, DELTA_EVENT_BYTES = 250, READ_BYTES = 65536 };

typedef struct connection {
  int fd;
  int heap_index; /* -1: no timer */
  char *input;
  size_t input_used, input_size;
  int64_t due_us, gap_us;
  int sent_deltas, deltas;
} connection;

typedef struct {
  char *bytes;
  size_t length;
} buffer;

static buffer head, delta, tail, unary;
static char *burst_space;
static connection **heap;
static int heap_used, heap_size;
static int timer_fd, epoll_fd;

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void append(buffer *to, const char *bytes, size_t length) {
  to->bytes = realloc(to->bytes, to->length + length);
  memcpy(to->bytes + to->length, bytes, length);
  to->length += length;
}

static void append_event(buffer *to, const char *data) {
  char size[32];
  size_t length = strlen(data) + strlen("data: \n\n");
  append(to, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", length));
  append(to, "data: ", 6);
  append(to, data, strlen(data));
  append(to, "\n\n\r\n", 4);
}

static void prepare_unary(const char *path) {
  char body[8192], start[256];
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(1);
  }
  size_t length = fread(body, 1, sizeof body, file);
  fclose(file);
  append(&unary, start, (size_t)snprintf(start, sizeof start, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n", length));
  append(&unary, body, length);
}

static void prepare(void) {
#define CHUNK "{\"id\":\"chatcmpl-bench1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"gpt-4o-mini-2024-07-18\","
  static const char reply[] =
      "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
      "x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n";
  append(&head, reply, sizeof reply - 1);
  append_event(&head, CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                            "\"finish_reason\":null}],\"usage\":null}");

  char text[DELTA_EVENT_BYTES * 2], event[DELTA_EVENT_BYTES * 4];
  size_t filler = 0;
  do {
    memset(text, 'a', filler);
    text[filler] = 0;
    snprintf(event, sizeof event,
             CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" %s\"},\"finish_reason\":null}],\"usage\":null}", text);
    filler++;
  } while (strlen(event) + strlen("data: \n\n") < DELTA_EVENT_BYTES);
  append_event(&delta, event);

  append_event(&tail, CHUNK "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}");
  append_event(&tail, CHUNK "\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":64,\"total_tokens\":76}}");
  append_event(&tail, "[DONE]");
  append(&tail, "0\r\n\r\n", 5);
  burst_space = malloc(head.length + MAX_DELTAS * delta.length + tail.length);
}

static void place(int index, connection *item) {
  heap[index] = item;
  item->heap_index = index;
}

static void sift(int index) {
  connection *item = heap[index];
  for (int parent = (index - 1) / 2; index > 0 && heap[parent]->due_us > item->due_us; parent = (index - 1) / 2) {
    place(index, heap[parent]);
    index = parent;
  }
  for (;;) {
    int child = index * 2 + 1;
    if (child + 1 < heap_used && heap[child + 1]->due_us < heap[child]->due_us) child++;
    if (child >= heap_used || heap[child]->due_us >= item->due_us) break;
    place(index, heap[child]);
    index = child;
  }
  place(index, item);
}

static void schedule(connection *item, int64_t due_us) {
  item->due_us = due_us;
  if (item->heap_index < 0) {
    if (heap_used == heap_size) heap = realloc(heap, (heap_size = heap_size * 2 + 64) * sizeof *heap);
    place(heap_used++, item);
  }
  sift(item->heap_index);
}

static void unschedule(connection *item) {
  int index = item->heap_index;
  if (index < 0) return;
  item->heap_index = -1;
  connection *last = heap[--heap_used];
  if (last == item) return;
  place(index, last);
  sift(index);
}

static void drop(connection *item) {
  unschedule(item);
  close(item->fd);
  free(item->input);
  free(item);
}

/* The send buffer holds a whole stream, so a short write means a reader that has given up. */
static int put(connection *item, const char *bytes, size_t length) {
  if (send(item->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length) return 1;
  drop(item);
  return 0;
}

static void burst(connection *item) {
  char *end = mempcpy(burst_space, head.bytes, head.length);
  for (int i = 0; i < item->deltas; i++) end = mempcpy(end, delta.bytes, delta.length);
  end = mempcpy(end, tail.bytes, tail.length);
  put(item, burst_space, (size_t)(end - burst_space));
}

static void begin(connection *item, const char *request) {
  int gap_ms = 0, deltas = 64;
  const char *order = strstr(request, "mock gap=");
  if (!order) {
    put(item, unary.bytes, unary.length);
    return;
  }
  sscanf(order, "mock gap=%d deltas=%d", &gap_ms, &deltas);
  item->deltas = deltas < 0 ? 0 : deltas > MAX_DELTAS ? MAX_DELTAS : deltas;
  item->gap_us = (int64_t)gap_ms * 1000;
  item->sent_deltas = 0;
  if (gap_ms == 0) burst(item);
  else if (put(item, head.bytes, head.length) && gap_ms > 0) schedule(item, now_us() + item->gap_us);
}

static void advance(connection *item) {
  int64_t next = item->due_us + item->gap_us;
  if (item->sent_deltas == item->deltas) {
    unschedule(item);
    put(item, tail.bytes, tail.length);
  } else if (put(item, delta.bytes, delta.length)) {
    item->sent_deltas++;
    schedule(item, next);
  }
}

/* Length of the first whole request in the input, or 0. */
static size_t request_length(connection *item) {
  char *end = memmem(item->input, item->input_used, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t length = (size_t)(end - item->input) + 4;
  *end = 0;
  char *header = strcasestr(item->input, "\r\ncontent-length:");
  *end = '\r';
  if (header) length += strtoul(header + strlen("\r\ncontent-length:"), NULL, 10);
  return length <= item->input_used ? length : 0;
}

static void receive(connection *item) {
  if (item->input_size - item->input_used < READ_BYTES + 1) {
    item->input_size = item->input_used + READ_BYTES * 2;
    item->input = realloc(item->input, item->input_size);
  }
  ssize_t got = recv(item->fd, item->input + item->input_used, item->input_size - item->input_used - 1, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    drop(item);
    return;
  }
  item->input_used += (size_t)got;
  size_t length = request_length(item);
  if (length == 0) return;
  item->input[item->input_used] = 0;
  item->input_used = 0;
  begin(item, item->input);
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int on = 1, send_bytes = 1 << 20;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    connection *item = calloc(1, sizeof *item);
    item->fd = fd;
    item->heap_index = -1;
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = item};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &interest);
  }
}

static void arm(void) {
  struct itimerspec when = {0};
  if (heap_used > 0) {
    when.it_value.tv_sec = heap[0]->due_us / 1000000;
    when.it_value.tv_nsec = heap[0]->due_us % 1000000 * 1000 + 1;
  }
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static int listen_somewhere(void) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0) {
    perror("listen");
    exit(1);
  }
  getsockname(listener, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

static void watch(int fd, int *marker) {
  struct epoll_event interest = {.events = EPOLLIN, .data.ptr = marker};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &interest);
}

int main(int count, char **words) {
  struct rlimit files;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (count < 2) {
    fprintf(stderr, "usage: stream-server unary-reply.json\n");
    return 2;
  }
  prepare_unary(words[1]);
  prepare();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  int listener = listen_somewhere(), listener_mark, timer_mark;
  watch(listener, &listener_mark);
  watch(timer_fd, &timer_mark);
  struct epoll_event events[256];
  for (;;) {
    int ready = epoll_wait(epoll_fd, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      void *source = events[i].data.ptr;
      uint64_t expirations;
      if (source == &listener_mark) accept_all(listener);
      else if (source == &timer_mark) (void)!read(timer_fd, &expirations, sizeof expirations);
      else receive(source);
    }
    int64_t now = now_us();
    while (heap_used > 0 && heap[0]->due_us <= now) advance(heap[0]);
    arm();
  }
}
