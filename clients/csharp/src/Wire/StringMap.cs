using System;
using System.Collections.Generic;

namespace Rollcall.Wire
{
    /// <summary>Named values: u8 count, then u8 key length, key, u16 value length, value.</summary>
    internal static class StringMap
    {
        internal const string Token = "token";
        internal const string Session = "session";
        internal const string HeartbeatMs = "heartbeat-ms";
        internal const string ExpiresMs = "expires-ms";
        internal const string MaxBody = "max-body";
        internal const string RetryMs = "retry-ms";
        internal const string Address = "address";

        private const int MaxPairs = 255;

        /// <summary>Appends a map with its keys in the order of their bytes. Throws an ArgumentException that does not show values.</summary>
        internal static void Append(ByteBuffer to, IEnumerable<KeyValuePair<string, string>> map)
        {
            var pairs = new List<KeyValuePair<byte[], byte[]>>();
            foreach (var pair in map)
                pairs.Add(Encode(pair.Key, pair.Value));
            if (pairs.Count > MaxPairs)
                throw new ArgumentException("more than " + MaxPairs + " fields");
            pairs.Sort((a, b) => Compare(a.Key, b.Key));
            to.U8(pairs.Count);
            foreach (var pair in pairs)
            {
                to.U8(pair.Key.Length);
                to.Append(pair.Key);
                to.U16(pair.Value.Length);
                to.Append(pair.Value);
            }
        }

        /// <summary>Reads a map that takes all bytes; no bytes are an empty map.</summary>
        internal static Dictionary<string, string> Parse(byte[] b, int at, int count)
        {
            if (count == 0)
                return new Dictionary<string, string>();
            int end = at + count;
            var map = Cut(b, ref at, end);
            if (at != end)
                throw RollcallException.Invalid("bytes behind a string map");
            return map;
        }

        /// <summary>Reads a map at the start of the bytes, and moves at behind it.</summary>
        internal static Dictionary<string, string> Cut(byte[] b, ref int at, int end)
        {
            if (at >= end)
                throw RollcallException.Invalid("a string map is missing");
            var map = new Dictionary<string, string>(StringComparer.Ordinal);
            for (int left = b[at++]; left > 0; left--)
            {
                int keyLength = at < end ? b[at++] : throw CutOff();
                if (keyLength == 0)
                    throw RollcallException.Invalid("an empty key in a string map");
                string key = Text(b, ref at, end, keyLength);
                if (end - at < 2)
                    throw CutOff();
                int valueLength = b[at] << 8 | b[at + 1];
                at += 2;
                string value = Text(b, ref at, end, valueLength);
                if (map.ContainsKey(key))
                    throw RollcallException.Invalid("a key comes twice in a string map");
                map.Add(key, value);
            }
            return map;
        }

        /// <summary>
        /// Returns a decimal number of a map, at most the given one; 0 if it is missing or is no number. The other side's numbers are bounded
        /// because they become waits.
        /// </summary>
        internal static long Number(IReadOnlyDictionary<string, string> map, string key, long most) =>
            TryNumber(map, key, most, out long n) ? n : 0;

        /// <summary>As Number; false if the number is missing or is none.</summary>
        internal static bool TryNumber(IReadOnlyDictionary<string, string> map, string key, long most, out long n)
        {
            n = 0;
            if (!map.TryGetValue(key, out string text) || text.Length == 0)
                return false;
            foreach (char c in text)
            {
                if (c < '0' || c > '9')
                    return false;
                n = Math.Min(most, n * 10 + (c - '0'));
            }
            return true;
        }

        private static KeyValuePair<byte[], byte[]> Encode(string key, string value)
        {
            byte[] k = Utf8.Encode(key), v = value == null ? null : Utf8.Encode(value);
            if (k == null || k.Length == 0 || k.Length > 255)
                throw new ArgumentException("a field's key must have 1 to 255 bytes of UTF-8");
            if (v == null || v.Length > 65535)
                throw new ArgumentException("the value of the field \"" + key + "\" must have at most 65,535 bytes of UTF-8");
            return new KeyValuePair<byte[], byte[]>(k, v);
        }

        private static int Compare(byte[] a, byte[] b)
        {
            for (int i = 0; i < a.Length && i < b.Length; i++)
            {
                if (a[i] != b[i])
                    return a[i] - b[i];
            }
            return a.Length - b.Length;
        }

        private static string Text(byte[] b, ref int at, int end, int length)
        {
            if (end - at < length)
                throw CutOff();
            if (!Utf8.TryDecode(b, at, length, out string text))
                throw RollcallException.Invalid("a text in a string map is not UTF-8");
            at += length;
            return text;
        }

        private static RollcallException CutOff() => RollcallException.Invalid("a string map is cut off");
    }
}
