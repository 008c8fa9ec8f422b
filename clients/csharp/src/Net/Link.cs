using System;
using System.IO;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Threading;
using System.Threading.Tasks;

namespace Rollcall.Net
{
    /// <summary>A stream of bytes to a server, over TCP or TLS.</summary>
    internal sealed class Link : IDisposable
    {
        private readonly Socket socket;
        private Stream stream;

        private Link(Socket socket)
        {
            this.socket = socket;
            socket.NoDelay = true;
            stream = new NetworkStream(socket, false);
        }

        /// <summary>
        /// Connects. With TLS the chain and the name are checked. The options say which authorities to trust, and how much time there is for
        /// all of a host's addresses.
        /// </summary>
        internal static async Task<Link> OpenAsync(Address to, RollcallOptions options, CancellationToken stop)
        {
            IPAddress[] addresses = IPAddress.TryParse(to.Host, out IPAddress ip)
                ? new[] { ip }
                : await Dns.GetHostAddressesAsync(to.Host).OrCancelled(stop).ConfigureAwait(false);
            Link link = await ConnectAsync(addresses, to.Port, options, stop).ConfigureAwait(false);
            try
            {
                if (to.Tls)
                    await link.SecureAsync(to.Host, options.Authorities, stop).ConfigureAwait(false);
                return link;
            }
            catch
            {
                link.Dispose();
                throw;
            }
        }

        internal Task<int> ReadAsync(byte[] b, int offset, int count) => stream.ReadAsync(b, offset, count);

        internal Task WriteAsync(byte[] b, int offset, int count) => stream.WriteAsync(b, offset, count);

        /// <summary>Says that nothing more is sent. The end of TCP says so over TLS too, because frames have their length.</summary>
        internal void EndSending() => socket.Shutdown(SocketShutdown.Send);

        /// <summary>Ends the connection at once: running reads and writes fail.</summary>
        internal void Abort() => socket.Dispose();

        public void Dispose()
        {
            socket.Dispose();
            try
            {
                stream.Dispose();
            }
            catch (Exception e) when (IsOfNetwork(e))
            {
                // SslStream tried to say goodbye on the socket.
            }
        }

        /// <summary>
        /// Says whether an exception is how a network, a closed socket or TLS fails. Mono throws the last three when a socket was closed
        /// meanwhile.
        /// </summary>
        internal static bool IsOfNetwork(Exception e) =>
            e is IOException || e is SocketException || e is ObjectDisposedException || e is AuthenticationException
            || e is InvalidOperationException || e is NotSupportedException || e is NullReferenceException;

        /// <summary>Tries the addresses, one after the other. One that does not answer leaves the others their share of the time.</summary>
        internal static async Task<Link> ConnectAsync(IPAddress[] addresses, int port, RollcallOptions options, CancellationToken stop)
        {
            Exception last = new IOException("the host has no address");
            Link link = null; // not returned in the loop: mono's compiler loses what is returned over an await in a finally
            for (int i = 0; i < addresses.Length && link == null; i++)
            {
                using (var share = CancellationTokenSource.CreateLinkedTokenSource(stop))
                {
                    Task timer = i == addresses.Length - 1 ? Task.CompletedTask
                        : options.Clock.CancelAfter((long)options.ConnectTimeout.TotalMilliseconds / addresses.Length, share);
                    try
                    {
                        link = await ConnectAsync(addresses[i], port, share.Token).ConfigureAwait(false);
                    }
                    catch (Exception e) when (IsOfNetwork(e) || e is OperationCanceledException)
                    {
                        stop.ThrowIfCancellationRequested();
                        last = e;
                    }
                    finally
                    {
                        share.Cancel();
                        await timer.ConfigureAwait(false);
                    }
                }
            }
            return link ?? throw last;
        }

        private static async Task<Link> ConnectAsync(IPAddress address, int port, CancellationToken stop)
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                using (stop.Register(socket.Dispose))
                    await socket.ConnectAsync(address, port).OrCancelled(stop).ConfigureAwait(false);
                return new Link(socket);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        private async Task SecureAsync(string host, X509Certificate2Collection roots, CancellationToken stop)
        {
            RemoteCertificateValidationCallback check = null; // the runtime's own check of chain and name
            if (roots != null)
                check = (sender, certificate, chain, errors) => IsTrusted(certificate, chain, errors, host, roots);
            var tls = new SslStream(stream, false, check);
            stream = tls;
            using (stop.Register(socket.Dispose))
                await tls.AuthenticateAsClientAsync(host).OrCancelled(stop).ConfigureAwait(false);
            if (tls.SslProtocol < SslProtocols.Tls12)
                throw new AuthenticationException("the server speaks an old version of TLS");
        }

        private static bool IsTrusted(X509Certificate certificate, X509Chain chain, SslPolicyErrors errors, string host, X509Certificate2Collection roots)
        {
            if (certificate == null || (errors & SslPolicyErrors.RemoteCertificateNotAvailable) != 0)
                return false;
            var leaf = new X509Certificate2(certificate);
            return ServerName.Matches(leaf, host) && OwnRoots.Trust(leaf, chain, roots);
        }
    }

    internal static class Tasks
    {
        /// <summary>
        /// Cancels a source of which the program's token function has a token. Exceptions of the callbacks that the function has registered are
        /// dropped: they must not end what the client does behind this.
        /// </summary>
        internal static void CancelQuietly(this CancellationTokenSource source)
        {
            try
            {
                source.Cancel();
            }
            catch (AggregateException)
            {
                // All callbacks have run.
            }
        }

        /// <summary>Waits for a task, or until stop is cancelled: then the task is left to itself, and its failure ignored.</summary>
        internal static async Task<T> OrCancelled<T>(this Task<T> task, CancellationToken stop)
        {
            await ((Task)task).OrCancelled(stop).ConfigureAwait(false);
            return await task.ConfigureAwait(false);
        }

        /// <summary>As the other one, without a result.</summary>
        internal static async Task OrCancelled(this Task task, CancellationToken stop)
        {
            if (!task.IsCompleted && stop.CanBeCanceled)
            {
                var cancelled = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                using (stop.Register(() => cancelled.TrySetResult(true)))
                {
                    if (await Task.WhenAny(task, cancelled.Task).ConfigureAwait(false) != task)
                    {
                        _ = task.ContinueWith(t => t.Exception, TaskContinuationOptions.OnlyOnFaulted);
                        throw new OperationCanceledException(stop);
                    }
                }
            }
            await task.ConfigureAwait(false);
        }
    }
}
