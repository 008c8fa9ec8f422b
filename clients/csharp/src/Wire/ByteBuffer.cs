using System;

namespace Rollcall.Wire
{
    /// <summary>A growing array of bytes to which big-endian numbers are appended.</summary>
    internal sealed class ByteBuffer
    {
        internal byte[] Bytes;
        internal int Count;

        internal ByteBuffer(int capacity = 64)
        {
            Bytes = new byte[capacity];
        }

        internal void U8(int v)
        {
            Reserve(1);
            Bytes[Count++] = (byte)v;
        }

        internal void U16(int v)
        {
            Reserve(2);
            Bytes[Count++] = (byte)(v >> 8);
            Bytes[Count++] = (byte)v;
        }

        internal void U32(uint v)
        {
            U16((int)(v >> 16));
            U16((int)(v & 0xFFFF));
        }

        internal void Append(byte[] b) => Append(b, 0, b.Length);

        internal void Append(byte[] b, int offset, int count)
        {
            Reserve(count);
            Buffer.BlockCopy(b, offset, Bytes, Count, count);
            Count += count;
        }

        internal byte[] ToArray()
        {
            var all = new byte[Count];
            Buffer.BlockCopy(Bytes, 0, all, 0, Count);
            return all;
        }

        private void Reserve(int more)
        {
            if (Bytes.Length - Count >= more)
                return;
            long size = Math.Max((long)Count + more, Math.Min(2L * Bytes.Length, 0x7FFFFFC7));
            Array.Resize(ref Bytes, checked((int)size));
        }
    }
}
