// Recipes: the built-in ones, files, overrides, and everything that is refused by name.
#include "recipes/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/testing.h"
#include "recipes/methods_page.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_bytes;
using Overrides = std::vector<std::string>;

constexpr const char* kSmall = R"(
id = "small"
summary = "a summary"
source = "a paper"

[code]
codec = "int"
bits = [2, 4]
group = [32, 64, 128]
symmetric = true

[solve.matrices]
id = "clip"
steps = 7

[solve.tables]
id = "nearest"

[allocate]
id = "knapsack"

[calibrate]
sequences = 10
length = 64
)";

Recipe load(const std::string& toml, const Overrides& overrides = {}) {
  const TemporaryFolder folder;
  write_bytes(folder / "a.toml", toml);
  return load_recipe((folder / "a.toml").string(), overrides);
}

std::string refusal(ErrorCode code, const Overrides& overrides, const std::string& toml = kSmall) {
  return error_of(code, [&] { load(toml, overrides); });
}

std::string refusal(const Overrides& overrides) {
  return refusal(ErrorCode::kInvalidArgument, overrides);
}

TEST(Recipes, BuiltInOnesLoadAndSayWhatTheyAre) {
  std::vector<std::string> ids;
  for (const BuiltInRecipe& built_in : built_in_recipes()) {
    const std::string id(built_in.id);
    SCOPED_TRACE(id);
    ids.push_back(id);
    const Recipe recipe = load_recipe(id, {});
    EXPECT_EQ(recipe.id, id);
    EXPECT_FALSE(recipe.summary.empty());
    EXPECT_FALSE(recipe.source.empty());
    ASSERT_TRUE(recipe.claim.has_value());
    EXPECT_FALSE(recipe.claim->paper.empty());
    EXPECT_FALSE(recipe.claim->measured.empty());
    EXPECT_TRUE(!recipe.candidates.empty() || recipe.entropy_coder.part != nullptr ||
                !recipe.tuning.empty());
    EXPECT_TRUE(recipe.candidates.size() <= 1 || recipe.sequences > 0);  // or who would choose?
    EXPECT_EQ(recipe.definition.at("id"), id);
    // The file of that name is the same.
    const auto path = testing::source_folder() / "recipes" / (id + ".toml");
    EXPECT_EQ(testing::read_bytes(path), built_in.toml);
    EXPECT_EQ(load_recipe(path.string(), {}).definition, recipe.definition);
  }
  EXPECT_TRUE(std::ranges::is_sorted(ids));
  for (const char* id : {"nearest", "clip", "gptq", "gptq-mix"}) {
    EXPECT_THAT(ids, ::testing::Contains(id));
  }
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::source_folder() / "recipes")) {
    files += entry.path().extension() == ".toml";
  }
  EXPECT_EQ(files, ids.size());
}

TEST(Recipes, PageOfMethodsIsUpToDate) {
  const auto path = testing::source_folder() / "docs" / "methods.md";
  EXPECT_EQ(testing::read_bytes(path), methods_page())
      << "bitsmith list recipes --markdown > docs/methods.md";
}

TEST(Recipes, ClaimsStayOutOfCheckpoints) {
  const std::string claim = "[claim]\npaper = \"p\"\nmeasured = \"m\"\nverdict = \"{}\"\n";
  const Recipe recipe = load(kSmall + fmt::format(fmt::runtime(claim), "partly"));
  ASSERT_TRUE(recipe.claim.has_value());
  EXPECT_EQ(recipe.claim->verdict, "partly");
  EXPECT_FALSE(recipe.definition.contains("claim"));
  EXPECT_FALSE(load(kSmall).claim.has_value());
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {},
                      kSmall + fmt::format(fmt::runtime(claim), "of course")),
              HasSubstr("not measured"));
}

