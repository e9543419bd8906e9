/* The camera's physics: counters, trigger, exposure, faults, device clock.  No system calls but the scene look-up.
 *
 * Everything is computed for the instant at which it happens (an edge's due time), not for the instant at which this
 * process gets to run: a late wake-up delays a delivery, as a busy host does, and never moves an exposure. */
#include <math.h>
#include <string.h>
#include "registers.h"
#include "simline.h"

enum { SOURCE_OFF, SOURCE_LINE0, SOURCE_LINE1, SOURCE_FRAME_TRIGGER, SOURCE_FRAME_TRIGGER_MISSED, SOURCE_FRAME_START };
enum { TRIGGER_SOFTWARE, TRIGGER_LINE0, TRIGGER_LINE1 };

static const struct { uint32_t kind, flag; } frame_faults[] = {
    {SL_DROP_FRAME, SL_F_DROPPED}, {SL_DUP_FRAME, SL_F_DUPLICATED}, {SL_REORDER, SL_F_REORDERED},
    {SL_INCOMPLETE, SL_F_INCOMPLETE}, {SL_STALE, SL_F_STALE}, {SL_CORRUPT, SL_F_CORRUPT}};

/* ---- device clock ------------------------------------------------------------------------------------------------- */

static int64_t noise_ns(device_t *device) {
  uint64_t x = device->camera.noise; /* xorshift64 */
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  device->camera.noise = x;
  uint64_t span = 2 * device->header->jitter_ns + 1;
  return (int64_t)(x % span) - (int64_t)device->header->jitter_ns;
}

int64_t camera_clock(device_t *device, int64_t now_ns) {
  int64_t since_boot = now_ns - device->header->boot_ns;
  int64_t drift = (int64_t)((__int128)since_boot * device->header->drift_ppb / 1000000000);
  return since_boot + drift - device->camera.clock_zero + noise_ns(device);
}

/* ---- counters ------------------------------------------------------------------------------------------------------ */

static void count(device_t *device, uint32_t source) {
  for (uint32_t i = 0; i < 2; i++)
    if (register_u32(device, REG_CounterEventSource + 4 * i) == source) device->camera.counter[i]++;
}

void camera_reset_counter(device_t *device, uint32_t index) {
  if (index < 2) device->camera.counter[index] = 0;
}

/* ---- faults that the box has ordered ----------------------------------------------------------------------------- */

void camera_arm_fault(device_t *device, fault_t fault) {
  camera_t *camera = &device->camera;
  if (camera->fault_count < MAX_FAULTS) camera->faults[camera->fault_count++] = fault;
}

bool camera_take_fault(device_t *device, uint32_t kind, int64_t at_ns, int64_t *argument) {
  camera_t *camera = &device->camera;
  for (size_t i = 0; i < camera->fault_count; i++) {
    if (camera->faults[i].kind != kind || camera->faults[i].from_ns > at_ns) continue;
    *argument = camera->faults[i].argument;
    memmove(&camera->faults[i], &camera->faults[i + 1], (--camera->fault_count - i) * sizeof(fault_t));
    return true;
  }
  return false;
}

/* ---- exposure -------------------------------------------------------------------------------------------------------- */

static uint32_t picture_at(const sl_header *header, int64_t at_ns) {
  const sl_scene *scenes = (const sl_scene *)((const uint8_t *)header + header->scene_offset);
  uint64_t newest = 0;
  uint32_t picture = header->background;
  for (size_t i = 0; i < SL_SCENES; i++) {
    uint64_t generation = __atomic_load_n(&scenes[i].generation, __ATOMIC_ACQUIRE);
    int64_t from_ns = scenes[i].from_ns, to_ns = scenes[i].to_ns;
    uint64_t candidate = scenes[i].picture;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (generation <= newest || generation != __atomic_load_n(&scenes[i].generation, __ATOMIC_RELAXED)) continue;
    if (from_ns > at_ns || at_ns >= to_ns || candidate >= header->pictures) continue;
    newest = generation;
    picture = (uint32_t)candidate;
  }
  return picture;
}

static int64_t exposure_ns(const device_t *device) {
  return llrint(register_f64(device, REG_ExposureTime) * 1000.0);
}

static int64_t frame_time_ns(const device_t *device) {
  return exposure_ns(device) + (int64_t)device->header->readout_ns;
}

static uint32_t fault_flags(device_t *device, int64_t at_ns) {
  uint32_t flags = 0;
  int64_t argument;
  for (size_t i = 0; i < sizeof frame_faults / sizeof *frame_faults; i++)
    if (camera_take_fault(device, frame_faults[i].kind, at_ns, &argument)) flags |= frame_faults[i].flag;
  return flags;
}

