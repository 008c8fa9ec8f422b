using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>Reconnecting, heartbeats, renewals, pushes over connections, and closing.</summary>
    internal static class LifeTests
    {
        private static Dictionary<string, string> Info(string key, string value) => new Dictionary<string, string> { [key] = value };

        [Test]
        private static async Task TheClassOfACodeDecidesAboutReconnecting()
        {
            foreach (int code in new[] { 1004, 1010, 1999, 3000, 3999, 2000, 2003, 2999, 4000, 4999, 0, 999, 5000, 6000, 65535 })
            {
                using (var server = new FakeServer())
                using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = new FakeClock() }))
                {
                    p.Peer.Close((RollcallCode)code, "why");
                    bool may = code / 1000 == 1 || code / 1000 == 3;
                    RollcallException reason = await p.NextAsync(may ? RollcallState.Reconnecting : RollcallState.Closed);
                    Check.Equal(code + " why " + may, (int)reason.Code + " " + reason.Text + " " + reason.MayReconnect);
                    if (!may)
                        await Check.Soon(p.Client.Completion, "the end");
                }
            }
        }

        [Test]
        private static async Task TheWaitIsRetryMsAndThenTheBackoff()
        {
            var clock = new FakeClock();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = clock, Random = () => 0.5 }, "session=s-1"))
            {
                p.Peer.Close(RollcallCode.ServerStopping, "", Info("retry-ms", "7000"));
                await p.NextAsync(RollcallState.Reconnecting);
                await clock.Waits(7000);
                clock.Advance(7000);
                await clock.Waits(100); // half of 201
                Check.True(!server.HasPending, "it does not connect before");
                clock.Advance(100);
                using (Peer second = await server.AcceptAsync())
                {
                    Frame logon = await second.ReadAsync(SystemType.Logon);
                    Check.Equal("s-1", StringMap.Parse(logon.Buffer, 0, logon.BodyCount)["session"]);
                    second.Refuse(logon, RollcallCode.InternalError);
                }
                await p.NextAsync(RollcallState.Reconnecting);
                await clock.Waits(200);
                clock.Advance(200);
                using (Peer third = await server.AcceptLogonAsync("session=s-2"))
                {
                    await p.NextAsync(RollcallState.Online);
                    clock.Advance(59999); // a connection that does not last for a minute
                    third.Close(RollcallCode.ServerStopping);
                    await p.NextAsync(RollcallState.Reconnecting);
                }
                await clock.Waits(400);
                clock.Advance(400);
                using (Peer fourth = await server.AcceptLogonAsync())
                {
                    Check.Equal("s-2", fourth.Logon["session"]);
                    await p.NextAsync(RollcallState.Online);
                    clock.Advance(60000);
                    fourth.Close(RollcallCode.ServerStopping, "", Info("retry-ms", "99999999999999999999"));
                    await p.NextAsync(RollcallState.Reconnecting);
                    await clock.Waits(3600000);
                    clock.Advance(3600000);
                    await clock.Waits(100); // it has begun anew
                }
            }
        }

        [Test]
        private static async Task ReconnectNowEndsTheBackoffAlone()
        {
            var clock = new FakeClock();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = clock, Random = () => 0.5 }))
            {
                p.Peer.Close(RollcallCode.ServerStopping, "", Info("retry-ms", "7000"));
                await p.NextAsync(RollcallState.Reconnecting);
                await clock.Waits(7000);
                p.Client.ReconnectNow(); // in vain
                clock.Advance(7000);
                await clock.Waits(100);
                p.Client.ReconnectNow();
                using (await server.AcceptLogonAsync())
                    await p.NextAsync(RollcallState.Online);
            }
        }

        [Test]
        private static async Task AServerSendsTheClientElsewhereAndItComesBackAfterAFailure()
        {
            using (var home = new FakeServer())
            using (var other = new FakeServer())
            using (Pair p = await home.ConnectAsync(new RollcallOptions { BackoffMin = TimeSpan.Zero }))
            {
                p.Peer.Close(RollcallCode.ServerStopping, "", Info("address", other.HostPort));
                using (Peer there = await other.AcceptAsync())
                    there.Refuse(await there.ReadAsync(SystemType.Logon), RollcallCode.TooManyConnections);
                using (Peer back = await home.AcceptLogonAsync())
                {
                    await p.NextAsync(RollcallState.Reconnecting);
                    await p.NextAsync(RollcallState.Reconnecting);
                    await p.NextAsync(RollcallState.Online);
                    back.Close(RollcallCode.ServerStopping, "", Info("address", other.HostPort));
                }
                using (Peer there = await other.AcceptLogonAsync())
                {
                    await p.NextAsync(RollcallState.Reconnecting);
                    await p.NextAsync(RollcallState.Online);
                    there.Close(RollcallCode.ServerStopping);
                }
                using (await other.AcceptLogonAsync()) // it stays where it was accepted
                    await p.NextAsync(RollcallState.Reconnecting);
            }
        }

        [Test]
        private static async Task AlreadyLoggedOnIsTriedAgainOnlyWhileReconnectingAndForAWhile()
        {
            using (var server = new FakeServer())
            {
                Task<RollcallClient> connecting = RollcallClient.ConnectAsync(server.Url, new RollcallOptions { User = "alice" });
                using (Peer first = await server.AcceptAsync())
                    first.Refuse(await first.ReadAsync(SystemType.Logon), RollcallCode.AlreadyLoggedOn);
                Check.Equal(RollcallCode.AlreadyLoggedOn, (await Check.ThrowsAsync<RollcallException>(() => Check.Soon(connecting, "the refusal"))).Code);

                var clock = new FakeClock();
                using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = clock, BackoffMin = TimeSpan.Zero }, "heartbeat-ms=5000"))
                {
                    p.Peer.Close(RollcallCode.HeartbeatTimeout);
                    await p.NextAsync(RollcallState.Reconnecting);
                    using (Peer second = await server.AcceptAsync())
                    {
                        clock.Advance(14999);
                        second.Refuse(await second.ReadAsync(SystemType.Logon), RollcallCode.AlreadyLoggedOn);
                    }
                    await p.NextAsync(RollcallState.Reconnecting);
                    using (Peer third = await server.AcceptAsync())
                    {
                        clock.Advance(1);
                        third.Refuse(await third.ReadAsync(SystemType.Logon), RollcallCode.AlreadyLoggedOn);
                    }
                    Check.Equal(RollcallCode.AlreadyLoggedOn, (await p.NextAsync(RollcallState.Closed)).Code);
                }
            }
        }

        [Test]
        private static async Task ATokenIsAskedForBeforeEachLogon()
        {
            int asked = 0;
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero, User = "" };
            options.Token = _ =>
            {
                if (++asked == 2)
                    throw new InvalidOperationException("no token now");
                return Task.FromResult("t:" + asked);
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                Check.Equal("t:1", p.Peer.Logon["token"]);
                p.Peer.Close(RollcallCode.TokenExpired);
                using (Peer next = await server.AcceptLogonAsync())
                    Check.Equal("t:3", next.Logon["token"]);
                await p.NextAsync(RollcallState.Reconnecting);
                Check.Equal(RollcallCode.NetworkError, (await p.NextAsync(RollcallState.Reconnecting)).Code);
                await p.NextAsync(RollcallState.Online);
            }
        }

        [Test]
        private static async Task HeartbeatsGoOutAndASilentServerIsLeft()
        {
            var clock = new FakeClock();
            // The clock goes on by ten seconds while a write may still be about to say that it is done.
            var options = new RollcallOptions { Clock = clock, WriteTimeout = TimeSpan.FromHours(1) };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options, "heartbeat-ms=10000"))
            {
                await clock.Waits(10000);
                clock.Advance(10000);
                Frame ask = await p.Peer.ReadAsync(SystemType.Heartbeat);
                Check.True(ask.Id != 0, "the server is asked");
                p.Peer.Send(new Outgoing { Type = SystemType.Heartbeat, Flags = 1, Id = ask.Id });
                p.Peer.Send(new Outgoing { Type = 1, Id = 1 });
                await p.Peer.ReadAsync(1); // it has read all that before the clock goes on
                for (int i = 0; i < 2; i++) // the server says nothing more
                {
                    await clock.Waits(10000);
                    clock.Advance(10000);
                    Check.True((await p.Peer.ReadAsync(SystemType.Heartbeat)).Id != 0, "the server is asked again");
                }
                await clock.Waits(10000);
                Check.Equal(RollcallState.Online, p.Client.State, "it has still ten seconds");
                clock.Advance(10000);
                Check.Equal(RollcallCode.NetworkError, (await p.NextAsync(RollcallState.Reconnecting)).Code);
                Check.Equal(null, await p.Peer.ReadAnyAsync(), "a frame");
            }
        }

        [Test]
        private static async Task ASessionIsRenewedBeforeAQuarterIsLeft()
        {
            var clock = new FakeClock();
            int asked = 0;
            var options = new RollcallOptions { Clock = clock, Random = () => 0.5, Token = _ => Task.FromResult("t:" + ++asked) };
            options.Fields = new Dictionary<string, string> { ["app"] = "x" };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options, "expires-ms=100000", "session=s", "heartbeat-ms=86400000"))
            {
                await clock.Waits(67500); // half way from 60 % to 75 %
                clock.Advance(67500);
                Frame renew = await p.Peer.ReadAsync(SystemType.Renew);
                Dictionary<string, string> fields = StringMap.Parse(renew.Buffer, 0, renew.BodyCount);
                Check.Equal("app=x token=t:2", string.Join(" ", fields.OrderBy(f => f.Key).Select(f => f.Key + "=" + f.Value)));
                p.Peer.Refuse(renew, RollcallCode.InternalError, "", Info("retry-ms", "5000"));
                await clock.Waits(5000); // more than the 3,047 ms that it would wait by itself
                clock.Advance(5000);
                renew = await p.Peer.ReadAsync(SystemType.Renew);
                Check.Equal("t:3", StringMap.Parse(renew.Buffer, 0, renew.BodyCount)["token"]);
                p.Peer.Accept(renew, "expires-ms=20");
                await clock.Waits(100); // not more often
                clock.Advance(100);
                renew = await p.Peer.ReadAsync(SystemType.Renew);
                p.Peer.Refuse(renew, RollcallCode.Unauthorized);
                Task<Message> echo = p.Client.RequestAsync(1, null); // the connection stays
                p.Peer.Send(new Outgoing { Type = 1, Flags = 1, Id = (await p.Peer.ReadAsync(1)).Id });
                await Check.Soon(echo, "the reply");
                Check.Equal(4, asked, "tokens");
            }
        }

        [Test]
        private static async Task APushIsAcknowledgedBehindItsHandlerOnTheNextConnectionTooAndHandedOutOnce()
        {
            var release = new TaskCompletionSource<bool>();
            var got = new List<Guid>();
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero };
            options.Setup = c => c.OnPush(async push =>
            {
                lock (got)
                    got.Add(push.Id);
                await release.Task;
            });
            Guid one = Guid.NewGuid(), two = Guid.NewGuid(), three = Guid.NewGuid();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                p.Peer.Push(one, true);
                p.Peer.Push(two, false);
                await Check.Until(() => got.Count == 1, "the first push has come");
                p.Peer.Send(new Outgoing { Type = SystemType.Heartbeat, Id = 1 });
                Check.Equal(SystemType.Heartbeat, (await p.Peer.ReadAnyAsync()).Type, "no acknowledgement while the handler runs");
                p.Peer.Dispose();
                using (Peer next = await server.AcceptLogonAsync())
                {
                    next.Push(one, true);
                    release.SetResult(true);
                    for (int i = 0; i < 2; i++)
                        Check.Equal(one, PushCodec.ParseAck(await next.ReadAsync(SystemType.PushAck)));
                    next.Push(two, false); // one without an acknowledgement is not remembered
                    next.Push(three, true);
                    Check.Equal(three, PushCodec.ParseAck(await next.ReadAsync(SystemType.PushAck)));
                    Check.Equal(string.Join(" ", one, two, two, three), string.Join(" ", got));
                }
            }
        }

        [Test]
        private static async Task APushWhoseHandlerFailsIsNotAcknowledged()
        {
            var failed = new List<Exception>();
            var options = new RollcallOptions();
            int calls = 0;
            options.Setup = c =>
            {
                c.HandlerFailed += (sender, e) => failed.Add(e.Exception);
                c.OnPush(push => ++calls == 1 ? throw new InvalidCastException() : Task.CompletedTask);
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                Guid one = Guid.NewGuid(), two = Guid.NewGuid();
                p.Peer.Push(one, true);
                p.Peer.Push(two, true);
                p.Peer.Push(one, true);
                Check.Equal(two, PushCodec.ParseAck(await p.Peer.ReadAsync(SystemType.PushAck)));
                Check.Equal(one, PushCodec.ParseAck(await p.Peer.ReadAsync(SystemType.PushAck)));
                Check.Equal("3 1", calls + " " + failed.Count);
            }
        }

        [Test]
        private static async Task AFrameThatBreaksTheProtocolEndsTheClient()
        {
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions()))
            {
                p.Peer.Send(new byte[] { 0x52, 0x20 });
                Check.Equal(RollcallCode.InvalidMessage, (await p.Peer.GoodbyeAsync()).Code);
                Check.Equal(RollcallCode.InvalidMessage, (await p.NextAsync(RollcallState.Closed)).Code);
            }
        }
    }
}
