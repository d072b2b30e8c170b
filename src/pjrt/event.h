#pragma once
#include <memory>
#include <string>

#include "base/tensor.h"
#include "pjrt/plugin.h"

struct PJRT_Event;

namespace gavel::pjrt {

class Client;

/** Something asynchronous that a plugin will finish. */
class Event {
 public:
  Event() = default;
  Event(std::shared_ptr<const Client> client, PJRT_Event* event, std::string context);
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  /** Does not wait. */
  ~Event();

  /** Blocks until it is done; throws PjrtError when it failed. An empty event is done. */
  void wait() const;
  bool ready() const;

 private:
  std::shared_ptr<const Client> client_;
  PJRT_Event* event_ = nullptr;
  std::string context_;
};

/** A copy from a device to the host that is under way. The destructor waits, since the device writes into
 * this object's memory. */
class HostTransfer {
 public:
  HostTransfer(HostTensor tensor, Event event) : tensor_(std::move(tensor)), event_(std::move(event)) {}
  HostTransfer(HostTransfer&&) = default;
  HostTransfer& operator=(HostTransfer&&) = delete;
  ~HostTransfer();

  bool ready() const { return event_.ready(); }
  /** Waits and returns the tensor; throws PjrtError when the computation that makes it failed. */
  HostTensor get() {
    event_.wait();
    return tensor_;
  }

 private:
  HostTensor tensor_;
  Event event_;
};

}  // namespace gavel::pjrt