static void expose(device_t *device, int64_t at_ns, const edge_t *edge) {
  camera_t *camera = &device->camera;
  int64_t busy_ns = (int64_t)device->header->busy_ns;
  count(device, SOURCE_FRAME_START);
  camera->busy_until_ns = at_ns + (busy_ns ? busy_ns : frame_time_ns(device));
  camera->shots[camera->shot_count++] = (shot_t){
      .frame_id = camera->next_frame_id++,
      .device_ts = (uint64_t)camera_clock(device, at_ns),
      .counter = {camera->counter[0], camera->counter[1]},
      .start_ns = at_ns,
      .ready_ns = at_ns + frame_time_ns(device),
      .encoder = edge ? edge->encoder : camera->encoder,
      .line_status = edge ? edge->line_status : camera->line_status,
      .exposure_us = register_f64(device, REG_ExposureTime),
      .picture = picture_at(device->header, at_ns),
      .flags = fault_flags(device, at_ns),
      .ordinal = camera->ordinal,
      .width = register_u32(device, REG_Width),
      .height = register_u32(device, REG_Height),
      .chunk_mask = register_u32(device, REG_ChunkModeActive) ? register_u32(device, REG_ChunkMask) : 0,
  };
}

static bool refuses(device_t *device, int64_t at_ns) {
  camera_t *camera = &device->camera;
  int64_t duration;
  if (camera_take_fault(device, SL_BUSY, at_ns, &duration)) {
    camera->busy_until_ns = at_ns + duration;
    return true;
  }
  return at_ns < camera->busy_until_ns || camera->shot_count == MAX_SHOTS;
}

static void trigger(device_t *device, const edge_t *edge) {
  if (!device->camera.acquiring || !register_u32(device, REG_TriggerMode)) return;
  count(device, SOURCE_FRAME_TRIGGER);
  if (refuses(device, edge->due_ns)) count(device, SOURCE_FRAME_TRIGGER_MISSED);
  else expose(device, edge->due_ns, edge);
}

static void edge_arrives(device_t *device, const edge_t *edge) {
  uint32_t source = register_u32(device, REG_TriggerSource);
  if (edge->line != LINE_SOFTWARE) {
    device->camera.encoder = edge->encoder;
    device->camera.line_status = edge->line_status;
    count(device, edge->line == 1 ? SOURCE_LINE1 : SOURCE_LINE0);
  }
  bool fires = edge->line == LINE_SOFTWARE ? source == TRIGGER_SOFTWARE
                                           : source == (edge->line == 1 ? TRIGGER_LINE1 : TRIGGER_LINE0);
  if (fires) trigger(device, edge);
}

/* ---- events in the order of their time --------------------------------------------------------------------------- */

void camera_power_on(device_t *device) {
  memset(&device->camera, 0, sizeof device->camera);
  device->camera.noise = (uint64_t)device->header->boot_ns | 1;
  device->camera.busy_until_ns = INT64_MIN;
}

void camera_start(device_t *device) {
  camera_t *camera = &device->camera;
  camera->ordinal = __atomic_add_fetch(&device->header->acquisitions, 1, __ATOMIC_SEQ_CST);
  camera->next_frame_id = 1 + (device->header->options >> 16);
  camera->shot_count = 0;
  camera->holding = false;
  camera->busy_until_ns = INT64_MIN;
  camera->next_free_run_ns = monotonic_ns();
  camera->acquiring = true;
}

void camera_stop(device_t *device) {
  device->camera.acquiring = device->camera.holding = false;
  device->camera.shot_count = 0;
}

void camera_queue_edge(device_t *device, edge_t edge) {
  camera_t *camera = &device->camera;
  if (camera->edge_count < MAX_EDGES) camera->edges[camera->edge_count++] = edge;
}

static size_t earliest_edge(const camera_t *camera) {
  size_t best = 0;
  for (size_t i = 1; i < camera->edge_count; i++)
    if (camera->edges[i].due_ns < camera->edges[best].due_ns) best = i;
  return best;
}

static int64_t edge_time(const camera_t *camera) {
  return camera->edge_count ? camera->edges[earliest_edge(camera)].due_ns : FOREVER;
}

static int64_t free_run_time(const device_t *device) {
  bool free_running = device->camera.acquiring && !register_u32(device, REG_TriggerMode);
  return free_running ? device->camera.next_free_run_ns : FOREVER;
}

static int64_t shot_time(const camera_t *camera) { return camera->shot_count ? camera->shots[0].ready_ns : FOREVER; }

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t camera_next_event(device_t *device) {
  return earlier(edge_time(&device->camera), earlier(shot_time(&device->camera), free_run_time(device)));
}

static void free_run(device_t *device) {
  int64_t at_ns = device->camera.next_free_run_ns;
  device->camera.next_free_run_ns += llrint(1e9 / register_f64(device, REG_AcquisitionFrameRate));
  if (!refuses(device, at_ns)) expose(device, at_ns, NULL);
}

/* Runs the world up to `now_ns`, stops at the first finished exposure and hands it out. */
bool camera_step(device_t *device, int64_t now_ns, shot_t *finished) {
  camera_t *camera = &device->camera;
  for (int64_t next = camera_next_event(device); next <= now_ns; next = camera_next_event(device)) {
    if (next == shot_time(camera)) {
      *finished = camera->shots[0];
      memmove(camera->shots, camera->shots + 1, --camera->shot_count * sizeof(shot_t));
      return true;
    }
    if (next == edge_time(camera)) {
      size_t index = earliest_edge(camera);
      edge_t edge = camera->edges[index];
      camera->edges[index] = camera->edges[--camera->edge_count];
      edge_arrives(device, &edge);
    } else {
      free_run(device);
    }
  }
  return false;
}
