/* Library, system and interface modules: initialisation, discovery, handle validation. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "simline.h"

#define INTERFACE_ID "simline0"
#define SUFFIX ".sock"

library_t library;

#define NEED_LIBRARY() \
  do { if (!library.initialised) return fail(GC_ERR_NOT_INITIALIZED, "call GCInitLib first"); } while (0)
#define NEED_SYSTEM(handle) \
  do { NEED_LIBRARY(); \
       if ((handle) != &library.system || !library.system_open) return fail(GC_ERR_INVALID_HANDLE, "not a system"); \
  } while (0)
#define NEED_INTERFACE(handle) \
  do { NEED_LIBRARY(); \
       if ((handle) != &library.interface || !library.interface_open) \
         return fail(GC_ERR_INVALID_HANDLE, "not an interface"); \
  } while (0)

/* ---- handles: every handle is the address of a live object, compared and never dereferenced unchecked ---------- */

device_t *open_device_of(gc_handle handle) {
  for (size_t i = 0; i < MAX_DEVICES; i++)
    if (handle == &library.devices[i] && library.devices[i].open) return &library.devices[i];
  return NULL;
}

device_t *device_of_port(gc_handle handle) {
  for (size_t i = 0; i < MAX_DEVICES; i++)
    if (handle == &library.devices[i].port && library.devices[i].open) return &library.devices[i];
  return NULL;
}

device_t *device_of_stream(gc_handle handle) {
  for (size_t i = 0; i < MAX_DEVICES; i++)
    if (handle == &library.devices[i].stream && library.devices[i].stream.open) return &library.devices[i];
  return NULL;
}

device_t *device_of_event(gc_handle handle) {
  for (size_t i = 0; i < MAX_DEVICES; i++)
    if (handle == &library.devices[i].stream.event && library.devices[i].stream.registered) return &library.devices[i];
  return NULL;
}

device_t *device_by_id(const char *id) {
  for (size_t i = 0; id && i < MAX_DEVICES; i++)
    if (library.devices[i].known && !strcmp(library.devices[i].id, id)) return &library.devices[i];
  return NULL;
}

/* ---- library ---------------------------------------------------------------------------------------------------- */

static void close_all_devices(void) {
  for (size_t i = 0; i < MAX_DEVICES; i++)
    if (library.devices[i].open) device_close(&library.devices[i]);
}

GC_API GCInitLib(void) {
  if (library.initialised) return fail(GC_ERR_RESOURCE_IN_USE, "already initialised");
  library.initialised = true;
  return GC_OK;
}

GC_API GCCloseLib(void) {
  NEED_LIBRARY();
  close_all_devices();
  library.initialised = library.system_open = library.interface_open = false;
  return GC_OK;
}

static int32_t system_info(int32_t command, int32_t *type, void *out, size_t *size) {
  switch (command) {
    case TL_ID: return give_string(type, out, size, "SimLineTL");
    case TL_VENDOR: return give_string(type, out, size, "Linewarden");
    case TL_MODEL: case TL_DISPLAYNAME: return give_string(type, out, size, "SimLine GenTL producer");
    case TL_VERSION: return give_string(type, out, size, "1.0.0");
    case TL_TLTYPE: return give_string(type, out, size, "Custom");
    case TL_NAME: case TL_PATHNAME: return give_string(type, out, size, "simline.cti");
    case TL_CHAR_ENCODING: return give_i32(type, out, size, 1);
    case TL_GENTL_MAJOR: return give_u32(type, out, size, 1);
    case TL_GENTL_MINOR: return give_u32(type, out, size, 5);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "system info %d", command);
  }
}

GC_API GCGetInfo(int32_t command, int32_t *type, void *out, size_t *size) {
  return system_info(command, type, out, size);
}

/* ---- system ------------------------------------------------------------------------------------------------------ */

GC_API TLOpen(gc_handle *system) {
  NEED_LIBRARY();
  if (library.system_open) return fail(GC_ERR_RESOURCE_IN_USE, "the system is open");
  library.system_open = true;
  *system = &library.system;
  return GC_OK;
}

GC_API TLClose(gc_handle system) {
  NEED_SYSTEM(system);
  close_all_devices();
  library.system_open = library.interface_open = false;
  return GC_OK;
}

GC_API TLGetInfo(gc_handle system, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_SYSTEM(system);
  return system_info(command, type, out, size);
}

GC_API TLUpdateInterfaceList(gc_handle system, gc_bool8 *changed, uint64_t) {
  NEED_SYSTEM(system);
  if (changed) *changed = 0;
  return GC_OK;
}

