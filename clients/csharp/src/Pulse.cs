using System;
using System.Threading;

namespace Rollcall
{
    /// <summary>What a connection has to do about its heartbeat now.</summary>
    internal enum Beat
    {
        /// <summary>Nothing.</summary>
        None,
        /// <summary>Send a Heartbeat, because nothing else was sent for so long.</summary>
        Tell,
        /// <summary>Send a Heartbeat that the server must answer, because nothing was heard for so long.</summary>
        Ask,
        /// <summary>End the connection: the server was asked, and stayed silent.</summary>
        ServerSilent,
        /// <summary>End the connection: the network takes nothing.</summary>
        WriteStuck,
    }

    /// <summary>
    /// Knows when heartbeats are due, and when a server counts as gone. It has no clock: every call is given the time, in milliseconds.
    /// One task calls Wait and Next; the properties may be set from others.
    /// </summary>
    internal sealed class Pulse
    {
        internal const long LeastInterval = 100;
        internal const long DefaultInterval = 10000;
        private const long LeastServerTimeout = 3000;
        private const long Standstill = 250; // the least delay that counts as a standstill of this process

        private readonly long interval;
        private readonly long askAfter;
        private readonly long serverTimeout;
        private readonly long writeTimeout;
        private long sent, heard, writeBegan = -1;
        private long asked, due, resumed = long.MinValue;
        private int paused;

        /// <param name="interval">How often the server wants to hear something.</param>
        /// <param name="writeTimeout">How long the network may take nothing of a write.</param>
        /// <param name="now">The time.</param>
        internal Pulse(long interval, long writeTimeout, long now)
        {
            this.interval = interval;
            this.writeTimeout = writeTimeout;
            serverTimeout = Math.Max(3 * interval, LeastServerTimeout);
            askAfter = (serverTimeout + 2) / 3;
            sent = heard = asked = due = now;
        }

        /// <summary>How long a server may take to notice that this connection is dead.</summary>
        internal long GhostTimeout => 3 * interval;

        internal long Sent { set => Volatile.Write(ref sent, value); }
        internal long Heard { set => Volatile.Write(ref heard, value); }

        /// <summary>When the running write began; -1 for none.</summary>
        internal long WriteBegan { set => Volatile.Write(ref writeBegan, value); }

        /// <summary>The client itself does not read, because handlers are behind. That time is not the server's silence.</summary>
        internal bool Paused { set => Volatile.Write(ref paused, value ? 1 : 0); }

        /// <summary>Returns how long to wait before Next has to be called.</summary>
        internal long Wait(long now)
        {
            long at = Math.Min(Volatile.Read(ref sent) + interval, Math.Max(LastHeard(now), asked) + askAfter);
            long writing = Volatile.Read(ref writeBegan);
            // A write that begins while this waits is found late, by a heartbeat's interval or this:
            at = Math.Min(at, writing >= 0 ? writing + writeTimeout : now + DefaultInterval);
            due = Math.Max(at, now);
            return due - now;
        }

        /// <summary>Says what is to be done. With Tell and Ask a Heartbeat is sent at once.</summary>
        internal Beat Next(long now)
        {
            // A late call counts as a standstill once for each server timeout, so that a machine that is always late finds a dead server too.
            if (now - due >= Standstill && (resumed == long.MinValue || now - resumed >= serverTimeout))
                resumed = now;
            long writing = Volatile.Read(ref writeBegan);
            if (writing >= 0 && now - writing >= writeTimeout)
                return Beat.WriteStuck;
            long last = LastHeard(now);
            bool ask = now - Math.Max(last, asked) >= askAfter;
            // When it was asked much longer ago than it should be, this process was too busy, and the answer may be unread: ask again.
            if (ask && now - last >= serverTimeout && now - asked < 2 * askAfter)
                return Beat.ServerSilent;
            if (!ask && now - Volatile.Read(ref sent) < interval)
                return Beat.None;
            Sent = now; // the caller sends now; a write that takes long must not make it send another one
            if (!ask)
                return Beat.Tell;
            asked = now;
            return Beat.Ask;
        }

        private long LastHeard(long now)
        {
            if (Volatile.Read(ref paused) != 0)
                return now;
            long last = Volatile.Read(ref heard);
            // After a standstill the server has a third of its timeout left: what has come is read first, and it is asked once more.
            return resumed == long.MinValue ? last : Math.Max(last, resumed - 2 * askAfter);
        }
    }
}
