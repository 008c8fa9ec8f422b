using System;
using System.Security.Cryptography;

namespace Rollcall
{
    /// <summary>
    /// The wait before each attempt to connect: a random time between 0 and the lesser of most and least × 2ⁿ. It is random over the
    /// whole range, so that the clients of a server that went down do not all come back at once. It is used by one task at a time.
    /// </summary>
    internal sealed class Backoff
    {
        /// <summary>The exponent stays bounded, because a shift by more would overflow.</summary>
        internal const int MaxExponent = 8;

        private readonly long least;
        private readonly long most;
        private readonly Func<double> random;
        private int attempt;

        /// <param name="least">Milliseconds.</param>
        /// <param name="most">Milliseconds.</param>
        /// <param name="random">Returns a number from 0 to less than 1.</param>
        internal Backoff(long least, long most, Func<double> random)
        {
            this.least = least;
            this.most = most;
            this.random = random;
        }

        /// <summary>Returns the wait before the next attempt, in milliseconds.</summary>
        internal long Next()
        {
            long limit = Math.Min(most, least << Math.Min(attempt, MaxExponent));
            attempt++;
            return (long)(random() * (limit + 1));
        }

        /// <summary>Begins again with the shortest wait.</summary>
        internal void Reset() => attempt = 0;

        /// <summary>
        /// Returns a random generator with a seed of its own. One with the time as its seed would give the same numbers to all
        /// clients that start at the same time.
        /// </summary>
        internal static Random NewRandom()
        {
            var seed = new byte[4];
            using (var generator = RandomNumberGenerator.Create())
                generator.GetBytes(seed);
            return new Random(BitConverter.ToInt32(seed, 0));
        }
    }
}
