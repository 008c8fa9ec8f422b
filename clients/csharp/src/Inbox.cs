using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Rollcall
{
    /// <summary>
    /// Runs work one piece at a time, in order, on a context or the thread pool. A task runs while there is work, and none waits
    /// otherwise. All methods may be called from any thread.
    /// </summary>
    internal sealed class Inbox
    {
        private const int HardLimit = 4; // so many times the limit may wait while urgent
        private const int WorkPerPost = 256; // so much runs before others have their turn on the context

        private readonly object gate = new object();
        private readonly Queue<Item> items = new Queue<Item>();
        private readonly SynchronizationContext context;
        private readonly long limit;
        private long bytes;
        private bool running, working, discarding;
        private TaskCompletionSource<bool> room;

        private struct Item
        {
            internal Func<Task> Work;
            internal int Size;
            internal bool IsLast;
        }

        internal Inbox(SynchronizationContext context, long limit)
        {
            this.context = context;
            this.limit = limit;
        }

        /// <summary>Adds work that counts so many bytes, if there is room. Work never fails.</summary>
        internal bool TryAdd(Func<Task> work, int size) => TryAdd(work, size, limit);

        /// <summary>Adds work of the client itself, also where there is no room.</summary>
        internal void Add(Func<Task> work) => TryAdd(work, 0, long.MaxValue);

        /// <summary>
        /// Adds work when there is room, or when stop is cancelled drops it. While urgent it does not wait: it adds up to the hard limit,
        /// and returns false beyond that.
        /// </summary>
        internal async Task<bool> AddAsync(Func<Task> work, int size, Func<bool> urgent, CancellationToken stop)
        {
            for (;;)
            {
                Task until;
                lock (gate)
                {
                    if (room == null)
                        room = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                    until = room.Task;
                }
                if (TryAdd(work, size, limit))
                    return true;
                if (urgent())
                    return TryAdd(work, size, HardLimit * limit);
                try
                {
                    await Net.Tasks.OrCancelled(until, stop).ConfigureAwait(false);
                }
                catch (OperationCanceledException)
                {
                    return true;
                }
            }
        }

        /// <summary>Makes AddAsync look again whether it is urgent.</summary>
        internal void Nudge()
        {
            lock (gate)
            {
                room?.TrySetResult(true);
                room = null;
            }
        }

        /// <summary>Adds the last work, which runs even after Discard.</summary>
        internal void AddLast(Func<Task> work)
        {
            lock (gate)
                Enqueue(new Item { Work = work, IsLast = true });
        }

        /// <summary>Throws away what waits, and all that comes later but the last. Returns whether work is running.</summary>
        internal bool Discard()
        {
            lock (gate)
            {
                discarding = true;
                bool last = items.Count > 0 && items.ToArray()[items.Count - 1].IsLast;
                while (items.Count > (last ? 1 : 0))
                    items.Dequeue();
                bytes = 0;
                Nudge();
                return working;
            }
        }

        /// <summary>Calls a function on the context, beside the work.</summary>
        internal Task<T> CallAsync<T>(Func<Task<T>> function)
        {
            if (context == null)
                return Task.Run(function);
            var result = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
            context.Post(async _ =>
            {
                try
                {
                    result.TrySetResult(await function());
                }
                catch (OperationCanceledException)
                {
                    result.TrySetCanceled();
                }
                catch (Exception e)
                {
                    result.TrySetException(e);
                }
            }, null);
            return result.Task;
        }

        private bool TryAdd(Func<Task> work, int size, long most)
        {
            lock (gate)
            {
                if (discarding)
                    return true;
                if (bytes >= most)
                    return false;
                Enqueue(new Item { Work = work, Size = size });
                return true;
            }
        }

        private void Enqueue(Item item)
        {
            items.Enqueue(item);
            bytes += item.Size;
            if (running)
                return;
            running = true;
            Start();
        }

        private void Start()
        {
            if (context == null)
                Task.Run(RunAsync);
            else
                context.Post(_ => OnContext(), null);
        }

        /// <summary>Awaits in the work come back to the context, although its owner may not have made it the current one.</summary>
        private void OnContext()
        {
            SynchronizationContext before = SynchronizationContext.Current;
            SynchronizationContext.SetSynchronizationContext(context);
            try
            {
                _ = RunAsync();
            }
            finally
            {
                SynchronizationContext.SetSynchronizationContext(before);
            }
        }

        private async Task RunAsync()
        {
            for (int n = 0; context == null || n < WorkPerPost; n++)
            {
                Item item;
                lock (gate)
                {
                    working = items.Count > 0;
                    if (!working)
                    {
                        running = false;
                        return;
                    }
                    item = items.Dequeue();
                    bytes = Math.Max(0, bytes - item.Size);
                    Nudge();
                }
                await item.Work(); // comes back to the context, if there is one
            }
            Start();
        }
    }
}
