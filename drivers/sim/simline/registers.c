/* The register bank behind the device's node map.  Addresses and access come from gen_xml.py (registers.h). */
#include <string.h>
#include "registers.h"
#include "simline.h"

static const register_entry *entry_at(uint64_t address) {
  for (size_t i = 0; i < sizeof register_table / sizeof *register_table; i++)
    if (address >= register_table[i].address && address < register_table[i].address + register_table[i].length)
      return &register_table[i];
  return NULL;
}

uint32_t register_u32(const device_t *device, uint32_t address) {
  uint32_t value;
  memcpy(&value, device->registers + address, sizeof value);
  return value;
}

double register_f64(const device_t *device, uint32_t address) {
  double value;
  memcpy(&value, device->registers + address, sizeof value);
  return value;
}

static void set(device_t *device, uint32_t address, const void *value, size_t size) {
  memcpy(device->registers + address, value, size);
}

static void set_u32(device_t *device, uint32_t address, uint32_t value) { set(device, address, &value, sizeof value); }
static void set_i64(device_t *device, uint32_t address, int64_t value) { set(device, address, &value, sizeof value); }
static void set_f64(device_t *device, uint32_t address, double value) { set(device, address, &value, sizeof value); }

size_t payload_size(const device_t *device) {
  size_t image = (size_t)register_u32(device, REG_Width) * register_u32(device, REG_Height);
  bool chunks = register_u32(device, REG_ChunkModeActive);
  return image + (chunks ? camera_chunk_bytes(register_u32(device, REG_ChunkMask)) : 0);
}

void registers_power_on(device_t *device) {
  const sl_header *header = device->header;
  memset(device->registers, 0, sizeof device->registers);
  memcpy(device->registers + REG_DeviceVendorName, "Linewarden", 11);
  memcpy(device->registers + REG_DeviceVersion, "1.0.0", 6);
  memcpy(device->registers + REG_DeviceModelName, header->model, SL_NAME);
  memcpy(device->registers + REG_DeviceSerialNumber, header->serial, SL_NAME);
  memcpy(device->registers + REG_DeviceUserID, header->user_id, SL_NAME);
  set_u32(device, REG_SensorWidth, header->width);
  set_u32(device, REG_SensorHeight, header->height);
  set_u32(device, REG_Width, header->width);
  set_u32(device, REG_Height, header->height);
  set_u32(device, REG_PixelFormat, header->pixel_format);
  set_f64(device, REG_ExposureTime, (double)header->exposure_ns / 1000.0);
  set_f64(device, REG_AcquisitionFrameRate, 10.0);
  set_f64(device, REG_DeviceTemperature, 41.5);
}

static void refresh(device_t *device) {
  const camera_t *camera = &device->camera;
  set_u32(device, REG_PayloadSize, (uint32_t)payload_size(device));
  set_i64(device, REG_CounterValue, (int64_t)camera->counter[0]);
  set_i64(device, REG_CounterValue + 8, (int64_t)camera->counter[1]);
  set_i64(device, REG_TimestampLatchValue, camera->latched_ts);
  set_i64(device, REG_EncoderValue, camera->encoder);
  set_u32(device, REG_LineStatusAll, camera->line_status);
  uint32_t chunk = register_u32(device, REG_ChunkSelector);
  set_u32(device, REG_ChunkEnable, register_u32(device, REG_ChunkMask) >> chunk & 1);
}

static void software_trigger(device_t *device) {
  camera_t *camera = &device->camera;
  camera_queue_edge(device, (edge_t){.due_ns = monotonic_ns(), .encoder = camera->encoder, .line = LINE_SOFTWARE,
                                     .line_status = camera->line_status});
}

static void enable_chunk(device_t *device) {
  uint32_t bit = 1u << register_u32(device, REG_ChunkSelector), mask = register_u32(device, REG_ChunkMask);
  set_u32(device, REG_ChunkMask, register_u32(device, REG_ChunkEnable) ? mask | bit : mask & ~bit);
}

