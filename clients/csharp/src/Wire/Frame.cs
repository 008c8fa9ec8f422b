namespace Rollcall.Wire
{
    /// <summary>The types of the system's messages.</summary>
    internal static class SystemType
    {
        internal const int First = 0xFF00;
        internal const int Heartbeat = 0xFF00;
        internal const int Logon = 0xFF01;
        internal const int Close = 0xFF02;
        internal const int Push = 0xFF03;
        internal const int PushAck = 0xFF04;
        internal const int WhoIsOnline = 0xFF05;
        internal const int FirstOptional = 0xFF06;
        internal const int LastOptional = 0xFF09;
        internal const int Renew = 0xFF0A;

        /// <summary>Says whether a type belongs to an optional package of the server, which programs speak to themselves.</summary>
        internal static bool IsOptional(int type) => type >= FirstOptional && type <= LastOptional;
    }

    /// <summary>A decoded frame. The body lies in Buffer, which belongs to the reader: it is good until the next frame is read.</summary>
    internal sealed class Frame
    {
        internal const byte ReplyFlag = 1;
        internal const byte ErrorFlag = 2;

        internal int Type;
        internal byte Flags;
        internal uint Id;
        internal int Device;
        internal string User = "";
        internal string Dest = "";
        internal byte[] Buffer = Utf8.None;
        internal int BodyAt;
        internal int BodyCount;

        internal bool IsReply => (Flags & ReplyFlag) != 0;
        internal bool IsError => (Flags & ErrorFlag) != 0;

        internal byte[] CopyBody()
        {
            var body = new byte[BodyCount];
            System.Buffer.BlockCopy(Buffer, BodyAt, body, 0, BodyCount);
            return body;
        }
    }

    /// <summary>A frame that is to be sent.</summary>
    internal struct Outgoing
    {
        internal int Type;
        internal byte Flags;
        internal uint Id;
        internal int Device;
        internal byte[] User;
        internal byte[] Dest;
        internal byte[] Body;

        internal void AppendTo(ByteBuffer to) =>
            FrameCodec.Append(to, Type, Flags, Id, Device, User ?? Utf8.None, Dest ?? Utf8.None, Body ?? Utf8.None);
    }
}
