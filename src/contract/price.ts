/** Which of a model's prices a request pays. */
import type { Price } from './flow.ts';

/** A long prompt changes the price of the whole request, its output included. */
export function ratesFor(price: Price, promptTokens: number): Omit<Price, 'above'> {
  return price.above !== undefined && promptTokens > price.above.promptTokens ? price.above.price : price;
}
