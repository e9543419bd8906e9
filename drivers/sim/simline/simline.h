/* simline.cti: a GenTL producer that behaves like a triggered area-scan camera.
 *
 * Each $SIMLINE_DIR/SERIAL.sock is one camera head, offered by the box that simulates the line.  The camera itself
 * lives here, in the consumer's process, as a vendor's driver would: a thread per open device that counts edges,
 * exposes, transfers.  It knows light (scene table) and wires (edges), never a unit number.
 *
 * Locking: `device.mutex` guards registers, camera and stream.  Picture copies run outside it on a buffer in state
 * BUF_FILLING, which nobody else touches.  Module lists are only used by the consumer's thread, as GenTL callers do. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "gentl.h"
#include "protocol.h"

#define MAX_DEVICES 16
#define MAX_BUFFERS 64
#define MAX_EDGES 256
#define MAX_SHOTS 16
#define MAX_FAULTS 32
#define REGISTER_SPACE 4096u
#define LINE_SOFTWARE 0xFFFFu
#define FOREVER INT64_MAX

typedef struct { int64_t due_ns, encoder; uint32_t line, line_status; } edge_t;
typedef struct { int64_t from_ns, argument; uint32_t kind; } fault_t;

/* One exposure, from the edge to the transfer. */
typedef struct {
  uint64_t frame_id, device_ts, counter[2];
  int64_t start_ns, ready_ns, encoder;
  double exposure_us;
  uint32_t picture, line_status, flags, ordinal, width, height, chunk_mask;
} shot_t;

typedef struct {
  bool acquiring;
  uint32_t ordinal;
  uint64_t next_frame_id, counter[2], noise;
  int64_t busy_until_ns, next_free_run_ns, clock_zero, latched_ts, encoder;
  uint32_t line_status;
  edge_t edges[MAX_EDGES];
  size_t edge_count;
  shot_t shots[MAX_SHOTS];
  size_t shot_count;
  fault_t faults[MAX_FAULTS];
  size_t fault_count;
  shot_t held; /* a frame that REORDER keeps back */
  bool holding;
} camera_t;

enum buffer_state { BUF_NONE = 0, BUF_USER, BUF_QUEUED, BUF_FILLING, BUF_FILLED };

typedef struct {
  enum buffer_state state;
  bool own_memory, new_data, incomplete, chunks, larger;
  uint8_t *memory;
  size_t size, filled, chunk_offset;
  void *user;
  uint64_t frame_id, device_ts;
  uint32_t width, height, chunk_mask;
} buffer_t;

typedef struct { buffer_t *items[MAX_BUFFERS]; size_t head, count; } queue_t;

typedef struct {
  bool open, grabbing, registered, killed;
  buffer_t buffers[MAX_BUFFERS];
  queue_t input, output;
  uint64_t delivered, underrun, incomplete, fired;
  int event; /* its address is the event handle */
} stream_t;

typedef struct {
  char id[64];
  bool known, present, open;
  atomic_bool lost, quit;
  int socket, wake;
  int port; /* its address is the handle of the remote port */
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  uint8_t *memory;
  size_t memory_size;
  sl_header *header;
  uint8_t registers[REGISTER_SPACE];
  camera_t camera;
  stream_t stream;
} device_t;

typedef struct {
  bool initialised, system_open, interface_open;
  int system, interface; /* their addresses are the handles */
  device_t devices[MAX_DEVICES];
} library_t;

extern library_t library;

/* errors.c */
int32_t fail(enum gc_error code, const char *format, ...) __attribute__((format(printf, 2, 3)));
int32_t give(int32_t *type, void *out, size_t *size, enum gc_info_type kind, const void *value, size_t length);
int32_t give_string(int32_t *type, void *out, size_t *size, const char *value);
int32_t give_bool(int32_t *type, void *out, size_t *size, bool value);
int32_t give_i32(int32_t *type, void *out, size_t *size, int32_t value);
int32_t give_u32(int32_t *type, void *out, size_t *size, uint32_t value);
int32_t give_u64(int32_t *type, void *out, size_t *size, uint64_t value);
int32_t give_size(int32_t *type, void *out, size_t *size, size_t value);
int32_t give_pointer(int32_t *type, void *out, size_t *size, const void *value);

/* library.c */
device_t *open_device_of(gc_handle handle);
device_t *device_of_port(gc_handle handle);
device_t *device_of_stream(gc_handle handle);
device_t *device_of_event(gc_handle handle);
device_t *device_by_id(const char *id);

/* device.c */
int32_t device_info(const device_t *device, int32_t command, int32_t *type, void *out, size_t *size);
void device_close(device_t *device);

/* registers.c: the caller holds the mutex, registers_read and registers_write take it */
void registers_power_on(device_t *device);
uint32_t register_u32(const device_t *device, uint32_t address);
double register_f64(const device_t *device, uint32_t address);
size_t payload_size(const device_t *device);
int32_t registers_read(device_t *device, uint64_t address, void *out, size_t size);
int32_t registers_write(device_t *device, uint64_t address, const void *value, size_t size);

/* camera.c: physics; the caller holds the mutex */
void camera_power_on(device_t *device);
void camera_start(device_t *device);
void camera_stop(device_t *device);
void camera_queue_edge(device_t *device, edge_t edge);
void camera_arm_fault(device_t *device, fault_t fault);
int64_t camera_next_event(device_t *device);
bool camera_step(device_t *device, int64_t now_ns, shot_t *finished);
int64_t camera_clock(device_t *device, int64_t now_ns);
void camera_reset_counter(device_t *device, uint32_t index);
size_t camera_chunk_bytes(uint32_t mask);
bool camera_take_fault(device_t *device, uint32_t kind, int64_t at_ns, int64_t *argument);

/* transfer.c: from exposure to announced buffers */
void transfer_shot(device_t *device, shot_t *shot);

/* engine.c: the device's thread */
int64_t monotonic_ns(void);
void *engine_main(void *device);
void engine_wake(device_t *device);
void engine_send(device_t *device, const sl_message *message);

/* stream.c: queues; the caller holds the mutex */
buffer_t *queue_pop(queue_t *queue);
void queue_push(queue_t *queue, buffer_t *buffer);
void stream_close(device_t *device);
