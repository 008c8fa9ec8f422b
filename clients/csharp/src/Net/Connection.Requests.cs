using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Net
{
    internal sealed partial class Connection
    {
        /// <summary>Queues a frame. Throws a RollcallException with NotConnected when nothing more can be sent.</summary>
        internal Task SendAsync(Outgoing frame, CancellationToken stop)
        {
            return queue.TrySend(frame) ? Task.CompletedTask : SendSlowlyAsync(frame, stop);
        }

        private async Task SendSlowlyAsync(Outgoing frame, CancellationToken stop)
        {
            if (!await queue.SendAsync(frame, stop).ConfigureAwait(false))
                throw NotConnected();
        }

        internal static RollcallException NotConnected() =>
            new RollcallException(RollcallFailure.NotConnected, RollcallCode.NetworkError, "the client is not connected");

        /// <summary>
        /// Sends a frame under an ID of its own and waits for the reply. Throws a TimeoutException, that stop was cancelled, or a RollcallException
        /// with Refused, Disconnected or NotConnected.
        /// </summary>
        /// <param name="frame">The request; its ID is set here.</param>
        /// <param name="of">The user that is asked; empty is the server.</param>
        /// <param name="timeoutMs">Milliseconds; negative is for ever.</param>
        /// <param name="stop">Ends the waiting.</param>
        internal async Task<Message> RequestAsync(Outgoing frame, string of, long timeoutMs, CancellationToken stop)
        {
            stop.ThrowIfCancellationRequested();
            var answer = new TaskCompletionSource<Message>(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (gate)
            {
                if (why != null || leaving)
                    throw NotConnected();
                frame.Id = NextId();
                requests[frame.Id] = new Pending { Of = of, Answer = answer };
            }
            owner.RequestWaits();
            using (var over = CancellationTokenSource.CreateLinkedTokenSource(stop))
            {
                try
                {
                    Task late = timeoutMs >= 0 ? clock.Delay(timeoutMs, over.Token) : Task.Delay(Timeout.Infinite, over.Token);
                    Task sent = SendAsync(frame, over.Token);
                    await Task.WhenAny(sent, late).ConfigureAwait(false);
                    if (sent.IsCompleted && !stop.IsCancellationRequested)
                        await sent.ConfigureAwait(false);
                    await Task.WhenAny(answer.Task, late).ConfigureAwait(false);
                    if (answer.Task.IsCompleted)
                        return await answer.Task.ConfigureAwait(false);
                    stop.ThrowIfCancellationRequested();
                    throw new TimeoutException("no reply came in time");
                }
                finally
                {
                    lock (gate)
                        requests.Remove(frame.Id);
                    over.Cancel();
                }
            }
        }

        /// <summary>
        /// Returns an ID that no open request has. They begin at a random number, because a relayed reply reaches every session of the
        /// user who asked.
        /// </summary>
        private uint NextId()
        {
            do
                lastId++;
            while (lastId == 0 || requests.ContainsKey(lastId));
            return lastId;
        }

        /// <summary>Drops a reply that no request waits for, or of a user who was not asked: it is for another session of this user.</summary>
        private void Answered(Frame reply)
        {
            Pending request;
            lock (gate)
            {
                if (!requests.TryGetValue(reply.Id, out request) || reply.User != "" && reply.User != request.Of)
                    return;
                requests.Remove(reply.Id);
            }
            if (!reply.IsError)
            {
                request.Answer.TrySetResult(new Message(null, reply));
                return;
            }
            try
            {
                request.Answer.TrySetException(Bodies.ParseClose(reply, RollcallFailure.Refused));
            }
            catch (RollcallException e)
            {
                request.Answer.TrySetException(e.As(RollcallFailure.Refused));
            }
        }

        /// <summary>Ends all waiting requests.</summary>
        private void Abandon(RollcallException cause)
        {
            List<Pending> open;
            lock (gate)
            {
                open = requests.Values.ToList();
                requests.Clear();
            }
            foreach (Pending request in open)
            {
                request.Answer.TrySetException(new RollcallException(RollcallFailure.Disconnected, cause.Code,
                    "the connection was lost before the reply came", null, cause));
                _ = request.Answer.Task.Exception; // it counts as seen, if its caller has given up meanwhile
            }
        }

        /// <summary>Sends heartbeats and watches for a silent server, until the connection ends.</summary>
        private async Task BeatAsync()
        {
            await Task.Yield(); // away from the caller's lock
            while (await clock.Sleep(Math.Max(1, pulse.Wait(clock.Now)), ending.Token).ConfigureAwait(false))
            {
                switch (pulse.Next(clock.Now))
                {
                    case Beat.Tell:
                        queue.Post(new Outgoing { Type = SystemType.Heartbeat });
                        break;
                    case Beat.Ask:
                        uint id;
                        lock (gate)
                            id = NextId();
                        queue.Post(new Outgoing { Type = SystemType.Heartbeat, Id = id });
                        break;
                    case Beat.ServerSilent:
                        End(RollcallException.Network("the server has been silent for too long"));
                        return;
                    case Beat.WriteStuck:
                        End(RollcallException.Network("the network took nothing for too long"));
                        return;
                }
            }
        }
    }
}