TEST(Recipes, TuningStepsStandInOrder) {
  const Recipe recipe = load_recipe("focused", {});
  std::vector<std::string> ids;
  for (const auto& step : recipe.tuning) ids.push_back(step.part->info().id);
  EXPECT_THAT(ids, ElementsAre("train", "prune", "quantize"));
  ASSERT_EQ(recipe.candidates.size(), 1u);
  EXPECT_EQ(recipe.candidates[0].label(), "focused4");
  EXPECT_GT(recipe.tuning[1].options.number("sparsity"), 0.5);
  EXPECT_TRUE(load_recipe("gptq", {}).tuning.empty());
  // Weights of a network that is only trained stay float32.
  EXPECT_TRUE(load_recipe("fine-tune", {}).candidates.empty());
}

TEST(Recipes, TuningThatCannotWorkIsRefused) {
  const std::string tune = "[[tune]]\nid = \"share\"\n";
  const std::string code = "[code]\ncodec = \"focused\"\n";
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {}, tune), HasSubstr("needs a [code]"));
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {"code.bits=[3,4]"}, tune + code),
              HasSubstr("one code"));
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {"solve.matrices.id=gptq"}, tune + code),
              HasSubstr("there is no 'solve'"));
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {}, "[[tune]]\nid = \"train\"\nepoch = 3\n"),
              HasSubstr("epoch"));
  EXPECT_THAT(refusal(ErrorCode::kNotFound, {}, "[[tune]]\nid = \"grow\"\n"), HasSubstr("prune"));
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {}, "[tune]\nid = \"train\"\n"),
              HasSubstr("[[tune]]"));
}

TEST(Recipes, EntropyCodingIsNamedOrNone) {
  EXPECT_EQ(load_recipe("nearest", {}).entropy_coder.part, nullptr);
  EXPECT_EQ(load_recipe("nearest", {"encode.id=none"}).entropy_coder.part, nullptr);
  const Recipe coded = load_recipe("nearest", {"encode.id=huffman"});
  ASSERT_NE(coded.entropy_coder.part, nullptr);
  EXPECT_EQ(coded.entropy_coder.part->info().id, "huffman");
  const Recipe kept = load_recipe("lossless", {});
  EXPECT_TRUE(kept.candidates.empty());
  EXPECT_EQ(kept.entropy_coder.part->info().id, "rans");
  EXPECT_THAT(
      testing::error_of(ErrorCode::kNotFound, [] { load_recipe("nearest", {"encode.id=zip"}); }),
      HasSubstr("there is no entropy coder 'zip'"));
  EXPECT_THAT(testing::error_of(ErrorCode::kInvalidArgument,
                                [] { load_recipe("nearest", {"encode={bits=3}"}); }),
              HasSubstr("'encode' needs an id"));
}

TEST(Recipes, AFileIsReadAsItStands) {
  const Recipe recipe = load(kSmall);
  EXPECT_EQ(recipe.id, "small");
  EXPECT_EQ(recipe.summary, "a summary");
  EXPECT_EQ(recipe.source, "a paper");
  EXPECT_EQ(recipe.matrix_solver.part->info().id, "clip");
  EXPECT_EQ(recipe.matrix_solver.options.integer("steps"), 7);
  EXPECT_TRUE(recipe.matrix_solver.options.flag("weighted"));  // the default
  EXPECT_EQ(recipe.table_solver.part->info().id, "nearest");
  EXPECT_EQ(recipe.allocator.part->info().id, "knapsack");
  EXPECT_EQ(recipe.sequences, 10);
  EXPECT_EQ(recipe.length, 64);
  std::set<std::pair<int64_t, int64_t>> candidates;  // all combinations, each once
  for (const Scheme& scheme : recipe.candidates) {
    EXPECT_EQ(scheme.codec->info().id, "int");
    EXPECT_TRUE(scheme.options.flag("symmetric"));
    candidates.emplace(scheme.options.integer("bits"), scheme.options.integer("group"));
  }
  EXPECT_EQ(recipe.candidates.size(), 6u);
  EXPECT_THAT(candidates, ElementsAre(std::pair(2, 32), std::pair(2, 64), std::pair(2, 128),
                                      std::pair(4, 32), std::pair(4, 64), std::pair(4, 128)));
}

