using System;

namespace Rollcall.Net
{
    /// <summary>An address of a server: tcp://host:port or tls://host:port.</summary>
    internal sealed class Address
    {
        internal readonly bool Tls;
        internal readonly string Host; // an address of IPv6 is without its brackets
        internal readonly int Port;

        private Address(bool tls, string host, int port)
        {
            Tls = tls;
            Host = host;
            Port = port;
        }

        /// <summary>Takes an address apart; throws an ArgumentException for one that cannot be connected to.</summary>
        internal static Address Parse(string text)
        {
            if (text == null)
                throw new ArgumentNullException("address");
            int scheme = text.IndexOf("://", StringComparison.Ordinal);
            string name = scheme < 0 ? "" : text.Substring(0, scheme);
            if (name != "tcp" && name != "tls")
                throw new ArgumentException("an address is tcp://host:port or tls://host:port", "address");
            if (!TryHostPort(text.Substring(scheme + 3), out string host, out int port))
                throw new ArgumentException("the address has no host:port behind " + name + "://", "address");
            return new Address(name == "tls", host, port);
        }

        /// <summary>
        /// Returns the same address with another host and port; null if hostPort is none. TLS stays as it is: a server cannot talk a
        /// client out of it.
        /// </summary>
        internal Address MovedTo(string hostPort) =>
            TryHostPort(hostPort, out string host, out int port) ? new Address(Tls, host, port) : null;

        public override string ToString() =>
            (Tls ? "tls://" : "tcp://") + (Host.IndexOf(':') >= 0 ? "[" + Host + "]" : Host) + ":" + Port;

        private static bool TryHostPort(string text, out string host, out int port)
        {
            int colon = text.LastIndexOf(':');
            host = colon > 0 ? text.Substring(0, colon) : "";
            port = 0;
            if (host.Length > 2 && host[0] == '[' && host[host.Length - 1] == ']')
                host = host.Substring(1, host.Length - 2);
            else if (host.IndexOf(':') >= 0)
                return false;
            string digits = colon >= 0 ? text.Substring(colon + 1) : "";
            foreach (char c in digits)
            {
                if (c < '0' || c > '9')
                    return false;
            }
            foreach (char c in host)
            {
                if (c <= ' ' || c == '/' || c == '@' || c == '?' || c == '#' || c == '[' || c == ']' || c == 0x7F)
                    return false;
            }
            return host.Length > 0 && digits.Length <= 5 && int.TryParse(digits, out port) && port > 0 && port <= 65535;
        }
    }
}
