#include "core/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace bitsmith {

namespace {

// Work goes on if nobody can read of it any more (a closed standard error).
void write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

std::string format_duration(double seconds) {
  const int64_t whole = static_cast<int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{:.1f} s", seconds);
}

TerminalProgress::TerminalProgress() : terminal_(::isatty(STDERR_FILENO) == 1) {}

TerminalProgress::~TerminalProgress() {
  if (active_ && terminal_) std::fputc('\n', stderr);
}

void TerminalProgress::begin(const std::string& phase, double total) {
  if (active_) end();
  active_ = true;
  phase_ = phase;
  total_ = total;
  last_tenth_ = -1;
  start_ = std::chrono::steady_clock::now();
  drawn_ = start_ - std::chrono::seconds(1);
}

void TerminalProgress::update(double done, const std::string& detail) {
  if (active_) draw(done, detail, false);
}

void TerminalProgress::end() {
  if (!active_) return;
  draw(total_, "", true);
  active_ = false;
}

void TerminalProgress::draw(double done, const std::string& detail, bool last) {
  const auto now = std::chrono::steady_clock::now();
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double share = total_ > 0 ? std::clamp(done / total_, 0.0, 1.0) : 1.0;
  const std::string time =
      last ? fmt::format("done in {}", format_duration(elapsed))
      : share > 0.02 || elapsed > 5
          ? fmt::format("{} left", format_duration(elapsed / std::max(share, 1e-6) * (1 - share)))
          : "";
  if (!terminal_) {
    const int tenth = static_cast<int>(share * 10);
    if (tenth == last_tenth_ && !last) return;
    last_tenth_ = tenth;
    write(fmt::format("{:<12} {:>4.0f} %  {}\n", phase_, share * 100, time));
    return;
  }
  if (!last && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  constexpr int kWidth = 28;
  const int filled = static_cast<int>(share * kWidth);
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
  write(fmt::format("\r\033[K{:<12} {} {:>3.0f} %  {}  {}{}", phase_, bar, share * 100, time,
                    detail, last ? "\n" : ""));
}

}  // namespace bitsmith