TEST(Recipes, AFileWithoutAnIdIsNamedLikeTheFile) {
  EXPECT_EQ(load(std::string(kSmall).substr(sizeof("\nid = 'small'") - 1)).id, "a");
}

TEST(Recipes, WithoutCalibrationThereAreNoSequences) {
  EXPECT_EQ(load_recipe("nearest", {}).sequences, 0);
  const Recipe recipe = load_recipe("nearest", {"calibrate.length=32"});
  EXPECT_EQ(recipe.sequences, 128);
  EXPECT_EQ(recipe.length, 32);
}

TEST(Recipes, OverridesAreAppliedBeforeAnythingIsChecked) {
  const Recipe recipe =
      load(kSmall, {"code.bits=3", "code.group=[16, 32]", "code.symmetric=false",
                    "solve.matrices.id=gptq", "solve.matrices={id='gptq', damping=0.5}",
                    "solve.matrices.range = \"search\"", "calibrate.sequences= 3 # a comment",
                    "summary=two words", "source=", "allocate={id=\"uniform\"}"});
  ASSERT_EQ(recipe.candidates.size(), 2u);
  EXPECT_EQ(recipe.candidates[1].options.integer("bits"), 3);
  EXPECT_EQ(recipe.candidates[1].options.integer("group"), 32);
  EXPECT_FALSE(recipe.candidates[1].options.flag("symmetric"));
  EXPECT_EQ(recipe.matrix_solver.part->info().id, "gptq");
  EXPECT_EQ(recipe.matrix_solver.options.number("damping"), 0.5);
  EXPECT_EQ(recipe.allocator.part->info().id, "uniform");
  EXPECT_EQ(recipe.sequences, 3);
  EXPECT_EQ(recipe.summary, "two words");
  EXPECT_EQ(recipe.source, "");
  // What was used is what the checkpoint will say.
  EXPECT_EQ(recipe.definition.at("code").at("bits"), 3);
  EXPECT_EQ(recipe.definition.at("solve").at("matrices").at("damping"), 0.5);
}

TEST(Recipes, OverridesThatAreNoneAreRefused) {
  for (const char* text : {"code.bits", "=3", "code..bits=3", ".bits=3", "code.=3", ""}) {
    EXPECT_THAT(refusal({text}),
                AllOf(HasSubstr(fmt::format("--set '{}'", text)), HasSubstr("expected key=value")));
  }
  EXPECT_THAT(refusal({"code.bits.more=3"}), HasSubstr("'more' is below a value"));
  EXPECT_THAT(refusal({"code.bits=three"}), HasSubstr("'bits' must be a whole number"));
  EXPECT_THAT(refusal({"code.bits="}), HasSubstr("'bits' must be a whole number"));
  EXPECT_THAT(refusal({"code.bits=" + std::string(100000, '[')}), HasSubstr("'bits' must be"));
}

TEST(Recipes, UnknownKeysAreNamedWithTheKnownOnes) {
  const std::pair<const char*, const char*> cases[] = {{"bits=3", "'bits'"},
                                                       {"solver.id=gptq", "'solver'"},
                                                       {"solve.matrix.id=gptq", "'matrix'"},
                                                       {"calibrate.sequence=3", "'sequence'"},
                                                       {"code.width=3", "'width'"},
                                                       {"solve.matrices.step=3", "'step'"},
                                                       {"solve.tables.step=3", "'step'"},
                                                       {"allocate.budget=3", "'budget'"}};
  for (const auto& [text, name] : cases) EXPECT_THAT(refusal({text}), HasSubstr(name)) << text;
  EXPECT_THAT(refusal({"solver.id=gptq"}), HasSubstr("allocate, calibrate"));
  EXPECT_THAT(refusal({"code.width=3"}), HasSubstr("bits, group, symmetric"));
}

