// Writes tokenizers.json and tinystories.json: what the Hugging Face tokenizers library (Rust)
// makes of texts.json.
//   npm install --ignore-scripts @anush008/tokenizers@0.6.0     (tokenizers 0.22.2 inside)
//   node make_vectors.mjs TREASURE_ISLAND.TXT TINYSTORIES_TOKENIZER.JSON
// The small models are trained here on a public-domain novel and the texts themselves.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
const require = createRequire(process.cwd() + '/');
const { Tokenizer } = require('@anush008/tokenizers');

const here = new URL('.', import.meta.url);
const texts = JSON.parse(readFileSync(new URL('texts.json', here)));
// The library takes strings, so broken UTF-8 comes to it as U+FFFD.
const strings = texts.map((t) => (typeof t === 'string' ? t : Buffer.from(t.hex, 'hex').toString('utf8')));
const novel = readFileSync(process.argv[2], 'utf8').slice(0, 120000);
const corpus = novel + ('\n' + strings.filter((s) => !s.includes('<')).join('\n')).repeat(3);

// GPT-2's visible characters for bytes.
const visible = (() => {
  const table = [];
  let next = 0x100;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b !== 0xad);
    table.push(String.fromCodePoint(printable ? b : next++));
  }
  return table;
})();

// Plain BPE training on words; returns the merges in the order learned.
function train(words, count) {
  const counts = new Map();
  for (const w of words) counts.set(w, (counts.get(w) ?? 0) + 1);
  const items = [...counts].map(([w, n]) => ({ symbols: [...w], n }));
  const merges = [];
  while (merges.length < count) {
    const pairs = new Map();
    for (const { symbols, n } of items) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const key = symbols[i] + '\u0001' + symbols[i + 1];
        pairs.set(key, (pairs.get(key) ?? 0) + n);
      }
    }
    const [best] = [...pairs].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
    const [a, b] = best.split('\u0001');
    merges.push([a, b]);
    for (const item of items) {
      const out = [];
      for (let i = 0; i < item.symbols.length; i++) {
        if (item.symbols[i] === a && item.symbols[i + 1] === b) {
          out.push(a + b);
          i++;
        } else {
          out.push(item.symbols[i]);
        }
      }
      item.symbols = out;
    }
  }
  return merges;
}

const wordsOf = (text) => text.match(/'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+/gu);

function byteLevelModel() {
  const words = wordsOf(corpus).map((w) => [...Buffer.from(w)].map((b) => visible[b]).join(''));
  const merges = train(words, 300);
  const vocab = {};
  for (const c of visible) vocab[c] = Object.keys(vocab).length;
  for (const [a, b] of merges) vocab[a + b] ??= Object.keys(vocab).length;
  // A whole word that no merge reaches, for ignore_merges.
  vocab['\u0120particulars'] = Object.keys(vocab).length;
  return { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '',
           fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges };
}

function sentencePieceModel(byteFallback) {
  const words = wordsOf(novel).map((w) => w.replaceAll(' ', '\u2581'));
  const merges = train(words, 240);
  const vocab = { '<unk>': 0, '<s>': 1, '</s>': 2 };
  if (byteFallback) {
    for (let b = 0; b < 256; b++) vocab['<0x' + b.toString(16).toUpperCase().padStart(2, '0') + '>'] = 3 + b;
  }
  for (const c of new Set(words.join(''))) vocab[c] ??= Object.keys(vocab).length;
  for (const [a, b] of merges) vocab[a + b] ??= Object.keys(vocab).length;
  return { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null,
           fuse_unk: true, byte_fallback: byteFallback, ignore_merges: false, vocab,
           merges: merges.map(([a, b]) => a + ' ' + b) };
}

function unigramModel() {
  const words = wordsOf(novel).map((w) => w.replaceAll(' ', '\u2581'));
  const counts = new Map();
  for (const w of words) {
    for (let i = 0; i < w.length; i++) {
      for (let n = 1; n <= 7 && i + n <= w.length; n++) {
        const s = w.slice(i, i + n);
        counts.set(s, (counts.get(s) ?? 0) + n);
      }
    }
  }
  const chars = [...counts].filter(([s]) => s.length === 1);
  const best = [...counts].filter(([s]) => s.length > 1).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 250);
  const total = [...chars, ...best].reduce((sum, [, n]) => sum + n, 0);
  // Distinct scores: ties between segmentations are decided by rounding, which is not the point.
  const vocab = [['<unk>', 0], ['<s>', 0], ['</s>', 0]];
  [...chars, ...best].forEach(([s, n], i) => vocab.push([s, Math.round((Math.log(n / total) - i * 1e-4) * 1e6) / 1e6]));
  return { type: 'Unigram', unk_id: 0, vocab, byte_fallback: false };
}

