# Writes OUTPUT, a C++ file that holds every recipes/*.toml as text. Run as a script:
#   cmake -DOUTPUT=... -DFOLDER=... -P embed_recipes.cmake
file(GLOB files ${FOLDER}/*.toml)
list(SORT files)
set(entries "")
foreach(file ${files})
  get_filename_component(id ${file} NAME_WE)
  file(READ ${file} text)
  string(APPEND entries "      {\"${id}\", R\"TOML(${text})TOML\"},\n")
endforeach()
file(WRITE ${OUTPUT}.new "// Made from recipes/*.toml by cmake/embed_recipes.cmake.
#include \"recipes/recipe.h\"

namespace bitsmith {

std::vector<BuiltInRecipe> built_in_recipes() {
  return {
${entries}  };
}

}  // namespace bitsmith
")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT)