TEST(Recipes, UnknownPartsAreNamedWithTheKnownOnes) {
  const std::pair<const char*, const char*> cases[] = {
      {"code.codec=nf4711", "codec 'nf4711'"},
      {"solve.matrices={id='magic'}", "solver 'magic'"},
      {"solve.tables={id='magic'}", "solver 'magic'"},
      {"allocate={id='magic'}", "allocator 'magic'"}};
  for (const auto& [text, name] : cases) {
    EXPECT_THAT(refusal(ErrorCode::kNotFound, {text}),
                AllOf(HasSubstr(name), HasSubstr("there are: ")));
  }
  EXPECT_THAT(error_of(ErrorCode::kNotFound, [] { load_recipe("magic", {}); }),
              AllOf(HasSubstr("recipe 'magic'"), HasSubstr("gptq-mix")));
  EXPECT_THAT(error_of(ErrorCode::kNotFound, [] { load_recipe("/nowhere/magic.toml", {}); }),
              HasSubstr("/nowhere/magic.toml"));
}

TEST(Recipes, WrongTypesAndShapesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"id=3", "id must be a string"},
      {"summary=[1]", "summary must be a string"},
      {"source=true", "source must be a string"},
      {"code=3", "'code' must be a table"},
      {"code={}", "code.codec is missing"},
      {"code={bits=4}", "code.codec is missing"},
      {"code.codec=3", "code.codec is missing"},
      {"code.bits=[]", "code.bits is an empty list"},
      {"code.bits=[[4]]", "'bits' must be a whole number"},
      {"code.bits=2.5", "'bits' must be a whole number"},
      {"code.symmetric=1", "'symmetric' must be true or false"},
      {"solve=3", "'solve' must be a table"},
      {"solve.matrices=gptq", "'solve.matrices' needs an id"},
      {"solve.matrices={steps=3}", "'solve.matrices' needs an id"},
      {"solve.tables=3", "'solve.tables' needs an id"},
      {"allocate=[]", "'allocate' needs an id"},
      {"allocate.id=3", "'allocate' needs an id"},
      {"calibrate=3", "'calibrate' must be a table"},
      {"calibrate.sequences=many", "calibrate.sequences must be"},
      {"calibrate.sequences=0", "calibrate.sequences must be from 1"},
      {"calibrate.sequences=1e3", "calibrate.sequences must be"},
      {"calibrate.length=-1", "calibrate.length must be"},
      {"calibrate.length=1", "calibrate.length must be 0 or at least 2"},
      {"calibrate.length=9223372036854775807", "calibrate.length must be"},
      {"except=3", "[[except]]"},
      {"except=[3]", "except.layers must be"},
      {"except=[{layers='first'}]", "it is 'first'"},
      {"except=[{layers='ends', bit=8}]", "'bit'"},
      {"except=[{layers='ends', bits=[6, 8]}]", "one code"},
      {"activations=3", "'activations' must be a table"},
      {"activations={}", "needs an observer"},
      {"activations={bits=9, sigmas=6}", "activations.bits must be from 2 to 8"},
      {"activations={step=3, sigmas=6}", "'step'"},
      {"activations={sigmas=0}", "activations.sigmas must be"},
      {"activations={sigmas='6'}", "activations.sigmas must be"},
      {"activations={sigmas=6, observer={id='mse'}}", "needs an observer"},
      {"activations={observer='mse'}", "'activations.observer' needs an id"},
      {"activations={observer={id='mse', step=3}}", "'step'"},
      {"activations={sigmas=6, correct_biases=1}", "correct_biases must be true or false"},
      {"activations={sigmas=6, reestimate=1}", "reestimate must be true or false"},
      {"activations={sigmas=6, reestimate=true}", "set correct_biases too"}};
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(refusal({text}), HasSubstr(message)) << text;
  }
}

