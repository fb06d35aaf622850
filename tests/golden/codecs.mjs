// Golden vectors for the codecs, by an ABI implementation that is not ours: ethers.
// Prints what codecs.json holds:   node tests/golden/codecs.mjs > tests/golden/codecs.json
import { createRequire } from "node:module";
const require = createRequire(new URL("../../ezkl/contracts/package.json", import.meta.url));
const { AbiCoder, keccak256, toUtf8Bytes, hexlify } = require("ethers");

const coder = AbiCoder.defaultAbiCoder();
const encode = (types, values) => coder.encode(types, values).slice(2);
const utf8 = (text) => hexlify(toUtf8Bytes(text)).slice(2);
const fields = (given) => ({ raw_input: "", processed_input: "", raw_output: "", processed_output: "", proof: "", ...given });
const ADDRESS = "0x00000000000000000000000000000000000000aa";
const MESSAGES = ["uint8", "uint8", "string", "tuple(string,string)[]"];
const TENSOR = (type) => ["uint8", "uint8", "uint8", "uint16[]", `${type}[]`];
const proof = { calldata: { verifyProof: "0x1e8e1e1300ff" }, values: { input_hash: ["0x2c0baee0a878693e174567fa50472f4d6501402d17cf510573f8b6c9588b4199"] } };
const float32 = (value) => { const view = new DataView(new ArrayBuffer(4)); view.setFloat32(0, value); return view.getInt32(0); };
const float64 = (value) => { const view = new DataView(new ArrayBuffer(8)); view.setFloat64(0, value); return view.getBigInt64(0); };

const text = "Grüße, 世界 🌍";
const textInput = encode(["string"], [text]);
const messages = [["system", "Be brief."], ["user", "Hi"], ["assistant", "Hello"], ["user", "Why?"]];
const messagesInput = encode(MESSAGES, [0, 0, "any-model", messages]);
const conversation = { key: "", messageId: "", text: "Why?", history: [{ system: "Be brief." }, { user: "Hi" }, { assistant: "Hello" }] };
const agentInput = encode(["uint48", "address", "string"], [281474976710655n, ADDRESS, "buy?"]);
const agentData = { key: ADDRESS, messageId: "281474976710655", text: "buy?", history: [] };
const agentReply = { action: "buy", rationale: "because", vector: [0.1, -2.5, 0, 3] };
// 0.1 as a double is 0.1000000000000000055511151231257827…
const vectors = encode(["int256[]"], [[100000000000000006n, -2500000000000000000n, 0n, 3000000000000000000n]]);
const agentReported = encode(["bytes32", "uint48", "address"], [keccak256("0x" + vectors), 281474976710655n, ADDRESS]);
const averaged = [5n * 10n ** 17n, -(2n ** 255n), 2n ** 255n - 1n, 0n];
const summarizerInput = encode(["int256[]"], [averaged]);
const summarizerReply = { action: "sell", action_index: 2, proof };
const hash = BigInt(proof.values.input_hash[0]);
const fixed = encode(TENSOR("int128"), [1, 18, 3, [2, 2], [1500000000000000000n, -1n, 0n, 25n * 10n ** 16n]]);
const ieee32 = encode(TENSOR("int32"), [0, 18, 1, [3], [float32(1.5), float32(-0.1), float32(1e-45)]]);
const ieee64 = encode(TENSOR("int64"), [0, 18, 2, [2], [float64(0.1), float64(-1e300)]]);
const integers = encode(TENSOR("uint8"), [0, 0, 9, [3], [0, 7, 255]]);
const booleans = encode(TENSOR("bool"), [0, 0, 15, [2], [true, false]]);
const scalar = encode(TENSOR("int32"), [0, 0, 7, [], [-5]]);
const matrix32 = encode(TENSOR("int32"), [0, 0, 1, [2, 2], [float32(1.5), float32(-0.1), float32(0), float32(3)]]);
const tensorInput = (vector) => encode(["bytes", "bytes"], ["0x6d6f64656c", "0x" + vector]);
const ABI = { codec: "abi", input: "(uint8 kind, (string role, bytes32[] tags)[2] parts, address who)", output: "(string label, int256 score)" };
const abiInput = encode(["uint8", "tuple(string,bytes32[])[2]", "address"], [7, [["a", ["0x" + "11".repeat(32)]], ["b", []]], ADDRESS]);
const abiData = { kind: 7, parts: [{ role: "a", tags: ["0x" + "11".repeat(32)] }, { role: "b", tags: [] }], who: ADDRESS };