static void acquisition(device_t *device, bool start) {
  if (start) camera_start(device);
  else camera_stop(device);
  engine_send(device, &(sl_message){.type = SL_ACQUISITION, .code = start, .when_ns = monotonic_ns(),
                                    .ordinal = device->camera.ordinal});
}

static void power_cycle(device_t *device) {
  engine_send(device, &(sl_message){.type = SL_RESET, .when_ns = monotonic_ns()});
  device->lost = true;
}

/* What a write does beside storing the value. */
static void act_on(device_t *device, uint32_t address) {
  camera_t *camera = &device->camera;
  switch (address) {
    case REG_AcquisitionStart: acquisition(device, true); break;
    case REG_AcquisitionStop: acquisition(device, false); break;
    case REG_TriggerSoftware: software_trigger(device); break;
    case REG_TimestampLatch: camera->latched_ts = camera_clock(device, monotonic_ns()); break;
    case REG_TimestampReset: camera->clock_zero += camera_clock(device, monotonic_ns()); break;
    case REG_CounterReset: camera_reset_counter(device, 0); break;
    case REG_CounterReset + 4: camera_reset_counter(device, 1); break;
    case REG_ChunkEnable: enable_chunk(device); break;
    case REG_DeviceReset: power_cycle(device); break;
    default: break;
  }
}

static bool in_range(const device_t *device, uint32_t address) {
  uint32_t width = register_u32(device, REG_Width), height = register_u32(device, REG_Height);
  switch (address) {
    case REG_Width: return width >= 16 && width <= device->header->width;
    case REG_Height: return height >= 1 && height <= device->header->height;
    case REG_PixelFormat: return register_u32(device, REG_PixelFormat) == GC_PFNC_MONO8;
    case REG_ExposureTime: return register_f64(device, REG_ExposureTime) >= 1.0;
    case REG_AcquisitionFrameRate: return register_f64(device, REG_AcquisitionFrameRate) >= 0.1;
    case REG_ChunkSelector: return register_u32(device, REG_ChunkSelector) < 6;
    default: return true;
  }
}

static int32_t store(device_t *device, const register_entry *entry, const void *value, size_t size) {
  uint8_t before[8];
  memcpy(before, device->registers + entry->address, sizeof before);
  memcpy(device->registers + entry->address, value, size);
  if (in_range(device, entry->address)) return GC_OK;
  memcpy(device->registers + entry->address, before, sizeof before);
  return fail(GC_ERR_INVALID_PARAMETER, "value out of range for register 0x%x", entry->address);
}

int32_t registers_read(device_t *device, uint64_t address, void *out, size_t size) {
  if (device->lost) return fail(GC_ERR_IO, "%s: device lost", device->id);
  const register_entry *entry = entry_at(address);
  if (!entry || address + size > entry->address + (uint64_t)entry->length)
    return fail(GC_ERR_INVALID_ADDRESS, "%s: no register at 0x%llx", device->id, (unsigned long long)address);
  pthread_mutex_lock(&device->mutex);
  refresh(device);
  memcpy(out, device->registers + address, size);
  pthread_mutex_unlock(&device->mutex);
  return GC_OK;
}

int32_t registers_write(device_t *device, uint64_t address, const void *value, size_t size) {
  if (device->lost) return fail(GC_ERR_IO, "%s: device lost", device->id);
  const register_entry *entry = entry_at(address);
  if (!entry || address != entry->address || size != entry->length)
    return fail(GC_ERR_INVALID_ADDRESS, "%s: no register at 0x%llx", device->id, (unsigned long long)address);
  if (!entry->writable) return fail(GC_ERR_ACCESS_DENIED, "register 0x%x is read-only", entry->address);
  pthread_mutex_lock(&device->mutex);
  int32_t result = entry->locked && device->stream.grabbing
                       ? fail(GC_ERR_ACCESS_DENIED, "register 0x%x is locked while grabbing", entry->address)
                       : store(device, entry, value, size);
  if (!result) act_on(device, entry->address);
  pthread_mutex_unlock(&device->mutex);
  engine_wake(device);
  return result;
}
