/* Data stream and buffer modules, and the new-buffer event. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "simline.h"

#define NEED_STREAM(handle) \
  device_t *device = device_of_stream(handle); \
  if (!device) return fail(GC_ERR_INVALID_HANDLE, "%s: not a stream", __func__); \
  stream_t *stream = &device->stream
#define NEED_EVENT(handle) \
  device_t *device = device_of_event(handle); \
  if (!device) return fail(GC_ERR_INVALID_HANDLE, "%s: not an event", __func__); \
  stream_t *stream = &device->stream

/* ---- queues -------------------------------------------------------------------------------------------------------- */

void queue_push(queue_t *queue, buffer_t *buffer) {
  queue->items[(queue->head + queue->count++) % MAX_BUFFERS] = buffer;
}

buffer_t *queue_pop(queue_t *queue) {
  if (!queue->count) return NULL;
  buffer_t *buffer = queue->items[queue->head];
  queue->head = (queue->head + 1) % MAX_BUFFERS;
  queue->count--;
  return buffer;
}

static void move_all(queue_t *from, queue_t *to, enum buffer_state state) {
  for (buffer_t *buffer; (buffer = queue_pop(from));) {
    buffer->state = state;
    if (to) queue_push(to, buffer);
  }
}

static bool filling(const stream_t *stream) {
  for (size_t i = 0; i < MAX_BUFFERS; i++)
    if (stream->buffers[i].state == BUF_FILLING) return true;
  return false;
}

static buffer_t *buffer_of(stream_t *stream, gc_handle handle) {
  for (size_t i = 0; i < MAX_BUFFERS; i++)
    if (handle == &stream->buffers[i] && stream->buffers[i].state != BUF_NONE) return &stream->buffers[i];
  return NULL;
}

static size_t announced(const stream_t *stream) {
  size_t count = 0;
  for (size_t i = 0; i < MAX_BUFFERS; i++) count += stream->buffers[i].state != BUF_NONE;
  return count;
}

/* ---- stream ----------------------------------------------------------------------------------------------------------- */

void stream_close(device_t *device) {
  stream_t *stream = &device->stream;
  for (size_t i = 0; i < MAX_BUFFERS; i++)
    if (stream->buffers[i].own_memory) free(stream->buffers[i].memory);
  memset(stream, 0, sizeof *stream);
}

static void stop_grabbing(device_t *device) {
  pthread_mutex_lock(&device->mutex);
  device->stream.grabbing = false;
  pthread_cond_broadcast(&device->changed); /* a frame may wait for a buffer */
  while (filling(&device->stream)) pthread_cond_wait(&device->changed, &device->mutex);
  pthread_mutex_unlock(&device->mutex);
}

GC_API DSClose(gc_handle handle) {
  NEED_STREAM(handle);
  stop_grabbing(device);
  pthread_mutex_lock(&device->mutex);
  stream_close(device);
  pthread_mutex_unlock(&device->mutex);
  return stream->open ? GC_ERR_ERROR : GC_OK;
}

GC_API DSGetParentDev(gc_handle handle, gc_handle *parent) {
  NEED_STREAM(handle);
  *parent = device;
  return stream->open ? GC_OK : GC_ERR_ERROR;
}

static int32_t announce(device_t *device, void *memory, size_t size, void *user, bool own, gc_handle *out) {
  for (size_t i = 0; i < MAX_BUFFERS; i++) {
    buffer_t *buffer = &device->stream.buffers[i];
    if (buffer->state != BUF_NONE) continue;
    pthread_mutex_lock(&device->mutex);
    *buffer = (buffer_t){.state = BUF_USER, .memory = memory, .size = size, .user = user, .own_memory = own};
    pthread_mutex_unlock(&device->mutex);
    *out = buffer;
    return GC_OK;
  }
  return fail(GC_ERR_RESOURCE_IN_USE, "%s takes at most %d buffers", device->id, MAX_BUFFERS);
}

GC_API DSAnnounceBuffer(gc_handle handle, void *memory, size_t size, void *user, gc_handle *out) {
  NEED_STREAM(handle);
  if (!memory || !size || stream->grabbing) return fail(GC_ERR_INVALID_PARAMETER, "no memory, or grabbing");
  return announce(device, memory, size, user, false, out);
}

GC_API DSAllocAndAnnounceBuffer(gc_handle handle, size_t size, void *user, gc_handle *out) {
  NEED_STREAM(handle);
  void *memory = stream->grabbing ? NULL : malloc(size);
  if (!memory) return fail(GC_ERR_ERROR, "no memory, or grabbing");
  int32_t result = announce(device, memory, size, user, true, out);
  if (result) free(memory);
  return result;
}

