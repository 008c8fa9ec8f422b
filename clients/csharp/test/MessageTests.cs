using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>Messages, requests and their answers.</summary>
    internal static class MessageTests
    {
        private const ushort Chat = 1;

        private static byte[] Bytes(string s) => Encoding.UTF8.GetBytes(s);

        private static string Text(Frame f) => Encoding.UTF8.GetString(f.Buffer, f.BodyAt, f.BodyCount);

        [Test]
        private static async Task ALogonHasTheUserTheDeviceTheFieldsAndTheToken()
        {
            using (var server = new FakeServer())
            {
                var options = new RollcallOptions
                {
                    User = "alice", Device = 7, Token = _ => Task.FromResult("t:1"),
                    Fields = new Dictionary<string, string> { ["app"] = "x", ["__proto__"] = "p", ["token"] = "old" },
                };
                Task<RollcallClient> connecting = RollcallClient.ConnectAsync(server.Url, options);
                using (Peer peer = await server.AcceptAsync())
                {
                    Frame logon = await peer.ReadAsync(SystemType.Logon);
                    Check.Equal("alice", logon.User);
                    Check.Equal(7, logon.Device);
                    Check.True(logon.Id != 0, "it has an ID");
                    Dictionary<string, string> fields = StringMap.Parse(logon.Buffer, 0, logon.BodyCount);
                    Check.Equal("__proto__=p app=x token=t:1", string.Join(" ", fields.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => f.Key + "=" + f.Value)));
                    peer.Send(new Outgoing { Type = SystemType.Logon, Flags = 1, Id = logon.Id, Dest = Bytes("Alice"), Body = new byte[2] });
                    RollcallClient client = await Check.Soon(connecting, "the client");
                    Check.Equal("Alice", client.UserId);
                    Check.Equal(RollcallState.Online, client.State);
                    peer.Dispose();
                    client.Dispose();
                }
            }
        }

        [Test]
        private static async Task MessagesGoOutAndComeInInOrder()
        {
            var got = new List<string>();
            var options = new RollcallOptions();
            options.Setup = c => c.OnMessage(Chat, async m =>
            {
                await Task.Delay(m.Body.Length % 3); // the next one waits for this one
                got.Add(m.From + ":" + Encoding.UTF8.GetString(m.Body));
            });
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                for (int i = 0; i < 30; i++)
                {
                    await p.Client.SendAsync(Chat, Bytes("out" + i), i % 2 == 0 ? null : "bob");
                    p.Peer.Send(new Outgoing { Type = Chat, User = i % 2 == 0 ? null : Bytes("bob"), Body = Bytes(new string('x', i)) });
                }
                for (int i = 0; i < 30; i++)
                {
                    Frame f = await p.Peer.ReadAsync(Chat);
                    Check.Equal("out" + i, Text(f));
                    Check.Equal(i % 2 == 0 ? "" : "bob", f.Dest);
                    Check.Equal("", f.User);
                    Check.Equal(0u, f.Id);
                }
                await Check.Until(() => got.Count == 30, "all have come");
                for (int i = 0; i < 30; i++)
                    Check.Equal((i % 2 == 0 ? ":" : "bob:") + new string('x', i), got[i]);
            }
        }

        [Test]
        private static async Task ARequestTakesTheReplyOfTheOneWhoWasAsked()
        {
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions()))
            {
                Task<Message> first = p.Client.RequestAsync(Chat, Bytes("1"), to: "bob");
                Task<Message> second = p.Client.RequestAsync(Chat, Bytes("2"));
                Frame one = await p.Peer.ReadAsync(Chat), two = await p.Peer.ReadAsync(Chat);
                Check.True(one.Id != 0 && two.Id != 0 && one.Id != two.Id, "the IDs differ");
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = two.Id, User = Bytes("bob"), Body = Bytes("not asked") });
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = one.Id, User = Bytes("eve"), Body = Bytes("not asked") });
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = one.Id + 77777, Body = Bytes("nothing") });
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = two.Id, Body = Bytes("for 2") });
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = one.Id, User = Bytes("bob"), Body = Bytes("for 1") });
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = one.Id, User = Bytes("bob"), Body = Bytes("again") });
                Message a = await Check.Soon(first, "the first reply"), b = await Check.Soon(second, "the second reply");
                Check.Equal("bob for 1,  for 2", a.From + " " + Encoding.UTF8.GetString(a.Body) + ", " + b.From + " " + Encoding.UTF8.GetString(b.Body));
            }
        }

        [Test]
        private static async Task ARequestFailsByRefusalTimeOrLoss()
        {
            var clock = new FakeClock();
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = clock }))
            {
                Task<Message> refused = p.Client.RequestAsync(Chat, null, to: "bob");
                p.Peer.Refuse(await p.Peer.ReadAsync(Chat), RollcallCode.UserOffline, "bob is offline",
                    new Dictionary<string, string> { ["retry-ms"] = "5" });
                var e = await Check.ThrowsAsync<RollcallException>(() => Check.Soon(refused, "the refusal"));
                Check.Equal("Refused UserOffline bob is offline 5", e.Failure + " " + e.Code + " " + e.Text + " " + e.Info["retry-ms"]);

                Task<Message> late = p.Client.RequestAsync(Chat, null, timeout: TimeSpan.FromMilliseconds(1234));
                Frame asked = await p.Peer.ReadAsync(Chat);
                await clock.Waits(1234);
                clock.Advance(1234);
                await Check.ThrowsAsync<TimeoutException>(() => Check.Soon(late, "the end of the time"));
                p.Peer.Send(new Outgoing { Type = Chat, Flags = 1, Id = asked.Id }); // too late: no request waits

                var stop = new CancellationTokenSource();
                Task<Message> cancelled = p.Client.RequestAsync(Chat, null, stop: stop.Token);
                await p.Peer.ReadAsync(Chat);
                stop.Cancel();
                await Check.ThrowsAsync<OperationCanceledException>(() => Check.Soon(cancelled, "the cancelled request"));

                Task<Message> lost = p.Client.RequestAsync(Chat, null);
                await p.Peer.ReadAsync(Chat);
                p.Peer.Dispose();
                e = await Check.ThrowsAsync<RollcallException>(() => Check.Soon(lost, "the lost request"));
                Check.Equal(RollcallFailure.Disconnected, e.Failure);
                await p.NextAsync(RollcallState.Reconnecting);
                e = await Check.ThrowsAsync<RollcallException>(() => p.Client.RequestAsync(Chat, null));
                Check.Equal(RollcallFailure.NotConnected, e.Failure);
                e = Check.Throws<RollcallException>(() => p.Client.SendAsync(Chat, null));
                Check.Equal(RollcallFailure.NotConnected, e.Failure);
            }
        }

        [Test]
        private static async Task RequestsAreAnsweredOnce()
        {
            var failed = new List<Exception>();
            var options = new RollcallOptions();
            Message kept = null;
            options.Setup = c =>
            {
                c.HandlerFailed += (sender, e) => failed.Add(e.Exception);
                c.OnMessage(Chat, m => m.ReplyAsync(m.Body));
                c.OnMessage(2, m => throw new RollcallException((RollcallCode)3001, "not you"));
                c.OnMessage(3, m => throw new InvalidCastException("a secret"));
                c.OnMessage(4, m => { kept = m; return Task.CompletedTask; });
                c.OnMessage(6, async m => { await m.ReplyAsync(null); throw new InvalidCastException("after the answer"); });
            };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                for (int type = 1; type <= 6; type++)
                    p.Peer.Send(new Outgoing { Type = type, Id = (uint)(100 + type), User = type == 1 ? Bytes("bob") : null, Body = Bytes("b") });
                p.Peer.Send(new Outgoing { Type = 5, Id = 9, User = Bytes("bob") }); // another user's request is for another session of this user, perhaps
                p.Peer.Send(new Outgoing { Type = 5 });
                p.Peer.Send(new Outgoing { Type = 1, Id = 999 });
                var answers = new List<string>();
                for (int i = 0; i < 6; i++)
                {
                    Frame f = await p.Peer.ReadAnyAsync();
                    string body = f.IsError ? (int)Bodies.ParseClose(f, RollcallFailure.Refused).Code + " " + Bodies.ParseClose(f, RollcallFailure.Refused).Text : Text(f);
                    answers.Add(f.Type + "/" + f.Flags + "/" + f.Id + "/" + f.Dest + "/" + body);
                }
                Check.Equal("1/1/101/bob/b, 2/3/102//3001 not you, 3/3/103//5002 , 5/3/105//5001 the client has no handler for this message type, 6/1/106//, 1/1/999//",
                    string.Join(", ", answers));
                Check.Equal("a secret, after the answer", string.Join(", ", failed.Select(f => f.Message)));
                await kept.ReplyErrorAsync((RollcallCode)4000);
                Check.Equal(104u, (await p.Peer.ReadAsync(4)).Id);
                await Check.ThrowsAsync<InvalidOperationException>(() => kept.ReplyAsync(null));
                Check.Throws<ArgumentException>(() => kept.ReplyErrorAsync(RollcallCode.KickedOut));
            }
        }

        [Test]
        private static async Task BodiesStayWithinTheLimitOfTheServer()
        {
            using (var server = new FakeServer())
            {
                var options = new RollcallOptions { Setup = c => c.OnMessage(Chat, m => m.ReplyAsync(new byte[101])) };
                using (Pair p = await server.ConnectAsync(options, "max-body=100"))
                {
                    await p.Client.SendAsync(Chat, new byte[100]);
                    Check.Equal(RollcallFailure.TooLarge, Check.Throws<RollcallException>(() => p.Client.SendAsync(Chat, new byte[101])).Failure);
                    Check.Equal(100, (await p.Peer.ReadAsync(Chat)).BodyCount);
                    p.Peer.Send(new Outgoing { Type = Chat, Id = 5 });
                    Frame answer = await p.Peer.ReadAsync(Chat);
                    Check.Equal(RollcallCode.HandlerFailed, Bodies.ParseClose(answer, RollcallFailure.Refused).Code);
                }
                using (Pair p = await server.ConnectAsync(new RollcallOptions(), "max-body=4"))
                {
                    p.Peer.Send(new Outgoing { Type = Chat, Id = 5 });
                    Frame answer = await p.Peer.ReadAsync(Chat);
                    Check.Equal("NoHandler 4", Bodies.ParseClose(answer, RollcallFailure.Refused).Code + " " + answer.BodyCount);
                }
                using (Pair p = await server.ConnectAsync(new RollcallOptions { MaxBody = 10 }))
                {
                    p.Peer.Send(new Outgoing { Type = Chat, Body = new byte[11] });
                    Check.Equal(RollcallCode.MessageTooLarge, (await p.Peer.GoodbyeAsync()).Code);
                    Check.Equal(RollcallCode.MessageTooLarge, (await p.NextAsync(RollcallState.Closed)).Code);
                }
                using (Pair p = await server.ConnectAsync(new RollcallOptions { MaxBody = 10 }, "max-body=3000000"))
                {
                    p.Peer.Send(new Outgoing { Type = Chat, Id = 3, Body = new byte[2000000] });
                    Check.Equal(3u, (await p.Peer.ReadAsync(Chat)).Id);
                }
            }
        }

        [Test]
        private static async Task ALimitThatIsNoNumberIsNone()
        {
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions(), "max-body=large"))
            {
                await p.Client.SendAsync(1, new byte[1000]);
                Check.Equal(1000, (await p.Peer.ReadAsync(1)).BodyCount);
            }
        }

        [Test]
        private static async Task ASlowHandlerHoldsUpTheReaderButNotAReply()
        {
            var release = new TaskCompletionSource<bool>();
            int handled = 0;
            var options = new RollcallOptions { MaxWaiting = 100000 };
            options.Setup = c => c.OnMessage(Chat, async m =>
            {
                await release.Task;
                handled++;
            });
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                for (int i = 0; i < 15; i++)
                    p.Peer.Send(new Outgoing { Type = Chat, Body = new byte[10000] });
                Task<Message> asked = p.Client.RequestAsync(2, null);
                p.Peer.Send(new Outgoing { Type = 2, Flags = 1, Id = (await p.Peer.ReadAsync(2)).Id });
                await Check.Soon(asked, "the reply behind more than may wait");
                release.SetResult(true);
                await Check.Until(() => handled == 15, "all are handled");

                release = new TaskCompletionSource<bool>();
                asked = p.Client.RequestAsync(2, null);
                await p.Peer.ReadAsync(2);
                for (int i = 0; i < 60; i++)
                    p.Peer.Send(new Outgoing { Type = Chat, Body = new byte[10000] });
                await Check.ThrowsAsync<RollcallException>(() => Check.Soon(asked, "the end of the connection"));
                release.SetResult(true);
                Check.Equal(RollcallCode.RateLimited, (await p.NextAsync(RollcallState.Reconnecting)).Code);
            }
        }

        [Test]
        private static async Task WhoIsOnlineAsksForAList()
        {
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions()))
            {
                Task<IReadOnlyList<string>> asking = p.Client.WhoIsOnlineAsync(new[] { "carol", "bob", "alice" });
                Frame f = await p.Peer.ReadAsync(SystemType.WhoIsOnline);
                Check.Equal("carol bob alice", string.Join(" ", Bodies.ParseIdList(f)));
                p.Peer.Send(new Outgoing { Type = f.Type, Flags = 1, Id = f.Id, Body = Bodies.IdList(new[] { "bob", "alice" }) });
                Check.Equal("bob alice", string.Join(" ", await Check.Soon(asking, "the answer")));
                await Check.ThrowsAsync<ArgumentException>(() => p.Client.WhoIsOnlineAsync(new string[1001]));
            }
        }

        [Test]
        private static async Task TypesOfTheSystemAreNotTheProgramsButForOptionalPackages()
        {
            int got = 0;
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(new RollcallOptions { Setup = c => c.OnMessage(0xFF09, m => { got++; return Task.CompletedTask; }) }))
            {
                foreach (ushort type in new ushort[] { 0, 0xFF00, 0xFF02, 0xFF05, 0xFF0A, 0xFFFF })
                {
                    Check.Throws<ArgumentException>(() => p.Client.SendAsync(type, null));
                    Check.Throws<ArgumentException>(() => p.Client.OnMessage(type, m => Task.CompletedTask));
                }
                Check.Throws<ArgumentException>(() => p.Client.SendAsync(0xFF09, null, "bob"));
                await p.Client.SendAsync(0xFF09, null);
                await p.Peer.ReadAsync(0xFF09);
                p.Peer.Send(new Outgoing { Type = 0xFF50, Id = 1 }); // of a later version
                p.Peer.Send(new Outgoing { Type = 0xFF06, Id = 1 }); // without a handler
                p.Peer.Send(new Outgoing { Type = 0xFF09 });
                await Check.Until(() => got == 1, "the message of an optional package has come");
                p.Peer.Send(new Outgoing { Type = SystemType.Heartbeat, Id = 7 });
                Frame beat = await p.Peer.ReadAsync(SystemType.Heartbeat);
                Check.Equal("1 7", beat.Flags + " " + beat.Id, "the first that the client has sent since");
            }
        }
    }
}
