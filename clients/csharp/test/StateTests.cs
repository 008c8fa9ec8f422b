using System;
using System.Linq;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>The parts without input and output: backoff, pulse, memory of pushes, addresses, names of certificates.</summary>
    internal static class StateTests
    {
        [Test]
        private static void TheBackoffDoublesUpToItsLimitAndBeginsAnew()
        {
            var b = new Backoff(200, 30000, () => 0.9999999);
            Check.Equal("200 400 800 1600 3200 6400 12800 25600 30000 30000", Limits(b, 10));
            b.Reset();
            Check.Equal("200 400", Limits(b, 2));
        }

        [Test]
        private static void TheExponentOfTheBackoffStaysAtEight()
        {
            var b = new Backoff(1, 1 << 30, () => 0.9999999999);
            Check.Equal("1 2 4 8 16 32 64 128 256 256 256", Limits(b, 11));
            for (int i = 0; i < 100; i++)
                Check.Equal(256L, b.Next());
        }

        [Test]
        private static void TheJitterIsEvenlyDistributedFromZero()
        {
            var random = new Random(1);
            double[] waits = Enumerable.Range(0, 400).Select(_ => new Backoff(1000, 1000, random.NextDouble).Next() / 1001.0).OrderBy(w => w).ToArray();
            // Kolmogorov and Smirnov: the distance from the even distribution.
            double distance = waits.Select((w, i) => Math.Max(Math.Abs(w - i / 400.0), Math.Abs(w - (i + 1) / 400.0))).Max();
            Check.True(distance < 1.63 / Math.Sqrt(400), "distance " + distance);
        }

        [Test]
        private static void TwoClientsHaveOtherJitter()
        {
            double[] first = Enumerable.Range(0, 4).Select(_ => Backoff.NewRandom().NextDouble()).ToArray();
            Check.Equal(4, first.Distinct().Count(), "different numbers");
        }

        private static string Limits(Backoff b, int n) => string.Join(" ", Enumerable.Range(0, n).Select(_ => b.Next()));

        [Test]
        private static void AHeartbeatIsDueWhenNothingWasSentForTheInterval()
        {
            var p = new Pulse(10000, 5000, 0);
            Check.Equal(10000L, p.Wait(0));
            p.Sent = 4000;
            p.Heard = 9000;
            Check.Equal(Beat.None, p.Next(10000));
            Check.Equal(4000L, p.Wait(10000));
            Check.Equal(Beat.Tell, p.Next(14000));
        }

        [Test]
        private static void ASilentServerIsAskedAndThenGivenUp()
        {
            var p = new Pulse(10000, 5000, 0);
            Step(p, 10000, Beat.Ask);
            Step(p, 20000, Beat.Ask);
            Step(p, 30000, Beat.ServerSilent);
        }

        [Test]
        private static void AnAnswerKeepsTheConnection()
        {
            var p = new Pulse(10000, 5000, 0);
            Step(p, 10000, Beat.Ask);
            p.Heard = 10001;
            Step(p, 20001, Beat.Ask);
        }

        [Test]
        private static void AShortIntervalLeavesTheServerThreeSeconds()
        {
            var p = new Pulse(100, 5000, 0);
            for (long t = 100; t < 3000; t += 100)
            {
                p.Wait(t - 100);
                Check.True(p.Next(t) != Beat.ServerSilent, "given up after " + t);
            }
            p.Wait(2999);
            Check.Equal(Beat.ServerSilent, p.Next(3000));
        }

        [Test]
        private static void AfterAStandstillTheServerIsAskedOnceMore()
        {
            var p = new Pulse(10000, 5000, 0);
            p.Wait(0);
            Check.Equal(Beat.Ask, p.Next(60000));
            Step(p, 60000 + p.Wait(60000), Beat.ServerSilent);
        }

        [Test]
        private static void TimeInWhichTheClientDoesNotReadIsNotSilence()
        {
            var p = new Pulse(10000, 5000, 0) { Paused = true };
            for (long t = 10000; t <= 100000; t += 10000)
            {
                p.Wait(t - 1);
                Check.Equal(Beat.Tell, p.Next(t), "at " + t);
            }
        }

        [Test]
        private static void AWriteThatDoesNotEndEndsTheConnection()
        {
            var p = new Pulse(10000, 5000, 0) { WriteBegan = 1000 };
            Check.Equal(6000L, p.Wait(0));
            Check.Equal(Beat.None, p.Next(5999));
            Check.Equal(Beat.WriteStuck, p.Next(6000));
        }

        private static void Step(Pulse p, long at, Beat want)
        {
            p.Wait(at - 1);
            Check.Equal(want, p.Next(at), "at " + at);
        }

        [Test]
        private static void TheLast1024PushesAreRemembered()
        {
            var m = new PushMemory();
            Guid[] ids = Enumerable.Range(0, 1025).Select(_ => Guid.NewGuid()).ToArray();
            foreach (Guid id in ids.Take(1024))
                m.Add(id);
            m.Add(ids[5]);
            Check.True(ids.Take(1024).All(m.Has), "all are known");
            m.Add(ids[1024]);
            Check.True(!m.Has(ids[0]), "the oldest is forgotten");
            Check.True(ids.Skip(1).All(m.Has), "the others are known");
        }

        [Test]
        private static void AddressesAreTakenApart()
        {
            foreach (string good in new[] { "tcp://localhost:9000", "tls://example.org:1", "tls://[::1]:65535", "tcp://127.0.0.1:80" })
                Check.Equal(good, Address.Parse(good).ToString());
            foreach (string bad in new[]
            {
                "", "localhost:9000", "ws://a:1", "TLS://a:1", "tls://a", "tls://:1", "tls://a:", "tls://a:0", "tls://a:65536", "tls://a:1/x",
                "tls://u@a:1", "tls://::1:5", "tls://a b:1", "tls://a:+1", "tls://a:1 ",
            })
                Check.Throws<ArgumentException>(() => Address.Parse(bad), bad);
        }

        [Test]
        private static void AServerMovesAClientToAHostAndAPortOnly()
        {
            Address home = Address.Parse("tls://a:1");
            Check.Equal("tls://b.example:2", home.MovedTo("b.example:2").ToString());
            Check.Equal("tls://[::1]:2", home.MovedTo("[::1]:2").ToString());
            foreach (string bad in new[] { "", "b", "tcp://b:2", "b:2/x", "b:x" })
                Check.Equal(null, home.MovedTo(bad), bad);
        }

        [Test]
        private static void ANameOfACertificateMatchesTheWholeHost()
        {
            byte[] names = Der(Dns("a.example"), Dns("*.b.example"), Dns("*.com"), new byte[] { 0x87, 4, 10, 0, 0, 1 });
            foreach (string host in new[] { "a.example", "A.Example", "a.example.", "x.b.example", "10.0.0.1" })
                Check.True(ServerName.Matches(names, host), host);
            foreach (string host in new[] { "b.example", "y.x.b.example", ".b.example", "aa.example", "example", "a.com", "10.0.0.2", "x10.0.0.1", "" })
                Check.True(!ServerName.Matches(names, host), host);
        }

        [Test]
        private static void ABrokenListOfNamesMatchesNothing()
        {
            byte[] names = Der(Dns("a.example"), Dns("b.example"));
            Check.True(ServerName.Matches(names, "a.example"), "the whole list");
            for (int n = 0; n < names.Length; n++)
                Check.True(!ServerName.Matches(names.Take(n).ToArray(), "a.example"), "the first " + n + " bytes");
            Check.True(!ServerName.Matches(Der(Dns("10.0.0.1")), "10.0.0.1"), "an address as a name");
        }

        private static byte[] Dns(string name) => new byte[] { 0x82, (byte)name.Length }.Concat(name.Select(c => (byte)c)).ToArray();

        private static byte[] Der(params byte[][] names)
        {
            byte[] all = names.SelectMany(n => n).ToArray();
            return new byte[] { 0x30, (byte)all.Length }.Concat(all).ToArray();
        }

        [Test]
        private static void ALengthThatNoArrayHasIsTooLarge()
        {
            var header = new byte[] { 0x52, 0x13, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
            foreach (int limit in new[] { int.MaxValue, 0, 1 << 20 })
                Check.Equal(RollcallCode.MessageTooLarge,
                    Check.Throws<RollcallException>(() => FrameCodec.Decode(header, 0, 16, limit, 0, new Frame(), out _), "limit " + limit).Code);
        }
    }
}
