// What llama.cpp makes of GGUF files: token ids of texts, and the most likely continuation.
//
//     node generate.mjs < requests > answers
//
// Needs `make clients`. A request is one line of JSON, {"model": path, "texts": [text, ...],
// "prompt": [id, ...], "count": n}; its answer one line, {"tokens": [[id, ...], ...],
// "generated": [id, ...]}.
import {getLlama} from "node-llama-cpp";
import {createInterface} from "node:readline";

const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});

async function answer(request) {
  const model = await llama.loadModel({modelPath: request.model});
  const tokens = request.texts.map((text) => [...model.tokenize(text, false)].map(Number));
  const generated = [];
  if (request.count > 0) {
    const context = await model.createContext({contextSize: 256, threads: 1});
    const sequence = context.getSequence();
    for await (const token of sequence.evaluate(request.prompt, {
      temperature: 0, yieldEogToken: true
    })) {
      generated.push(Number(token));
      if (generated.length === request.count) break;
    }
    await context.dispose();
  }
  await model.dispose();
  return {tokens, generated};
}

for await (const line of createInterface({input: process.stdin})) {
  if (line.trim() !== "") console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await llama.dispose();
