// Any bytes as an ONNX file; every parameter of the networks that open is decoded, and the network
// made ready to run.
#include "formats/onnx.h"

#include "fuzz_target.h"
#include "protobuf_mutator.h"
#include "runtime/network/network_executor.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitsmith;
  allow_errors([&] {
    const Model model = read_onnx(bytes_of(data, size), "input", "");
    size_t weights = 0;
    for (const auto& [name, tensor] : model.parameters) {
      const size_t count = static_cast<size_t>(*element_count(tensor.shape));
      FUZZ_EXPECT(tensor.bytes.size() >= 2 * count);  // f32, f16 or bf16
      weights += tensor.decode_all().size();
    }
    FUZZ_EXPECT(weights <= (size_t{64} << 20) / 2 + 8 * size);
    const nlohmann::json json = model.graph.to_json();
    FUZZ_EXPECT(Graph::from_json(nlohmann::json::parse(json.dump())).to_json() == json);
    find_blocks(model.graph);
    ThreadPool pool(1);
    NetworkExecutor executor(model, pool);
  });
  return 0;
}
