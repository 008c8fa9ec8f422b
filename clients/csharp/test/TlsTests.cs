using System;
using System.Diagnostics;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Threading.Tasks;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>TLS, against openssl s_server, with certificates that openssl makes. A test plays the server over the program's input and output.</summary>
    internal static class TlsTests
    {
        private static readonly string Folder = Path.GetFullPath("build/tls");
        private static readonly Lazy<bool> Made = new Lazy<bool>(Make);

        private static void OpenSsl(string arguments)
        {
            using (Process p = Process.Start(new ProcessStartInfo("sh", "-c \"openssl " + arguments + " > openssl.log 2>&1\"") { UseShellExecute = false, WorkingDirectory = Folder }))
            {
                p.WaitForExit();
                Check.Equal(0, p.ExitCode, "openssl " + arguments + ": " + File.ReadAllText(Path.Combine(Folder, "openssl.log")));
            }
        }

        /// <summary>Makes, for RSA and for elliptic curves, two authorities with the same name, of which one issues a server's certificate over an intermediate one.</summary>
        private static bool Make()
        {
            Directory.CreateDirectory(Folder);
            const string req = "req -config req.cnf ";
            File.WriteAllText(Path.Combine(Folder, "req.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n");
            File.WriteAllText(Path.Combine(Folder, "mid.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n");
            File.WriteAllText(Path.Combine(Folder, "server.ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n");
            File.WriteAllText(Path.Combine(Folder, "wrong.ext"), "subjectAltName=DNS:other.example,IP:10.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n");
            foreach (string kind in new[] { "rsa", "ec" })
            {
                string key = kind == "rsa" ? "-newkey rsa:2048 -nodes" : "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
                foreach (string name in new[] { "ca", "other" })
                    OpenSsl(req + "-x509 -extensions ca -days 3 -subj /CN=authority " + key + " -keyout " + kind + "-" + name + ".key -out " + kind + "-" + name + ".pem");
                OpenSsl(req + "-subj /CN=middle " + key + " -keyout " + kind + "-mid.key -out mid.csr");
                OpenSsl("x509 -req -in mid.csr -days 3 -set_serial 2 -extfile mid.ext -CA " + kind + "-ca.pem -CAkey " + kind + "-ca.key -out " + kind + "-mid.pem");
                foreach (string name in new[] { "server", "wrong" })
                {
                    OpenSsl(req + "-subj /CN=localhost " + key + " -keyout " + kind + "-" + name + ".key -out server.csr");
                    OpenSsl("x509 -req -in server.csr -days 2 -set_serial 3 -extfile " + name + ".ext -CA " + kind + "-mid.pem -CAkey " + kind + "-mid.key -out " + kind + "-" + name + ".pem");
                }
            }
            return true;
        }

        private static X509Certificate2Collection Read(string name) =>
            RollcallOptions.ReadCertificates(File.ReadAllText(Path.Combine(Folder, name + ".pem")));

        /// <summary>Connects to openssl with this certificate, and says how that went: ok, or what the logon ended with.</summary>
        private static async Task<string> TryAsync(string certificate, string kind, string host, X509Certificate2Collection authorities, string extra = "")
        {
            var probe = new TcpListener(IPAddress.Loopback, 0);
            probe.Start();
            int port = ((IPEndPoint)probe.LocalEndpoint).Port;
            probe.Stop();
            string arguments = "s_server -accept 127.0.0.1:" + port + " -quiet -naccept 2 -cert " + Folder + "/" + certificate + ".pem -key " + Folder + "/" + certificate
                + ".key -cert_chain " + Folder + "/" + kind + "-mid.pem " + extra;
            using (Process openssl = ProcessTests.Start("sh", "-c \"exec openssl " + arguments + " 2> /dev/null\""))
            {
                try
                {
                    await Check.Until(() => Answers(port), "openssl listens");
                    var peer = new Peer(new InputAndOutput(openssl), null);
                    var options = new RollcallOptions { User = "alice", Authorities = authorities, CloseTimeout = TimeSpan.Zero };
                    Task<RollcallClient> connecting = RollcallClient.ConnectAsync("tls://" + host + ":" + port, options);
                    Task<Frame> logon = peer.ReadAsync(SystemType.Logon);
                    if (await Task.WhenAny(connecting, logon) == logon && !logon.IsFaulted) // the handshake was completed
                        peer.Accept(await logon);
                    using (RollcallClient client = await Check.Soon(connecting, "the client"))
                        return "ok";
                }
                catch (RollcallException e)
                {
                    return e.Code.ToString();
                }
                finally
                {
                    ProcessTests.End(openssl);
                }
            }
        }

        private static bool Answers(int port)
        {
            try
            {
                new TcpClient("127.0.0.1", port).Close();
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        }

        /// <summary>What openssl has decrypted, and what it is to encrypt.</summary>
        private sealed class InputAndOutput : Stream
        {
            private readonly Stream from, to;

            internal InputAndOutput(Process process)
            {
                from = process.StandardOutput.BaseStream;
                to = process.StandardInput.BaseStream;
            }

            public override bool CanRead => true;
            public override bool CanSeek => false;
            public override bool CanWrite => true;
            public override long Length => throw new NotSupportedException();
            public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
            public override void Flush() => to.Flush();
            public override int Read(byte[] b, int offset, int count) => from.Read(b, offset, count);
            public override void Write(byte[] b, int offset, int count) => to.Write(b, offset, count);
            public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
            public override void SetLength(long value) => throw new NotSupportedException();
        }

        [Test]
        private static async Task ACertificateOfAnOwnAuthorityIsAccepted()
        {
            foreach (string kind in Made.Value ? new[] { "ec", "rsa" } : null)
            {
                foreach (string host in new[] { "localhost", "127.0.0.1" })
                    Check.Equal("ok", await TryAsync(kind + "-server", kind, host, Read(kind + "-ca")), kind + " " + host);
            }
        }

        [Test]
        private static async Task ACertificateOfAnotherAuthorityOrForAnotherNameIsRefused()
        {
            foreach (string kind in Made.Value ? new[] { "ec", "rsa" } : null)
            {
                Check.Equal("NetworkError", await TryAsync(kind + "-server", kind, "localhost", Read(kind + "-other")), kind + " of another authority");
                Check.Equal("NetworkError", await TryAsync(kind + "-wrong", kind, "localhost", Read(kind + "-ca")), kind + " for another name");
                Check.Equal("NetworkError", await TryAsync(kind + "-wrong", kind, "127.0.0.1", Read(kind + "-ca")), kind + " for another address");
                Check.Equal("NetworkError", await TryAsync(kind + "-server", kind, "localhost", null), kind + " with the machine's authorities");
            }
        }

        [Test]
        private static async Task OldVersionsOfTlsAreRefused()
        {
            Check.True(Made.Value, "certificates");
            const string old = " -cipher ALL:@SECLEVEL=0";
            Check.Equal("ok", await TryAsync("ec-server", "ec", "localhost", Read("ec-ca"), "-tls1_2" + old));
            Check.Equal("NetworkError", await TryAsync("ec-server", "ec", "localhost", Read("ec-ca"), "-tls1_1" + old));
        }

        /// <summary>What .NET uses, as far as mono can: it does not know elliptic curves there.</summary>
        [Test]
        private static void X509ChainTrustsTheRootsAlone()
        {
            Check.True(Made.Value, "certificates");
            X509Certificate2 leaf = Read("rsa-server")[0];
            var sent = new X509Certificate2Collection(leaf);
            sent.AddRange(Read("rsa-mid"));
            Check.True(OwnRoots.ChainTrust(leaf, sent, Read("rsa-ca")), "its own authority");
            Check.True(!OwnRoots.ChainTrust(leaf, sent, Read("rsa-other")), "another authority of the same name");
            Check.True(!OwnRoots.ChainTrust(leaf, new X509Certificate2Collection(leaf), Read("rsa-ca")), "without the certificate between");
            sent.AddRange(Read("rsa-ca"));
            Check.True(!OwnRoots.ChainTrust(leaf, sent, Read("ec-ca")), "a root that the server itself sends");
            Check.Equal(false, OwnRoots.MonoTrust(sent, Read("ec-ca")), "a root that the server itself sends, in mono");
            Check.True(!OwnRoots.ChainTrust(Read("rsa-mid")[0], sent, Read("rsa-other")), "the certificate between");
        }

        [Test]
        private static void CertificatesAreReadFromPem()
        {
            Check.True(Made.Value, "certificates");
            string two = File.ReadAllText(Path.Combine(Folder, "ec-ca.pem")) + "text\r\n" + File.ReadAllText(Path.Combine(Folder, "rsa-ca.pem")).Replace("\n", "\r\n");
            Check.Equal(2, RollcallOptions.ReadCertificates(two).Count);
            foreach (string bad in new[] { "", "x", two.Substring(0, two.Length / 4), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" })
                Check.Throws<ArgumentException>(() => RollcallOptions.ReadCertificates(bad), bad);
        }
    }
}