const decode = [
  { name: "text", format: { codec: "text" }, hex: textInput, data: text },
  { name: "empty text", format: { codec: "text" }, hex: encode(["string"], [""]), data: "" },
  { name: "messages", format: { codec: "messages" }, hex: messagesInput, data: conversation },
  { name: "tensor in fixed point", format: { codec: "tensor" }, hex: tensorInput(fixed), data: { inputs: [1.5, -1e-18, 0, 0.25], shape: [2, 2], dtype: "float128", decimals: 18 } },
  { name: "tensor of float32", format: { codec: "tensor" }, hex: tensorInput(ieee32), data: { inputs: [1.5, Math.fround(-0.1), Math.fround(1e-45)], shape: [3], dtype: "float32" } },
  { name: "tensor of float64", format: { codec: "tensor" }, hex: tensorInput(ieee64), data: { inputs: [0.1, -1e300], shape: [2], dtype: "float64" } },
  { name: "tensor of uint8", format: { codec: "tensor" }, hex: tensorInput(integers), data: { inputs: [0, 7, 255], shape: [3], dtype: "uint8" } },
  { name: "tensor of bool", format: { codec: "tensor" }, hex: tensorInput(booleans), data: { inputs: [1, 0], shape: [2], dtype: "bool" } },
  { name: "tensor of one number", format: { codec: "tensor" }, hex: tensorInput(scalar), data: { inputs: [-5], shape: [], dtype: "int32" } },
  { name: "agent reply", format: { codec: "agent_reply" }, hex: agentInput, data: agentData },
  { name: "summarizer", format: { codec: "summarizer" }, hex: summarizerInput, strings: averaged.map(String) },
  { name: "abi", format: ABI, hex: abiInput, data: abiData },
];
const LLM = (message) => ({ key: "k", messageId: "m", text: message, history: [] });
const encoded = [
  { name: "text, exact", format: { codec: "text" }, reply: text, data: text, raw_input: textInput, fields: fields({ raw_input: textInput, raw_output: encode(["string"], [text]) }) },
  { name: "text, wrapped", format: { codec: "text", layout: "wrapped" }, reply: text, data: text, raw_input: textInput, fields: fields({ raw_input: textInput, raw_output: utf8(text) }) },
  { name: "text, delegated", format: { codec: "text" }, reply: "yes", data: LLM("ask"), raw_input: null, fields: fields({ raw_input: encode(["string"], ["ask"]), raw_output: encode(["string"], ["yes"]) }) },
  { name: "messages, delegated", format: { codec: "messages" }, reply: "yes", data: conversation, raw_input: null, fields: fields({ raw_input: encode(MESSAGES, [0, 0, "", messages]), raw_output: encode(["string"], ["yes"]) }) },
  { name: "tensor of integers", format: { codec: "tensor" }, reply: { outputs: [2], proof }, data: { inputs: [1] }, raw_input: "00", fields: fields({ raw_input: "00", raw_output: encode(TENSOR("int64"), [0, 0, 8, [1], [2]]), proof: "1e8e1e1300ff" }) },
  { name: "tensor of reals, delegated", format: { codec: "tensor" }, reply: { outputs: [0.5, -0.25] }, data: { inputs: [1.5, 2] }, raw_input: null, fields: fields({ raw_input: encode(["bytes", "bytes"], ["0x", "0x" + encode(TENSOR("int128"), [1, 18, 3, [2], [15n * 10n ** 17n, 2n * 10n ** 18n]])]), raw_output: encode(TENSOR("int128"), [1, 18, 3, [2], [5n * 10n ** 17n, -25n * 10n ** 16n]]) }) },
  { name: "tensor of nested integers", format: { codec: "tensor" }, reply: { outputs: [[1, 2, 3], [4, 5, 6]] }, data: {}, raw_input: "00", fields: fields({ raw_input: "00", raw_output: encode(TENSOR("int64"), [0, 0, 8, [2, 3], [1, 2, 3, 4, 5, 6]]) }) },
  { name: "tensor of the declared float32", format: { codec: "tensor", dtype: "float32" }, reply: { outputs: [[1.5, -0.1], [0, 3]] }, data: {}, raw_input: "00", fields: fields({ raw_input: "00", raw_output: matrix32 }) },
  { name: "tensor of the declared float64 and decimals", format: { codec: "tensor", dtype: "float64", decimals: 6 }, reply: { outputs: [0.1, -2.0000005] }, data: {}, raw_input: "00", fields: fields({ raw_input: "00", raw_output: encode(TENSOR("int64"), [1, 6, 2, [2], [100000, -2000001]]) }) },
  { name: "tensor of the declared decimals", format: { codec: "tensor", decimals: 2 }, reply: { outputs: [[[1, 2]]] }, data: {}, raw_input: "00", fields: fields({ raw_input: "00", raw_output: encode(TENSOR("int128"), [1, 2, 3, [1, 1, 2], [100, 200]]) }) },
  { name: "tensor of the reply's own shape and dtype", format: { codec: "tensor", dtype: "float64", decimals: 6 }, reply: { outputs: [1, 2, 3, 255], shape: [2, 2], dtype: "uint8" }, data: {}, raw_input: "00", fields: fields({ raw_input: "00", raw_output: encode(TENSOR("uint8"), [0, 0, 9, [2, 2], [1, 2, 3, 255]]) }) },
  { name: "tensor of booleans, delegated as a tensor of float32", format: { codec: "tensor", dtype: "bool" }, reply: { outputs: [[true], [false]] }, data: { inputs: [1.5, -0.1, 0, 3], shape: [2, 2], dtype: "float32" }, raw_input: null, fields: fields({ raw_input: encode(["bytes", "bytes"], ["0x", "0x" + matrix32]), raw_output: encode(TENSOR("bool"), [0, 0, 15, [2, 1], [true, false]]) }) },
  { name: "agent reply, exact", format: { codec: "agent_reply" }, reply: agentReply, data: agentData, raw_input: agentInput, fields: fields({ raw_input: agentReported, raw_output: encode(["string", "bytes"], ["because", "0x" + vectors]) }) },
  { name: "agent reply, wrapped", format: { codec: "agent_reply", layout: "wrapped" }, reply: agentReply, data: agentData, raw_input: null, fields: fields({ raw_input: agentReported, raw_output: utf8("because"), processed_output: vectors }) },
  { name: "summarizer, exact", format: { codec: "summarizer" }, reply: summarizerReply, data: null, raw_input: summarizerInput, fields: fields({ raw_input: encode(["bytes", "uint256"], ["0x" + summarizerInput, hash]), raw_output: encode(["uint8"], [2]), proof: "1e8e1e1300ff" }) },
  { name: "summarizer, wrapped", format: { codec: "summarizer", layout: "wrapped" }, reply: summarizerReply, data: null, raw_input: summarizerInput, fields: fields({ raw_input: summarizerInput, processed_input: encode(["uint256"], [hash]), raw_output: encode(["uint8"], [2]), proof: "1e8e1e1300ff" }) },
  { name: "summarizer, public inputs, delegated", format: { codec: "summarizer" }, reply: { ...summarizerReply, proof: { ...proof, values: { inputs: [1] } } }, data: { vector: [7, -7] }, raw_input: null, fields: fields({ raw_input: encode(["bytes", "uint256"], ["0x" + encode(["int256[]"], [[7, -7]]), 0]), raw_output: encode(["uint8"], [2]), proof: "1e8e1e1300ff" }) },
  { name: "abi", format: ABI, reply: { label: "good", score: -3, other: 1 }, data: abiData, raw_input: null, fields: fields({ raw_input: abiInput, raw_output: encode(["string", "int256"], ["good", -3]) }) },
];
console.log(JSON.stringify({ decode, encode: encoded }, null, 1));
