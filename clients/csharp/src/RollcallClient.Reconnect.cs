using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall
{
    public sealed partial class RollcallClient
    {
        /// <summary>The longest wait that a server may ask for.</summary>
        internal const long MaxRetryMs = 3600 * 1000;

        private TaskCompletionSource<bool> hurry; // set when the next attempt must not wait; null while there is no such wait
        private string session = ""; // the last session's ID; it is a secret
        private Address moved; // where the server has sent the client; null for home. Only RunAsync uses it

        /// <summary>Serves one connection after another, until the client ends.</summary>
        private async Task RunAsync(Connection first)
        {
            RollcallException end;
            try
            {
                end = await ServeAllAsync(first).ConfigureAwait(false);
            }
            catch (Exception e) // of the program's context, or of the runtime
            {
                end = Connection.Failed(e);
            }
            Ended(end);
        }

        /// <summary>Returns why there is no further connection.</summary>
        private async Task<RollcallException> ServeAllAsync(Connection current)
        {
            RollcallException end = null;
            while (current != null)
            {
                RollcallException why = await current.ServeAsync().ConfigureAwait(false);
                if (current.Age >= (long)options.StableAfter.TotalMilliseconds)
                    backoff.Reset();
                lock (gate)
                {
                    connection = null;
                    state = RollcallState.Reconnecting;
                }
                long ghostUntil = options.Clock.Now + current.GhostTimeout;
                current = null;
                end = why;
                for (bool refused = false; current == null && MayTryAgain(end, refused && options.Clock.Now < ghostUntil); refused = true)
                {
                    Aim(end, refused);
                    await TellAsync(RollcallState.Reconnecting, end).ConfigureAwait(false);
                    if (!await PauseAsync(end).ConfigureAwait(false))
                        break;
                    try
                    {
                        current = await ConnectOnceAsync(stopping.Token).ConfigureAwait(false);
                    }
                    catch (RollcallException e)
                    {
                        end = e;
                    }
                    catch (OperationCanceledException)
                    {
                        break;
                    }
                }
                if (current != null)
                    WentOnline(current);
            }
            return end;
        }

        /// <summary>
        /// Says whether to connect again after this end. mayBeGhost: AlreadyLoggedOn may be this client's own connection, of which the server
        /// has not noticed that it is dead.
        /// </summary>
        private bool MayTryAgain(RollcallException end, bool mayBeGhost) => !stopping.IsCancellationRequested
            && (end.MayReconnect || mayBeGhost && end.Code == RollcallCode.AlreadyLoggedOn);

        /// <summary>Chooses the address for the next attempt. After a failed attempt elsewhere it is the program's own again.</summary>
        private void Aim(RollcallException end, bool failed)
        {
            if (failed)
                moved = null;
            if (end.Info.TryGetValue(StringMap.Address, out string address))
                moved = home.MovedTo(address) ?? moved;
        }

        /// <summary>Waits before an attempt: as long as the server asked, and then for the backoff. False means that the client is to end.</summary>
        private async Task<bool> PauseAsync(RollcallException end)
        {
            long asked = StringMap.Number(end.Info, StringMap.RetryMs, MaxRetryMs);
            if (!await options.Clock.Sleep(asked, stopping.Token).ConfigureAwait(false))
                return false;
            Task<bool> sooner;
            lock (gate)
            {
                hurry = NewSource();
                sooner = hurry.Task;
            }
            using (var over = CancellationTokenSource.CreateLinkedTokenSource(stopping.Token))
            {
                Task<bool> waited = options.Clock.Sleep(backoff.Next(), over.Token);
                await Task.WhenAny(waited, sooner).ConfigureAwait(false);
                over.Cancel();
                await waited.ConfigureAwait(false);
            }
            lock (gate)
                hurry = null;
            if (sooner.IsCompleted)
                backoff.Reset();
            return !stopping.IsCancellationRequested;
        }

        /// <summary>Makes one attempt. Throws a RollcallException, or an OperationCanceledException if stop or the client's end was the cause.</summary>
        private async Task<Connection> ConnectOnceAsync(CancellationToken stop)
        {
            Address to = moved ?? home;
            using (var attempt = CancellationTokenSource.CreateLinkedTokenSource(stop, stopping.Token))
            {
                Task timer = options.Clock.CancelAfter((long)options.ConnectTimeout.TotalMilliseconds, attempt);
                try
                {
                    Dictionary<string, string> fields = await FreshFieldsAsync(attempt.Token).OrCancelled(attempt.Token).ConfigureAwait(false);
                    if (options.Fields.TryGetValue(StringMap.Session, out string known))
                        fields[StringMap.Session] = known;
                    if (session != "")
                        fields[StringMap.Session] = session;
                    return await Connection.OpenAsync(this, to, fields, attempt.Token).ConfigureAwait(false);
                }
                catch (Exception e) when (!(e is RollcallException))
                {
                    stop.ThrowIfCancellationRequested();
                    stopping.Token.ThrowIfCancellationRequested();
                    throw RollcallException.Network(
                        e is OperationCanceledException ? "the server did not answer in time" : "could not connect to " + to, e);
                }
                finally
                {
                    attempt.CancelQuietly();
                    await timer.ConfigureAwait(false);
                }
            }
        }

        RollcallOptions IConnectionOwner.Options => options;

        void IConnectionOwner.RequestWaits() => inbox.Nudge();

        Task<Dictionary<string, string>> IConnectionOwner.FreshFieldsAsync(CancellationToken stop) => FreshFieldsAsync(stop);

        private async Task<Dictionary<string, string>> FreshFieldsAsync(CancellationToken stop)
        {
            var fields = new Dictionary<string, string>(options.Fields, StringComparer.Ordinal);
            fields.Remove(StringMap.Session);
            if (options.Token != null)
            {
                string token = await inbox.CallAsync(() => options.Token(stop)).ConfigureAwait(false);
                if (!string.IsNullOrEmpty(token))
                    fields[StringMap.Token] = token;
            }
            return fields;
        }

        /// <summary>Makes a connection the client's.</summary>
        private void WentOnline(Connection next)
        {
            RollcallException leave;
            lock (gate)
            {
                session = next.Session;
                if (next.UserId != "")
                    userId = next.UserId;
                leave = stopped;
                if (leave == null)
                {
                    connection = next;
                    state = RollcallState.Online;
                }
            }
            if (leave == null)
                inbox.Add(() => HandleOnlineAsync());
            else // closed during the logon
                next.Leave(leave, RollcallCode.ClientClosed, "");
        }

        /// <summary>Begins to end the client. The first cause counts.</summary>
        private void Stop(RollcallException cause)
        {
            Connection last;
            lock (gate)
            {
                if (stopped != null || state == RollcallState.Closed)
                    return;
                stopped = cause;
                last = connection;
                connection = null;
            }
            stopping.CancelQuietly();
            last?.Leave(cause, RollcallCode.ClientClosed, "");
        }

        /// <summary>Ends a client that has never been online. Returns the exception of a client that was closed meanwhile; null if it was not.</summary>
        private RollcallException ConnectFailed(RollcallException cause)
        {
            lock (gate)
            {
                error = stopped ?? cause;
                state = RollcallState.Closed;
            }
            inbox.Discard();
            completed.TrySetResult(true);
            connectionsEnded.TrySetResult(true);
            return stopped;
        }

        /// <summary>The last step of RunAsync.</summary>
        private void Ended(RollcallException cause)
        {
            lock (gate)
            {
                error = stopped ?? cause;
                state = RollcallState.Closed;
                connection = null;
            }
            inbox.AddLast(() =>
            {
                Raise(RollcallState.Closed, error);
                completed.TrySetResult(true);
                return Task.CompletedTask;
            });
            connectionsEnded.TrySetResult(true);
        }

        /// <summary>A change of state counts as many bytes, so that a client whose handler is stuck does not gather them without limit.</summary>
        private const int StateSize = 1024;

        private Task TellAsync(RollcallState state, RollcallException reason)
        {
            Func<Task> work = () =>
            {
                Raise(state, reason);
                return Task.CompletedTask;
            };
            return inbox.TryAdd(work, StateSize) ? Task.CompletedTask : inbox.AddAsync(work, StateSize, () => false, stopping.Token);
        }
    }
}
