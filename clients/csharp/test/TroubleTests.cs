using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>Trouble that the program or the server makes: a client must neither hang nor end without a word.</summary>
    internal static class TroubleTests
    {
        [Test]
        private static async Task AClientWhoseConnectFailedIsClosed()
        {
            RollcallClient kept = null;
            var states = new List<RollcallState>();
            var options = new RollcallOptions { User = "alice" };
            options.Setup = c =>
            {
                kept = c;
                c.StateChanged += (sender, e) => states.Add(e.State);
            };
            using (var server = new FakeServer())
            {
                Task<RollcallClient> connecting = RollcallClient.ConnectAsync(server.Url, options);
                using (Peer peer = await server.AcceptAsync())
                    peer.Refuse(await peer.ReadAsync(SystemType.Logon), RollcallCode.Unauthorized);
                await Check.ThrowsAsync<RollcallException>(() => Check.Soon(connecting, "the refusal"));
                Check.Equal(RollcallState.Closed, kept.State);
                await Check.Soon(kept.Completion, "the end");
                await Check.Soon(kept.CloseAsync(), "closing");
                await Check.Soon(Task.Run(() => kept.Dispose()), "disposing");
                Check.Equal(RollcallCode.Unauthorized, Check.Throws<RollcallException>(() => kept.SendAsync(1, null)).Code);
            }
            Check.Equal(0, states.Count, "a connect that fails raises nothing");
        }

        [Test]
        private static async Task CloseEndsAConnectThatIsUnderWay()
        {
            RollcallClient kept = null;
            using (var server = new FakeServer())
            {
                Task<RollcallClient> connecting = RollcallClient.ConnectAsync(server.Url, new RollcallOptions { User = "alice", Setup = c => kept = c });
                using (Peer peer = await server.AcceptAsync())
                {
                    await peer.ReadAsync(SystemType.Logon);
                    await Check.Soon(kept.CloseAsync(), "closing");
                    var e = await Check.ThrowsAsync<RollcallException>(() => Check.Soon(connecting, "the closed attempt"));
                    Check.Equal(RollcallFailure.ClientClosed, e.Failure);
                }
            }
        }

        [Test]
        private static async Task ACancellationCallbackOfTheTokenFunctionMayThrow()
        {
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero };
            options.Token = stop =>
            {
                stop.Register(() => throw new InvalidOperationException("it has ended already"));
                return Task.FromResult("t");
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                p.Peer.Close(RollcallCode.ServerStopping);
                using (await server.AcceptLogonAsync())
                {
                    await p.NextAsync(RollcallState.Reconnecting);
                    await p.NextAsync(RollcallState.Online);
                }
            }
        }

        [Test]
        private static async Task ACancellationCallbackOfARenewalMayThrow()
        {
            var clock = new FakeClock();
            int asked = 0;
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero, Clock = clock, Random = () => 0.5 };
            options.Token = stop =>
            {
                if (++asked == 1)
                    return Task.FromResult("t");
                stop.Register(() => throw new InvalidOperationException("not now"));
                return new TaskCompletionSource<string>().Task;
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options, "expires-ms=1000000", "heartbeat-ms=86400000"))
            {
                await clock.Waits(675000);
                clock.Advance(675000);
                await Check.Until(() => Volatile.Read(ref asked) == 2, "a token is asked for");
                Task<Message> waits = p.Client.RequestAsync(1, null);
                await p.Peer.ReadAsync(1);
                p.Peer.Close(RollcallCode.KickedOut);
                await Check.ThrowsAsync<RollcallException>(() => Check.Soon(waits, "the end of the request"));
                Check.Equal(RollcallCode.KickedOut, (await p.NextAsync(RollcallState.Closed)).Code);
            }
        }

        [Test]
        private static async Task OnlineIsToldBehindAHandlerThatIsBusyAndAcknowledgementsGoOut()
        {
            var release = new TaskCompletionSource<bool>();
            // A change of state fills so small an inbox.
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero, MaxWaiting = 1, Setup = c => c.OnPush(push => release.Task) };
            Guid id = Guid.NewGuid();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                p.Peer.Push(id, true);
                p.Peer.Send(new Outgoing { Type = SystemType.Heartbeat, Id = 1 });
                await p.Peer.ReadAsync(SystemType.Heartbeat); // the push has been read
                p.Peer.Close(RollcallCode.ServerStopping);
                await Check.Until(() => p.Client.State == RollcallState.Reconnecting, "the connection is lost");
                using (Peer next = await server.AcceptLogonAsync())
                {
                    await Check.Until(() => p.Client.State == RollcallState.Online, "it is online again");
                    release.SetResult(true);
                    await p.NextAsync(RollcallState.Reconnecting);
                    await p.NextAsync(RollcallState.Online);
                    Check.Equal(id, PushCodec.ParseAck(await next.ReadAsync(SystemType.PushAck)));
                }
            }
        }

        [Test]
        private static async Task ARequestOfAnOptionalPackageIsAnsweredToTheServer()
        {
            var options = new RollcallOptions();
            options.Setup = c =>
            {
                c.OnMessage(0xFF09, m => throw new RollcallException(RollcallCode.Refused, "no"));
                c.OnMessage(1, m => m.ReplyAsync(null));
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                p.Peer.Send(new Outgoing { Type = 0xFF09, Id = 7, User = Utf8.Encode("bob") });
                p.Peer.Send(new Outgoing { Type = 1, Id = 8 });
                Frame refusal = await p.Peer.ReadAsync(0xFF09);
                Check.Equal("7 3 ", refusal.Id + " " + refusal.Flags + " " + refusal.Dest);
                Check.Equal(8u, (await p.Peer.ReadAsync(1)).Id, "the handlers go on");
            }
        }

        [Test]
        private static async Task AContextThatHasEndedEndsTheConnectionWhenAMessageComes()
        {
            var context = new EndedContext();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Context = context, Setup = c => c.OnMessage(1, m => Task.CompletedTask) }))
            {
                context.Ended = true;
                p.Peer.Send(new Outgoing { Type = 1 });
                Check.Equal(null, await p.Peer.ReadAnyAsync(), "a frame");
                await Check.Until(() => p.Client.State == RollcallState.Closed, "the client has ended");
            }
        }

        [Test]
        private static async Task AnAddressThatDoesNotAnswerLeavesTheNextOneTime()
        {
            var queued = new List<Socket>();
            using (var server = new FakeServer())
            {
                int port = int.Parse(server.HostPort.Split(':')[1]);
                IPAddress silent = IPAddress.Parse("127.0.0.2");
                var full = new TcpListener(silent, port);
                full.Start(1);
                Task answered;
                do // its queue has room for few; then no connection is answered
                {
                    queued.Add(new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
                    answered = queued[queued.Count - 1].ConnectAsync(silent, port);
                }
                while (queued.Count < 100 && await Task.WhenAny(answered, Task.Delay(500)) == answered);
                Check.True(!answered.IsCompleted && queued.Count > 1, "the queue is full, after " + queued.Count);
                var clock = new FakeClock();
                var options = new RollcallOptions { Clock = clock, ConnectTimeout = TimeSpan.FromSeconds(10) };
                Task<Link> connecting = Link.ConnectAsync(new[] { silent, IPAddress.Loopback }, port, options, CancellationToken.None);
                await clock.Waits(5000);
                clock.Advance(5000);
                (await Check.Soon(connecting, "the second address")).Dispose();
                Check.Equal(0, clock.Count, "waits that are left");
                full.Stop();
                _ = answered.ContinueWith(a => a.Exception); // it fails
                queued.ForEach(q => q.Dispose());
            }
        }

        /// <summary>A context whose owner has ended it.</summary>
        private sealed class EndedContext : SynchronizationContext
        {
            internal volatile bool Ended;

            public override void Post(SendOrPostCallback d, object state)
            {
                if (Ended)
                    throw new TimeZoneNotFoundException("the context has ended");
                base.Post(d, state);
            }
        }

        [Test]
        private static async Task AContextThatHasEndedDoesNotKeepDisposeWaiting()
        {
            var context = new EndedContext();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Context = context }))
            {
                context.Ended = true;
                p.Peer.Close(RollcallCode.ServerStopping);
                await Check.Until(() => p.Client.State == RollcallState.Closed, "the client has ended");
                await Check.Soon(Task.Run(() => p.Client.Dispose()), "disposing");
                Check.Equal(RollcallCode.InternalError, Check.Throws<RollcallException>(() => p.Client.SendAsync(1, null)).Code);
            }
        }
    }
}
