// How far long work has come, for a person who waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace bitsmith {

// What a long operation reports to. The library never prints; the command line draws a bar.
class Progress {
 public:
  virtual ~Progress() = default;
  // A new phase of `total` units of work (any unit that is proportional to time).
  virtual void begin(const std::string& phase, double total) = 0;
  // `done` of the phase's units are finished; `detail` says what is being worked on.
  virtual void update(double done, const std::string& detail) = 0;
  virtual void end() = 0;
};

// Reports to nobody.
class SilentProgress final : public Progress {
 public:
  void begin(const std::string&, double) override {}
  void update(double, const std::string&) override {}
  void end() override {}
};

// A bar with an estimate of the time left, on standard error: redrawn in place on a terminal (ten
// times a second at most), a line at each tenth of the work elsewhere.
class TerminalProgress final : public Progress {
 public:
  TerminalProgress();
  ~TerminalProgress() override;
  void begin(const std::string& phase, double total) override;
  void update(double done, const std::string& detail) override;
  void end() override;

 private:
  void draw(double done, const std::string& detail, bool last);

  bool terminal_;
  bool active_ = false;
  std::string phase_;
  double total_ = 0;
  int last_tenth_ = -1;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
};

// "1 h 02 min", "3 min 20 s", "8.1 s": for people.
std::string format_duration(double seconds);

}  // namespace bitsmith
