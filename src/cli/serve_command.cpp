#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "serve/cage.h"
#include "serve/paired_texts.h"
#include "serve/request_log.h"
#include "serve/service.h"
#include "setup/open_device.h"

namespace gavel {

namespace {

/** A few lengths, each about half the next, and a few batch sizes: a service compiles every shape it may meet. */
JudgeShapes serving_shapes(const Recipe& recipe, int64_t batch_rows) {
  JudgeShapes shapes;
  const int64_t longest = recipe.data.max_length;
  for (int64_t part : {8, 4, 2}) {
    int64_t length = (longest / part + 63) / 64 * 64;
    if (length < longest && (shapes.lengths.empty() || length > shapes.lengths.back()))
      shapes.lengths.push_back(length);
  }
  shapes.lengths.push_back(longest);
  // A few sizes between a pair in both orders and a full batch, since rows that are missing cost as much as those there.
  constexpr int kSizes = 4;
  const double steps = std::log2(std::max(1.0, static_cast<double>(batch_rows) / 2)) / (kSizes - 1);
  for (int i = 0; i < kSizes; ++i) {
    const auto rows = std::min(batch_rows, static_cast<int64_t>(std::lround(2 * std::exp2(i * steps))));
    if (shapes.batch_sizes.empty() || rows > shapes.batch_sizes.back()) shapes.batch_sizes.push_back(rows);
  }
  return shapes;
}

/** FormContext::no_written_out of a judge. */
std::string no_written_out(const Judge& judge) {
  constexpr const char* kSend = "send 'messages' that end with both answers, or pairs";
  const Recipe& recipe = judge.recipe();
  if (recipe.task == Recipe::TaskKind::kReward) return "";
  if (recipe.reads_single_answers())
    return fmt::format("this judge reads two texts for a pair (judge.form: siamese), so none that is written out; {}",
                       kSend);
  if (const Calibration* used = judge.calibration(0); used != nullptr && used->kind == CalibrationKind::kStyle)
    return fmt::format(
        "calibration.json (style) needs the answers, which a text that is written out does not tell apart; {}", kSend);
  return "";
}

/** `file` is what --token-file says, if it was given. An empty token would leave the service open to all, so it is none. */
std::string read_token(const std::optional<std::string>& file) {
  if (file) {
    if (file->empty()) fail("--token-file: expected a file's name, found nothing");
    std::string token = read_text(*file);
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
    if (token.empty()) fail("--token-file: {} is empty", *file);
    return token;
  }
  const char* token = std::getenv("GAVEL_TOKEN");
  if (token == nullptr) return "";
  if (*token == '\0') fail("GAVEL_TOKEN is set and empty; unset it for a service without a token, or give it one");
  return token;
}

/** Sends this process SIGTERM when standard input ends: whoever started it and held the other end is gone, however it ended. */
void stop_with_input() {
  std::thread([] {
    char part[256];
    ssize_t got = 0;
    while ((got = ::read(STDIN_FILENO, part, sizeof part)) > 0 || (got < 0 && errno == EINTR)) {
    }
    ::kill(::getpid(), SIGTERM);
  }).detach();
}

/** What SIGTERM and SIGINT do, also while programs are still compiled. Signals must be blocked in all threads. SIGUSR1 ends
 * the wait. */
class SignalThread {
 public:
  /** Before serve_until() the first signal ends the process: there is nothing yet to finish. */
  SignalThread() : thread_([this] { wait(); }) {}
  ~SignalThread() {
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

  /** From now on the first signal calls `stop`, and the second ends the process, as does the time `grace` and a little more: a judge
   * that is busy for longer is not waited for. */
  void serve_until(std::function<void()> stop, std::chrono::milliseconds grace) {
    std::lock_guard lock(mutex_);
    stop_ = std::move(stop);
    grace_ = grace;
  }
  static sigset_t signals() {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&set, signal);
    return set;
  }

