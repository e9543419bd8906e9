/* Transfer: from a finished exposure to the buffers that the consumer announced, with every way a link spoils it. */
#include <string.h>
#include "registers.h"
#include "simline.h"

enum { CHUNK_FRAME_ID, CHUNK_TIMESTAMP, CHUNK_EXPOSURE, CHUNK_COUNTER, CHUNK_ENCODER, CHUNK_LINE_STATUS, CHUNK_KINDS };
static const uint64_t chunk_ids[CHUNK_KINDS] = {CHUNK_ID_FrameID, CHUNK_ID_Timestamp, CHUNK_ID_ExposureTime,
                                                CHUNK_ID_CounterValue, CHUNK_ID_EncoderValue, CHUNK_ID_LineStatusAll};

static size_t chunk_length(unsigned kind) { return kind == CHUNK_COUNTER ? 16 : 8; }

size_t camera_chunk_bytes(uint32_t mask) {
  size_t total = 0;
  for (unsigned kind = 0; kind < CHUNK_KINDS; kind++)
    if (mask >> kind & 1) total += chunk_length(kind);
  return total;
}

/* The frame id as it goes over the wire; the truth that is reported to the box never wraps. */
static uint64_t wire_id(const device_t *device, const shot_t *shot) {
  return device->header->options & SL_O_GEV16 ? (shot->frame_id - 1) % 65535 + 1 : shot->frame_id;
}

static void write_chunks(const device_t *device, uint8_t *out, const shot_t *shot) {
  uint64_t frame_id = wire_id(device, shot), device_ts = shot->device_ts, line_status = shot->line_status;
  const void *values[CHUNK_KINDS] = {&frame_id, &device_ts, &shot->exposure_us, shot->counter, &shot->encoder,
                                     &line_status};
  for (unsigned kind = 0; kind < CHUNK_KINDS; kind++) {
    if (!(shot->chunk_mask >> kind & 1)) continue;
    memcpy(out, values[kind], chunk_length(kind));
    out += chunk_length(kind);
  }
}

static void write_pixels(const device_t *device, uint8_t *out, const shot_t *shot, size_t rows) {
  const sl_header *header = device->header;
  const uint8_t *picture = device->memory + header->pool_offset + (size_t)shot->picture * header->width * header->height;
  if (shot->width == header->width) {
    memcpy(out, picture, rows * shot->width);
    return;
  }
  for (size_t row = 0; row < rows; row++)
    memcpy(out + row * shot->width, picture + row * header->width, shot->width);
}

/* Anything but what was sent: xorshift over the bytes. */
static void garble(uint8_t *bytes, size_t count, uint64_t seed) {
  for (uint64_t x = seed | 1; count--; bytes++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    *bytes = (uint8_t)(x >> 32);
  }
}

static void fill(const device_t *device, buffer_t *buffer, const shot_t *shot) {
  size_t image = (size_t)shot->width * shot->height, chunks = camera_chunk_bytes(shot->chunk_mask);
  buffer->larger = image + chunks > buffer->size;
  buffer->incomplete = buffer->larger || shot->flags & SL_F_INCOMPLETE;
  size_t rows = buffer->incomplete ? shot->height / 2 : shot->height;
  if (buffer->incomplete && rows * shot->width > buffer->size) rows = 0;
  buffer->chunks = chunks && !buffer->incomplete;
  buffer->filled = rows * shot->width + (buffer->chunks ? chunks : 0);
  buffer->chunk_offset = image;
  buffer->chunk_mask = shot->chunk_mask;
  buffer->frame_id = wire_id(device, shot);
  buffer->device_ts = shot->device_ts;
  buffer->width = shot->width;
  buffer->height = shot->height;
  if (shot->flags & SL_F_STALE) return; /* the memory keeps what it held before */
  write_pixels(device, buffer->memory, shot, rows);
  if (buffer->chunks) write_chunks(device, buffer->memory + image, shot);
  if (buffer->chunks && shot->flags & SL_F_CORRUPT) garble(buffer->memory + image, chunks, shot->device_ts);
}