GC_API DSQueueBuffer(gc_handle handle, gc_handle which) {
  NEED_STREAM(handle);
  buffer_t *buffer = buffer_of(stream, which);
  if (!buffer) return fail(GC_ERR_INVALID_HANDLE, "not a buffer");
  if (buffer->state != BUF_USER) return fail(GC_ERR_BUSY, "the buffer is queued or not yet fetched");
  pthread_mutex_lock(&device->mutex);
  buffer->state = BUF_QUEUED;
  buffer->new_data = false;
  queue_push(&stream->input, buffer);
  pthread_cond_broadcast(&device->changed);
  pthread_mutex_unlock(&device->mutex);
  return GC_OK;
}

GC_API DSRevokeBuffer(gc_handle handle, gc_handle which, void **memory, void **user) {
  NEED_STREAM(handle);
  buffer_t *buffer = buffer_of(stream, which);
  if (!buffer) return fail(GC_ERR_INVALID_HANDLE, "not a buffer");
  if (stream->grabbing || buffer->state != BUF_USER)
    return fail(GC_ERR_BUSY, "%s: stop the stream and flush its queues before revoking", device->id);
  if (memory) *memory = buffer->own_memory ? NULL : buffer->memory;
  if (user) *user = buffer->user;
  if (buffer->own_memory) free(buffer->memory);
  memset(buffer, 0, sizeof *buffer);
  return GC_OK;
}

static void queue_unqueued(stream_t *stream) {
  for (size_t i = 0; i < MAX_BUFFERS; i++) {
    if (stream->buffers[i].state != BUF_USER) continue;
    stream->buffers[i].state = BUF_QUEUED;
    queue_push(&stream->input, &stream->buffers[i]);
  }
}

GC_API DSFlushQueue(gc_handle handle, int32_t operation) {
  NEED_STREAM(handle);
  pthread_mutex_lock(&device->mutex);
  switch (operation) {
    case QUEUE_INPUT_TO_OUTPUT: move_all(&stream->input, &stream->output, BUF_FILLED); break;
    case QUEUE_OUTPUT_DISCARD: move_all(&stream->output, NULL, BUF_USER); break;
    case QUEUE_ALL_TO_INPUT:
      move_all(&stream->output, NULL, BUF_USER);
      queue_unqueued(stream);
      break;
    case QUEUE_UNQUEUED_TO_INPUT: queue_unqueued(stream); break;
    case QUEUE_ALL_DISCARD:
      move_all(&stream->output, NULL, BUF_USER);
      move_all(&stream->input, NULL, BUF_USER);
      break;
    default: break;
  }
  pthread_cond_broadcast(&device->changed);
  pthread_mutex_unlock(&device->mutex);
  return GC_OK;
}

GC_API DSStartAcquisition(gc_handle handle, int32_t, uint64_t) {
  NEED_STREAM(handle);
  if (stream->grabbing) return fail(GC_ERR_RESOURCE_IN_USE, "%s is grabbing", device->id);
  pthread_mutex_lock(&device->mutex);
  stream->delivered = stream->underrun = stream->incomplete = 0;
  stream->grabbing = true;
  pthread_mutex_unlock(&device->mutex);
  return GC_OK;
}

GC_API DSStopAcquisition(gc_handle handle, int32_t) {
  NEED_STREAM(handle);
  if (!stream->grabbing) return fail(GC_ERR_RESOURCE_IN_USE, "%s is not grabbing", device->id);
  stop_grabbing(device);
  return GC_OK;
}

GC_API DSGetBufferID(gc_handle handle, uint32_t index, gc_handle *out) {
  NEED_STREAM(handle);
  for (size_t i = 0; i < MAX_BUFFERS; i++) {
    if (stream->buffers[i].state == BUF_NONE || index--) continue;
    *out = &stream->buffers[i];
    return GC_OK;
  }
  return fail(GC_ERR_INVALID_INDEX, "%s has fewer buffers", device->id);
}

GC_API DSGetInfo(gc_handle handle, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_STREAM(handle);
  switch (command) {
    case STREAM_ID: return give_string(type, out, size, "stream0");
    case STREAM_DELIVERED: case STREAM_STARTED: return give_u64(type, out, size, stream->delivered);
    case STREAM_UNDERRUN: return give_u64(type, out, size, stream->underrun);
    case STREAM_ANNOUNCED: return give_size(type, out, size, announced(stream));
    case STREAM_QUEUED: return give_size(type, out, size, stream->input.count);
    case STREAM_AWAIT_DELIVERY: return give_size(type, out, size, stream->output.count);
    case STREAM_PAYLOAD_SIZE: return give_size(type, out, size, payload_size(device));
    case STREAM_GRABBING: return give_bool(type, out, size, stream->grabbing);
    case STREAM_DEFINES_PAYLOAD: return give_bool(type, out, size, false);
    case STREAM_TLTYPE: return give_string(type, out, size, "Custom");
    case STREAM_CHUNKS_MAX: return give_size(type, out, size, 8);
    case STREAM_ANNOUNCE_MIN: case STREAM_ALIGNMENT: return give_size(type, out, size, 1);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "stream info %d", command);
  }
}

