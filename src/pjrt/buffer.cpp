#include "pjrt/buffer.h"

#include "pjrt/api.h"
#include "pjrt/client.h"

namespace gavel::pjrt {

Buffer::Buffer(std::shared_ptr<const Client> client, PJRT_Buffer* handle)
    : client_(std::move(client)), handle_(handle) {
  try {
    auto type = make_args<PJRT_Buffer_ElementType_Args>();
    type.buffer = handle_;
    call(client_->plugin(), &PJRT_Api::PJRT_Buffer_ElementType, type, "reading a buffer's type");
    dtype_ = from_pjrt(client_->plugin(), type.type, "reading a buffer's type");
    auto dimensions = make_args<PJRT_Buffer_Dimensions_Args>();
    dimensions.buffer = handle_;
    call(client_->plugin(), &PJRT_Api::PJRT_Buffer_Dimensions, dimensions, "reading a buffer's shape");
    shape_.assign(dimensions.dims, dimensions.dims + dimensions.num_dims);
  } catch (...) {
    Buffer::~Buffer();
    throw;
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : client_(std::move(other.client_)),
      handle_(std::exchange(other.handle_, nullptr)),
      dtype_(other.dtype_),
      shape_(std::move(other.shape_)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  // The old value is freed now, not when `other` goes: device memory is scarce.
  Buffer old(std::move(*this));
  client_ = std::move(other.client_);
  handle_ = std::exchange(other.handle_, nullptr);
  dtype_ = other.dtype_;
  shape_ = std::move(other.shape_);
  return *this;
}

Buffer::~Buffer() {
  if (handle_ == nullptr) return;
  auto args = make_args<PJRT_Buffer_Destroy_Args>();
  args.buffer = handle_;
  call_quietly(client_->plugin(), &PJRT_Api::PJRT_Buffer_Destroy, args);
  handle_ = nullptr;
}

void Buffer::require() const {
  if (handle_ == nullptr) fail("pjrt: use of an empty buffer");
}

int Buffer::device_id() const {
  require();
  auto args = make_args<PJRT_Buffer_Device_Args>();
  args.buffer = handle_;
  call(client_->plugin(), &PJRT_Api::PJRT_Buffer_Device, args, "reading a buffer's device");
  return client_->device_id(args.device);
}

size_t Buffer::on_device_size() const {
  require();
  auto args = make_args<PJRT_Buffer_OnDeviceSizeInBytes_Args>();
  args.buffer = handle_;
  call(client_->plugin(), &PJRT_Api::PJRT_Buffer_OnDeviceSizeInBytes, args, "reading a buffer's size");
  return args.on_device_size_in_bytes;
}

bool Buffer::is_deleted() const {
  require();
  auto args = make_args<PJRT_Buffer_IsDeleted_Args>();
  args.buffer = handle_;
  call(client_->plugin(), &PJRT_Api::PJRT_Buffer_IsDeleted, args, "asking whether a buffer is deleted");
  return args.is_deleted;
}

void Buffer::delete_now() {
  require();
  auto args = make_args<PJRT_Buffer_Delete_Args>();
  args.buffer = handle_;
  call(client_->plugin(), &PJRT_Api::PJRT_Buffer_Delete, args, "deleting a buffer");
}

HostTensor Buffer::to_host() const {
  return to_host_async().get();
}

HostTransfer Buffer::to_host_async() const {
  require();
  std::string context = fmt::format("copying {} {} to the host", dtype_name(dtype_), gavel::to_string(shape_));
  if (is_deleted())
    fail("{}: {}: the buffer was deleted, or donated to an execution", client_->plugin().name(), context);
  HostTensor tensor(dtype_, shape_);
  // Without a layout the plugin copies in the device's own order, which need not be row-major.
  std::vector<int64_t> minor_to_major;
  for (size_t i = shape_.size(); i > 0; --i) minor_to_major.push_back(static_cast<int64_t>(i - 1));
  auto layout = make_args<PJRT_Buffer_MemoryLayout>();
  layout.type = PJRT_Buffer_MemoryLayout_Type_Tiled;
  layout.tiled = make_args<PJRT_Buffer_MemoryLayout_Tiled>();
  layout.tiled.minor_to_major = minor_to_major.data();
  layout.tiled.minor_to_major_size = minor_to_major.size();
  auto args = make_args<PJRT_Buffer_ToHostBuffer_Args>();
  args.src = handle_;
  args.host_layout = &layout;
  args.dst = tensor.mutable_data();
  args.dst_size = tensor.bytes();
  call(client_->plugin(), &PJRT_Api::PJRT_Buffer_ToHostBuffer, args, context);
  return HostTransfer(std::move(tensor), Event(client_, args.event, std::move(context)));
}

Event Buffer::ready() const {
  require();
  std::string context = fmt::format("computing {} {}", dtype_name(dtype_), gavel::to_string(shape_));
  if (is_deleted())
    fail("{}: {}: the buffer was deleted, or donated to an execution", client_->plugin().name(), context);
  auto args = make_args<PJRT_Buffer_ReadyEvent_Args>();
  args.buffer = handle_;
  call(client_->plugin(), &PJRT_Api::PJRT_Buffer_ReadyEvent, args, context);
  return Event(client_, args.event, std::move(context));
}

}  // namespace gavel::pjrt