TEST(Recipes, ExceptionsHaveTheKeysOfTheRest) {
  const Recipe recipe = load_recipe(
      "clip", {"except=[{layers='ends', bits=8}, {layers='depthwise', bits=6, group=0}]"});
  ASSERT_EQ(recipe.exceptions.size(), 2u);
  EXPECT_EQ(recipe.exceptions[0].layers, &LayerTraits::is_end);
  EXPECT_EQ(recipe.exceptions[0].scheme.label(), "int8 g64");
  EXPECT_EQ(recipe.exceptions[1].scheme.label(), "int6 row");
  EXPECT_EQ(recipe.candidates[0].label(), "int4 g64");
  EXPECT_EQ(recipe.candidates_for({})[0].label(), "int4 g64");
  EXPECT_EQ(recipe.candidates_for({.is_end = true})[0].label(), "int8 g64");
  // The last one counts.
  EXPECT_EQ(recipe.candidates_for({.is_end = true, .is_depthwise = true})[0].label(), "int6 row");
  const Recipe other = load_recipe("clip", {"except=[{layers='ends', codec='nf4'}]"});
  EXPECT_EQ(other.exceptions[0].scheme.label(), "nf4 g64");  // no bits, the group of the rest
  const Recipe small = load_recipe("clip", {"except=[{layers='small', bits=8}]"});
  EXPECT_EQ(small.candidates_for({.is_small = true})[0].label(), "int8 g64");
  EXPECT_EQ(small.candidates_for({.is_end = true})[0].label(), "int4 g64");
  EXPECT_TRUE(is_small_layer(9, 1000));
  EXPECT_FALSE(is_small_layer(10, 1000));
}

TEST(Recipes, ActivationsAreReadAndChecked) {
  const Recipe plain = load_recipe("nearest", {});
  EXPECT_FALSE(plain.activations.has_value());
  const Recipe observed = load_recipe(
      "clip", {"activations={bits=6, correct_biases=true, observer={id='mse', steps=9}}"});
  ASSERT_TRUE(observed.activations.has_value());
  EXPECT_EQ(observed.activations->bits, 6);
  EXPECT_TRUE(observed.activations->correct_biases);
  EXPECT_EQ(observed.activations->observer.part->info().id, "mse");
  EXPECT_EQ(observed.activations->observer.options.integer("steps"), 9);
  const Recipe free = load_recipe("nearest", {"activations={sigmas=6}"});
  EXPECT_EQ(free.activations->observer.part, nullptr);
  EXPECT_EQ(free.activations->sigmas, 6);
  EXPECT_EQ(free.activations->bits, 8);
  const auto refused = [](const char* recipe, const Overrides& overrides) {
    return error_of(ErrorCode::kInvalidArgument, [&] { load_recipe(recipe, overrides); });
  };
  EXPECT_THAT(refused("nearest", {"activations={observer={id='mse'}}"}), HasSubstr("[calibrate]"));
  EXPECT_THAT(refused("nearest", {"activations={sigmas=6, correct_biases=true}"}),
              HasSubstr("[calibrate]"));
  EXPECT_THAT(refused("clip", {"activations={sigmas=6}", "transform=[{id='equalize'}]"}),
              HasSubstr("an observer instead of sigmas"));
}

TEST(Recipes, TooManyCandidatesAreRefused) {
  std::string bits = "code.bits=[";
  for (int i = 0; i < 400; ++i) bits += "4, ";
  EXPECT_THAT(refusal({bits + "4]"}), HasSubstr("more than 1024 candidates"));
}

// Every option of every part, out of its bounds and of another type, in its place in a recipe.
template <class Part>
void expect_options_checked(const std::string& place, const std::string& choice) {
  for (const Part* part : Registry<Part>::instance().all()) {
    const std::string id = part->info().id;
    for (const OptionSpec& option : part->info().options) {
      Overrides wrong = {"[[1]]"};
      if (!std::holds_alternative<std::string>(option.default_value)) wrong.push_back("'text'");
      if (!option.choices.empty()) wrong.push_back("'no such choice'");
      if (std::holds_alternative<int64_t>(option.default_value)) wrong.push_back("0.5");
      if (option.max < 1e18) wrong.push_back(fmt::format("{}", std::floor(option.max) + 1));
      if (option.min > -1e18) wrong.push_back(fmt::format("{}", std::ceil(option.min) - 1));
      for (const std::string& value : wrong) {
        const Overrides overrides = {
            fmt::format("{}={{{}='{}', {}={}}}", place, choice, id, option.name, value)};
        SCOPED_TRACE(overrides[0]);
        EXPECT_THAT(refusal(overrides), AllOf(HasSubstr(fmt::format("'{}'", id)),
                                              HasSubstr(fmt::format("'{}' must be", option.name))));
      }
    }
  }
}

