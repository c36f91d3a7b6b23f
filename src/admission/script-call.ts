/**
 * One call of a script as the client sends it. The client's own way of writing arguments takes more than twice as long
 * as this, and a call has more than a thousand of them.
 */
import { Command } from 'ioredis';

class ScriptCall extends Command {
  override toWritable(): string {
    const words = this.args as readonly string[];
    let text = `*${words.length + 1}\r\n$${this.name.length}\r\n${this.name}\r\n`;
    for (const word of words) text += `$${Buffer.byteLength(word)}\r\n${word}\r\n`;
    return text;
  }
}

/** `args` begin with the one key. */
export function createScriptCall(name: 'evalsha' | 'eval', script: string, args: readonly string[]): Command {
  return new ScriptCall(name, [script, '1', ...args], { replyEncoding: 'utf8' });
}
