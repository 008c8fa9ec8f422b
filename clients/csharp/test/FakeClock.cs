using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace Rollcall.Tests
{
    /// <summary>A clock that a test moves by hand.</summary>
    internal sealed class FakeClock : Clock
    {
        private readonly object gate = new object();
        private readonly List<Wait> waits = new List<Wait>();
        private long now = 1000000;

        private sealed class Wait
        {
            internal long Due, Length;
            internal bool Found; // by Waits
            internal TaskCompletionSource<bool> Source;
        }

        internal override long Now
        {
            get
            {
                lock (gate)
                    return now;
            }
        }

        /// <summary>How many waits there are.</summary>
        internal int Count
        {
            get
            {
                lock (gate)
                    return waits.Count;
            }
        }

        internal override Task Delay(long milliseconds, CancellationToken stop)
        {
            var wait = new Wait
            {
                Length = milliseconds,
                Source = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously),
            };
            lock (gate)
            {
                wait.Due = now + milliseconds;
                waits.Add(wait);
            }
            CancellationTokenRegistration cancelling = stop.Register(() =>
            {
                lock (gate)
                    waits.Remove(wait);
                wait.Source.TrySetCanceled();
            });
            wait.Source.Task.ContinueWith(_ => cancelling.Dispose());
            return wait.Source.Task;
        }

        /// <summary>
        /// Waits until something waits for so long. Each wait is found once: after an Advance this shows that the next one has begun, and
        /// an Advance by as much ends it.
        /// </summary>
        internal Task Waits(long milliseconds) => Check.Until(() =>
        {
            lock (gate)
            {
                Wait next = waits.Find(w => w.Length == milliseconds && w.Due == now + milliseconds && !w.Found);
                if (next != null)
                    next.Found = true;
                return next != null;
            }
        }, () => "something begins to wait for " + milliseconds + " ms; there are " + Lengths());

        /// <summary>Moves the time on, and ends the waits that are over by then.</summary>
        internal void Advance(long milliseconds)
        {
            List<Wait> over;
            lock (gate)
            {
                now += milliseconds;
                over = waits.Where(w => w.Due <= now).ToList();
                waits.RemoveAll(over.Contains);
            }
            foreach (Wait wait in over)
                wait.Source.TrySetResult(true);
        }

        private string Lengths()
        {
            lock (gate)
                return string.Join(", ", waits.Select(w => w.Length + " ms, " + (w.Found ? "found before, " : "") + (w.Due - now) + " left"));
        }
    }
}