static buffer_t *claim_buffer(device_t *device) {
  stream_t *stream = &device->stream;
  buffer_t *buffer = NULL;
  pthread_mutex_lock(&device->mutex);
  while (device->header->options & SL_O_WAIT && stream->grabbing && !stream->input.count)
    pthread_cond_wait(&device->changed, &device->mutex);
  if (stream->grabbing) {
    buffer = queue_pop(&stream->input);
    if (buffer) buffer->state = BUF_FILLING;
    else stream->underrun++;
  }
  pthread_mutex_unlock(&device->mutex);
  return buffer;
}

static void hand_over(device_t *device, buffer_t *buffer) {
  stream_t *stream = &device->stream;
  pthread_mutex_lock(&device->mutex);
  buffer->state = BUF_FILLED;
  buffer->new_data = true;
  stream->delivered++;
  stream->fired++;
  stream->incomplete += buffer->incomplete;
  queue_push(&stream->output, buffer);
  pthread_cond_broadcast(&device->changed);
  pthread_mutex_unlock(&device->mutex);
}

static uint32_t deliver(device_t *device, const shot_t *shot) {
  buffer_t *buffer = claim_buffer(device);
  if (!buffer) return SL_F_UNDERRUN;
  fill(device, buffer, shot);
  hand_over(device, buffer);
  return SL_F_DELIVERED;
}

static void report(device_t *device, const shot_t *shot) {
  engine_send(device, &(sl_message){.type = SL_EXPOSED, .when_ns = shot->start_ns, .value = shot->encoder,
                                    .frame_id = shot->frame_id, .device_ts = shot->device_ts,
                                    .picture = shot->picture, .ordinal = shot->ordinal, .flags = shot->flags,
                                    .line_status = shot->line_status});
}

static void deliver_and_report(device_t *device, shot_t *shot) {
  if (!(shot->flags & SL_F_DROPPED)) shot->flags |= deliver(device, shot);
  if (shot->flags & SL_F_DUPLICATED) deliver(device, shot);
  report(device, shot);
}

/* Called by the engine's thread alone, without the mutex. */
void transfer_shot(device_t *device, shot_t *shot) {
  camera_t *camera = &device->camera;
  pthread_mutex_lock(&device->mutex);
  bool keep_back = shot->flags & SL_F_REORDERED && !camera->holding, release = camera->holding;
  shot_t held = camera->held;
  if (keep_back) camera->held = *shot;
  camera->holding = keep_back;
  pthread_mutex_unlock(&device->mutex);
  if (keep_back) return;
  deliver_and_report(device, shot);
  if (release) deliver_and_report(device, &held);
}

GC_API DSGetBufferChunkData(gc_handle stream, gc_handle handle, gc_chunk *out, size_t *count) {
  device_t *device = device_of_stream(stream);
  if (!device) return fail(GC_ERR_INVALID_HANDLE, "not a stream");
  const buffer_t *buffer = NULL;
  for (size_t i = 0; i < MAX_BUFFERS; i++)
    if (handle == &device->stream.buffers[i] && device->stream.buffers[i].state != BUF_NONE) buffer = handle;
  if (!buffer) return fail(GC_ERR_INVALID_HANDLE, "not a buffer");
  if (!buffer->chunks) return fail(GC_ERR_NO_DATA, "the buffer holds no chunks");
  size_t needed = (size_t)__builtin_popcount(buffer->chunk_mask), at = 0, offset = buffer->chunk_offset;
  if (out && *count < needed) return fail(GC_ERR_BUFFER_TOO_SMALL, "there are %zu chunks", needed);
  for (unsigned kind = 0; out && kind < CHUNK_KINDS; kind++) {
    if (!(buffer->chunk_mask >> kind & 1)) continue;
    out[at++] = (gc_chunk){chunk_ids[kind], (ptrdiff_t)offset, chunk_length(kind)};
    offset += chunk_length(kind);
  }
  *count = needed;
  return GC_OK;
}
