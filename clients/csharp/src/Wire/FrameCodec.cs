using System;

namespace Rollcall.Wire
{
    /// <summary>Reads and writes frames: a header of 16 bytes, two user IDs, and the body.</summary>
    internal static class FrameCodec
    {
        internal const int HeaderLength = 16;
        internal const int DefaultMaxBody = 1 << 20;

        /// <summary>By so much a Close, the answer to a Logon and an error reply may be larger than max-body.</summary>
        internal const int NoticeAllowance = 64 << 10;

        private const byte Magic = 0x52;
        private const byte Version = 1;

        /// <summary>
        /// Decodes the frame at the start of the bytes and returns its length. With 0 the frame is unfinished, and need says how many
        /// bytes must be there before the next call. Limits are in bytes, 0 is none. It throws a RollcallException with InvalidMessage
        /// or MessageTooLarge for bytes that no frame may have.
        /// </summary>
        internal static int Decode(byte[] b, int at, int count, int maxBody, int maxFrame, Frame f, out int need)
        {
            CheckStart(b, at, count);
            need = HeaderLength;
            if (count < HeaderLength)
                return 0;
            int flags = b[at + 1] & 0x0F;
            int type = b[at + 2] << 8 | b[at + 3];
            long length = U32(b, at + 4);
            int user = b[at + 12], dest = b[at + 13];
            long body = length - user - dest;
            if (maxFrame > 0 && HeaderLength + length > maxFrame)
                throw TooLarge("a frame of " + (HeaderLength + length) + " bytes, the limit is " + maxFrame);
            bool notice = (flags & Frame.ErrorFlag) != 0 || type == SystemType.Close || type == SystemType.Logon;
            long limit = int.MaxValue - HeaderLength - 2 * UserId.MaxBytes; // an array's length
            if (maxBody > 0)
                limit = Math.Min(limit, maxBody + (long)(notice ? NoticeAllowance : 0));
            if (body > limit)
                throw TooLarge("a body of " + body + " bytes, the limit is " + limit);
            if (body < 0)
                throw RollcallException.Invalid("the user IDs are longer than the length " + length);

            int total = HeaderLength + (int)length;
            need = total;
            if (count < total)
                return 0;
            int ids = at + HeaderLength;
            if (!UserId.TryDecode(b, ids, user, out string userId))
                throw RollcallException.Invalid("a user ID that is not valid");
            if (!UserId.TryDecode(b, ids + user, dest, out string destId))
                throw RollcallException.Invalid("a destination's user ID that is not valid");
            f.Type = type;
            f.Flags = (byte)flags;
            f.Id = U32(b, at + 8);
            f.Device = b[at + 14] << 8 | b[at + 15];
            f.User = userId;
            f.Dest = destId;
            f.Buffer = b;
            f.BodyAt = ids + user + dest;
            f.BodyCount = (int)body;
            return total;
        }

        /// <summary>Appends a frame. The IDs are encoded already, and within their limits.</summary>
        internal static void Append(ByteBuffer to, int type, byte flags, uint id, int device, byte[] user, byte[] dest, byte[] body)
        {
            to.U8(Magic);
            to.U8(Version << 4 | flags);
            to.U16(type);
            to.U32((uint)(user.Length + dest.Length + body.Length));
            to.U32(id);
            to.U8(user.Length);
            to.U8(dest.Length);
            to.U16(device);
            to.Append(user);
            to.Append(dest);
            to.Append(body);
        }

        /// <summary>Looks at the first four bytes as far as they have come, because what is no frame may never have sixteen.</summary>
        private static void CheckStart(byte[] b, int at, int count)
        {
            if (count > 0 && b[at] != Magic)
                throw RollcallException.Invalid("a frame begins with " + b[at].ToString("x2") + ", not with the magic");
            if (count > 1)
            {
                if (b[at + 1] >> 4 != Version)
                    throw RollcallException.Invalid("protocol version " + (b[at + 1] >> 4));
                int flags = b[at + 1] & 0x0F;
                if ((flags & ~(Frame.ReplyFlag | Frame.ErrorFlag)) != 0 || flags == Frame.ErrorFlag)
                    throw RollcallException.Invalid("flags that are not allowed: " + flags);
            }
            if (count > 3 && b[at + 2] == 0 && b[at + 3] == 0)
                throw RollcallException.Invalid("message type 0");
        }

        private static uint U32(byte[] b, int at) => (uint)(b[at] << 24 | b[at + 1] << 16 | b[at + 2] << 8 | b[at + 3]);

        private static RollcallException TooLarge(string text) =>
            new RollcallException(RollcallFailure.ConnectionEnded, RollcallCode.MessageTooLarge, text);
    }
}