GC_API TLGetNumInterfaces(gc_handle system, uint32_t *count) {
  NEED_SYSTEM(system);
  *count = 1;
  return GC_OK;
}

GC_API TLGetInterfaceID(gc_handle system, uint32_t index, char *out, size_t *size) {
  NEED_SYSTEM(system);
  if (index) return fail(GC_ERR_INVALID_INDEX, "there is one interface");
  return give_string(NULL, out, size, INTERFACE_ID);
}

static int32_t interface_info(int32_t command, int32_t *type, void *out, size_t *size) {
  switch (command) {
    case IF_ID: case IF_DISPLAYNAME: return give_string(type, out, size, INTERFACE_ID);
    case IF_TLTYPE: return give_string(type, out, size, "Custom");
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "interface info %d", command);
  }
}

GC_API TLGetInterfaceInfo(gc_handle system, const char *id, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_SYSTEM(system);
  if (!id || strcmp(id, INTERFACE_ID)) return fail(GC_ERR_INVALID_ID, "no interface %s", id ? id : "");
  return interface_info(command, type, out, size);
}

GC_API TLOpenInterface(gc_handle system, const char *id, gc_handle *interface) {
  NEED_SYSTEM(system);
  if (!id || strcmp(id, INTERFACE_ID)) return fail(GC_ERR_INVALID_ID, "no interface %s", id ? id : "");
  library.interface_open = true;
  *interface = &library.interface;
  return GC_OK;
}

/* ---- interface ----------------------------------------------------------------------------------------------------- */

GC_API IFClose(gc_handle interface) {
  NEED_INTERFACE(interface);
  close_all_devices();
  library.interface_open = false;
  return GC_OK;
}

GC_API IFGetInfo(gc_handle interface, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_INTERFACE(interface);
  return interface_info(command, type, out, size);
}

GC_API IFGetParentTL(gc_handle interface, gc_handle *system) {
  NEED_INTERFACE(interface);
  *system = &library.system;
  return GC_OK;
}

static device_t *slot_for(const char *id) {
  device_t *device = device_by_id(id);
  for (size_t i = 0; !device && i < MAX_DEVICES; i++) {
    device_t *candidate = &library.devices[i];
    if (candidate->open || candidate->present) continue;
    snprintf(candidate->id, sizeof candidate->id, "%s", id);
    candidate->known = true;
    device = candidate;
  }
  return device;
}

static void note_head(const char *file_name) {
  size_t length = strlen(file_name), tail = strlen(SUFFIX);
  char id[sizeof library.devices[0].id];
  if (length <= tail || length - tail >= sizeof id || strcmp(file_name + length - tail, SUFFIX)) return;
  snprintf(id, sizeof id, "%.*s", (int)(length - tail), file_name);
  device_t *device = slot_for(id);
  if (device) device->present = true;
}

GC_API IFUpdateDeviceList(gc_handle interface, gc_bool8 *changed, uint64_t) {
  NEED_INTERFACE(interface);
  bool before[MAX_DEVICES], differs = false;
  for (size_t i = 0; i < MAX_DEVICES; i++) {
    before[i] = library.devices[i].present;
    library.devices[i].present = false;
  }
  const char *folder = getenv("SIMLINE_DIR");
  DIR *listing = folder ? opendir(folder) : NULL;
  for (struct dirent *entry; listing && (entry = readdir(listing));) note_head(entry->d_name);
  if (listing) closedir(listing);
  for (size_t i = 0; i < MAX_DEVICES; i++) differs |= before[i] != library.devices[i].present;
  if (changed) *changed = differs;
  return GC_OK;
}

static device_t *present_device(uint32_t index) {
  for (size_t i = 0; i < MAX_DEVICES; i++)
    if (library.devices[i].present && !index--) return &library.devices[i];
  return NULL;
}

GC_API IFGetNumDevices(gc_handle interface, uint32_t *count) {
  NEED_INTERFACE(interface);
  *count = 0;
  while (present_device(*count)) ++*count;
  return GC_OK;
}

GC_API IFGetDeviceID(gc_handle interface, uint32_t index, char *out, size_t *size) {
  NEED_INTERFACE(interface);
  const device_t *device = present_device(index);
  if (!device) return fail(GC_ERR_INVALID_INDEX, "no device %u", index);
  return give_string(NULL, out, size, device->id);
}

GC_API IFGetDeviceInfo(gc_handle interface, const char *id, int32_t command, int32_t *type, void *out, size_t *size) {
  NEED_INTERFACE(interface);
  const device_t *device = device_by_id(id);
  if (!device) return fail(GC_ERR_INVALID_ID, "no device %s", id ? id : "");
  return device_info(device, command, type, out, size);
}
