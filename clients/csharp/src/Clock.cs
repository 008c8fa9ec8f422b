using System;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Net;

namespace Rollcall
{
    /// <summary>The time, and waiting for it. The tests have one that they move by hand.</summary>
    internal abstract class Clock
    {
        internal static readonly Clock System = new SystemClock();

        /// <summary>Milliseconds since some moment; it never goes back.</summary>
        internal abstract long Now { get; }

        /// <summary>Ends after so many milliseconds, or as cancelled. No timer is left then.</summary>
        internal abstract Task Delay(long milliseconds, CancellationToken stop);

        /// <summary>Waits, and reports whether the time has passed before stop was cancelled.</summary>
        internal async Task<bool> Sleep(long milliseconds, CancellationToken stop)
        {
            if (stop.IsCancellationRequested)
                return false;
            if (milliseconds <= 0)
                return true;
            try
            {
                await Delay(milliseconds, stop).ConfigureAwait(false);
                return true;
            }
            catch (OperationCanceledException)
            {
                return false;
            }
        }

        /// <summary>Cancels source after so many milliseconds, unless it was cancelled before. The task ends then, and never fails.</summary>
        internal async Task CancelAfter(long milliseconds, CancellationTokenSource source)
        {
            if (await Sleep(milliseconds, source.Token).ConfigureAwait(false))
                source.CancelQuietly();
        }

        private sealed class SystemClock : Clock
        {
            private const long LongestDelay = int.MaxValue;
            private readonly Stopwatch watch = Stopwatch.StartNew();

            internal override long Now => watch.ElapsedMilliseconds;

            internal override Task Delay(long milliseconds, CancellationToken stop) =>
                Task.Delay((int)Math.Min(milliseconds, LongestDelay), stop);
        }
    }
}