const models = {
  byte_level: byteLevelModel(),
  byte_fallback: sentencePieceModel(true),
  unknown: sentencePieceModel(false),
  unigram: unigramModel(),
};

const LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const CL100K = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
const QWEN2 = LLAMA3.replace('\\p{N}{1,3}', '\\p{N}');
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const byteLevel = (more) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false, ...more });
const split = (Regex, behavior = 'Isolated', invert = false) => ({ type: 'Split', pattern: { Regex }, behavior, invert });
const splitString = (String, behavior) => ({ type: 'Split', pattern: { String }, behavior, invert: false });
const sequence = (...pretokenizers) => ({ type: 'Sequence', pretokenizers });
const added = (id, content, more = {}) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: false, ...more });
const template = (prefix, suffix) => ({
  type: 'TemplateProcessing',
  single: [...prefix.map(([id]) => ({ SpecialToken: { id, type_id: 0 } })), { Sequence: { id: 'A', type_id: 0 } },
           ...suffix.map(([id]) => ({ SpecialToken: { id, type_id: 0 } }))],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
  special_tokens: Object.fromEntries([...prefix, ...suffix].map(([name, id]) => [name, { id: name, ids: [id], tokens: [name] }])),
});
const byteSize = Object.keys(models.byte_level.vocab).length;
const byteAdded = [
  added(byteSize, '<s>', { special: true }), added(byteSize + 1, '<|end|>', { special: true }),
  added(byteSize + 2, '<|left|>', { lstrip: true }), added(byteSize + 3, '<|right|>', { rstrip: true, special: true }),
  added(byteSize + 4, '<|both|>', { lstrip: true, rstrip: true }), added(byteSize + 5, 'word', { single_word: true }),
  added(byteSize + 6, 'cafe\u0301', { normalized: true }), added(byteSize + 7, '<|plain|>'),
];
const byteFile = (more) => ({ added_tokens: byteAdded, normalizer: null, post_processor: byteLevel({ trim_offsets: false }),
                              decoder: byteLevel({ add_prefix_space: true, use_regex: true }), model: '@byte_level', ...more });
const bos = ['<s>', byteSize], eos = ['<|end|>', byteSize + 1];

const special3 = [added(0, '<unk>', { special: true }), added(1, '<s>', { special: true }), added(2, '</s>', { special: true })];
const replace = (from, content) => ({ type: 'Replace', pattern: { String: from }, content });
const llamaNormalizer = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '\u2581' }, replace(' ', '\u2581')] };
const llamaDecoder = (...last) => ({ type: 'Sequence', decoders: [replace('\u2581', ' '), { type: 'ByteFallback' }, { type: 'Fuse' }, ...last] });
const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
const metaspace = (prepend_scheme, split) => ({ type: 'Metaspace', replacement: '\u2581', prepend_scheme, split });

