/**
 * Bytes that arrived and are not consumed yet, in one growing buffer, so that a reader that gets them one by one still
 * works in linear time. Consuming moves a mark; bytes are copied only when the buffer must grow.
 */
const empty = Buffer.alloc(0);

export class ByteQueue {
  #buffer: Buffer = empty;
  #start = 0;
  #end = 0;
  /** False while the buffer is the caller's, which must not be written to. */
  #isOwned = false;

  get length(): number {
    return this.#end - this.#start;
  }

  /** Valid until the next `append`. */
  view(): Buffer {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  append(bytes: Buffer): void {
    if (bytes.length === 0) return;
    if (this.length === 0) {
      // The usual case: nothing is left over, so the bytes are looked at where they lie.
      this.#buffer = bytes;
      this.#start = 0;
      this.#end = bytes.length;
      this.#isOwned = false;
      return;
    }
    if (!this.#isOwned || this.#end + bytes.length > this.#buffer.length) this.#grow(bytes.length);
    bytes.copy(this.#buffer, this.#end);
    this.#end += bytes.length;
  }

  consume(count: number): void {
    this.#start += count;
    if (this.#start < this.#end) return;
    this.#buffer = empty;
    this.#start = 0;
    this.#end = 0;
    this.#isOwned = false;
  }

  #grow(more: number): void {
    const length = this.length;
    const grown = Buffer.allocUnsafe(Math.max((length + more) * 2, 512));
    this.#buffer.copy(grown, 0, this.#start, this.#end);
    this.#buffer = grown;
    this.#start = 0;
    this.#end = length;
    this.#isOwned = true;
  }
}
