#pragma once
#include <optional>
#include <string>

namespace gavel {

/** Keys and values that all processes of one run share: each key is put once, by one of them. Implementations are
 * called from several threads at once, and throw Error when the other processes can't be reached. */
class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;
  virtual void put(const std::string& key, const std::string& value) = 0;
  /** Waits until a process has put the key; throws Error after `timeout_ms`. */
  virtual std::string get(const std::string& key, int timeout_ms) = 0;
  /** Nothing when no process has put it yet. */
  virtual std::optional<std::string> try_get(const std::string& key) = 0;
  /** Forgets a key that this process has put. */
  virtual void erase(const std::string& key) = 0;
};

}  // namespace gavel
