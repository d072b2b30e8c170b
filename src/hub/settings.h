#pragma once
#include <filesystem>
#include <string>

namespace gavel {

/** How the Hugging Face hub is reached and where its files are kept; what huggingface_hub takes from the environment. */
struct HubSettings {
  /** Without a slash at its end. */
  std::string endpoint = "https://huggingface.co";
  /** The folder that holds models--ORG--NAME. */
  std::filesystem::path cache;
  /** Empty where there is none. */
  std::string token;
  /** Where the token is from, for messages: "HF_TOKEN", or a file. */
  std::string token_source;
  /** The file of a token that is looked for, for messages. */
  std::filesystem::path token_file;
  bool offline = false;
  /** Certificates to trust in place of the system's; empty = the system's. */
  std::string certificates;
  /** Before the second attempt; doubled for each one after it. */
  double retry_seconds = 1;
};

/** Of HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE and
 * HF_HUB_DISABLE_IMPLICIT_TOKEN. Throws Error when one of them can't be what it should. */
HubSettings hub_settings();

}  // namespace gavel
