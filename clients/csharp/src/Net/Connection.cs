using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Net
{
    /// <summary>What a connection needs of its client.</summary>
    internal interface IConnectionOwner
    {
        RollcallOptions Options { get; }

        /// <summary>Returns the fields of a Logon or a Renew, with a fresh token, but without a session.</summary>
        Task<Dictionary<string, string>> FreshFieldsAsync(CancellationToken stop);

        /// <summary>Hands a message or a push to the handlers. Throws a RollcallException for a frame that breaks the protocol, or if too much waits.</summary>
        Task DeliverAsync(Connection from, Frame frame, CancellationToken stop);

        /// <summary>A request begins to wait: a reader that waits for the handlers has to go on.</summary>
        void RequestWaits();
    }

    /// <summary>One connection, that is logging on or logged on. Its methods may be called from any thread.</summary>
    internal sealed partial class Connection
    {
        private const uint LogonId = 1; // it is answered before any other request is sent
        private const long MaxHeartbeatMs = 24 * 3600 * 1000;
        private const long MaxExpiresMs = 10L * 365 * 24 * 3600 * 1000;
        private const int AbandonMs = 1000;
        private const long LastWordsMs = 1000; // how long the server's Close is looked for after a failed write

        private readonly IConnectionOwner owner;
        private readonly RollcallOptions options;
        private readonly Clock clock;
        private readonly Link link;
        private readonly FrameReader reader;
        private readonly long born;
        private readonly CancellationTokenSource ending = new CancellationTokenSource();
        private readonly TaskCompletionSource<bool> ended = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly object gate = new object();
        private readonly Dictionary<uint, Pending> requests = new Dictionary<uint, Pending>();
        private readonly List<Task> others = new List<Task>();
        private SendQueue queue;
        private Pulse pulse;
        private RollcallException why;
        private bool leaving, deadlineSet;
        private uint lastId;
        private long expiresMs;

        private struct Pending
        {
            internal string Of; // the user that was asked; empty is the server
            internal TaskCompletionSource<Message> Answer;
        }

        private Connection(IConnectionOwner owner, Link link)
        {
            this.owner = owner;
            this.link = link;
            options = owner.Options;
            clock = options.Clock;
            born = clock.Now;
            reader = new FrameReader(link);
            lastId = (uint)(options.Random() * uint.MaxValue);
            if (options.MaxBody > 0)
                reader.MaxBody = options.MaxBody;
        }

        /// <summary>The user, as the server names it; empty if the reply names none.</summary>
        internal string UserId { get; private set; }

        /// <summary>The session's ID; empty if the server has sent none.</summary>
        internal string Session { get; private set; }

        /// <summary>The largest body that may be sent.</summary>
        internal int MaxBody { get; private set; } = FrameCodec.DefaultMaxBody;

        internal long GhostTimeout => pulse.GhostTimeout;

        internal long Age => clock.Now - born;

        /// <summary>Says whether a request waits for its reply.</summary>
        internal bool HasRequests
        {
            get
            {
                lock (gate)
                    return requests.Count > 0;
            }
        }

        /// <summary>Connects and logs on. Throws a RollcallException with the code, an exception of Link's, or that stop was cancelled.</summary>
        internal static async Task<Connection> OpenAsync(IConnectionOwner owner, Address to, Dictionary<string, string> fields, CancellationToken stop)
        {
            var body = new ByteBuffer();
            StringMap.Append(body, fields);
            Link link = await Link.OpenAsync(to, owner.Options, stop).ConfigureAwait(false);
            var connection = new Connection(owner, link);
            try
            {
                using (stop.Register(link.Abort))
                    await connection.LogOnAsync(body.ToArray()).OrCancelled(stop).ConfigureAwait(false);
                stop.ThrowIfCancellationRequested(); // then the link was aborted
                return connection;
            }
            catch
            {
                link.Dispose();
                throw;
            }
        }

        private async Task LogOnAsync(byte[] body)
        {
            var frame = new ByteBuffer();
            new Outgoing
            {
                Type = SystemType.Logon, Id = LogonId, Device = options.Device, User = Utf8.Encode(options.User), Body = body,
            }.AppendTo(frame);
            await link.WriteAsync(frame.Bytes, 0, frame.Count).ConfigureAwait(false);
            Frame reply;
            while ((reply = reader.Next()) == null)
                await reader.FillAsync().ConfigureAwait(false);
            if (reply.Type == SystemType.Close && !reply.IsReply)
                throw Bodies.ParseClose(reply, RollcallFailure.ConnectionEnded);
            if (reply.Type != SystemType.Logon || !reply.IsReply || reply.Id != LogonId)
                throw RollcallException.Invalid("the server answered the logon with a message of another type");
            Dictionary<string, string> answer = Bodies.ParseLogonReply(reply);
            UserId = reply.Dest;
            Session = answer.TryGetValue(StringMap.Session, out string session) ? session : "";
            long interval = StringMap.Number(answer, StringMap.HeartbeatMs, MaxHeartbeatMs);
            interval = interval == 0 ? Pulse.DefaultInterval : Math.Max(interval, Pulse.LeastInterval);
            pulse = new Pulse(interval, (long)options.WriteTimeout.TotalMilliseconds, clock.Now);
            queue = new SendQueue(link, pulse, clock, WriteFailed);
            SetMaxBody(answer);
            expiresMs = StringMap.Number(answer, StringMap.ExpiresMs, MaxExpiresMs);
        }

        private void SetMaxBody(Dictionary<string, string> answer)
        {
            if (StringMap.TryNumber(answer, StringMap.MaxBody, int.MaxValue / 2, out long told))
            {
                MaxBody = (int)told;
                reader.MaxBody = Math.Max(reader.MaxBody, MaxBody);
            }
            if (options.MaxBody > 0)
                MaxBody = Math.Min(MaxBody, options.MaxBody);
        }

        /// <summary>
        /// Runs the connection until it has ended and all its tasks with it, and returns why it ended. Throws an exception that is not foreseen,
        /// as of the program's context, when all that has been done.
        /// </summary>
        internal async Task<RollcallException> ServeAsync()
        {
            lock (gate)
            {
                others.Add(BeatAsync());
                if (expiresMs > 0)
                    others.Add(RenewAllAsync());
            }
            Task<RollcallException> reading = ReadAllAsync();
            if (await Task.WhenAny(reading, ended.Task).ConfigureAwait(false) == reading)
                End(reading.IsFaulted ? Failed(reading.Exception) : reading.Result);
            await Task.WhenAll(others).ConfigureAwait(false);
            await AbandonedAsync(reading).ConfigureAwait(false);
            await AbandonedAsync(queue.Writer).ConfigureAwait(false);
            link.Dispose();
            ending.Dispose();
            if (reading.IsFaulted)
                await reading.ConfigureAwait(false); // throws
            return why;
        }

        internal static RollcallException Failed(Exception e) =>
            new RollcallException(RollcallFailure.ConnectionEnded, RollcallCode.InternalError, "the client failed", null, e);

        /// <summary>
        /// Waits for a task that reads or writes on the closed socket, for a second at most: mono now and then loses the end of a write that
        /// began when the socket was closed.
        /// </summary>
        private static async Task AbandonedAsync(Task task)
        {
            using (var over = new CancellationTokenSource())
            {
                await Task.WhenAny(task, Task.Delay(AbandonMs, over.Token)).ConfigureAwait(false);
                over.Cancel();
            }
        }

        /// <summary>Ends the connection at once. The first cause counts.</summary>
        private void End(RollcallException cause)
        {
            lock (gate)
            {
                if (why != null)
                    return;
                why = cause;
            }
            queue.Abort();
            link.Abort();
            ending.CancelQuietly();
            Abandon(cause);
            ended.TrySetResult(true);
        }

        /// <summary>Begins to end the connection: what waits goes out, then a Close; then the server has time to end its side.</summary>
        internal void Leave(RollcallException cause, RollcallCode code, string text)
        {
            lock (gate)
            {
                if (why != null || leaving)
                    return;
                leaving = true;
            }
            queue.Finish(new Outgoing { Type = SystemType.Close, Body = Bodies.Close(code, text) });
            EndAfter((long)options.CloseTimeout.TotalMilliseconds, cause);
            Abandon(cause);
        }

        /// <summary>Ends the connection when the server has not done so in time.</summary>
        private void EndAfter(long milliseconds, RollcallException cause)
        {
            lock (gate)
            {
                if (why != null || deadlineSet)
                    return;
                deadlineSet = true;
                others.Add(EndLaterAsync(milliseconds, cause));
            }
        }

        private async Task EndLaterAsync(long milliseconds, RollcallException cause)
        {
            await Task.Yield(); // away from the caller's lock
            if (await clock.Sleep(milliseconds, ending.Token).ConfigureAwait(false))
                End(cause);
        }

        private void WriteFailed(Exception e)
        {
            // The reader ends the connection: there may be an unread Close that forbids to reconnect.
            EndAfter(LastWordsMs, RollcallException.Network("the network takes nothing more", e));
        }

        private async Task<RollcallException> ReadAllAsync()
        {
            try
            {
                for (;;)
                {
                    for (Frame frame = reader.Next(); frame != null; frame = reader.Next())
                        await ReceiveAsync(frame).ConfigureAwait(false);
                    await reader.FillAsync().ConfigureAwait(false);
                    pulse.Heard = clock.Now;
                }
            }
            catch (ServerClosedException closed)
            {
                return closed.Notice;
            }
            catch (RollcallException e)
            {
                if (e.Code != RollcallCode.NetworkError)
                    await ComplainAsync(e).ConfigureAwait(false);
                return e;
            }
            catch (Exception e) when (Link.IsOfNetwork(e))
            {
                return RollcallException.Network("the connection was lost", e);
            }
        }

        /// <summary>Tells the server its mistake, and reads on until it has ended its side.</summary>
        private async Task ComplainAsync(RollcallException mistake)
        {
            Leave(mistake, mistake.Code, mistake.Text);
            var rest = new byte[4096];
            try
            {
                while (await link.ReadAsync(rest, 0, rest.Length).ConfigureAwait(false) > 0)
                {
                }
            }
            catch (Exception e) when (Link.IsOfNetwork(e))
            {
                // It has ended.
            }
        }

        private Task ReceiveAsync(Frame frame)
        {
            if (frame.IsReply)
                Answered(frame);
            else if (frame.Type == SystemType.Heartbeat)
            {
                if (frame.Id != 0)
                    queue.Post(new Outgoing { Type = SystemType.Heartbeat, Flags = Frame.ReplyFlag, Id = frame.Id });
            }
            else if (frame.Type == SystemType.Close)
                throw new ServerClosedException(Bodies.ParseClose(frame, RollcallFailure.ConnectionEnded));
            else if (frame.Type == SystemType.Push || frame.Type < SystemType.First || SystemType.IsOptional(frame.Type))
                return DeliverAsync(frame);
            return Task.CompletedTask; // other types are of a later version
        }

        private Task DeliverAsync(Frame frame)
        {
            Task delivered = owner.DeliverAsync(this, frame, ending.Token);
            return delivered.Status == TaskStatus.RanToCompletion ? delivered : PausedAsync(delivered);
        }

        private async Task PausedAsync(Task delivered)
        {
            pulse.Paused = true;
            await delivered.ConfigureAwait(false);
            pulse.Paused = false;
        }

        private sealed class ServerClosedException : Exception
        {
            internal readonly RollcallException Notice;

            internal ServerClosedException(RollcallException notice)
            {
                Notice = notice;
            }
        }
    }
}
