// Calldata of verifyProof(bytes,uint256[]), word by word (https://docs.soliditylang.org/en/latest/abi-spec.html).

const SELECTOR = "1e8e1e13";
const WORD = 64;

/** Return rows `{offset, text, meaning}`, with offsets in bytes. Throws Error where it is no such calldata. */
export function decodedCalldata(hex) {
  const digits = hex.trim().replace(/^0x/i, "").toLowerCase();
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error("These are no whole bytes in hex.");
  if (digits.slice(0, 8) !== SELECTOR) throw new Error(`The first four bytes are not 0x${SELECTOR}, of verifyProof.`);
  const body = digits.slice(8);
  const word = (position) => {
    const text = body.slice(2 * position, 2 * position + WORD);
    if (text.length < WORD) throw new Error("It ends too early.");
    return text;
  };
  const number = (position) => Number(BigInt(`0x${word(position)}`));
  const row = (position, text, meaning) => ({ offset: position + 4, text, meaning });
  const proofAt = number(0);
  const instancesAt = number(32);
  const numProofBytes = number(proofAt);
  const numInstances = number(instancesAt);
  if (numInstances > body.length / WORD) throw new Error("It ends too early.");
  const instances = Array.from({ length: numInstances }, (_, index) => {
    const position = instancesAt + 32 * (index + 1);
    return row(position, word(position), `instance ${index}`);
  });
  const proof = body.slice(2 * (proofAt + 32), 2 * (proofAt + 32 + numProofBytes));
  if (proof.length < 2 * numProofBytes) throw new Error("It ends too early.");
  return [
    { offset: 0, text: SELECTOR, meaning: "selector of verifyProof(bytes,uint256[])" },
    row(0, word(0), `where the proof is: byte ${proofAt} behind the selector`),
    row(32, word(32), `where the instances are: byte ${instancesAt}`),
    row(proofAt, word(proofAt), `length of the proof: ${numProofBytes} bytes`),
    row(proofAt + 32, `${proof.slice(0, 48)}…${proof.slice(-16)}`, `the proof: ${numProofBytes} bytes`),
    row(instancesAt, word(instancesAt), `number of instances: ${numInstances}`),
    ...instances,
  ];
}
