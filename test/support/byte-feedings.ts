/** The ways in which the same bytes may arrive: whole, one by one, and cut at seeded random places. */
export function feedings(bytes: Buffer, randomCuts = 20): { name: string; chunks: Buffer[] }[] {
  const ways = [
    { name: 'whole', chunks: [bytes] },
    { name: 'byte by byte', chunks: Array.from(bytes, (_, index) => Buffer.from(bytes.subarray(index, index + 1))) },
  ];
  const random = seededRandom(bytes.length + 1);
  for (let way = 0; way < randomCuts; way += 1)
    ways.push({ name: `random cuts ${way}`, chunks: cutAtRandom(bytes, random) });
  return ways;
}

function cutAtRandom(bytes: Buffer, random: () => number): Buffer[] {
  const chunks: Buffer[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = 1 + Math.floor(random() * 97);
    chunks.push(Buffer.from(bytes.subarray(at, at + length)));
    at += length;
  }
  return chunks;
}

/** A small linear congruential generator: the same cuts in every run. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
