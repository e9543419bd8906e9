/* The thread of one open device: it takes messages from the box and wakes at the due time of the next event. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "simline.h"

int64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void engine_wake(device_t *device) {
  uint64_t one = 1;
  if (write(device->wake, &one, sizeof one) < 0) device->quit |= errno == EBADF;
}

void engine_send(device_t *device, const sl_message *message) {
  if (send(device->socket, message, sizeof *message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof *message) return;
  __atomic_add_fetch(&device->header->truth_lost, 1, __ATOMIC_RELAXED);
}

static void take_message(device_t *device, const sl_message *message) {
  pthread_mutex_lock(&device->mutex);
  if (message->type == SL_EDGE)
    camera_queue_edge(device, (edge_t){.due_ns = message->when_ns, .encoder = message->value, .line = message->code,
                                       .line_status = message->line_status});
  if (message->type == SL_FAULT)
    camera_arm_fault(device, (fault_t){.from_ns = message->when_ns, .argument = message->value, .kind = message->code});
  pthread_mutex_unlock(&device->mutex);
}

/* False once the box has gone: the cable is out. */
static bool take_messages(device_t *device) {
  sl_message message;
  for (;;) {
    ssize_t length = recv(device->socket, &message, sizeof message, MSG_DONTWAIT);
    if (length < 0) return errno == EAGAIN || errno == EINTR;
    if (length == 0) return false;
    if (length == (ssize_t)sizeof message) take_message(device, &message);
  }
}

static void run_until_now(device_t *device) {
  shot_t shot;
  for (;;) {
    pthread_mutex_lock(&device->mutex);
    bool finished = camera_step(device, monotonic_ns(), &shot);
    pthread_mutex_unlock(&device->mutex);
    if (!finished) return;
    transfer_shot(device, &shot);
  }
}

static void sleep_until(device_t *device, int64_t due_ns) {
  struct pollfd sources[] = {{.fd = device->socket, .events = POLLIN}, {.fd = device->wake, .events = POLLIN}};
  int64_t left_ns = due_ns == FOREVER ? 0 : due_ns - monotonic_ns();
  if (left_ns < 0) left_ns = 0;
  struct timespec wait = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
  ppoll(sources, 2, due_ns == FOREVER ? NULL : &wait, NULL);
  uint64_t drained;
  if (sources[1].revents && read(device->wake, &drained, sizeof drained) < 0) return;
}

void *engine_main(void *argument) {
  device_t *device = argument;
  prctl(PR_SET_TIMERSLACK, 1ul);
  prctl(PR_SET_NAME, "simline");
  while (!device->quit && take_messages(device) && !device->lost) {
    run_until_now(device);
    pthread_mutex_lock(&device->mutex);
    int64_t next = camera_next_event(device);
    pthread_mutex_unlock(&device->mutex);
    sleep_until(device, next);
  }
  device->lost = true;
  return NULL;
}
