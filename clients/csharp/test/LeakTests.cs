using System;
using System.Diagnostics;
using System.IO;
using System.Threading.Tasks;

namespace Rollcall.Tests
{
    /// <summary>What is left after many connections.</summary>
    internal static class LeakTests
    {
        private const long MostGrown = 512 << 10; // a registration that each connection leaves behind is more

        [Test]
        private static async Task ReconnectingLeavesNothing()
        {
            var options = new RollcallOptions { BackoffMin = TimeSpan.Zero, Setup = c => c.OnPush(push => Task.CompletedTask) };
            using (var server = new FakeServer())
            using (Pair p = await server.ConnectAsync(options))
            {
                await ReconnectAsync(server, p, 1000); // what grows once has grown by then
                long memory = Memory();
                int files = OpenFiles(), threads = Threads();
                await ReconnectAsync(server, p, 2000);
                // Mono finds what may be in use by looking at the stacks, so some of what is free counts as used now and then.
                long grown = 0;
                await Check.Until(() => (grown = Memory() - memory) < MostGrown, () => "the heap has not grown by " + grown + " bytes");
                Console.WriteLine("From 1,000 to 3,000 reconnects the heap of {0} KB has grown by {1} KB", memory >> 10, grown >> 10);
                Check.True(OpenFiles() < files + 20, "the open files were " + files + ", and are " + OpenFiles());
                Check.True(Threads() < threads + 20, "there were " + threads + " threads, and are " + Threads());
            }
        }

        private static async Task ReconnectAsync(FakeServer server, Pair p, int times)
        {
            for (int i = 0; i < times; i++)
            {
                Task<Message> asked = p.Client.RequestAsync(1, null);
                await p.Peer.ReadAsync(1);
                p.Peer.Close(RollcallCode.ServerStopping);
                await p.NextAsync(RollcallState.Reconnecting);
                await Check.ThrowsAsync<RollcallException>(() => Check.Soon(asked, "the request"));
                p.Peer.Dispose();
                p.Peer = await server.AcceptLogonAsync("expires-ms=1000000");
                await p.NextAsync(RollcallState.Online);
            }
        }

        [Test]
        private static async Task ClosedClientsLeaveNeitherThreadsNorWaits()
        {
            int before = 0;
            using (var server = new FakeServer())
            {
                var clock = new FakeClock();
                for (int i = 0; i < 60; i++)
                {
                    using (Pair p = await server.ConnectAsync(new RollcallOptions { Clock = clock }, "expires-ms=1000000"))
                    {
                        Task closing = p.Client.CloseAsync();
                        await p.Peer.GoodbyeAsync();
                        await Check.Soon(closing, "closing");
                    }
                    Check.Equal(0, clock.Count, "waits that are left");
                    if (i == 9)
                        before = Threads(); // those of the pool are there by now
                }
            }
            Check.True(Threads() < before + 25, "there were " + before + " threads, and are " + Threads());
        }

        private static long Memory()
        {
            for (int i = 0; i < 3; i++)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }
            return GC.GetTotalMemory(true);
        }

        private static int Threads() => Directory.GetDirectories("/proc/self/task").Length;

        private static int OpenFiles() => Directory.GetFiles("/proc/self/fd").Length;
    }
}
