#include "pjrt/event.h"

#include "pjrt/api.h"
#include "pjrt/client.h"

namespace gavel::pjrt {

Event::Event(std::shared_ptr<const Client> client, PJRT_Event* event, std::string context)
    : client_(std::move(client)), event_(event), context_(std::move(context)) {}

Event::Event(Event&& other) noexcept
    : client_(std::move(other.client_)),
      event_(std::exchange(other.event_, nullptr)),
      context_(std::move(other.context_)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(client_, other.client_);
  std::swap(event_, other.event_);
  std::swap(context_, other.context_);
  return *this;
}

Event::~Event() {
  if (event_ == nullptr) return;
  auto args = make_args<PJRT_Event_Destroy_Args>();
  args.event = event_;
  call_quietly(client_->plugin(), &PJRT_Api::PJRT_Event_Destroy, args);
}

void Event::wait() const {
  if (event_ == nullptr) return;
  auto args = make_args<PJRT_Event_Await_Args>();
  args.event = event_;
  call(client_->plugin(), &PJRT_Api::PJRT_Event_Await, args, context_);
}

bool Event::ready() const {
  if (event_ == nullptr) return true;
  auto args = make_args<PJRT_Event_IsReady_Args>();
  args.event = event_;
  call(client_->plugin(), &PJRT_Api::PJRT_Event_IsReady, args, context_);
  return args.is_ready;
}

HostTransfer::~HostTransfer() {
  try {
    event_.wait();
  } catch (const Error&) {
    // The failure belongs to get(); whoever drops the transfer does not want the value.
  }
}

}  // namespace gavel::pjrt