TEST(Recipes, ResidualsStandBesideOneCode) {
  const std::string residual = R"(residual={id="low_rank", rank=3})";
  const Recipe recipe = load(kSmall, {"code.bits=4", "code.group=64", residual});
  ASSERT_NE(recipe.residual.part, nullptr);
  EXPECT_EQ(recipe.residual.options.integer("rank"), 3);
  EXPECT_EQ(load(kSmall).residual.part, nullptr);
  EXPECT_THAT(refusal({residual}), HasSubstr("beside one code"));
  EXPECT_THAT(refusal({"code.bits=4", "code.group=64", residual, "activations.per_token=true"}),
              HasSubstr("[residual] and [activations]"));
  EXPECT_THAT(refusal({"code.bits=4", "code.group=64", R"(residual={id="low_rank", rnk=3})"}),
              HasSubstr("rnk"));
}

TEST(Recipes, ActivationsPerToken) {
  EXPECT_EQ(load(kSmall).token_bits, 0);
  const Recipe recipe = load(kSmall, {"activations={bits=4, per_token=true}"});
  EXPECT_EQ(recipe.token_bits, 4);
  EXPECT_FALSE(recipe.activations.has_value());
  EXPECT_EQ(load(kSmall, {"activations={per_token=true}"}).token_bits, 8);
  EXPECT_THAT(refusal({"activations={per_token=true, bits=9}"}), HasSubstr("from 2 to 8"));
  EXPECT_THAT(refusal({"activations={per_token=false}"}), HasSubstr("per_token is true"));
  EXPECT_THAT(refusal({"activations={per_token=true, sigmas=4}"}), HasSubstr("no key 'sigmas'"));
}

TEST(Recipes, OptionsOfEveryPartAreChecked) {
  expect_options_checked<Codec>("code", "codec");
  expect_options_checked<Solver>("solve.matrices", "id");
  expect_options_checked<Allocator>("allocate", "id");
}

TEST(Recipes, EverySolverAndAllocatorCanBeNamed) {
  for (const Solver* solver : Registry<Solver>::instance().all()) {
    const std::string id = solver->info().id;
    const std::string matrices = fmt::format("solve.matrices={{id='{}'}}", id);
    const std::string tables = fmt::format("solve.tables={{id='{}'}}", id);
    EXPECT_EQ(load(kSmall, {matrices}).matrix_solver.part, solver);
    if (!solver->needs_statistics()) {
      EXPECT_EQ(load(kSmall, {tables}).table_solver.part, solver);
      EXPECT_EQ(load_recipe("nearest", {matrices}).matrix_solver.part, solver);
      continue;
    }
    // Statistics come from a calibration text, and a table that is looked up has none.
    EXPECT_THAT(refusal({tables}), AllOf(HasSubstr("solve.tables"), HasSubstr(id)));
    EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { load_recipe("nearest", {matrices}); }),
                AllOf(HasSubstr(id), HasSubstr("[calibrate]")));
  }
  for (const Allocator* allocator : Registry<Allocator>::instance().all()) {
    const std::string id = allocator->info().id;
    EXPECT_EQ(load(kSmall, {fmt::format("allocate={{id='{}'}}", id)}).allocator.part, allocator);
  }
}

TEST(Recipes, FilesThatAreNoTomlAreRefused) {
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, {}, "[code"), HasSubstr("is not valid TOML"));
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, {}, "id = 'a'\nid = 'b'"), HasSubstr("not valid TOML"));
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, {}, "x = " + std::string(100000, '[')),
              HasSubstr("nested deeper than 64"));
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, {}, std::string((1 << 20) + 1, ' ')),
              HasSubstr("at most"));
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {}, "summary = 1979-05-27"),
              HasSubstr("dates are not used"));
  EXPECT_THAT(refusal(ErrorCode::kInvalidArgument, {}, ""), HasSubstr("code.codec is missing"));
}

}  // namespace
}  // namespace bitsmith
