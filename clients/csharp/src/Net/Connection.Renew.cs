using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Net
{
    internal sealed partial class Connection
    {
        private const long LeastRenewalMs = 100; // the least time between two renewals, even when the server gives less

        /// <summary>Renews the session before it expires, until the connection ends.</summary>
        private async Task RenewAllAsync()
        {
            await Task.Yield(); // away from the caller's lock
            long end = clock.Now + expiresMs, wait = RenewAfter(expiresMs);
            while (await clock.Sleep(wait, ending.Token).ConfigureAwait(false))
            {
                long retry = 0;
                try
                {
                    long expires = await RenewAsync().ConfigureAwait(false);
                    if (expires == 0) // the session does not expire any more
                        return;
                    end = clock.Now + expires;
                    wait = Math.Max(RenewAfter(expires), LeastRenewalMs);
                    continue;
                }
                catch (RollcallException e)
                {
                    if (!WorthAnotherTry(e.Code))
                        return;
                    retry = StringMap.Number(e.Info, StringMap.RetryMs, RollcallClient.MaxRetryMs);
                }
                catch (Exception) // of the token function, or no answer in time
                {
                    if (ending.IsCancellationRequested)
                        return;
                }
                long left = end - clock.Now;
                if (left <= 0)
                    return;
                wait = Math.Max(Math.Max(Spread(left / 16, left / 8), LeastRenewalMs), retry);
            }
        }

        /// <summary>Sends a fresh token, and returns for how many milliseconds the session may last from now on; 0 for ever.</summary>
        private async Task<long> RenewAsync()
        {
            using (var attempt = CancellationTokenSource.CreateLinkedTokenSource(ending.Token))
            {
                Task timer = clock.CancelAfter((long)options.ConnectTimeout.TotalMilliseconds, attempt);
                try
                {
                    Dictionary<string, string> fields = await owner.FreshFieldsAsync(attempt.Token).OrCancelled(attempt.Token).ConfigureAwait(false);
                    var body = new ByteBuffer();
                    StringMap.Append(body, fields);
                    var frame = new Outgoing { Type = SystemType.Renew, Device = options.Device, Body = body.ToArray() };
                    Message reply = await RequestAsync(frame, "", -1, attempt.Token).ConfigureAwait(false);
                    Dictionary<string, string> answer = Bodies.ParseLogonReply(reply.ToFrame());
                    return StringMap.Number(answer, StringMap.ExpiresMs, MaxExpiresMs);
                }
                finally
                {
                    attempt.CancelQuietly();
                    await timer.ConfigureAwait(false);
                }
            }
        }

        /// <summary>
        /// Returns how long to wait before the renewal: a quarter or more of the time is left then. It is random, so that the clients of a
        /// restarted server do not all renew at once.
        /// </summary>
        private long RenewAfter(long lasts) => Spread(lasts * 6 / 10, lasts * 3 / 4);

        private long Spread(long least, long most) => least + (long)(options.Random() * (most - least + 1));

        /// <summary>A renewal with a bad token is not repeated, because each attempt counts as a failed logon.</summary>
        private static bool WorthAnotherTry(RollcallCode code) => RollcallCodes.MayReconnect(code)
            || code == RollcallCode.Refused || code == RollcallCode.HandlerFailed || code == RollcallCode.TimedOut;
    }
}
