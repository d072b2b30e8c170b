#pragma once
#include <cstdint>
#include <memory>

#include "base/tensor.h"
#include "pjrt/event.h"

struct PJRT_Buffer;

namespace gavel::pjrt {

class Client;

/** What a device may do with the host memory that a buffer is made from. */
enum class HostMemory {
  kCopy,   // copy it; the host memory is released when the copy is done
  kShare,  // use it in place when the plugin can (CPU, 64-byte aligned); it must not change while the buffer
           // lives. The plugin never writes to it: a donated shared buffer is copied first.
};

/** An array on one device. Movable only; freed with the object. */
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<const Client> client, PJRT_Buffer* handle);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  explicit operator bool() const { return handle_ != nullptr; }
  /** Type and shape of this device's shard; neither waits for the value. */
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /** The device's id. */
  int device_id() const;
  size_t on_device_size() const;

  /** True after delete_now(), or once the buffer was donated to an execution. */
  bool is_deleted() const;
  /** Frees the device memory; the object stays, and every use of it throws. */
  void delete_now();

  /** Waits for the value and copies it to the host, row-major. Throws PjrtError when the computation that
   * makes it failed, or when the buffer was donated or deleted. */
  HostTensor to_host() const;
  /** Starts to_host()'s copy and returns at once. */
  HostTransfer to_host_async() const;
  /** An event that is done when the value is there. */
  Event ready() const;
  /** Blocks until the value is there; throws PjrtError when its computation failed. */
  void wait() const { ready().wait(); }

  PJRT_Buffer* handle() const { return handle_; }

 private:
  void require() const;
  std::shared_ptr<const Client> client_;
  PJRT_Buffer* handle_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_;
};

}  // namespace gavel::pjrt
