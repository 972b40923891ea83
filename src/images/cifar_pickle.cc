#include "images/cifar_pickle.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>

#include "core/error.h"

namespace bitsmith {
namespace {

using Bytes = std::span<const std::byte>;

enum class Kind { kMark, kNone, kInteger, kText, kTuple, kList, kDict, kGlobal, kArray, kDtype };

struct PickleValue;
using PickleValues = std::vector<PickleValue>;

// What containers hold is shared, so that copies from the memo cost nothing. A list or dictionary
// holds no list, dictionary or tuple but as a dictionary's value, and a tuple is never changed: no
// cycles, and no depth that a file could choose.
struct PickleValue {
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  Bytes text = {};                           // of kText; the elements of kArray
  std::shared_ptr<PickleValues> items = {};  // tuple, list; dict: key, value, key, value, ...
  int depth = 0;                             // of tuples within tuples
};

struct Array {
  int64_t rows = 0;
  int64_t cols = 0;
  bool bytes_of_one = false;  // uint8
  Bytes elements;
};

class Machine {
 public:
  Machine(Bytes bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  CifarBatch run() {
    while (true) {
      const int code = static_cast<int>(number(1));
      if (code == '.') return finish();
      step(code);
      if (stack_.size() > kLargestStack) corrupt("its stack grows too large");
    }
  }

 private:
  static constexpr size_t kLargestStack = 1 << 20;
  static constexpr int kDeepest = 4;

  [[noreturn]] void corrupt(const std::string& reason) const {
    fail(ErrorCode::kCorrupt, "'{}', byte {}: {}; expected a CIFAR-10 batch", file_, at_, reason);
  }

  Bytes take(uint64_t count) {
    if (count > bytes_.size() - at_) corrupt("the pickle ends too early");
    const Bytes result = bytes_.subspan(at_, static_cast<size_t>(count));
    at_ += static_cast<size_t>(count);
    return result;
  }
  uint64_t number(size_t size) {
    uint64_t value = 0;
    const Bytes digits = take(size);
    for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(digits[i]) << (8 * i);
    return value;
  }
  std::string line() {
    std::string text;
    for (char c = static_cast<char>(number(1)); c != '\n'; c = static_cast<char>(number(1))) {
      if (text.size() > 100) corrupt("a name is too long");
      text += c;
    }
    return text;
  }

  void push(PickleValue value) { stack_.push_back(std::move(value)); }
  void push_integer(int64_t value) { push({Kind::kInteger, value}); }
  void push_text(uint64_t size) { push({Kind::kText, 0, take(size)}); }
  PickleValue pop() {
    if (stack_.empty()) corrupt("its stack is empty");
    PickleValue value = std::move(stack_.back());
    stack_.pop_back();
    return value;
  }
  PickleValue& top() {
    if (stack_.empty()) corrupt("its stack is empty");
    return stack_.back();
  }
  // Everything above the last mark, which goes too.
  PickleValues pop_to_mark() {
    PickleValues values;
    while (true) {
      PickleValue value = pop();
      if (value.kind == Kind::kMark) break;
      values.push_back(std::move(value));
    }
    std::reverse(values.begin(), values.end());
    return values;
  }

  void push_tuple(PickleValues values) {
    PickleValue tuple{Kind::kTuple, 0, {}, nullptr, 1};
    for (const PickleValue& value : values) {
      if (value.kind == Kind::kMark || value.kind == Kind::kList || value.kind == Kind::kDict) {
        corrupt("a tuple holds a list");
      }
      tuple.depth = std::max(tuple.depth, value.depth + 1);
    }
    if (tuple.depth > kDeepest) corrupt("tuples nest too deeply");
    tuple.items = std::make_shared<PickleValues>(std::move(values));
    push(std::move(tuple));
  }
  PickleValues pop_last(size_t count) {
    PickleValues values(count);
    for (size_t i = count; i-- > 0;) values[i] = pop();
    return values;
  }
  void pop_tuple(size_t count) { push_tuple(pop_last(count)); }

  void append(const PickleValues& values) {
    PickleValue& list = top();
    if (list.kind != Kind::kList) corrupt("it appends to what is no list");
    for (const PickleValue& value : values) {
      if (value.kind != Kind::kInteger && value.kind != Kind::kText) {
        corrupt("a list holds neither integers nor text");
      }
      list.items->push_back(value);
    }
  }
  void set_items(const PickleValues& values) {
    PickleValue& dict = top();
    if (dict.kind != Kind::kDict || values.size() % 2 != 0)
      corrupt("it sets items of no dictionary");
    for (size_t i = 0; i < values.size(); ++i) {
      const bool key = i % 2 == 0;
      if ((key && values[i].kind != Kind::kText) || values[i].kind == Kind::kDict ||
          values[i].kind == Kind::kMark) {
        corrupt("a dictionary of other things than named values");
      }
      dict.items->push_back(values[i]);
    }
  }

  void push_global(const std::string& module, const std::string& name) {
    const bool core = module == "numpy.core.multiarray" || module == "numpy._core.multiarray";
    if ((core && name == "_reconstruct") || (module == "numpy" && name == "ndarray")) {
      push({Kind::kGlobal, 'a'});
    } else if (module == "numpy" && name == "dtype") {
      push({Kind::kGlobal, 'd'});
    } else {
      corrupt(fmt::format("it asks for '{}.{}'", module, name));
    }
  }
  static std::string text_of(const PickleValue& value) {
    return {reinterpret_cast<const char*>(value.text.data()), value.text.size()};
  }
  void push_stack_global() {
    const PickleValue name = pop();
    const PickleValue module = pop();
    if (name.kind != Kind::kText || module.kind != Kind::kText || name.text.size() > 100 ||
        module.text.size() > 100) {
      corrupt("a global without a name");
    }
    push_global(text_of(module), text_of(name));
  }

  // _reconstruct(ndarray, (0,), 'b') is an array that BUILD fills; dtype('u1', ...) a type.
  void reduce() {
    const PickleValue arguments = pop();
    const PickleValue function = pop();
    if (function.kind != Kind::kGlobal || arguments.kind != Kind::kTuple ||
        arguments.items->empty()) {
      corrupt("it calls something");
    }
    if (function.integer == 'a') {
      push({Kind::kArray, -1});
      return;
    }
    const PickleValue& code = arguments.items->front();
    push({Kind::kDtype, code.kind == Kind::kText && text_of(code) == "u1"});
  }

  // array: (version, shape, dtype, Fortran order, elements). A dtype's state changes nothing for
  // u1.
  void build() {
    const PickleValue state = pop();
    PickleValue& object = top();
    if (object.kind == Kind::kDtype) return;
    if (object.kind != Kind::kArray || state.kind != Kind::kTuple || state.items->size() != 5) {
      corrupt("it builds something else than an array");
    }
    const PickleValues& parts = *state.items;
    const PickleValue& shape = parts[1];
    const bool good = shape.kind == Kind::kTuple && shape.items->size() == 2 &&
                      (*shape.items)[0].kind == Kind::kInteger &&
                      (*shape.items)[1].kind == Kind::kInteger && parts[2].kind == Kind::kDtype &&
                      parts[2].integer == 1 && parts[3].kind == Kind::kInteger &&
                      parts[3].integer == 0 && parts[4].kind == Kind::kText;
    if (!good) corrupt("its array is none of uint8 in rows");
    const int64_t rows = (*shape.items)[0].integer;
    const int64_t cols = (*shape.items)[1].integer;
    constexpr int64_t kLargest = int64_t{1} << 31;
    if (rows < 0 || cols < 0 || rows > kLargest || cols > kLargest ||
        static_cast<uint64_t>(rows * cols) != parts[4].text.size()) {
      corrupt(fmt::format("its array of {} x {} has {} bytes", rows, cols, parts[4].text.size()));
    }
    arrays_.push_back({rows, cols, true, parts[4].text});
    object.integer = static_cast<int64_t>(arrays_.size()) - 1;
  }

  void store(uint64_t index) {
    if (top().kind == Kind::kMark) corrupt("it keeps a mark");
    memo_[index] = top();
  }
  void recall(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) corrupt("it recalls what it never kept");
    push(found->second);
  }

