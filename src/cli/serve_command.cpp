#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "serve/paired_texts.h"
#include "serve/service.h"

namespace gavel {

namespace {

/** A few lengths, each about half the next: a service compiles every shape it may meet. */
JudgeShapes serving_shapes(const Recipe& recipe, int64_t batch_rows) {
  JudgeShapes shapes;
  const int64_t longest = recipe.data.max_length;
  for (int64_t part : {8, 4, 2}) {
    int64_t length = (longest / part + 63) / 64 * 64;
    if (length < longest && (shapes.lengths.empty() || length > shapes.lengths.back()))
      shapes.lengths.push_back(length);
  }
  shapes.lengths.push_back(longest);
  for (int64_t rows : {std::min<int64_t>(2, batch_rows), batch_rows})
    if (shapes.batch_sizes.empty() || rows > shapes.batch_sizes.back()) shapes.batch_sizes.push_back(rows);
  return shapes;
}

std::string read_token(const std::string& file) {
  if (!file.empty()) {
    std::string token = read_text(file);
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
    if (token.empty()) fail("--token-file: {} is empty", file);
    return token;
  }
  const char* token = std::getenv("GAVEL_TOKEN");
  return token == nullptr ? "" : token;
}

/** Calls `stop` at the first SIGTERM or SIGINT, and ends the process at the second. Signals must be blocked
 * in all threads. SIGUSR1 ends the wait. */
class SignalThread {
 public:
  explicit SignalThread(std::function<void()> stop)
      : thread_([this, stop = std::move(stop)] {
          sigset_t set = signals();
          int signal = 0;
          for (int count = 0; ::sigwait(&set, &signal) == 0 && signal != SIGUSR1; ++count) {
            if (count > 0) ::_exit(128 + signal);
            signal_ = signal;
            spdlog::info("stopping: requests taken in are answered, new ones refused (once more stops at once)");
            stop();
          }
        }) {}
  ~SignalThread() {
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }
  static sigset_t signals() {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&set, signal);
    return set;
  }

 private:
  std::atomic<int> signal_{0};
  std::thread thread_;
};

}  // namespace

void add_serve_command(CLI::App& app) {
  auto* command = app.add_subcommand("serve", "Judge over HTTP: a JSON API and a page for one pair");
  auto arguments = add_judge_options(*command, 1.0);
  auto options = std::make_shared<ServiceOptions>();
  auto token_file = std::make_shared<std::string>();
  auto wait = std::make_shared<int64_t>(options->queue.wait.count()), body_timeout = std::make_shared<int64_t>(10),
       answer_timeout = std::make_shared<int64_t>(60);
  command->add_option("--host", options->host, "Address to listen on; others than loopback should have a token");
  command->add_option("--port", options->port, "Port; 0 = any free one")->check(CLI::Range(0, 65535));
  command->add_option("--token-file", *token_file,
                      "File with the token that requests must bring (or the variable GAVEL_TOKEN)");
  command->add_option("--batch", options->queue.batch_pairs, "Pairs judged together at most")
      ->check(CLI::Range(1, 4096));
  command->add_option("--batch-wait", *wait, "Milliseconds that a pair waits for others")->check(CLI::Range(0, 10000));
  command->add_option("--queue", options->queue.capacity, "Pairs that may wait; more are answered with 429")
      ->check(CLI::Range(1, 1000000));
  command->add_option("--max-body", options->max_body_bytes, "Largest body in bytes (413)")
      ->check(CLI::Range(1024, 1 << 30));
  command->add_option("--max-pairs", options->max_pairs, "Pairs in one request")->check(CLI::Range(1, 100000));
  command->add_option("--max-requests", options->max_requests, "Requests at once; more are answered with 429")
      ->check(CLI::Range(1, 100000));
  command->add_option("--body-timeout", *body_timeout, "Seconds for a body to arrive (408)")
      ->check(CLI::Range(1, 3600));
  command->add_option("--answer-timeout", *answer_timeout, "Seconds for an answer (504)")->check(CLI::Range(1, 3600));
  command->callback([=] {
    options->token = read_token(*token_file);
    options->queue.wait = std::chrono::milliseconds(*wait);
    options->body_timeout = std::chrono::seconds(*body_timeout);
    options->answer_timeout = std::chrono::seconds(*answer_timeout);
    options->max_connections =
        options->max_requests + 16;  // room for those that are told to come again, and for /health
    options->name = arguments->adapter;
    bool loopback = options->host == "localhost" || options->host == "::1" || options->host.starts_with("127.");
    if (!loopback && options->token.empty())
      spdlog::warn("{} can be reached from elsewhere and there is no token: anyone there can use it (--token-file)",
                   options->host);
    sigset_t set = SignalThread::signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);  // before any other thread is there

    // A port that is taken is told before a model is loaded and compiled.
    if (options->port != 0) Service([](std::span<const PreferenceRow>) { return std::vector<Verdict>(); }, *options);
    Judge judge(arguments->options());
    tell_calibration(judge, *arguments);
    options->rewards = judge.recipe().task == Recipe::TaskKind::kReward;
    auto rows = static_cast<int64_t>(options->queue.batch_pairs) * (arguments->swap_average > 0 ? 2 : 1);
    judge.use_shapes(serving_shapes(judge.recipe(), rows));
    const auto count = static_cast<int64_t>(judge.shapes().lengths.size() * judge.shapes().batch_sizes.size());
    spdlog::info("preparing {} programs; the first start takes longest", count);
    judge.warm_up([&](int64_t ready) { spdlog::info("program {} of {} is ready", ready, count); });
    JudgeFunction answer = [&](std::span<const PreferenceRow> pairs) {
      return judge.judge(pairs, arguments->swap_average);
    };
    Service service(options->rewards ? with_paired_texts(answer) : answer, *options);
    spdlog::info("listening on http://{}:{}/ (POST /v1/judge{}, GET /health, GET /metrics)", options->host,
                 service.port(), options->rewards ? ", /rerank, /score, /classify, /pooling, /get_reward" : "");
    SignalThread signals([&] { service.stop(); });
    service.run();
    spdlog::info("stopped");
  });
}

}  // namespace gavel
