/* Ports: the GenApi description of every module, and access to registers. */
#include <stdio.h>
#include <string.h>
#include "descriptions.h"
#include "simline.h"

#define XML_ADDRESS 0x100000ull

typedef struct { const char *xml, *file, *port, *module; size_t length; device_t *device, *stream; } port_t;

static port_t port_of(gc_handle handle) {
  port_t module = {.xml = XML_MODULE, .length = sizeof XML_MODULE - 1, .port = "ModulePort"};
  device_t *device = device_of_port(handle), *stream = device_of_stream(handle);
  if (device)
    return (port_t){XML_DEVICE, "simline_device.xml", "Device", "Device", sizeof XML_DEVICE - 1, device, NULL};
  if (stream)
    return (port_t){XML_STREAM, "simline_stream.xml", "StreamPort", "TLDataStream", sizeof XML_STREAM - 1, NULL, stream};
  if (handle == &library.system) module.file = "simline_system.xml", module.module = "TLSystem";
  else if (handle == &library.interface) module.file = "simline_interface.xml", module.module = "TLInterface";
  else if (open_device_of(handle)) module.file = "simline_local.xml", module.module = "TLDevice";
  else module.xml = NULL;
  return module;
}

#define NEED_PORT(handle) \
  port_t port = port_of(handle); \
  if (!port.xml) return fail(GC_ERR_INVALID_HANDLE, "%s: not a module with a port", __func__)

static int32_t read_xml(const port_t *port, uint64_t offset, void *out, size_t size) {
  if (offset > port->length) return fail(GC_ERR_INVALID_ADDRESS, "past the end of %s", port->file);
  size_t left = port->length - offset;
  memset(out, ' ', size);
  memcpy(out, port->xml + offset, size < left ? size : left);
  return GC_OK;
}

static int32_t read_statistics(device_t *device, uint64_t address, void *out, size_t size) {
  pthread_mutex_lock(&device->mutex);
  const stream_t *stream = &device->stream;
  const uint64_t values[] = {stream->delivered, stream->underrun, stream->incomplete, stream->input.count};
  pthread_mutex_unlock(&device->mutex);
  if (address + size > sizeof values) return fail(GC_ERR_INVALID_ADDRESS, "no such stream register");
  memcpy(out, (const uint8_t *)values + address, size);
  return GC_OK;
}

GC_API GCReadPort(gc_handle handle, uint64_t address, void *out, size_t *size) {
  NEED_PORT(handle);
  if (address >= XML_ADDRESS) return read_xml(&port, address - XML_ADDRESS, out, *size);
  if (port.device) return registers_read(port.device, address, out, *size);
  if (port.stream) return read_statistics(port.stream, address, out, *size);
  return fail(GC_ERR_INVALID_ADDRESS, "%s has no registers", port.module);
}

GC_API GCWritePort(gc_handle handle, uint64_t address, const void *value, size_t *size) {
  NEED_PORT(handle);
  if (!port.device) return fail(GC_ERR_ACCESS_DENIED, "%s is read-only", port.module);
  return registers_write(port.device, address, value, *size);
}

GC_API GCReadPortStacked(gc_handle handle, gc_register_access *entries, size_t *count) {
  for (size_t i = 0; i < *count; i++) {
    size_t size = entries[i].size;
    int32_t result = GCReadPort(handle, entries[i].address, entries[i].buffer, &size);
    if (!result) continue;
    *count = i;
    return result;
  }
  return GC_OK;
}

GC_API GCWritePortStacked(gc_handle handle, gc_register_access *entries, size_t *count) {
  for (size_t i = 0; i < *count; i++) {
    size_t size = entries[i].size;
    int32_t result = GCWritePort(handle, entries[i].address, entries[i].buffer, &size);
    if (!result) continue;
    *count = i;
    return result;
  }
  return GC_OK;
}

GC_API GCGetNumPortURLs(gc_handle handle, uint32_t *count) {
  NEED_PORT(handle);
  *count = port.length > 0;
  return GC_OK;
}

GC_API GCGetPortURLInfo(gc_handle handle, uint32_t index, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_PORT(handle);
  char url[128];
  if (index) return fail(GC_ERR_INVALID_INDEX, "one description per module");
  snprintf(url, sizeof url, "Local:%s;%llx;%zx?SchemaVersion=1.1.0", port.file, XML_ADDRESS, port.length);
  switch (command) {
    case URL_URL: return give_string(type, out, size, url);
    case URL_SCHEMA_MAJOR: case URL_SCHEMA_MINOR: case URL_FILE_MAJOR: return give_i32(type, out, size, 1);
    case URL_FILE_MINOR: case URL_FILE_SUBMINOR: case URL_SCHEME: return give_i32(type, out, size, 0);
    case URL_ADDRESS: return give_u64(type, out, size, XML_ADDRESS);
    case URL_SIZE: return give_u64(type, out, size, port.length);
    case URL_FILENAME: return give_string(type, out, size, port.file);
    default: return fail(GC_ERR_NOT_AVAILABLE, "URL info %d", command);
  }
}

GC_API GCGetPortURL(gc_handle handle, char *out, size_t *size) {
  return GCGetPortURLInfo(handle, 0, URL_URL, NULL, out, size);
}

GC_API GCGetPortInfo(gc_handle handle, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_PORT(handle);
  switch (command) {
    case PORT_ID: case PORT_PORTNAME: return give_string(type, out, size, port.port);
    case PORT_VENDOR: return give_string(type, out, size, "Linewarden");
    case PORT_MODEL: return give_string(type, out, size, "SimLine");
    case PORT_TLTYPE: return give_string(type, out, size, "Custom");
    case PORT_MODULE: return give_string(type, out, size, port.module);
    case PORT_LITTLE_ENDIAN: case PORT_ACCESS_READ: return give_bool(type, out, size, true);
    case PORT_ACCESS_WRITE: return give_bool(type, out, size, port.device != NULL);
    case PORT_BIG_ENDIAN: case PORT_ACCESS_NA: case PORT_ACCESS_NI: return give_bool(type, out, size, false);
    case PORT_VERSION: return give_string(type, out, size, "1.0.0");
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "port info %d", command);
  }
}