  // Instructions that put a constant or a part of the file on the stack.
  bool push_constant(int code) {
    switch (code) {
      case 'N':  // NONE
        push({Kind::kNone});
        return true;
      case 0x88:  // NEWTRUE
      case 0x89:  // NEWFALSE
        push_integer(code == 0x88 ? 1 : 0);
        return true;
      case 'K':  // BININT1
        push_integer(static_cast<int64_t>(number(1)));
        return true;
      case 'M':  // BININT2
        push_integer(static_cast<int64_t>(number(2)));
        return true;
      case 'J':  // BININT
        push_integer(static_cast<int32_t>(number(4)));
        return true;
      case 'U':   // SHORT_BINSTRING
      case 'C':   // SHORT_BINBYTES
      case 0x8c:  // SHORT_BINUNICODE
        push_text(number(1));
        return true;
      case 'T':  // BINSTRING
      case 'B':  // BINBYTES
      case 'X':  // BINUNICODE
        push_text(number(4));
        return true;
      case 0x8d:  // BINUNICODE8
      case 0x8e:  // BINBYTES8
        push_text(number(8));
        return true;
      default:
        return false;
    }
  }

  // Instructions that make or fill tuples, lists and dictionaries.
  bool change_container(int code) {
    switch (code) {
      case '(':  // MARK
        push({Kind::kMark});
        return true;
      case ')':   // EMPTY_TUPLE
      case 0x85:  // TUPLE1
      case 0x86:  // TUPLE2
      case 0x87:  // TUPLE3
        pop_tuple(code == ')' ? 0 : static_cast<size_t>(code - 0x84));
        return true;
      case 't':  // TUPLE
        push_tuple(pop_to_mark());
        return true;
      case ']':  // EMPTY_LIST
      case '}':  // EMPTY_DICT
        push({code == ']' ? Kind::kList : Kind::kDict, 0, {}, std::make_shared<PickleValues>()});
        return true;
      case 'a':  // APPEND
        append(pop_last(1));
        return true;
      case 'e':  // APPENDS
        append(pop_to_mark());
        return true;
      case 's':  // SETITEM
        set_items(pop_last(2));
        return true;
      case 'u':  // SETITEMS
        set_items(pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  // Names, calls, and values used again.
  bool call(int code) {
    switch (code) {
      case 'c': {  // GLOBAL
        const std::string module = line();
        push_global(module, line());
        return true;
      }
      case 0x93:  // STACK_GLOBAL
        push_stack_global();
        return true;
      case 'R':  // REDUCE
        reduce();
        return true;
      case 'b':  // BUILD
        build();
        return true;
      case 'q':  // BINPUT
      case 'r':  // LONG_BINPUT
        store(number(code == 'q' ? 1 : 4));
        return true;
      case 0x94:  // MEMOIZE
        store(memo_.size());
        return true;
      case 'h':  // BINGET
      case 'j':  // LONG_BINGET
        recall(number(code == 'h' ? 1 : 4));
        return true;
      default:
        return false;
    }
  }

  void step(int code) {
    if (code == 0x80) {  // PROTO
      number(1);
    } else if (code == 0x95) {  // FRAME
      number(8);
    } else if (!push_constant(code) && !change_container(code) && !call(code)) {
      corrupt(fmt::format("the instruction 0x{:02x} has no place in it", code));
    }
  }

  CifarBatch finish() {
    const PickleValue result = pop();
    if (result.kind != Kind::kDict || !stack_.empty()) corrupt("it makes no dictionary");
    CifarBatch batch;
    bool labels = false;
    bool data = false;
    int64_t rows = 0;
    for (size_t i = 0; i < result.items->size(); i += 2) {
      const std::string key = text_of((*result.items)[i]);
      const PickleValue& value = (*result.items)[i + 1];
      if (key == "labels" && value.kind == Kind::kList) {
        batch.labels.clear();
        for (const PickleValue& label : *value.items) {
          if (label.kind != Kind::kInteger) corrupt("its labels are no integers");
          batch.labels.push_back(label.integer);
        }
        labels = true;
      } else if (key == "data" && value.kind == Kind::kArray && value.integer >= 0) {
        const Array& array = arrays_[static_cast<size_t>(value.integer)];
        if (array.cols != 3072) corrupt("its images are not 3 x 32 x 32");
        rows = array.rows;
        batch.data = array.elements;
        data = true;
      }
    }
    if (!labels || !data || rows != static_cast<int64_t>(batch.labels.size())) {
      corrupt("its dictionary has no 'data' and 'labels' of one length");
    }
    return batch;
  }

  Bytes bytes_;
  const std::string& file_;
  size_t at_ = 0;
  PickleValues stack_;
  std::map<uint64_t, PickleValue> memo_;
  std::vector<Array> arrays_;
};

}  // namespace

CifarBatch read_cifar_pickle(std::span<const std::byte> bytes, const std::string& file) {
  return Machine(bytes, file).run();
}

}  // namespace bitsmith
