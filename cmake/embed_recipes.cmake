# Writes OUTPUT, a C++ file that holds every recipes/*.toml as text. Run as a script:
#   cmake -DOUTPUT=... -DFOLDER=... -P embed_recipes.cmake
file(GLOB files ${FOLDER}/*.toml)
set(ids "")
foreach(file ${files})
  get_filename_component(id ${file} NAME_WLE)
  list(APPEND ids ${id})
endforeach()
list(SORT ids)  # not by file name, in which "-" comes before "."
set(entries "")
foreach(id ${ids})
  file(READ ${FOLDER}/${id}.toml text)
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
