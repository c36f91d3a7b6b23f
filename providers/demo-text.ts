/** What the demo says, and how it counts: a piece is at most one word and eight characters, and a piece is a token. */

/** Words without a meaning, none longer than a piece, so that a number of tokens is a number of words. */
const passage =
  'Lumen orivo santel mire, dolana vesti port amaro. Quil senda tovar, eline brask odun festa miral. ' +
  'Vanto seri colum pade, nemora tessil ruvan ilo. Pesto marin dulce avora, cendi folma trist elan ube. ' +
  'Sorel anti veda, monti crisa pel undo larga. Nuvi tarom bessa oli, grand ester vimo calta rene. ' +
  'Ferin odal suma, kelto praia vens ardo mita. Luso pendra vire, anem sol trava.';

const words = passage.split(' ');

/** Lossless: the pieces joined are the text, white space included. */
export function splitPieces(text: string): string[] {
  return text.match(/\s*\S{1,8}|\s+/gu) ?? [];
}

export const countTokens = (text: string): number => splitPieces(text).length;

/** Exactly `tokens` pieces; `start` turns the passage, so that several choices differ. */
export function loremText(tokens: number, start: number): string {
  return Array.from({ length: tokens }, (_, position) => words[(start + position) % words.length]).join(' ');
}
