// The normalizers of tokenizer.json.
#include "text/normalizer.h"

#include <optional>
#include <utility>
#include <vector>

#include "text/json_fields.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kWhere = "tokenizer.json: normalizer";
constexpr int kMaxDepth = 16;  // of Sequence in Sequence

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }
  double growth() const override { return 1 + static_cast<double>(prefix_.size()); }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void apply(std::string& text) const override { replace_all(text, from_, to_); }
  double growth() const override { return replacement_growth(from_, to_); }

 private:
  std::string from_, to_;
};

class NormalForm : public Normalizer {
 public:
  explicit NormalForm(UnicodeForm form) : form_(form) {}
  void apply(std::string& text) const override { text = normalize(text, form_); }
  double growth() const override { return 11; }  // U+FDFA in NFKC: 3 bytes become 33

 private:
  UnicodeForm form_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text) const override {
    size_t begin = 0, end = 0;  // what is kept; `end` is after the last character that is no space
    bool seen = false;
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = read_code_point(text, at);
      if (!is_space(c.value)) {
        if (!seen) begin = at;
        seen = true;
        end = at + c.bytes;
      }
      at += c.bytes;
    }
    if (!seen && (left_ || right_)) {
      text.clear();
      return;
    }
    if (right_) text.resize(end);
    if (left_) text.erase(0, begin);
  }

 private:
  bool left_, right_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  void apply(std::string& text) const override {
    for (const auto& part : parts_) part->apply(text);
  }
  double growth() const override {
    double product = 1;
    for (const auto& part : parts_) product *= part->growth();
    return product;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

std::optional<UnicodeForm> form_named(std::string_view type) {
  if (type == "NFC") return UnicodeForm::kNfc;
  if (type == "NFD") return UnicodeForm::kNfd;
  if (type == "NFKC") return UnicodeForm::kNfkc;
  if (type == "NFKD") return UnicodeForm::kNfkd;
  return std::nullopt;
}

std::unique_ptr<Normalizer> make(const Json& json, int depth) {
  const std::string& type = string_field(json, "type", kWhere);
  if (type == "Prepend") return std::make_unique<Prepend>(string_field(json, "prepend", kWhere));
  if (type == "Replace") {
    const Json& pattern = field_or_null(json, "pattern", kWhere);
    if (!pattern.is_object()) wrong_type(pattern, "pattern", kWhere, "an object");
    if (const Json& regex = field_or_null(pattern, "Regex", kWhere); regex.is_string()) {
      fail(ErrorCode::kUnsupported, "{}: Replace with the regular expression {} is not supported",
           kWhere, shown_text(regex.get<std::string>()));
    }
    return std::make_unique<Replace>(string_field(pattern, "String", kWhere),
                                     string_field(json, "content", kWhere));
  }
  if (const auto form = form_named(type)) return std::make_unique<NormalForm>(*form);
  if (type == "Strip") {
    return std::make_unique<Strip>(bool_field(json, "strip_left", kWhere, true),
                                   bool_field(json, "strip_right", kWhere, true));
  }
  if (type == "Sequence") {
    if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "{}: nested too deep", kWhere);
    std::vector<std::unique_ptr<Normalizer>> parts;
    for (const Json& part : array_field(json, "normalizers", kWhere)) {
      parts.push_back(make(part, depth + 1));
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  fail(ErrorCode::kUnsupported,
       "{}: {} is not supported; Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD and Strip are",
       kWhere, shown_text(type));
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& json) {
  if (json.is_null()) return nullptr;
  std::unique_ptr<Normalizer> normalizer = make(json, 0);
  if (normalizer->growth() > kMaxGrowth) {
    fail(ErrorCode::kUnsupported, "{}: could make a text {:.3g} times longer, the limit is {}",
         kWhere, normalizer->growth(), kMaxGrowth);
  }
  return normalizer;
}

double replacement_growth(std::string_view from, std::string_view to) {
  if (from.empty() || to.size() <= from.size()) return 1;
  return static_cast<double>(to.size()) / static_cast<double>(from.size());
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty() || text.find(from) == std::string::npos) return;
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at = 0; (at = text.find(from, done)) != std::string::npos;) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

}  // namespace bitsmith::text
