/* Information on a delivered buffer, and the GenTL 1.5/1.6 calls that a camera without parts and flows refuses. */
#include "simline.h"

static const buffer_t *find(gc_handle stream, gc_handle handle) {
  const device_t *device = device_of_stream(stream);
  for (size_t i = 0; device && i < MAX_BUFFERS; i++)
    if (handle == &device->stream.buffers[i] && device->stream.buffers[i].state != BUF_NONE) return handle;
  return NULL;
}

static int32_t state_info(const buffer_t *buffer, int32_t command, int32_t *type, void *out, size_t *size) {
  switch (command) {
    case BUFFER_NEW_DATA: return give_bool(type, out, size, buffer->new_data);
    case BUFFER_IS_QUEUED: return give_bool(type, out, size, buffer->state == BUF_QUEUED);
    case BUFFER_IS_ACQUIRING: return give_bool(type, out, size, buffer->state == BUF_FILLING);
    case BUFFER_IS_INCOMPLETE: return give_bool(type, out, size, buffer->incomplete);
    case BUFFER_IMAGEPRESENT: return give_bool(type, out, size, true);
    case BUFFER_LARGER_THAN_BUFFER: return give_bool(type, out, size, buffer->larger);
    case BUFFER_CONTAINS_CHUNKDATA: return give_bool(type, out, size, buffer->chunks);
    case BUFFER_IS_COMPOSITE: return give_bool(type, out, size, false);
    case BUFFER_TLTYPE: return give_string(type, out, size, "Custom");
    default: return fail(GC_ERR_NOT_AVAILABLE, "buffer info %d", command);
  }
}

static int32_t size_info(const buffer_t *buffer, int32_t command, int32_t *type, void *out, size_t *size) {
  size_t image = (size_t)buffer->width * buffer->height;
  switch (command) {
    case BUFFER_SIZE: return give_size(type, out, size, buffer->size);
    case BUFFER_SIZE_FILLED: case BUFFER_DATA_SIZE: return give_size(type, out, size, buffer->filled);
    case BUFFER_WIDTH: return give_size(type, out, size, buffer->width);
    case BUFFER_HEIGHT: case BUFFER_DELIVERED_HEIGHT: return give_size(type, out, size, buffer->height);
    case BUFFER_XOFFSET: case BUFFER_YOFFSET: case BUFFER_XPADDING: case BUFFER_YPADDING: case BUFFER_IMAGEOFFSET:
      return give_size(type, out, size, 0);
    case BUFFER_PAYLOADTYPE: return give_size(type, out, size, GC_PAYLOAD_IMAGE);
    case BUFFER_DELIVERED_CHUNK:
      return give_size(type, out, size, buffer->chunks ? buffer->filled - image : 0);
    default: return state_info(buffer, command, type, out, size);
  }
}

static int32_t info(const buffer_t *buffer, int32_t command, int32_t *type, void *out, size_t *size) {
  switch (command) {
    case BUFFER_BASE: return give_pointer(type, out, size, buffer->memory);
    case BUFFER_USER_PTR: return give_pointer(type, out, size, buffer->user);
    case BUFFER_TIMESTAMP: case BUFFER_TIMESTAMP_NS: return give_u64(type, out, size, buffer->device_ts);
    case BUFFER_FRAMEID: return give_u64(type, out, size, buffer->frame_id);
    case BUFFER_PIXELFORMAT: return give_u64(type, out, size, GC_PFNC_MONO8);
    case BUFFER_PIXELFORMAT_NAMESPACE: return give_u64(type, out, size, GC_NAMESPACE_PFNC_32BIT);
    case BUFFER_CHUNKLAYOUT: return give_u64(type, out, size, buffer->chunk_mask);
    case BUFFER_PIXEL_ENDIANNESS: return give_i32(type, out, size, 1);
    default: return size_info(buffer, command, type, out, size);
  }
}

GC_API DSGetBufferInfo(gc_handle stream, gc_handle handle, int32_t command, int32_t *type, void *out, size_t *size) {
  const buffer_t *buffer = find(stream, handle);
  if (!buffer) return fail(GC_ERR_INVALID_HANDLE, "not a buffer");
  return info(buffer, command, type, out, size);
}

GC_API DSGetBufferInfoStacked(gc_handle stream, gc_handle handle, gc_buffer_info_request *requests, size_t count) {
  const buffer_t *buffer = find(stream, handle);
  if (!buffer) return fail(GC_ERR_INVALID_HANDLE, "not a buffer");
  for (size_t i = 0; i < count; i++) {
    size_t size = requests[i].size;
    int32_t type = 0;
    requests[i].result = info(buffer, requests[i].command, &type, requests[i].buffer, &size);
    requests[i].type = type;
    requests[i].size = size;
  }
  return GC_OK;
}

GC_API DSGetNumBufferParts(gc_handle, gc_handle, uint32_t *count) {
  *count = 0;
  return GC_OK;
}

GC_API DSGetBufferPartInfo(gc_handle, gc_handle, uint32_t, int32_t, int32_t *, void *, size_t *) {
  return fail(GC_ERR_NOT_IMPLEMENTED, "buffers have no parts");
}

GC_API DSGetBufferPartInfoStacked(gc_handle, gc_handle, void *, size_t) {
  return fail(GC_ERR_NOT_IMPLEMENTED, "buffers have no parts");
}

GC_API DSAnnounceCompositeBuffer(gc_handle, size_t, void **, size_t *, void *, gc_handle *) {
  return fail(GC_ERR_NOT_IMPLEMENTED, "no composite buffers");
}

GC_API DSGetNumFlows(gc_handle, uint32_t *count) {
  *count = 0;
  return GC_OK;
}

GC_API DSGetFlowInfo(gc_handle, uint32_t, int32_t, int32_t *, void *, size_t *) {
  return fail(GC_ERR_NOT_IMPLEMENTED, "no flows");
}

GC_API DSGetNumBufferSegments(gc_handle, gc_handle, uint32_t *count) {
  *count = 0;
  return GC_OK;
}

GC_API DSGetBufferSegmentInfo(gc_handle, gc_handle, uint32_t, int32_t, int32_t *, void *, size_t *) {
  return fail(GC_ERR_NOT_IMPLEMENTED, "no segments");
}
