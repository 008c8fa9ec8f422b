package io.github.rollcallgo.client;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.LinkedHashMap;
import java.util.Map;
import javax.net.ssl.SSLContext;

/** A server whose side of each connection is written out in the test. It waits for 30 s for what a client is to do. */
final class TestServer implements AutoCloseable {
    private static final int PATIENCE = 30_000;

    private final ServerSocket listener;
    private final String scheme;

    TestServer() throws IOException {
        this(null);
    }

    /** With TLS, if there is a context. */
    TestServer(SSLContext tls) throws IOException {
        InetAddress loopback = InetAddress.getByName("127.0.0.1");
        listener = tls == null ? new ServerSocket(0, 50, loopback) : tls.getServerSocketFactory().createServerSocket(0, 50, loopback);
        listener.setSoTimeout(PATIENCE);
        scheme = tls == null ? "tcp://" : "tls://";
    }

    int port() {
        return listener.getLocalPort();
    }

    String address() {
        return scheme + "127.0.0.1:" + port();
    }

    /** A builder with waits that suit a test. */
    ClientBuilder builder() {
        return RollcallClient.builder(address()).user("alice").backoff(java.time.Duration.ofMillis(1), java.time.Duration.ofMillis(20));
    }

    Peer accept() throws IOException {
        return new Peer(listener.accept());
    }

    /** Accepts a connection and its logon. */
    Peer online(String... fields) throws IOException {
        Peer p = accept();
        p.acceptLogon(fields);
        return p;
    }

    @Override
    public void close() throws IOException {
        listener.close();
    }

    static Map<String, String> map(String... pairs) {
        Map<String, String> m = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            m.put(pairs[i], pairs[i + 1]);
        }
        return m;
    }

    /** The server's side of a connection. */
    static final class Peer implements AutoCloseable {
        final Socket socket;
        final Frame frame = new Frame(1 << 30);
        Map<String, String> logon;
        private final FrameReader reader;

        Peer(Socket s) throws IOException {
            socket = s;
            s.setTcpNoDelay(true);
            s.setSoTimeout(PATIENCE);
            reader = new FrameReader(s.getInputStream());
        }

        void acceptLogon(String... fields) throws IOException {
            readLogon();
            ByteQueue body = new ByteQueue();
            body.put16(0);
            body.put(Bodies.stringMap(map(fields)));
            send(Frame.LOGON, Frame.REPLY, frame.id, "", body.toArray());
        }

        void readLogon() throws IOException {
            next(Frame.LOGON);
            logon = Bodies.parseStringMap(frame.body);
        }

        /** Reads until a frame of this type comes, and returns it. */
        Frame next(int type) throws IOException {
            do {
                reader.next(frame);
            } while (frame.type != type);
            return frame;
        }

        void send(int type, int flags, int id, String from, byte[] body) throws IOException {
            ByteQueue out = new ByteQueue();
            Frame.append(out, type, flags, id, 0, from.isEmpty() ? Frame.NOTHING : Bodies.userId(from), Frame.NOTHING, body);
            synchronized (socket) {
                socket.getOutputStream().write(out.bytes(), 0, out.size());
            }
        }

        void push(Push p) throws IOException {
            ByteQueue b = new ByteQueue();
            b.put(Bodies.pushAck(p.id()));
            b.put8(p.kind());
            b.put8(p.isToBeConfirmed() ? 1 : 0);
            b.put64(0);
            b.put8(0);
            b.put(Bodies.stringMap(p.metadata()));
            b.put(p.content());
            send(Frame.PUSH, 0, 0, "", b.toArray());
        }

        void end(int code, String text, String... info) throws IOException {
            send(Frame.CLOSE, 0, 0, "", Bodies.close(code, text, map(info)));
            close();
        }

        /** Reads until the client ends its side. */
        void awaitEnd() throws IOException {
            try {
                while (true) {
                    reader.next(frame);
                }
            } catch (RollcallException e) {
                if (e.getCause() != null) {
                    throw e;
                }
            }
        }

        @Override
        public void close() throws IOException {
            socket.close();
        }
    }
}