/* ---- new-buffer event ---------------------------------------------------------------------------------------------- */

GC_API GCRegisterEvent(gc_handle handle, int32_t type, gc_handle *event) {
  device_t *device = device_of_stream(handle);
  if (!device || type != EVENT_NEW_BUFFER) return fail(GC_ERR_NOT_IMPLEMENTED, "event %d", type);
  if (device->stream.registered) return fail(GC_ERR_RESOURCE_IN_USE, "the event is registered");
  device->stream.registered = true;
  *event = &device->stream.event;
  return GC_OK;
}

GC_API GCUnregisterEvent(gc_handle handle, int32_t) {
  NEED_STREAM(handle);
  if (!stream->registered) return fail(GC_ERR_INVALID_HANDLE, "%s: no event is registered", device->id);
  stream->registered = false;
  return GC_OK;
}

static struct timespec deadline(uint64_t timeout_ms) {
  int64_t at_ns = monotonic_ns() + (int64_t)(timeout_ms < 86400000u ? timeout_ms : 86400000u) * 1000000;
  return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
}

static buffer_t *await_buffer(device_t *device, uint64_t timeout_ms) {
  stream_t *stream = &device->stream;
  struct timespec until = deadline(timeout_ms);
  while (!stream->output.count && !stream->killed)
    if (pthread_cond_timedwait(&device->changed, &device->mutex, &until) == ETIMEDOUT) break;
  return stream->killed ? NULL : queue_pop(&stream->output);
}

GC_API EventGetData(gc_handle handle, void *out, size_t *size, uint64_t timeout_ms) {
  NEED_EVENT(handle);
  gc_new_buffer_event answer = {NULL, NULL};
  if (!out || !size || *size < sizeof answer) return fail(GC_ERR_BUFFER_TOO_SMALL, "16 bytes are needed");
  pthread_mutex_lock(&device->mutex);
  buffer_t *buffer = await_buffer(device, timeout_ms);
  bool killed = stream->killed;
  stream->killed = false;
  if (buffer) {
    buffer->state = BUF_USER;
    answer = (gc_new_buffer_event){buffer, buffer->user};
  }
  pthread_mutex_unlock(&device->mutex);
  if (!buffer) return fail(killed ? GC_ERR_ABORT : GC_ERR_TIMEOUT, killed ? "wait aborted" : "no frame in time");
  memcpy(out, &answer, sizeof answer);
  *size = sizeof answer;
  return GC_OK;
}

GC_API EventGetDataInfo(gc_handle handle, const void *in, size_t in_size, int32_t command, int32_t *type, void *out,
                        size_t *size) {
  NEED_EVENT(handle);
  gc_new_buffer_event event;
  if (!in || in_size < sizeof event || !stream->registered) return fail(GC_ERR_INVALID_PARAMETER, "%s", device->id);
  memcpy(&event, in, sizeof event);
  if (command == 0) return give_pointer(type, out, size, event.buffer);
  if (command == 1) return give_pointer(type, out, size, event.user);
  return fail(GC_ERR_NOT_IMPLEMENTED, "event data info %d", command);
}

GC_API EventGetInfo(gc_handle handle, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_EVENT(handle);
  switch (command) {
    case EVENT_INFO_TYPE: return give_i32(type, out, size, EVENT_NEW_BUFFER);
    case EVENT_INFO_IN_QUEUE: return give_size(type, out, size, stream->output.count);
    case EVENT_INFO_FIRED: return give_u64(type, out, size, stream->fired);
    case EVENT_INFO_SIZE_MAX: case EVENT_INFO_DATA_SIZE_MAX:
      return give_size(type, out, size, sizeof(gc_new_buffer_event));
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "%s: event info %d", device->id, command);
  }
}

GC_API EventFlush(gc_handle handle) {
  NEED_EVENT(handle);
  pthread_mutex_lock(&device->mutex);
  move_all(&stream->output, NULL, BUF_USER);
  pthread_mutex_unlock(&device->mutex);
  return GC_OK;
}

GC_API EventKill(gc_handle handle) {
  NEED_EVENT(handle);
  pthread_mutex_lock(&device->mutex);
  stream->killed = true;
  pthread_cond_broadcast(&device->changed);
  pthread_mutex_unlock(&device->mutex);
  return GC_OK;
}
