using System;
using System.Collections.Generic;
using System.Text;

namespace Rollcall.Wire
{
    /// <summary>The bodies of the system's messages but for string maps and pushes.</summary>
    internal static class Bodies
    {
        internal const int MaxListed = 1000;
        private const int MaxText = 65535;

        /// <summary>Appends a code and a text, which is cut where it is too long.</summary>
        internal static byte[] Close(RollcallCode code, string text, IReadOnlyDictionary<string, string> info = null)
        {
            byte[] t = Encoding.UTF8.GetBytes(text ?? "");
            int n = Math.Min(t.Length, MaxText);
            while (n < t.Length && (t[n] & 0xC0) == 0x80) // not within a character
                n--;
            var b = new ByteBuffer(4 + n);
            b.U16((int)code);
            b.U16(n);
            b.Append(t, 0, n);
            if (info != null && info.Count > 0)
                StringMap.Append(b, info);
            return b.ToArray();
        }

        /// <summary>Reads the body of a Close or an error reply.</summary>
        internal static RollcallException ParseClose(Frame f, RollcallFailure failure)
        {
            byte[] b = f.Buffer;
            int at = f.BodyAt, end = at + f.BodyCount;
            if (end - at < 4)
                throw RollcallException.Invalid("a Close of " + f.BodyCount + " bytes, 4 is the least");
            var code = (RollcallCode)(b[at] << 8 | b[at + 1]);
            int length = b[at + 2] << 8 | b[at + 3];
            at += 4;
            if (end - at < length || !Utf8.TryDecode(b, at, length, out string text))
                throw RollcallException.Invalid("the text of a Close is cut off, or not UTF-8");
            at += length;
            return new RollcallException(failure, code, text, StringMap.Parse(b, at, end - at));
        }

        /// <summary>Reads the reply to a Logon or a Renew; throws the refusal, if it is one.</summary>
        internal static Dictionary<string, string> ParseLogonReply(Frame f)
        {
            if (f.BodyCount < 2)
                throw RollcallException.Invalid("a Logon's reply of " + f.BodyCount + " bytes, 2 is the least");
            if (f.Buffer[f.BodyAt] != 0 || f.Buffer[f.BodyAt + 1] != 0)
                throw ParseClose(f, RollcallFailure.ConnectionEnded);
            if (f.IsError)
                throw RollcallException.Invalid("a Logon was refused without a code");
            return StringMap.Parse(f.Buffer, f.BodyAt + 2, f.BodyCount - 2);
        }

        /// <summary>Encodes an ID list. Throws an ArgumentException for too many IDs, or one that cannot be sent.</summary>
        internal static byte[] IdList(IReadOnlyCollection<string> ids)
        {
            if (ids.Count > MaxListed)
                throw new ArgumentException("more than " + MaxListed + " user IDs");
            var b = new ByteBuffer();
            b.U16(ids.Count);
            foreach (string id in ids)
            {
                byte[] bytes = UserId.Encode(id ?? "", out string fault);
                if (fault != null)
                    throw new ArgumentException("a user ID of the list " + fault);
                b.U8(bytes.Length);
                b.Append(bytes);
            }
            return b.ToArray();
        }

        internal static List<string> ParseIdList(Frame f)
        {
            byte[] b = f.Buffer;
            int at = f.BodyAt, end = at + f.BodyCount;
            int count = end - at < 2 ? MaxListed + 1 : b[at] << 8 | b[at + 1];
            if (count > MaxListed)
                throw RollcallException.Invalid("an ID list without a count, or of more than " + MaxListed);
            at += 2;
            var ids = new List<string>();
            for (; count > 0; count--)
            {
                int length = at < end ? b[at++] : 0;
                if (length == 0 || end - at < length || !UserId.TryDecode(b, at, length, out string id))
                    throw RollcallException.Invalid("an ID list that is cut off, or has an ID that is not valid");
                at += length;
                ids.Add(id);
            }
            if (at != end)
                throw RollcallException.Invalid("bytes behind an ID list");
            return ids;
        }
    }
}
