using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall
{
    /// <summary>
    /// One user's connection to a server, and the connections that replace it when it is lost. <see cref="ConnectAsync"/> makes one. All
    /// methods may be called from any thread, in handlers too. Its text shows neither the token nor the session.
    /// </summary>
    public sealed partial class RollcallClient : IDisposable, IAsyncDisposable
    {
        /// <summary>The lowest code that may answer a request.</summary>
        internal const int LeastAnswer = 3000;

        private readonly RollcallOptions options;
        private readonly Address home;
        private readonly Inbox inbox;
        private readonly Backoff backoff;
        private readonly CancellationTokenSource stopping = new CancellationTokenSource();
        private readonly TaskCompletionSource<bool> connectionsEnded = NewSource();
        private readonly TaskCompletionSource<bool> completed = NewSource();
        private readonly object gate = new object();
        private RollcallState state = RollcallState.Reconnecting;
        private Connection connection; // null unless the client is online
        private RollcallException stopped; // why this side ends the client; null while it does not
        private RollcallException error; // why the client has ended
        private string userId;

        private RollcallClient(string address, RollcallOptions options)
        {
            home = Address.Parse(address);
            this.options = options.Checked();
            userId = this.options.User;
            inbox = new Inbox(this.options.Context, this.options.MaxWaiting);
            backoff = new Backoff((long)this.options.BackoffMin.TotalMilliseconds, (long)this.options.BackoffMax.TotalMilliseconds, this.options.Random);
        }

        /// <summary>
        /// Connects to a server, logs on, and waits for the answer. It tries once; when the connection is lost later the client
        /// reconnects by itself.
        /// </summary>
        /// <param name="address">
        /// <c>tls://host:port</c>, with the server's certificate and name checked, or <c>tcp://host:port</c>, which is not encrypted.
        /// </param>
        /// <param name="options">The settings, of which it takes a copy.</param>
        /// <param name="stop">Ends the attempt. It has no effect on the client later.</param>
        /// <exception cref="ArgumentException">The address or a setting makes no sense.</exception>
        /// <exception cref="RollcallException">
        /// The server could not be reached, or refused the logon: MayReconnect says whether another attempt makes sense. ClientClosed, if the
        /// client was closed meanwhile, by what Setup has kept of it.
        /// </exception>
        /// <exception cref="OperationCanceledException">stop was cancelled.</exception>
        public static async Task<RollcallClient> ConnectAsync(string address, RollcallOptions options, CancellationToken stop = default(CancellationToken))
        {
            if (options == null)
                throw new ArgumentNullException(nameof(options));
            var client = new RollcallClient(address, options);
            Connection first;
            try
            {
                options.Setup?.Invoke(client);
                first = await client.ConnectOnceAsync(stop).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                RollcallException closed = client.ConnectFailed(e as RollcallException ?? RollcallException.Network("connecting failed", e));
                if (closed != null)
                    throw closed;
                throw;
            }
            client.WentOnline(first);
            _ = Task.Run(() => client.RunAsync(first));
            return client;
        }

        /// <summary>
        /// Raised at every change of <see cref="State"/>, and for each attempt to reconnect that failed; in order with the messages.
        /// Closed comes once, and last. A ConnectAsync that fails raises nothing.
        /// </summary>
        public event EventHandler<StateChangedEventArgs> StateChanged;

        /// <summary>
        /// Raised when a handler has thrown. The client itself answers the request, if it was one, and goes on. A push whose handler has
        /// thrown is not acknowledged. Without a subscriber the exception is lost: the client keeps no log.
        /// </summary>
        public event EventHandler<HandlerFailedEventArgs> HandlerFailed;

        /// <summary>What the client is doing now. StateChanged may be raised for it later.</summary>
        public RollcallState State
        {
            get
            {
                lock (gate)
                    return state;
            }
        }

        /// <summary>The user, as the server names it: it may have found the user by the token, or use another spelling.</summary>
        public string UserId
        {
            get
            {
                lock (gate)
                    return userId;
            }
        }

        /// <summary>
        /// Completes when the client has ended for good and its last handler has returned. It never fails. Do not await it in a handler,
        /// which would wait for itself.
        /// </summary>
        public Task Completion => completed.Task;

        /// <summary>
        /// Sends a message and expects no reply. The task completes when the message is queued; it waits only while more than 256 KiB wait
        /// for the network. A message that is queued or on its way when the connection is lost is lost without an error: use
        /// <see cref="RequestAsync"/> where that matters.
        /// </summary>
        /// <param name="type">1 to 0xFEFF. 0xFF06 to 0xFF09 belong to optional packages of the server, and go to the server alone.</param>
        /// <param name="body">The content; null is none. It may be used again when the method has returned a completed task.</param>
        /// <param name="to">The user that the server passes it on to; null is the server itself.</param>
        /// <param name="stop">Ends the waiting for room.</param>
        /// <exception cref="ArgumentException">The type or the user ID may not be sent.</exception>
        /// <exception cref="RollcallException">NotConnected, TooLarge or ClientClosed.</exception>
        public Task SendAsync(ushort type, byte[] body, string to = null, CancellationToken stop = default(CancellationToken))
        {
            Outgoing frame = Application(type, body, to);
            return ConnectionFor(frame.Body).SendAsync(frame, stop);
        }

        /// <summary>
        /// Sends a request and waits for the reply. With a user it is answered by that user or the server; where several of the user's sessions
        /// answer, the first reply counts. Any number of requests may wait at a time.
        /// </summary>
        /// <param name="type">As for <see cref="SendAsync"/>.</param>
        /// <param name="body">As for SendAsync.</param>
        /// <param name="to">As for SendAsync.</param>
        /// <param name="timeout">How long to wait; null is <see cref="RollcallOptions.RequestTimeout"/>, Timeout.InfiniteTimeSpan no limit.</param>
        /// <param name="stop">Ends the waiting.</param>
        /// <exception cref="TimeoutException">No reply came in time.</exception>
        /// <exception cref="OperationCanceledException">stop was cancelled.</exception>
        /// <exception cref="RollcallException">Refused with the code of an error reply, Disconnected, or as for SendAsync.</exception>
        /// <exception cref="ArgumentException">As for SendAsync.</exception>
        public Task<Message> RequestAsync(ushort type, byte[] body, string to = null, TimeSpan? timeout = null, CancellationToken stop = default(CancellationToken))
        {
            Outgoing frame = Application(type, body, to);
            return ConnectionFor(frame.Body).RequestAsync(frame, to == ServerId ? "" : to ?? "", Milliseconds(timeout), stop);
        }

        /// <summary>Asks the server which of the users are online, and returns those in the same order.</summary>
        /// <param name="users">At most 1,000 user IDs.</param>
        /// <param name="timeout">As for <see cref="RequestAsync"/>.</param>
        /// <param name="stop">As for RequestAsync.</param>
        /// <exception cref="ArgumentException">There are too many IDs, or one is not valid.</exception>
        /// <exception cref="RollcallException">As for RequestAsync; Refused if the server does not allow the question.</exception>
        public async Task<IReadOnlyList<string>> WhoIsOnlineAsync(IReadOnlyCollection<string> users, TimeSpan? timeout = null,
            CancellationToken stop = default(CancellationToken))
        {
            var frame = new Outgoing { Type = SystemType.WhoIsOnline, Body = Bodies.IdList(users) };
            Message reply = await ConnectionFor(frame.Body).RequestAsync(frame, "", Milliseconds(timeout), stop).ConfigureAwait(false);
            return Bodies.ParseIdList(reply.ToFrame());
        }

        /// <summary>
        /// Ends a wait before the next attempt to reconnect, for a program that knows that the network is back. What the server asked to
        /// wait is not shortened. It does nothing while the client is online, and after its end.
        /// </summary>
        public void ReconnectNow()
        {
            lock (gate)
            {
                if (state == RollcallState.Reconnecting)
                    hurry?.TrySetResult(true);
            }
        }

        /// <summary>
        /// Ends the client. What was sent before still goes out, then a Close; then the server has <see cref="RollcallOptions.CloseTimeout"/>
        /// to end its side. Waiting requests end with Disconnected, no further message is handed out, and a push whose handler still runs is not
        /// acknowledged. The task completes when the connection and all that ran for it have ended; without a Context also when
        /// StateChanged has been raised with Closed, unless a handler is running, which may be the caller. It never fails, and may be
        /// called again.
        /// </summary>
        public async Task CloseAsync()
        {
            var closed = new RollcallException(RollcallFailure.ClientClosed, RollcallCode.ClientClosed, "the client was closed");
            Stop(closed);
            bool handlerRuns = inbox.Discard();
            await connectionsEnded.Task.ConfigureAwait(false);
            if (!handlerRuns && options.Context == null)
                await completed.Task.ConfigureAwait(false);
        }

        /// <summary>
        /// Does what <see cref="CloseAsync"/> does, and blocks until the connection has ended, CloseTimeout at most. It does not wait for
        /// handlers. On a thread that must not block, such as Unity's main thread, await CloseAsync before.
        /// </summary>
        public void Dispose()
        {
            _ = CloseAsync();
            connectionsEnded.Task.Wait();
        }

        /// <summary>The same as <see cref="CloseAsync"/>.</summary>
        public ValueTask DisposeAsync() => new ValueTask(CloseAsync());

        /// <summary>Returns the user, the address and the state.</summary>
        public override string ToString() => "RollcallClient(user " + UserId + " at " + home + ", " + State + ")";

        internal Task AnswerAsync(Message request, byte flags, byte[] body, CancellationToken stop)
        {
            bool toServer = request.From == "" || SystemType.IsOptional(request.Type); // messages of the system go to the server alone
            Outgoing frame = Application(request.Type, body, toServer ? null : request.From);
            frame.Flags = flags;
            frame.Id = request.Id;
            if ((flags & Frame.ErrorFlag) != 0 && frame.Body.Length > Current().MaxBody)
                frame.Body = new byte[] { body[0], body[1], 0, 0 }; // the code alone
            return ConnectionFor(frame.Body).SendAsync(frame, stop);
        }

        private const string ServerId = "_0";

        internal static Outgoing Application(ushort type, byte[] body, string to)
        {
            bool optional = SystemType.IsOptional(type);
            if (type == 0 || type >= SystemType.First && !optional)
                throw new ArgumentException("a message type of the application is 1 to 0xFEFF", nameof(type));
            var frame = new Outgoing { Type = type, Body = body ?? Utf8.None };
            if (to == null)
                return frame;
            if (optional && to != ServerId)
                throw new ArgumentException("a message type of the system goes to the server alone", nameof(to));
            frame.Dest = Wire.UserId.Encode(to, out string fault);
            return fault == null ? frame : throw new ArgumentException("the user ID " + fault, nameof(to));
        }

        private Connection ConnectionFor(byte[] body)
        {
            Connection current = Current();
            if (body.Length > current.MaxBody)
                throw new RollcallException(RollcallFailure.TooLarge, RollcallCode.MessageTooLarge,
                    "a body of " + body.Length + " bytes, the limit is " + current.MaxBody);
            return current;
        }

        private Connection Current()
        {
            lock (gate)
            {
                if (connection != null)
                    return connection;
                if (stopped == null && error == null)
                    throw Connection.NotConnected();
                RollcallException why = error ?? stopped;
                throw new RollcallException(RollcallFailure.ClientClosed, why.Code, "the client is closed", null, why);
            }
        }

        private long Milliseconds(TimeSpan? timeout)
        {
            TimeSpan t = timeout ?? options.RequestTimeout;
            if (t == Timeout.InfiniteTimeSpan)
                return -1;
            return t >= TimeSpan.Zero ? (long)t.TotalMilliseconds : throw new ArgumentOutOfRangeException(nameof(timeout));
        }

        private static TaskCompletionSource<bool> NewSource() =>
            new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
