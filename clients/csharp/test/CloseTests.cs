using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>How a client ends, where its callbacks run, and what its texts show.</summary>
    internal static class CloseTests
    {
        [Test]
        private static async Task CloseSendsWhatWasSentBeforeAndThenACloseAndWaitsForTheServer()
        {
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { CloseTimeout = TimeSpan.FromHours(1) }))
            {
                Task<Message> asked = p.Client.RequestAsync(2, null);
                for (int i = 0; i < 10; i++)
                    await p.Client.SendAsync(1, new byte[20000]);
                Task closing = p.Client.CloseAsync();
                Check.Equal(RollcallFailure.Disconnected, (await Check.ThrowsAsync<RollcallException>(() => Check.Soon(asked, "the request"))).Failure);
                await p.Peer.ReadAsync(2);
                for (int i = 0; i < 10; i++)
                    Check.Equal(20000, (await p.Peer.ReadAsync(1)).BodyCount);
                Check.Equal(RollcallCode.ClientClosed, Bodies.ParseClose(await p.Peer.ReadAsync(SystemType.Close), RollcallFailure.Refused).Code);
                Check.Equal(null, await p.Peer.ReadAnyAsync(), "a frame behind the Close");
                Check.True(!closing.IsCompleted, "it waits for the server's end");
                p.Peer.EndSending();
                await Check.Soon(closing, "closing");
                RollcallException reason = await p.NextAsync(RollcallState.Closed);
                Check.Equal("ClientClosed ClientClosed", reason.Failure + " " + reason.Code);
                await Check.Soon(p.Client.Completion, "the client");
                Check.Equal(RollcallFailure.ClientClosed, Check.Throws<RollcallException>(() => p.Client.SendAsync(1, null)).Failure);
                await Check.Soon(p.Client.CloseAsync(), "closing again");
                p.Client.Dispose();
            }
        }

        [Test]
        private static async Task CloseGivesUpOnAServerThatDoesNotEnd()
        {
            var clock = new FakeClock();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = clock, CloseTimeout = TimeSpan.FromSeconds(7) }))
            {
                Task closing = p.Client.CloseAsync();
                await clock.Waits(7000);
                clock.Advance(7000);
                await Check.Soon(closing, "closing");
                await Check.Until(() => clock.Count == 0, "no wait is left");
            }
        }

        [Test]
        private static async Task CloseEndsAClientThatWaitsOrConnects()
        {
            foreach (string during in new[] { "the wait", "the logon", "the token" })
            {
                var clock = new FakeClock();
                int asked = 0;
                var options = new RollcallOptions { Clock = clock, Random = () => 0.5 };
                if (during == "the token")
                    options.Token = _ => asked++ == 0 ? Task.FromResult("t") : new TaskCompletionSource<string>().Task; // it ignores its cancellation
                using (var server = new FakeServer())
                using (Pair p = await server.ConnectAsync(options))
                {
                    p.Peer.Close(RollcallCode.ServerStopping);
                    await p.NextAsync(RollcallState.Reconnecting);
                    await clock.Waits(100);
                    if (during != "the wait")
                        clock.Advance(100);
                    if (during == "the logon")
                        await (await server.AcceptAsync()).ReadAsync(SystemType.Logon);
                    if (during == "the token")
                        await Check.Until(() => asked == 2, "the token is asked for");
                    await Check.Soon(p.Client.CloseAsync(), "closing during " + during);
                    Check.Equal(RollcallFailure.ClientClosed, (await p.NextAsync(RollcallState.Closed)).Failure);
                    Check.Equal(0, clock.Count, "waits that are left after " + during);
                }
            }
        }

        [Test]
        private static async Task CloseMayBeCalledInAHandlerAndNothingIsHandedOutAfterIt()
        {
            int calls = 0;
            var options = new RollcallOptions { CloseTimeout = TimeSpan.FromMilliseconds(50) };
            options.Setup = c =>
            {
                c.OnMessage(1, async m => { calls++; await c.CloseAsync(); });
                c.OnMessage(2, m => { calls++; return Task.CompletedTask; });
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                p.Peer.Send(new Outgoing { Type = 1 });
                p.Peer.Send(new Outgoing { Type = 2 });
                await Check.Soon(p.Client.Completion, "the client");
                Check.Equal(1, calls, "handlers that ran");
                await p.NextAsync(RollcallState.Closed);
            }
        }

        [Test]
        private static async Task AFailedConnectLeavesNothing()
        {
            var clock = new FakeClock();
            var server = new FakeServer();
            string url = server.Url;
            using (server)
            {
                var stop = new CancellationTokenSource();
                Task<RollcallClient> connecting = RollcallClient.ConnectAsync(url, new RollcallOptions { User = "alice", Clock = clock }, stop.Token);
                using (Peer peer = await server.AcceptAsync())
                {
                    await peer.ReadAsync(SystemType.Logon);
                    stop.Cancel();
                    await Check.ThrowsAsync<OperationCanceledException>(() => Check.Soon(connecting, "the cancelled attempt"));
                    Check.Equal(null, await peer.ReadAnyAsync(), "a frame");
                }
                connecting = RollcallClient.ConnectAsync(url, new RollcallOptions { User = "alice", Clock = clock });
                using (Peer peer = await server.AcceptAsync())
                {
                    await clock.Waits(15000);
                    clock.Advance(15000);
                    Check.Equal(RollcallCode.NetworkError, (await Check.ThrowsAsync<RollcallException>(() => Check.Soon(connecting, "the late attempt"))).Code);
                }
            }
            var refused = await Check.ThrowsAsync<RollcallException>(() => RollcallClient.ConnectAsync(url, new RollcallOptions { User = "alice", Clock = clock }));
            Check.Equal("NetworkError True", refused.Code + " " + refused.MayReconnect);
            Check.Equal(0, clock.Count, "waits that are left");
            await Check.ThrowsAsync<ArgumentException>(() => RollcallClient.ConnectAsync("http://x:1", new RollcallOptions()));
            await Check.ThrowsAsync<ArgumentException>(() => RollcallClient.ConnectAsync(url, new RollcallOptions { User = "_a" }));
            await Check.ThrowsAsync<ArgumentException>(() => RollcallClient.ConnectAsync(url, new RollcallOptions { StableAfter = TimeSpan.FromTicks(-1) }));
        }

        /// <summary>A context with one thread, as Unity's main thread: what is posted runs when the test pumps.</summary>
        private sealed class PumpedContext : SynchronizationContext
        {
            private readonly Queue<Action> posted = new Queue<Action>();

            internal int Thread;

            public override void Post(SendOrPostCallback d, object state)
            {
                lock (posted)
                    posted.Enqueue(() => d(state));
            }

            internal void PumpUntil(string what, Func<bool> done)
            {
                Thread = System.Threading.Thread.CurrentThread.ManagedThreadId;
                SetSynchronizationContext(this);
                for (int n = 0; !done(); n++)
                {
                    Check.True(n < 15000, what + " does not come");
                    Action next = null;
                    lock (posted)
                    {
                        if (posted.Count > 0)
                            next = posted.Dequeue();
                    }
                    if (next == null)
                        System.Threading.Thread.Sleep(2);
                    else
                        next();
                }
                SetSynchronizationContext(null);
            }
        }

        [Test]
        private static void CallbacksRunOnTheContext()
        {
            var context = new PumpedContext();
            var where = new List<string>();
            Action<string> note = what => where.Add(what + (Thread.CurrentThread.ManagedThreadId == context.Thread ? "" : " elsewhere"));
            var options = new RollcallOptions { User = "alice", Context = context, BackoffMin = TimeSpan.Zero, CloseTimeout = TimeSpan.Zero };
            options.Token = async _ =>
            {
                note("token");
                await Task.Delay(1);
                note("token");
                return "t";
            };
            options.Setup = c =>
            {
                c.StateChanged += (sender, e) => note(e.State.ToString());
                c.OnMessage(1, async m =>
                {
                    note("message");
                    await Task.Delay(1);
                    note("message");
                    throw new InvalidCastException();
                });
                c.HandlerFailed += (sender, e) => note("failed");
                c.OnPush(async m =>
                {
                    await Task.Delay(1);
                    note("push");
                });
            };
            using (var server = new FakeServer())
            {
                Task<RollcallClient> connecting = RollcallClient.ConnectAsync(server.Url, options);
                Task<Peer> accepting = server.AcceptLogonAsync();
                context.PumpUntil("the client", () => accepting.IsCompleted && connecting.IsCompleted);
                Peer peer = accepting.Result;
                peer.Send(new Outgoing { Type = 1 });
                peer.Push(Guid.NewGuid(), true);
                Task<Frame> acknowledged = peer.ReadAsync(SystemType.PushAck);
                context.PumpUntil("the acknowledgement", () => acknowledged.IsCompleted && where.Contains("push"));
                Task closing = connecting.Result.CloseAsync();
                context.PumpUntil("the end", () => closing.IsCompleted && connecting.Result.Completion.IsCompleted);
                Check.Equal("token token Online message message failed push Closed", string.Join(" ", where));
                connecting.Result.Dispose(); // does not wait for the context
            }
        }

        [Test]
        private static async Task NoTextShowsTheTokenOrTheSession()
        {
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero, Token = _ => Task.FromResult("tok-secret") };
            options.Fields = new Dictionary<string, string> { ["password"] = "field-secret" };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options, "session=ses-secret"))
            {
                p.Peer.Close(RollcallCode.ServerStopping, "stopping");
                var texts = new List<string> { (await p.NextAsync(RollcallState.Reconnecting)).ToString() };
                using (Peer next = await server.AcceptAsync())
                    next.Refuse(await next.ReadAsync(SystemType.Logon), RollcallCode.Unauthorized);
                texts.Add((await p.NextAsync(RollcallState.Closed)).ToString());
                texts.Add(Check.Throws<RollcallException>(() => p.Client.SendAsync(1, null)).ToString());
                texts.Add(p.Client.ToString());
                texts.Add(options.ToString());
                texts.Add(Check.Throws<ArgumentException>(() => new RollcallOptions
                {
                    Fields = new Dictionary<string, string> { ["k"] = "field-secret" + new string('x', 70000) },
                }.Checked()).ToString());
                string all = string.Join("\n", texts);
                Check.True(!all.Contains("secret"), "a text shows a secret: " + all);
                Check.True(all.Contains("alice") && all.Contains("Unauthorized"), "the texts say something: " + all);
            }
        }
    }
}
