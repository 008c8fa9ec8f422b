using System;
using System.Collections.Generic;
using System.Security.Cryptography.X509Certificates;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall
{
    /// <summary>
    /// The settings of a client. <see cref="RollcallClient.ConnectAsync"/> takes a copy: later changes have no effect on the client. Its text
    /// shows neither the token nor the fields.
    /// </summary>
    public sealed class RollcallOptions
    {
        /// <summary>
        /// The user that logs on: 1 to 255 bytes of UTF-8 without control characters, and without "_" at the start. Null or empty means
        /// that the server finds the user by the token.
        /// </summary>
        public string User { get; set; }

        /// <summary>The device class; the application's numbers. 0 is unspecified.</summary>
        public ushort Device { get; set; }

        /// <summary>
        /// Returns the token for the server's authenticator. It is called before each logon, also when the client reconnects, and before
        /// each renewal of a session that expires. Null or an empty token leaves the fields as they are. The cancellation token ends with
        /// the attempt: a call that ignores it may still run when the next one begins. When the function throws, the attempt has failed, and the client tries again later, unless
        /// it throws a <see cref="RollcallException"/> whose code forbids that. It is called on <see cref="Context"/>.
        /// </summary>
        public Func<CancellationToken, Task<string>> Token { get; set; }

        /// <summary>
        /// Fields of the application that go with every logon: keys of 1 to 255 bytes, values of up to 65,535 bytes, 255 in all. Null is none.
        /// </summary>
        public IDictionary<string, string> Fields { get; set; }

        /// <summary>
        /// Called with the client before it connects: the place to register handlers, so that none misses a message. It is called once, by
        /// ConnectAsync, on the caller's thread. Null is none.
        /// </summary>
        public Action<RollcallClient> Setup { get; set; }

        /// <summary>
        /// Where handlers, events and <see cref="Token"/> run, one at a time and in order: for Unity's main thread
        /// <c>SynchronizationContext.Current</c>, read on that thread. Null means the thread pool.
        /// </summary>
        public SynchronizationContext Context { get; set; }

        /// <summary>
        /// The authorities to trust in place of the machine's, for tls:// addresses. The server's name is checked all the same. Null means the
        /// machine's authorities. <see cref="ReadCertificates"/> reads them.
        /// </summary>
        public X509Certificate2Collection Authorities { get; set; }

        /// <summary>
        /// The wait before each attempt to reconnect is evenly distributed between 0 and the lesser of BackoffMax and BackoffMin × 2ⁿ, for
        /// attempt n from 0 (n stays at 8), behind what the server asked to wait. The default is 0.2 s; zero means no wait of its own. As all
        /// times here it must not be negative, and a day at most.
        /// </summary>
        public TimeSpan BackoffMin { get; set; } = TimeSpan.FromSeconds(0.2);

        /// <summary>See <see cref="BackoffMin"/>. The default is 30 s; zero means no wait of its own.</summary>
        public TimeSpan BackoffMax { get; set; } = TimeSpan.FromSeconds(30);

        /// <summary>How long a connection must have lasted for the backoff to begin anew. The default is a minute; with zero it begins anew after every one.</summary>
        public TimeSpan StableAfter { get; set; } = TimeSpan.FromMinutes(1);

        /// <summary>How long one attempt may take: the token, connecting, TLS and the logon. It must be positive. The default is 15 s.</summary>
        public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(15);

        /// <summary>How long the network may take nothing of what is sent before the connection counts as lost. It must be positive. The default is 10 s.</summary>
        public TimeSpan WriteTimeout { get; set; } = TimeSpan.FromSeconds(10);

        /// <summary>How long closing waits for the server to end its side. Zero means not at all: what was sent last may be lost. The default is 3 s.</summary>
        public TimeSpan CloseTimeout { get; set; } = TimeSpan.FromSeconds(3);

        /// <summary>
        /// How long a request waits for its reply where its call names no time. The default is 30 s; zero fails at once, Timeout.InfiniteTimeSpan
        /// waits until the connection ends.
        /// </summary>
        public TimeSpan RequestTimeout { get; set; } = TimeSpan.FromSeconds(30);

        /// <summary>
        /// The largest body in bytes, both ways. The client sends no body over the server's limit either, and accepts bodies up to that
        /// limit even if this is less. A larger one from the server ends the client with MessageTooLarge. 0 means the server's limit, and
        /// 1 MiB at least for what is received.
        /// </summary>
        public int MaxBody { get; set; }

        /// <summary>
        /// How many bytes of messages may wait for handlers; it must be positive. Above it the client stops reading. While a request waits for
        /// its reply it reads on, up to four times as much; beyond that the connection ends with RateLimited, and the client reconnects.
        /// The default is 4 MiB.
        /// </summary>
        public int MaxWaiting { get; set; } = 4 << 20;

        internal Clock Clock { get; set; } = Clock.System;

        internal Func<double> Random { get; set; }

        /// <summary>Reads all certificates of a text in the PEM format. Throws an ArgumentException if it has none or a broken one.</summary>
        public static X509Certificate2Collection ReadCertificates(string pem)
        {
            const string begin = "-----BEGIN CERTIFICATE-----", end = "-----END CERTIFICATE-----";
            var all = new X509Certificate2Collection();
            for (int at = pem.IndexOf(begin, StringComparison.Ordinal); at >= 0; at = pem.IndexOf(begin, at, StringComparison.Ordinal))
            {
                at += begin.Length;
                int stop = pem.IndexOf(end, at, StringComparison.Ordinal);
                try
                {
                    var certificate = new X509Certificate2(Convert.FromBase64String(pem.Substring(at, Math.Max(stop - at, 0))));
                    if (string.IsNullOrEmpty(certificate.Thumbprint)) // mono makes one of any bytes
                        throw new FormatException();
                    all.Add(certificate);
                }
                catch (Exception e) when (e is FormatException || e is System.Security.Cryptography.CryptographicException)
                {
                    throw new ArgumentException("a certificate is broken", nameof(pem), e);
                }
            }
            return all.Count > 0 ? all : throw new ArgumentException("there is no certificate", nameof(pem));
        }

        /// <summary>Returns the user and the device class alone.</summary>
        public override string ToString() => "RollcallOptions(user " + (User ?? "") + ", device " + Device + ")";

        /// <summary>Returns a copy; throws an ArgumentException for settings that make no sense.</summary>
        internal RollcallOptions Checked()
        {
            var copy = (RollcallOptions)MemberwiseClone();
            copy.User = User ?? "";
            copy.Random = Random ?? Backoff.NewRandom().NextDouble; // not shared: a Random is for one client
            copy.Fields = Fields == null ? new Dictionary<string, string>() : new Dictionary<string, string>(Fields, StringComparer.Ordinal);
            copy.Authorities = Authorities == null ? null : new X509Certificate2Collection(Authorities);
            if (copy.User != "")
            {
                UserId.Encode(copy.User, out string fault);
                if (fault != null || copy.User[0] == '_')
                    throw new ArgumentException("the user ID " + (fault ?? "is reserved: it begins with \"_\""), nameof(User));
            }
            StringMap.Append(new ByteBuffer(), copy.Fields);
            Require(BackoffMin >= TimeSpan.Zero && BackoffMax >= TimeSpan.Zero, "a backoff is negative");
            Require(StableAfter >= TimeSpan.Zero, "StableAfter is negative");
            Require(BackoffMin <= Longest && BackoffMax <= Longest && StableAfter <= Longest, "a time is longer than a day");
            Require(Positive(ConnectTimeout) && Positive(WriteTimeout), "ConnectTimeout and WriteTimeout must be positive, and a day at most");
            Require(CloseTimeout >= TimeSpan.Zero && CloseTimeout <= Longest, "CloseTimeout must not be negative, and a day at most");
            Require(RequestTimeout == Timeout.InfiniteTimeSpan || RequestTimeout >= TimeSpan.Zero, "RequestTimeout is negative");
            Require(MaxBody >= 0 && MaxWaiting > 0, "MaxBody is negative, or MaxWaiting is not positive");
            return copy;
        }

        private static readonly TimeSpan Longest = TimeSpan.FromDays(1);

        private static bool Positive(TimeSpan t) => t > TimeSpan.Zero && t <= Longest;

        private static void Require(bool ok, string fault)
        {
            if (!ok)
                throw new ArgumentException(fault, "options");
        }
    }
}
