/* Device module: connecting a camera head, switching it on, letting it go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "simline.h"

#define STREAM_NAME "stream0"
#define NEED_DEVICE(handle) \
  device_t *device = open_device_of(handle); \
  if (!device) return fail(GC_ERR_INVALID_HANDLE, "%s: not an open device", __func__)

int32_t device_info(const device_t *device, int32_t command, int32_t *type, void *out, size_t *size) {
  char text[96];
  switch (command) {
    case DEV_ID: case DEV_SERIAL: case DEV_USER_NAME: return give_string(type, out, size, device->id);
    case DEV_VENDOR: return give_string(type, out, size, "Linewarden");
    case DEV_MODEL: return give_string(type, out, size, "SimLine");
    case DEV_TLTYPE: return give_string(type, out, size, "Custom");
    case DEV_DISPLAYNAME:
      snprintf(text, sizeof text, "SimLine (%s)", device->id);
      return give_string(type, out, size, text);
    case DEV_ACCESS_STATUS:
      return give_i32(type, out, size, device->open ? DEV_STATUS_OPEN_READWRITE : DEV_STATUS_READWRITE);
    case DEV_VERSION: return give_string(type, out, size, "1.0.0");
    case DEV_TIMESTAMP_FREQUENCY: return give_u64(type, out, size, 1000000000u);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "device info %d", command);
  }
}

/* ---- the head's cable ------------------------------------------------------------------------------------------- */

static int connect_head(const char *id) {
  const char *folder = getenv("SIMLINE_DIR");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s.sock", folder ? folder : ".", id);
  if (length < 0 || (size_t)length >= sizeof address.sun_path) return -1;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  struct timeval patience = {.tv_sec = 1};
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (!connect(fd, (struct sockaddr *)&address, sizeof address)) return fd;
  close(fd);
  return -1;
}

static int receive_memory(int fd) {
  sl_message message = {.type = SL_HELLO, .code = SL_VERSION};
  if (send(fd, &message, sizeof message, MSG_NOSIGNAL) != (ssize_t)sizeof message) return -1;
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
  struct iovec io = {&message, sizeof message};
  struct msghdr header = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (recvmsg(fd, &header, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof message) return -1;
  struct cmsghdr *attached = CMSG_FIRSTHDR(&header);
  if (!attached || attached->cmsg_type != SCM_RIGHTS) return -1;
  int memory;
  memcpy(&memory, CMSG_DATA(attached), sizeof memory);
  return memory;
}

static bool header_fits(const sl_header *header, size_t size) {
  if (header->magic != SL_MAGIC || header->version != SL_VERSION) return false;
  if (header->width == 0 || header->height == 0 || header->width > 1u << 14 || header->height > 1u << 14) return false;
  if (header->pictures == 0 || header->pictures > 1u << 20 || header->background >= header->pictures) return false;
  uint64_t pool = (uint64_t)header->width * header->height * header->pictures;
  return header->pixel_format == GC_PFNC_MONO8 && header->pool_offset + pool <= size &&
         header->scene_offset + SL_SCENES * sizeof(sl_scene) <= header->pool_offset;
}

static bool map_memory(device_t *device, int memory) {
  struct stat status;
  if (fstat(memory, &status) || (size_t)status.st_size < sizeof(sl_header)) return false;
  device->memory_size = (size_t)status.st_size;
  device->memory = mmap(NULL, device->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (device->memory == MAP_FAILED) return false;
  device->header = (sl_header *)device->memory;
  if (header_fits(device->header, device->memory_size)) return true;
  munmap(device->memory, device->memory_size);
  return false;
}

static void prepare_locks(device_t *device) {
  pthread_condattr_t attributes;
  pthread_mutex_init(&device->mutex, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&device->changed, &attributes);
  pthread_condattr_destroy(&attributes);
}

static void release_head(device_t *device) {
  pthread_mutex_destroy(&device->mutex);
  pthread_cond_destroy(&device->changed);
  munmap(device->memory, device->memory_size);
  close(device->socket);
  close(device->wake);
}

static int32_t switch_on(device_t *device) {
  device->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  device->lost = device->quit = false;
  prepare_locks(device);
  memset(&device->stream, 0, sizeof device->stream);
  camera_power_on(device);
  registers_power_on(device);
  if (device->wake < 0 || pthread_create(&device->thread, NULL, engine_main, device)) {
    release_head(device);
    return fail(GC_ERR_ERROR, "%s: no thread for the camera", device->id);
  }
  device->open = true;
  return GC_OK;
}

GC_API IFOpenDevice(gc_handle interface, const char *id, int32_t, gc_handle *handle) {
  if (interface != &library.interface) return fail(GC_ERR_INVALID_HANDLE, "not an interface");
  device_t *device = device_by_id(id);
  if (!device) return fail(GC_ERR_INVALID_ID, "no device %s", id ? id : "");
  if (device->open) return fail(GC_ERR_RESOURCE_IN_USE, "%s is open", id);
  device->socket = connect_head(id);
  if (device->socket < 0) return fail(GC_ERR_IO, "%s: %s", id, strerror(errno));
  int memory = receive_memory(device->socket);
  bool mapped = memory >= 0 && map_memory(device, memory);
  if (memory >= 0) close(memory);
  if (!mapped) {
    close(device->socket);
    return fail(memory < 0 ? GC_ERR_ACCESS_DENIED : GC_ERR_IO, "%s: %s", id,
                memory < 0 ? "no answer, or open in another process" : "camera head speaks another version");
  }
  int32_t result = switch_on(device);
  *handle = device;
  return result;
}

void device_close(device_t *device) {
  device->quit = true;
  engine_wake(device);
  pthread_join(device->thread, NULL);
  stream_close(device);
  device->open = false;
  release_head(device);
}

GC_API DevClose(gc_handle handle) {
  NEED_DEVICE(handle);
  device_close(device);
  return GC_OK;
}

GC_API DevGetInfo(gc_handle handle, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_DEVICE(handle);
  return device_info(device, command, type, out, size);
}

GC_API DevGetParentIF(gc_handle handle, gc_handle *interface) {
  NEED_DEVICE(handle);
  *interface = &library.interface;
  return device ? GC_OK : GC_ERR_INVALID_HANDLE;
}

GC_API DevGetPort(gc_handle handle, gc_handle *port) {
  NEED_DEVICE(handle);
  *port = &device->port;
  return GC_OK;
}

GC_API DevGetNumDataStreams(gc_handle handle, uint32_t *count) {
  NEED_DEVICE(handle);
  *count = device->open;
  return GC_OK;
}

GC_API DevGetDataStreamID(gc_handle handle, uint32_t index, char *out, size_t *size) {
  NEED_DEVICE(handle);
  if (index) return fail(GC_ERR_INVALID_INDEX, "%s has one stream", device->id);
  return give_string(NULL, out, size, STREAM_NAME);
}

GC_API DevOpenDataStream(gc_handle handle, const char *id, gc_handle *stream) {
  NEED_DEVICE(handle);
  if (!id || strcmp(id, STREAM_NAME)) return fail(GC_ERR_INVALID_ID, "no stream %s", id ? id : "");
  if (device->stream.open) return fail(GC_ERR_RESOURCE_IN_USE, "the stream of %s is open", device->id);
  device->stream.open = true;
  *stream = &device->stream;
  return GC_OK;
}