 private:
  void wait() {
    const sigset_t set = signals();
    int signal = 0;
    if (::sigwait(&set, &signal) != 0 || signal == SIGUSR1) return;
    std::chrono::milliseconds grace{};
    {
      std::lock_guard lock(mutex_);
      if (!stop_) end(signal, "stopped before it served");
      spdlog::info(
          "stopping: requests taken in are answered for up to {} s (--grace), new ones refused (once more stops at "
          "once)",
          std::chrono::duration<double>(grace_).count());
      stop_();
      grace = grace_;
    }
    const auto most = grace + std::chrono::seconds(2);
    timespec limit{};
    limit.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(most).count();
    signal = ::sigtimedwait(&set, nullptr, &limit);
    if (signal == SIGUSR1) return;
    if (signal < 0) end(0, "stopped while the judge was still busy");
    end(signal, "stopped at once");
  }
  [[noreturn]] static void end(int signal, const char* how) {
    spdlog::info("{}", how);
    spdlog::default_logger()->flush();
    ::_exit(signal == 0 ? 0 : 128 + signal);
  }

  std::mutex mutex_;
  std::function<void()> stop_;
  std::chrono::milliseconds grace_{};
  std::thread thread_;
};

}  // namespace

void add_serve_command(CLI::App& app) {
  auto* command = app.add_subcommand("serve", "Judge over HTTP: a JSON API and a page for one pair");
  auto arguments = add_judge_options(*command, 1.0);
  auto options = std::make_shared<ServiceOptions>();
  auto token_file = std::make_shared<std::optional<std::string>>();
  auto wait = std::make_shared<int64_t>(options->queue.wait.count()), body_timeout = std::make_shared<int64_t>(10),
       answer_timeout = std::make_shared<int64_t>(60), grace = std::make_shared<int64_t>(10);
  auto no_cage = std::make_shared<bool>(false), with_input = std::make_shared<bool>(false);
  auto log_format = std::make_shared<std::string>("text");
  HttpServerOptions& http = options->http;
  command->add_option("--host", http.host, "Address to listen on; others than loopback should have a token");
  command->add_option("--port", http.port, "Port; 0 = any free one")->check(CLI::Range(0, 65535));
  command
      ->add_option("--allow-host", http.allowed_hosts,
                   "A name that clients call the service by, beside addresses and localhost; * = any (421)")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--allow-origin", http.allowed_origins,
                   "A site whose pages may ask from a browser, like https://judge.example; * = any (403)")
      ->expected(1)
      ->take_all();
  command->add_option("--token-file", *token_file,
                      "File with the token that requests must bring (or the variable GAVEL_TOKEN)");
  command->add_option("--batch", options->queue.batch_pairs, "Pairs judged together at most")
      ->check(CLI::Range(1, 4096));
  command->add_option("--batch-wait", *wait, "Milliseconds that a pair waits for others")->check(CLI::Range(0, 10000));
  command->add_option("--queue", options->queue.capacity, "Pairs that may wait; more are answered with 429")
      ->check(CLI::Range(1, 1000000));
  command->add_option("--max-body", http.max_body_bytes, "Largest body in bytes (413)")
      ->check(CLI::Range(1024, 1 << 30));
  command->add_option("--max-pairs", options->max_pairs, "Pairs in one request")->check(CLI::Range(1, 100000));
  command->add_option("--max-requests", options->max_requests, "Requests at once; more are answered with 429")
      ->check(CLI::Range(1, 100000));
  command
      ->add_option("--max-connections", http.max_connections,
                   "Connections at once; beyond, the slowest client's is closed")
      ->check(CLI::Range(16, 100000));
  command->add_option("--body-timeout", *body_timeout, "Seconds for a body to arrive (408)")
      ->check(CLI::Range(1, 3600));
  command->add_option("--answer-timeout", *answer_timeout, "Seconds for an answer (504)")->check(CLI::Range(1, 3600));
  command->add_option("--grace", *grace, "Seconds that requests taken in may take after SIGTERM")
      ->check(CLI::Range(0, 3600));
  command->add_flag("--no-cage", *no_cage, "Don't give up starting programs, opening connections and writing files");
  command
      ->add_option("--log-format", *log_format,
                   "text, or json: each line on standard error is an object, and each request has one")
      ->check(CLI::IsMember({"text", "json"}));
  command->add_flag("--stop-with-stdin", *with_input,
                    "Stop when standard input ends, so that the service goes with the program that started it");
  command->callback([=] {
    HttpServerOptions& http = options->http;
    if (*log_format == "json") {
      log_as_json();
      options->on_request = log_request_as_json;
    }
    options->token = read_token(*token_file);
    options->queue.wait = std::chrono::milliseconds(*wait);
    http.body_timeout = std::chrono::seconds(*body_timeout);
    http.answer_timeout = std::chrono::seconds(*answer_timeout);
    http.grace = std::chrono::seconds(*grace);
    options->name = arguments->adapter;
    bool loopback = http.host == "localhost" || http.host == "::1" || http.host.starts_with("127.");
    if (!loopback && options->token.empty())
      spdlog::warn("{} can be reached from elsewhere and there is no token: anyone there can use it (--token-file)",
                   http.host);
    sigset_t set = SignalThread::signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);  // before any other thread is there
    SignalThread signals;
    if (*with_input) stop_with_input();

    // A port that is taken is told before a model is loaded and compiled.
    if (http.port != 0) Service([](std::span<const PreferenceRow>) { return std::vector<Verdict>(); }, *options);
    fetch_named_model(arguments->options());
    // From here on nothing is started or connected to, and written only where compiled programs are kept.
    const bool caged = !*no_cage && enter_cage({{"/"}, {compile_cache_folder()}});
    if (!caged && !*no_cage) spdlog::info("no cage: this kernel has no Landlock (docs/security.md)");
    Judge judge(arguments->options());
    tell_calibration(judge, *arguments);
    options->kind = judge.recipe().task == Recipe::TaskKind::kReward ? JudgeKind::kReward : JudgeKind::kPair;
    if (options->kind == JudgeKind::kPair) options->labels.resize(static_cast<size_t>(judge.recipe().model.num_labels));
    options->no_written_out = no_written_out(judge);
    auto rows = static_cast<int64_t>(options->queue.batch_pairs) * (arguments->swap_average > 0 ? 2 : 1);
    judge.use_shapes(serving_shapes(judge.recipe(), rows));
    const auto count = static_cast<int64_t>(judge.shapes().lengths.size() * judge.shapes().batch_sizes.size());
    spdlog::info("preparing {} programs; the first start takes longest", count);
    judge.warm_up([&](int64_t ready) { spdlog::info("program {} of {} is ready", ready, count); });
    JudgeFunction answer = [&](std::span<const PreferenceRow> pairs) {
      return judge.judge(pairs, arguments->swap_average);
    };
    // What reads requests and judges them has all that it needs in memory.
    if (caged) enter_cage({{"/etc", "/lib", "/lib64", "/proc", "/sys", "/usr"}, {}});
    JudgeFunction one_order = [&](std::span<const PreferenceRow> pairs) { return judge.judge(pairs, 0); };
    Service service(
        options->kind == JudgeKind::kReward ? with_paired_texts(answer) : with_written_texts(answer, one_order),
        *options);
    spdlog::info(
        "listening on http://{}:{}/ (POST /v1/judge, /classify, /predict, /get_reward{}; all: GET /openapi.json)",
        http.host, service.port(), options->kind == JudgeKind::kReward ? ", /rerank, /score, /pooling" : "");
    signals.serve_until([&] { service.stop(); }, http.grace);
    service.run();
    spdlog::info("stopped");
  });
}

}  // namespace gavel
