using System;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Net
{
    /// <summary>Finds frames in the bytes of a link. One task uses it.</summary>
    internal sealed class FrameReader
    {
        private const int ReadSize = 64 << 10;
        private const int MaxReserve = 2 << 20; // the most memory that a header alone makes it allocate

        private readonly Link link;
        private readonly Frame frame = new Frame();
        private byte[] buffer = new byte[ReadSize];
        private int used, filled, need;

        internal FrameReader(Link link)
        {
            this.link = link;
        }

        /// <summary>The largest body to accept, in bytes.</summary>
        internal int MaxBody { get; set; } = FrameCodec.DefaultMaxBody;

        /// <summary>
        /// Returns the next frame of what has been read, which is good until the next call of a method here; null if more has to be read.
        /// </summary>
        internal Frame Next()
        {
            if (filled - used < Math.Max(need, 1))
                return null;
            int n = FrameCodec.Decode(buffer, used, filled - used, MaxBody, 0, frame, out need);
            if (n == 0)
                return null;
            used += n;
            need = 0;
            return frame;
        }

        /// <summary>Reads more; throws a RollcallException with NetworkError at the end of the stream, and Link's exceptions.</summary>
        internal async Task FillAsync()
        {
            MakeRoom();
            int n = await link.ReadAsync(buffer, filled, buffer.Length - filled).ConfigureAwait(false);
            if (n <= 0)
                throw RollcallException.Network(filled > used ? "the server ended the connection within a frame" : "the server ended the connection without a Close");
            filled += n;
        }

        /// <summary>Moves what is not decoded yet to the front of a buffer that has room for more of the frame.</summary>
        private void MakeRoom()
        {
            int rest = filled - used;
            int size = Math.Max(ReadSize, Math.Min(need, MaxReserve));
            if (rest >= size)
                size = (int)Math.Min(need, Math.Max(2L * rest, buffer.Length));
            byte[] to = buffer.Length < size || rest == 0 && buffer.Length > size ? new byte[size] : buffer;
            Buffer.BlockCopy(buffer, used, to, 0, rest);
            buffer = to;
            used = 0;
            filled = rest;
        }
    }
}
