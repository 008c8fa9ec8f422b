using System;
using System.Collections.Generic;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Rollcall.Net
{
    /// <summary>
    /// Checks that a certificate is for a host, by its subject alternative names. The common name does not count. SslStream does this itself
    /// for the machine's authorities; with the program's own ones its verdict cannot be used, because the unknown authority hides it on
    /// some runtimes.
    /// </summary>
    internal static class ServerName
    {
        private const string AlternativeNames = "2.5.29.17";
        private const byte Sequence = 0x30;
        private const byte DnsName = 0x82;
        private const byte IpAddress = 0x87;

        internal static bool Matches(X509Certificate2 certificate, string host)
        {
            foreach (X509Extension extension in certificate.Extensions)
            {
                if (extension.Oid.Value == AlternativeNames)
                    return Matches(extension.RawData, host);
            }
            return false;
        }

        /// <summary>names is the extension's DER: a sequence of names.</summary>
        internal static bool Matches(byte[] names, string host)
        {
            bool isAddress = IPAddress.TryParse(host, out IPAddress address);
            foreach (KeyValuePair<byte, byte[]> name in Read(names))
            {
                if (isAddress && name.Key == IpAddress && Same(name.Value, address.GetAddressBytes()))
                    return true;
                if (!isAddress && name.Key == DnsName && MatchesDns(Encoding.ASCII.GetString(name.Value), host))
                    return true;
            }
            return false;
        }

        /// <summary>A star stands for the whole first label, and for one label alone.</summary>
        private static bool MatchesDns(string pattern, string host)
        {
            host = host.TrimEnd('.');
            pattern = pattern.TrimEnd('.');
            if (pattern.StartsWith("*.", StringComparison.Ordinal))
            {
                int dot = host.IndexOf('.');
                if (dot <= 0 || pattern.IndexOf('.', 2) < 0)
                    return false;
                host = host.Substring(dot);
                pattern = pattern.Substring(1);
            }
            return pattern.Length > 0 && string.Equals(pattern, host, StringComparison.OrdinalIgnoreCase);
        }

        /// <summary>Returns the names with their tags; none if the DER is broken.</summary>
        private static List<KeyValuePair<byte, byte[]>> Read(byte[] der)
        {
            var names = new List<KeyValuePair<byte, byte[]>>();
            var none = new List<KeyValuePair<byte, byte[]>>();
            int at = 0;
            if (!Header(der, ref at, der.Length, out byte tag, out int length) || tag != Sequence || at + length != der.Length)
                return none;
            while (at < der.Length)
            {
                if (!Header(der, ref at, der.Length, out tag, out length))
                    return none;
                var value = new byte[length];
                Buffer.BlockCopy(der, at, value, 0, length);
                names.Add(new KeyValuePair<byte, byte[]>(tag, value));
                at += length;
            }
            return names;
        }

        private static bool Header(byte[] der, ref int at, int end, out byte tag, out int length)
        {
            tag = 0;
            length = 0;
            if (end - at < 2)
                return false;
            tag = der[at++];
            length = der[at++];
            if (length >= 0x80)
            {
                int bytes = length & 0x7F;
                length = 0;
                if (bytes == 0 || bytes > 3 || end - at < bytes)
                    return false;
                for (; bytes > 0; bytes--)
                    length = length << 8 | der[at++];
            }
            return length <= end - at;
        }

        private static bool Same(byte[] a, byte[] b)
        {
            if (a.Length != b.Length)
                return false;
            for (int i = 0; i < a.Length; i++)
            {
                if (a[i] != b[i])
                    return false;
            }
            return true;
        }
    }
}
