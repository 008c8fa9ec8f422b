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
            stop.Register(() =>
            {
                lock (gate)
                    waits.Remove(wait);
                wait.Source.TrySetCanceled();
            });
            return wait.Source.Task;
        }

        /// <summary>Waits until something waits for so long.</summary>
        internal Task Waits(long milliseconds) => Check.Until(() =>
        {
            lock (gate)
                return waits.Any(w => w.Length == milliseconds);
        }, "something waits for " + milliseconds + " ms, but only for " + Lengths());

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
                return string.Join(", ", waits.Select(w => w.Length));
        }
    }
}
