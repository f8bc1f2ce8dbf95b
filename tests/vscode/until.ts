import { setTimeout as sleep } from "node:timers/promises";

/** Longest that a test waits for something that has to happen, in milliseconds: machines may be busy. */
export const PATIENCE = 120_000;

type Truthy<T> = Exclude<T, false | 0 | "" | null | undefined>;

/** Waits until a condition holds and returns what it gave; one that throws does not hold yet. */
export async function until<T>(
  what: string,
  condition: () => Promise<T> | T,
  patience = PATIENCE,
): Promise<Truthy<T>> {
  const end = Date.now() + patience;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) {
        return value as Truthy<T>;
      }
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) {
      throw new Error(`waited ${patience / 1000} s in vain for ${what}; last: ${String(last)}`);
    }
    await sleep(200);
  }
}
