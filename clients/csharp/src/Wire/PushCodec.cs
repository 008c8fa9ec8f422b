using System;
using System.Collections.Generic;

namespace Rollcall.Wire
{
    /// <summary>Reads pushes, and writes their acknowledgements.</summary>
    internal static class PushCodec
    {
        internal const int IdLength = 16;
        private const int HeadLength = IdLength + 1 + 1 + 8 + 1;
        private const byte ConfirmFlag = 1;

        internal static PushMessage Parse(Frame f)
        {
            byte[] b = f.Buffer;
            int at = f.BodyAt, end = at + f.BodyCount;
            if (f.BodyCount < HeadLength)
                throw RollcallException.Invalid("a push of " + f.BodyCount + " bytes");
            Guid id = ParseId(b, at);
            var kind = (PushKind)b[at + 16];
            byte flags = b[at + 17];
            long time = 0;
            for (int i = 18; i < 26; i++)
                time = time << 8 | b[at + i];
            int nameLength = b[at + 26];
            at += HeadLength;
            if (end - at < nameLength || !Utf8.TryDecode(b, at, nameLength, out string name))
                throw RollcallException.Invalid("a push's name is cut off, or not UTF-8");
            at += nameLength;
            Dictionary<string, string> metadata = StringMap.Cut(b, ref at, end);
            string fault = id == Guid.Empty ? "without an ID"
                : kind == 0 ? "of kind 0"
                : (flags & ~ConfirmFlag) != 0 ? "with an unknown flag"
                : kind == PushKind.Custom && name.Length == 0 ? "that is custom and has no name"
                : kind < PushKind.Custom && name.Length > 0 ? "with a name, which only custom ones have"
                : kind == PushKind.Text && !Utf8.TryDecode(b, at, end - at, out _) ? "that is a text and not UTF-8"
                : null;
            if (fault != null)
                throw RollcallException.Invalid("a push " + fault);
            var content = new byte[end - at];
            Buffer.BlockCopy(b, at, content, 0, content.Length);
            return new PushMessage(id, kind, name, (flags & ConfirmFlag) != 0, time, metadata, content);
        }

        /// <summary>Reads 16 bytes in the order of a UUID's text, which is not the order of Guid's own bytes.</summary>
        internal static Guid ParseId(byte[] b, int at) => new Guid(
            b[at] << 24 | b[at + 1] << 16 | b[at + 2] << 8 | b[at + 3], (short)(b[at + 4] << 8 | b[at + 5]), (short)(b[at + 6] << 8 | b[at + 7]),
            b[at + 8], b[at + 9], b[at + 10], b[at + 11], b[at + 12], b[at + 13], b[at + 14], b[at + 15]);

        /// <summary>The body of a PushAck.</summary>
        internal static byte[] Ack(Guid id)
        {
            byte[] b = id.ToByteArray();
            Array.Reverse(b, 0, 4);
            Array.Reverse(b, 4, 2);
            Array.Reverse(b, 6, 2);
            return b;
        }

        internal static Guid ParseAck(Frame f)
        {
            Guid id = f.BodyCount == IdLength ? ParseId(f.Buffer, f.BodyAt) : Guid.Empty;
            return id != Guid.Empty ? id : throw RollcallException.Invalid("a PushAck that is no push's ID");
        }
    }
}
