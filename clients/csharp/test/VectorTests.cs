using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>Every vector of protocol/testdata/vectors.txt, whose first lines say what its columns are.</summary>
    internal static class VectorTests
    {
        private static readonly List<string[]> All = Read();

        private static List<string[]> Read()
        {
            string file = Environment.GetEnvironmentVariable("ROLLCALL_VECTORS") ?? "../../protocol/testdata/vectors.txt";
            return File.ReadAllLines(file, new UTF8Encoding(false)).Where(l => l != "" && l[0] != '#').Select(l => l.Split('\t')).ToList();
        }

        private static void Each(string kind, Action<string[]> check)
        {
            List<string[]> lines = All.Where(v => v[0] == kind).ToList();
            Check.True(lines.Count > 0, "there is no vector of the kind " + kind);
            foreach (string[] v in lines)
            {
                try
                {
                    check(v);
                }
                catch (Exception e)
                {
                    throw new CheckFailed(kind + " \"" + v[1] + "\": " + e);
                }
            }
        }

        [Test]
        private static void EveryKindOfVectorIsTried()
        {
            string[] tried = { "frame", "refused", "unfinished", "map", "logon-reply", "close", "push", "push-ack", "id-list", "bad-body", "encode", "unsendable", "sendable" };
            string other = All.Select(v => v[0]).FirstOrDefault(k => !tried.Contains(k));
            Check.Equal(null, other, "a kind that no test tries");
        }

        [Test]
        private static void FramesAreDecoded() => Each("frame", v =>
        {
            byte[] b = Hex(v[5]);
            var f = new Frame();
            for (int n = 0; n < b.Length; n++)
            {
                Check.Equal(0, FrameCodec.Decode(b, 0, n, Limit(v[3]), Limit(v[4]), f, out int need), "of the first " + n + " bytes");
                Check.True(need > n && need <= b.Length, "with " + n + " bytes it needs " + need);
            }
            byte[] framed = new byte[] { 1, 2, 3 }.Concat(b).Concat(b).ToArray();
            Check.Equal(b.Length, FrameCodec.Decode(framed, 3, framed.Length - 3, Limit(v[3]), Limit(v[4]), f, out _), "length");
            Check.Equal(v[6], f.Type.ToString(), "type");
            Check.Equal(v[7], f.Flags.ToString(), "flags");
            Check.Equal(v[8], f.Id.ToString(), "ID");
            Check.Equal(v[9], f.Device.ToString(), "device");
            Check.Equal(Text(v[10]), f.User, "user");
            Check.Equal(Text(v[11]), f.Dest, "destination");
            Check.Equal(v[12], Hex(f.CopyBody()), "body");
        });

        [Test]
        private static void FramesAreEncoded() => Each("frame", v =>
        {
            var b = new ByteBuffer(1);
            FrameCodec.Append(b, int.Parse(v[6]), byte.Parse(v[7]), uint.Parse(v[8]), int.Parse(v[9]), Hex(v[10]), Hex(v[11]), Hex(v[12]));
            Check.Equal(v[5], Hex(b.ToArray()));
        });

        [Test]
        private static void WhatIsNoFrameIsRefused() => Each("refused", v =>
        {
            byte[] b = Hex(v[5]);
            for (int n = 0; n <= b.Length; n++)
            {
                try
                {
                    Check.Equal(0, FrameCodec.Decode(b, 0, n, Limit(v[3]), Limit(v[4]), new Frame(), out _), "a frame");
                }
                catch (RollcallException e)
                {
                    Check.Equal(v[6], ((int)e.Code).ToString(), "code with " + n + " bytes");
                    Check.True(n >= int.Parse(v[7]), "it is refused with " + n + " bytes");
                    return;
                }
            }
            throw new CheckFailed("it is not refused");
        });

        [Test]
        private static void UnfinishedFramesSayWhatTheyNeed() => Each("unfinished", v =>
        {
            byte[] b = Hex(v[5]);
            Check.Equal(0, FrameCodec.Decode(b, 0, b.Length, Limit(v[3]), Limit(v[4]), new Frame(), out int need));
            Check.Equal(v[6], need.ToString());
        });

        [Test]
        private static void StringMapsAreReadAndWritten() => Each("map", v =>
        {
            byte[] b = Hex(v[2]);
            SameMap(v[3], StringMap.Parse(b, 0, b.Length));
            var to = new ByteBuffer();
            StringMap.Append(to, Map(v[3]));
            Check.Equal(v[2] == "" ? "00" : v[2], Hex(to.ToArray()));
        });

        [Test]
        private static void LogonRepliesAreRead() => Each("logon-reply", v => SameMap(v[3], Bodies.ParseLogonReply(Body(v[2]))));

        [Test]
        private static void ClosesAreRead() => Each("close", v =>
        {
            RollcallException e = Bodies.ParseClose(Body(v[2]), RollcallFailure.ConnectionEnded);
            Check.Equal(v[3], ((int)e.Code).ToString());
            Check.Equal(Text(v[4]), e.Text);
            SameMap(v[5], e.Info);
        });

        [Test]
        private static void PushesAreRead() => Each("push", v =>
        {
            PushMessage p = PushCodec.Parse(Body(v[2]));
            Check.Equal(v[3], p.Id.ToString());
            Check.Equal(v[4], ((int)p.Kind).ToString());
            Check.Equal(Text(v[5]), p.Name);
            Check.Equal(v[6] == "1", p.Confirm);
            Check.Equal(v[7], p.UnixTimeMilliseconds.ToString());
            SameMap(v[8], p.Metadata);
            Check.Equal(v[9], Hex(p.Content));
        });

        [Test]
        private static void PushAcksAreWritten() => Each("push-ack", v =>
        {
            Check.Equal(v[3], PushCodec.ParseAck(Body(v[2])).ToString());
            Check.Equal(v[2], Hex(PushCodec.Ack(Guid.Parse(v[3]))));
        });

        [Test]
        private static void IdListsAreReadAndWritten() => Each("id-list", v =>
        {
            Check.Equal(v[3], string.Join(",", Bodies.ParseIdList(Body(v[2])).Select(HexOf)));
            Check.Equal(v[2], Hex(Bodies.IdList(List(v[3]))));
        });

        [Test]
        private static void BrokenBodiesAreRefused() => Each("bad-body", v =>
        {
            Frame f = Body(v[2]);
            var parsers = new Dictionary<string, Action>
            {
                ["map"] = () => StringMap.Parse(f.Buffer, f.BodyAt, f.BodyCount),
                ["push"] = () => PushCodec.Parse(f),
                ["push-ack"] = () => PushCodec.ParseAck(f),
                ["id-list"] = () => Bodies.ParseIdList(f),
            };
            Check.Equal(v[4], ((int)Check.Throws<RollcallException>(parsers[v[3]]).Code).ToString());
        });

        [Test]
        private static void WhatAClientSendsIsEncoded() => Each("encode", v =>
        {
            string argument = v[9];
            var frame = new Outgoing
            {
                Type = int.Parse(v[3]), Flags = byte.Parse(v[4]), Id = uint.Parse(v[5]), Device = int.Parse(v[6]), User = Hex(v[7]), Dest = Hex(v[8]),
            };
            switch (v[2])
            {
                case "message":
                case "reply":
                    frame.Body = Hex(argument);
                    break;
                case "logon":
                case "renew":
                    var map = new ByteBuffer();
                    StringMap.Append(map, Map(argument));
                    frame.Body = map.ToArray();
                    break;
                case "close":
                case "error-reply":
                    frame.Body = Bodies.Close((RollcallCode)int.Parse(argument), Text(v[10]), Map(v[11]));
                    break;
                case "push-ack":
                    frame.Body = PushCodec.Ack(Guid.Parse(argument));
                    break;
                case "who-is-online":
                    frame.Body = Bodies.IdList(List(argument));
                    break;
                case "heartbeat":
                case "heartbeat-reply":
                    break;
                default:
                    throw new CheckFailed("the test does not know " + v[2]);
            }
            var to = new ByteBuffer();
            frame.AppendTo(to);
            Check.Equal(v[12], Hex(to.ToArray()));
        });

        [Test]
        private static void WhatMayNotBeSentIsRefused() => Each("unsendable", v =>
        {
            if (TryBytes(v[3], out string text))
                Check.Throws<ArgumentException>(() => Send(v[2], text), v[2]);
        });

        [Test]
        private static void WhatMayBeSentIsNotRefused() => Each("sendable", v =>
        {
            Check.True(TryBytes(v[3], out string text), "the vector is no UTF-8");
            Send(v[2], text);
        });

        [Test]
        private static void HalfASurrogateIsNotSent()
        {
            foreach (string what in new[] { "user", "dest", "listed", "key", "value" })
                Check.Throws<ArgumentException>(() => Send(what, "a\ud800b"), what);
        }

        private static void Send(string what, string text)
        {
            switch (what)
            {
                case "user":
                    new RollcallOptions { User = text }.Checked();
                    break;
                case "dest":
                    RollcallClient.Application(1, null, text);
                    break;
                case "listed":
                    Bodies.IdList(new[] { text });
                    break;
                case "key":
                    new RollcallOptions { Fields = new Dictionary<string, string> { [text] = "v" } }.Checked();
                    break;
                case "value":
                    new RollcallOptions { Fields = new Dictionary<string, string> { ["k"] = text } }.Checked();
                    break;
                default:
                    throw new CheckFailed("the test does not know " + what);
            }
        }

        /// <summary>HEX, or HEX*N; false if it is no UTF-8, which a string cannot hold.</summary>
        private static bool TryBytes(string column, out string text)
        {
            string[] parts = column.Split('*');
            byte[] b = Enumerable.Repeat(Hex(parts[0]), parts.Length == 2 ? int.Parse(parts[1]) : 1).SelectMany(x => x).ToArray();
            return Utf8.TryDecode(b, 0, b.Length, out text);
        }

        private static int Limit(string column) => int.Parse(column);

        private static Frame Body(string hex)
        {
            byte[] b = Hex("ffff" + hex + "ff");
            return new Frame { Buffer = b, BodyAt = 2, BodyCount = b.Length - 3 };
        }

        private static void SameMap(string column, IReadOnlyDictionary<string, string> got)
        {
            Dictionary<string, string> want = Map(column);
            Check.Equal(want.Count, got.Count, "pairs");
            foreach (var pair in want)
                Check.Equal(pair.Value, got[pair.Key], pair.Key);
        }

        private static Dictionary<string, string> Map(string column) => column == "" ? new Dictionary<string, string>()
            : column.Split(',').Select(p => p.Split('=')).ToDictionary(p => Text(p[0]), p => Text(p[1]));

        private static List<string> List(string column) => column == "" ? new List<string>() : column.Split(',').Select(Text).ToList();

        private static string Text(string hex) => Encoding.UTF8.GetString(Hex(hex));

        private static string HexOf(string text) => Hex(Encoding.UTF8.GetBytes(text));

        private static byte[] Hex(string hex) =>
            Enumerable.Range(0, hex.Length / 2).Select(i => Convert.ToByte(hex.Substring(2 * i, 2), 16)).ToArray();

        private static string Hex(byte[] b) => string.Concat(b.Select(x => x.ToString("x2")));
    }
}