const tokenizers = {
  gpt2: byteFile({ pre_tokenizer: byteLevel({ use_regex: true }) }),
  gpt2_prefix_space: byteFile({ pre_tokenizer: byteLevel({ use_regex: true, add_prefix_space: true }) }),
  gpt2_split: byteFile({ pre_tokenizer: sequence(split(GPT2, 'Removed', true), byteLevel()) }),
  llama3: byteFile({ pre_tokenizer: sequence(split(LLAMA3), byteLevel()), model: '@byte_level ignore_merges',
                     post_processor: { type: 'Sequence', processors: [byteLevel(), template([bos], [])] } }),
  cl100k: byteFile({ pre_tokenizer: sequence(split(CL100K), byteLevel()) }),
  qwen2: byteFile({ normalizer: { type: 'NFC' }, pre_tokenizer: sequence(split(QWEN2), byteLevel()),
                    post_processor: template([bos, bos], [eos]) }),
  nfkc_digits: byteFile({ normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Strip', strip_left: true, strip_right: true }] },
                          pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel({ use_regex: true })) }),
  nfd_punctuation: byteFile({ normalizer: { type: 'NFD' },
                              pre_tokenizer: sequence({ type: 'Punctuation', behavior: 'Contiguous' }, { type: 'Digits', individual_digits: false }, byteLevel({ use_regex: true })) }),
  llama2: { added_tokens: special3, normalizer: llamaNormalizer, pre_tokenizer: null, post_processor: template([['<s>', 1]], []),
            decoder: llamaDecoder(strip), model: '@byte_fallback' },
  gemma: { added_tokens: special3, normalizer: replace(' ', '\u2581'), pre_tokenizer: splitString(' ', 'MergedWithPrevious'),
           post_processor: template([['<s>', 1]], [['</s>', 2]]), decoder: llamaDecoder(), model: '@byte_fallback' },
  mistral_metaspace: { added_tokens: special3, normalizer: null, pre_tokenizer: metaspace('first', false), post_processor: null,
                       decoder: llamaDecoder(strip), model: '@byte_fallback' },
  metaspace_always: { added_tokens: special3, normalizer: null, pre_tokenizer: metaspace('always', true), post_processor: null,
                      decoder: metaspace('always', true), model: '@unknown' },
  unknown_not_fused: { added_tokens: special3.map((t) => ({ ...t, normalized: true })), normalizer: llamaNormalizer, pre_tokenizer: null,
                       post_processor: null, decoder: llamaDecoder(strip), model: '@unknown not_fused' },
  unigram: { added_tokens: special3, normalizer: { type: 'NFKC' }, pre_tokenizer: sequence({ type: 'WhitespaceSplit' }, metaspace('always', true)),
             post_processor: { type: 'RobertaProcessing', sep: ['</s>', 2], cls: ['<s>', 1], trim_offsets: true, add_prefix_space: true },
             decoder: metaspace('always', true), model: '@unigram' },
};

function fill(json) {
  const [name, option] = json.model.slice(1).split(' ');
  const model = { ...models[name] };
  if (option === 'ignore_merges') model.ignore_merges = true;
  if (option === 'not_fused') model.fuse_unk = false;
  return { version: '1.0', truncation: null, padding: null, ...json, model };
}

// ids: without special tokens; special: with them; decoded: of `special`,
// by index and only where it is not the text.
async function vectors(tokenizer) {
  const out = { ids: [], special: [], decoded: {} };
  for (const [i, s] of strings.entries()) {
    out.ids.push((await tokenizer.encode(s, null, { addSpecialTokens: false })).getIds());
    out.special.push((await tokenizer.encode(s, null, { addSpecialTokens: true })).getIds());
    const text = await tokenizer.decode(out.special.at(-1), true);
    if (text !== s) out.decoded[i] = text;
  }
  return out;
}

const lines = (list) => '[\n' + list.map((x) => JSON.stringify(x)).join(',\n') + '\n]';
const show = (v, ids) => `{"ids": ${ids}, "special_prefix": ${JSON.stringify(v.prefix)}, "special_suffix": ${JSON.stringify(v.suffix)}, "decoded": ${JSON.stringify(v.decoded)}}`;
// What `special` has before and after `ids`, which is the same for every text.
function affixes(v) {
  // Of the empty text the special tokens are all that is left.
  const rest = v.special[0];
  for (let cut = rest.length; cut >= 0; cut--) {
    const prefix = rest.slice(0, cut), suffix = rest.slice(cut);
    if (v.special.every((ids, i) => JSON.stringify(ids) === JSON.stringify([...prefix, ...v.ids[i], ...suffix]))) return { ...v, prefix, suffix };
  }
  throw new Error('special tokens depend on the text');
}

// Many tokenizers make the same ids of a text: each list is written once, and numbered.
const pool = new Map();
const numberOf = (list) => {
  const key = JSON.stringify(list);
  if (!pool.has(key)) pool.set(key, pool.size);
  return pool.get(key);
};

const parts = [];
for (const [name, json] of Object.entries(tokenizers)) {
  const v = affixes(await vectors(Tokenizer.fromString(JSON.stringify(fill(json)))));
  parts.push(`${JSON.stringify(name)}: {"json": ${JSON.stringify(json)},\n"expected": ${show(v, JSON.stringify(v.ids.map(numberOf)))}}`);
}
writeFileSync(new URL('tokenizers.json', here), `{"models": {\n${Object.entries(models).map(([k, m]) => `${JSON.stringify(k)}: ${JSON.stringify(m)}`).join(',\n')}\n},\n"id_lists": [\n${[...pool.keys()].join(',\n')}\n],\n"tokenizers": {\n${parts.join(',\n')}\n}}\n`);
const stories = affixes(await vectors(Tokenizer.fromFile(process.argv[3])));
writeFileSync(new URL('tinystories.json', here), show(stories, lines(stories.ids)) + '\n');
