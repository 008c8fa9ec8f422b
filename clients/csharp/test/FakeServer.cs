using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Threading.Tasks;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>A server that a test plays: it accepts connections and speaks frames.</summary>
    internal sealed class FakeServer : IDisposable
    {
        private readonly TcpListener listener = new TcpListener(IPAddress.Loopback, 0);

        internal FakeServer()
        {
            listener.Start();
        }

        internal string HostPort => "127.0.0.1:" + ((IPEndPoint)listener.LocalEndpoint).Port;

        internal string Url => "tcp://" + HostPort;

        internal bool HasPending => listener.Pending();

        public void Dispose() => listener.Stop();

        internal async Task<Peer> AcceptAsync()
        {
            TcpClient accepted = await Check.Soon(listener.AcceptTcpClientAsync(), "a connection");
            return new Peer(accepted.GetStream(), accepted.Client);
        }

        /// <summary>Accepts a connection and its logon. Extra are the fields of the reply, NAME=VALUE.</summary>
        internal async Task<Peer> AcceptLogonAsync(params string[] extra)
        {
            Peer peer = await AcceptAsync();
            await peer.AcceptLogonAsync(extra);
            return peer;
        }

        /// <summary>Makes a client, and the other end of its connection.</summary>
        internal async Task<Pair> ConnectAsync(RollcallOptions options, params string[] extra)
        {
            options.User = options.User ?? "alice";
            var pair = new Pair();
            Action<RollcallClient> setup = options.Setup;
            options.Setup = c =>
            {
                pair.Watch(c);
                setup?.Invoke(c);
            };
            Task<RollcallClient> connecting = RollcallClient.ConnectAsync(Url, options);
            pair.Peer = await AcceptLogonAsync(extra);
            pair.Client = await Check.Soon(connecting, "the client");
            await pair.NextAsync(RollcallState.Online);
            return pair;
        }
    }

    /// <summary>A client with the other end of its connection, and the states that it has told.</summary>
    internal sealed class Pair : IDisposable
    {
        private readonly object gate = new object();
        private readonly Queue<StateChangedEventArgs> states = new Queue<StateChangedEventArgs>();

        internal RollcallClient Client;
        internal Peer Peer;

        internal void Watch(RollcallClient client) => client.StateChanged += (sender, e) =>
        {
            lock (gate)
                states.Enqueue(e);
        };

        /// <summary>Waits for the next change of state, which must be this one.</summary>
        internal async Task<RollcallException> NextAsync(RollcallState want)
        {
            StateChangedEventArgs got = null;
            await Check.Until(() =>
            {
                lock (gate)
                    got = states.Count > 0 ? states.Dequeue() : null;
                return got != null;
            }, "the state is " + want);
            Check.Equal(want, got.State, "state, because of " + got.Reason?.Message);
            return got.Reason;
        }

        /// <summary>Ends the peer first, so that closing the client need not wait for it.</summary>
        public void Dispose()
        {
            Peer.Dispose();
            Client.Dispose();
        }
    }

    /// <summary>One connection of a server that a test plays.</summary>
    internal sealed class Peer : IDisposable
    {
        private readonly Stream stream;
        private readonly Socket socket;
        private readonly object gate = new object();
        private byte[] buffer = new byte[64 << 10];
        private int filled;

        internal Peer(Stream stream, Socket socket)
        {
            this.stream = stream;
            this.socket = socket;
        }

        /// <summary>The fields of the Logon.</summary>
        internal Dictionary<string, string> Logon { get; private set; }

        public void Dispose()
        {
            stream.Dispose();
            socket?.Dispose();
        }

        internal async Task AcceptLogonAsync(params string[] extra)
        {
            Frame logon = await ReadAsync(SystemType.Logon);
            Logon = StringMap.Parse(logon.Buffer, logon.BodyAt, logon.BodyCount);
            Accept(logon, extra);
        }

        /// <summary>Answers a Logon or a Renew.</summary>
        internal void Accept(Frame request, params string[] extra)
        {
            var fields = new Dictionary<string, string>();
            foreach (string field in extra)
                fields[field.Split('=')[0]] = field.Split('=')[1];
            var body = new ByteBuffer();
            body.U16(0);
            StringMap.Append(body, fields);
            Send(new Outgoing { Type = request.Type, Flags = Frame.ReplyFlag, Id = request.Id, Body = body.ToArray() });
        }

        /// <summary>Refuses a request.</summary>
        internal void Refuse(Frame request, RollcallCode code, string text = "", Dictionary<string, string> info = null) =>
            Send(new Outgoing { Type = request.Type, Flags = 3, Id = request.Id, Body = Bodies.Close(code, text, info) });

        internal void Close(RollcallCode code, string text = "", Dictionary<string, string> info = null)
        {
            Send(new Outgoing { Type = SystemType.Close, Body = Bodies.Close(code, text, info) });
            EndSending();
        }

        internal void EndSending() => socket.Shutdown(SocketShutdown.Send);

        internal void Send(Outgoing frame)
        {
            var b = new ByteBuffer();
            frame.AppendTo(b);
            Send(b.ToArray());
        }

        internal void Send(byte[] b)
        {
            lock (gate)
            {
                stream.Write(b, 0, b.Length);
                stream.Flush();
            }
        }

        /// <summary>Pushes a text.</summary>
        internal void Push(Guid id, bool confirm)
        {
            var b = new ByteBuffer();
            b.Append(PushCodec.Ack(id));
            b.U8(1);
            b.U8(confirm ? 1 : 0);
            b.Append(new byte[8]);
            b.U16(0); // neither name nor metadata
            b.Append(new[] { (byte)'x' });
            Send(new Outgoing { Type = SystemType.Push, Body = b.ToArray() });
        }

        /// <summary>Reads the next frame but for Heartbeats, which must be of this type; null at the end of the stream.</summary>
        internal async Task<Frame> ReadAsync(int type)
        {
            Frame f;
            do
                f = await ReadAnyAsync();
            while (f != null && f.Type == SystemType.Heartbeat && type != SystemType.Heartbeat);
            Check.True(f != null, "the stream ends before a frame of type " + type.ToString("x"));
            Check.Equal(type, f.Type, "type");
            return f;
        }

        /// <summary>Reads the next frame, whatever it is; null at the end of the stream.</summary>
        internal async Task<Frame> ReadAnyAsync()
        {
            for (;;)
            {
                var f = new Frame();
                int n = FrameCodec.Decode(buffer, 0, filled, 0, 0, f, out int need);
                if (n > 0)
                {
                    f.Buffer = f.CopyBody();
                    f.BodyAt = 0;
                    Buffer.BlockCopy(buffer, n, buffer, 0, filled - n);
                    filled -= n;
                    return f;
                }
                if (need > buffer.Length)
                    Array.Resize(ref buffer, need);
                int got = await Check.Soon(stream.ReadAsync(buffer, filled, buffer.Length - filled), "a frame");
                if (got == 0)
                {
                    Check.Equal(0, filled, "bytes of a frame that is cut off");
                    return null;
                }
                filled += got;
            }
        }

        /// <summary>Reads a Close and the end of the stream, and ends this side.</summary>
        internal async Task<RollcallException> GoodbyeAsync()
        {
            RollcallException notice = Bodies.ParseClose(await ReadAsync(SystemType.Close), RollcallFailure.ConnectionEnded);
            Check.Equal(null, await ReadAnyAsync(), "a frame behind the Close");
            Dispose();
            return notice;
        }
    }
}
