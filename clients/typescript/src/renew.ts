import { Code, mayReconnect } from "./codes.js";
import { RollcallError } from "./errors.js";
import type { Platform } from "./platform.js";
import { sleep } from "./wait.js";

/** LEAST is the least time between two renewals, in milliseconds, even when the server gives less. */
const LEAST = 100;
const HOUR = 3_600_000;
/** A longer wait is taken in pieces, because timers of JavaScript end at 24 days. */
const LONGEST_SLEEP = 24 * HOUR;

/**
 * renewAll renews a session before it expires, until signal is aborted. renew sends a fresh token, and returns for how many milliseconds the
 * session lasts from then on; undefined is for ever.
 */
export async function renewAll(platform: Platform, expires: number, renew: () => Promise<number | undefined>, signal: AbortSignal): Promise<void> {
  const { clock } = platform;
  // Random, so that the clients of a server that was restarted do not all renew in the same moment.
  const between = (least: number, most: number) => least + platform.random() * (most - least);
  let end = clock.now() + expires;
  let wait = between(expires * 0.6, expires * 0.75);
  while (await longSleep(platform, wait, signal)) {
    try {
      const next = await renew();
      if (next === undefined) {
        return;
      }
      end = clock.now() + next;
      wait = Math.max(between(next * 0.6, next * 0.75), LEAST);
    } catch (e) {
      const left = end - clock.now();
      if (left <= 0 || (e instanceof RollcallError && !worthAnotherTry(e))) {
        return;
      }
      wait = Math.max(between(left / 16, left / 8), LEAST, e instanceof RollcallError ? retryAfter(e) : 0);
    }
  }
}

async function longSleep(platform: Platform, ms: number, signal: AbortSignal): Promise<boolean> {
  for (; ms > LONGEST_SLEEP; ms -= LONGEST_SLEEP) {
    if (!(await sleep(platform.clock, LONGEST_SLEEP, signal))) {
      return false;
    }
  }
  return sleep(platform.clock, ms, signal);
}

/** A bad token is not tried again: each attempt counts as a failed logon. */
function worthAnotherTry({ code, kind }: RollcallError): boolean {
  return kind === "timeout" || mayReconnect(code) || code === Code.Refused || code === Code.HandlerFailed || code === Code.TimedOut;
}

/** retryAfter returns how many milliseconds a server asks to wait, at most an hour. */
export function retryAfter(error: RollcallError): number {
  const told = error.info.get("retry-ms");
  return told !== undefined && /^[0-9]+$/.test(told) ? Math.min(Number(told), HOUR) : 0;
}
