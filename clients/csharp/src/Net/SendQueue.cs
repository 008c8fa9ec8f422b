using System;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall.Net
{
    /// <summary>
    /// Collects frames and writes them to a link, many at a time. A task writes while there is something to write, and none waits
    /// otherwise. All methods may be called from any thread.
    /// </summary>
    internal sealed class SendQueue
    {
        /// <summary>How many bytes may wait before a sender has to.</summary>
        internal const int MaxWaiting = 256 << 10;

        private const int WriteSize = 64 << 10; // the most that is written at a time; the write timeout begins anew for each piece

        private readonly object gate = new object();
        private readonly Link link;
        private readonly Pulse pulse;
        private readonly Clock clock;
        private readonly Action<Exception> failed;
        private ByteBuffer waiting = new ByteBuffer(1024);
        private ByteBuffer spare = new ByteBuffer(1024);
        private TaskCompletionSource<bool> room;
        private bool closed, ended, endSent;
        private Task writer = Task.CompletedTask;

        /// <param name="link">What is written to.</param>
        /// <param name="pulse">Is told when bytes were written.</param>
        /// <param name="clock">The time for it.</param>
        /// <param name="failed">Called when writing failed; then nothing more is sent.</param>
        internal SendQueue(Link link, Pulse pulse, Clock clock, Action<Exception> failed)
        {
            this.link = link;
            this.pulse = pulse;
            this.clock = clock;
            this.failed = failed;
        }

        /// <summary>The task that writes, or has written last.</summary>
        internal Task Writer
        {
            get
            {
                lock (gate)
                    return writer;
            }
        }

        /// <summary>Appends a frame, and waits only while too many bytes wait. False means that nothing more can be sent.</summary>
        internal async Task<bool> SendAsync(Outgoing frame, CancellationToken stop)
        {
            for (;;)
            {
                Task until;
                lock (gate)
                {
                    if (closed)
                        return false;
                    if (waiting.Count < MaxWaiting)
                    {
                        Add(frame);
                        return true;
                    }
                    if (room == null)
                        room = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                    until = room.Task;
                }
                await until.OrCancelled(stop).ConfigureAwait(false);
            }
        }

        /// <summary>SendAsync without a task, for when there is room; false means that SendAsync has to be used.</summary>
        internal bool TrySend(Outgoing frame)
        {
            lock (gate)
            {
                if (closed || waiting.Count >= MaxWaiting)
                    return false;
                Add(frame);
                return true;
            }
        }

        /// <summary>Appends a frame of the client itself, without waiting.</summary>
        internal void Post(Outgoing frame)
        {
            lock (gate)
            {
                if (!closed)
                    Add(frame);
            }
        }

        /// <summary>Lets what waits go out, then a last frame, then ends the sending side. Later calls do nothing.</summary>
        internal void Finish(Outgoing last)
        {
            lock (gate)
            {
                if (closed)
                    return;
                Add(last);
                closed = ended = true;
                MakeRoom();
            }
        }

        /// <summary>Throws away what waits.</summary>
        internal void Abort()
        {
            lock (gate)
            {
                closed = true;
                waiting.Count = 0;
                MakeRoom();
            }
        }

        private void Add(Outgoing frame)
        {
            frame.AppendTo(waiting);
            if (writer.IsCompleted)
                writer = Task.Run(WriteAllAsync);
        }

        private void MakeRoom()
        {
            room?.TrySetResult(true);
            room = null;
        }

        /// <summary>Takes what waits, and leaves an empty buffer. Null means that there is nothing left to do.</summary>
        private ByteBuffer Take(ByteBuffer written, out bool end)
        {
            lock (gate)
            {
                if (written != null && written.Bytes.Length <= 2 * MaxWaiting)
                {
                    written.Count = 0;
                    spare = written;
                }
                end = false;
                if (waiting.Count == 0)
                {
                    end = ended && !endSent;
                    endSent |= end;
                    if (!end)
                        writer = Task.CompletedTask; // the next frame starts another one
                    return null;
                }
                ByteBuffer batch = waiting;
                waiting = spare ?? new ByteBuffer(1024);
                spare = null;
                MakeRoom();
                return batch;
            }
        }

        private async Task WriteAllAsync()
        {
            ByteBuffer batch = null;
            try
            {
                for (;;)
                {
                    batch = Take(batch, out bool end);
                    if (end)
                        link.EndSending();
                    else if (batch == null)
                        return;
                    for (int at = 0; batch != null && at < batch.Count; at += WriteSize)
                    {
                        pulse.WriteBegan = clock.Now;
                        await link.WriteAsync(batch.Bytes, at, Math.Min(WriteSize, batch.Count - at)).ConfigureAwait(false);
                        pulse.WriteBegan = -1;
                        pulse.Sent = clock.Now;
                    }
                }
            }
            catch (Exception e) when (Link.IsOfNetwork(e))
            {
                Abort();
                pulse.WriteBegan = -1;
                failed(e);
            }
        }
    }
}
