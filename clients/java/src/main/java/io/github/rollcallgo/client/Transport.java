package io.github.rollcallgo.client;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/** A socket, perhaps with TLS around it. {@link #abort} may be called on any thread, at any time. */
final class Transport {
    private volatile Socket raw;
    private volatile boolean aborted;
    private Socket socket;

    /** Connects to a host, over TLS if it is asked for. The time is in milliseconds. */
    void connect(Address to, long timeout, SSLSocketFactory tls) throws IOException {
        long until = Millis.now() + timeout;
        connect(InetAddress.getAllByName(to.host), until, to, tls);
    }

    /** Tries the host's addresses, one after the other. One that does not answer leaves the others their share of the time. */
    void connect(InetAddress[] ips, long until, Address to, SSLSocketFactory tls) throws IOException {
        IOException failed = new IOException("no address");
        for (int i = 0; i < ips.length; i++) {
            try {
                Socket s = new Socket();
                raw = s;
                if (aborted) {
                    throw new IOException("aborted");
                }
                s.setTcpNoDelay(true);
                long share = (until - Millis.now()) / (ips.length - i);
                s.connect(new InetSocketAddress(ips[i], to.port), (int) Math.max(1, share));
                socket = to.tls ? secure(s, to, tls) : s;
                return;
            } catch (IOException e) {
                failed = e;
                raw.close();
                if (aborted || Millis.now() >= until) {
                    break;
                }
            }
        }
        throw failed;
    }

    /** Without the identification algorithm any certificate of a trusted authority would pass, whatever its name. */
    private static Socket secure(Socket s, Address to, SSLSocketFactory tls) throws IOException {
        SSLSocket secured = (SSLSocket) tls.createSocket(s, to.host, to.port, true);
        SSLParameters p = secured.getSSLParameters();
        p.setEndpointIdentificationAlgorithm("HTTPS");
        List<String> versions = new ArrayList<>();
        for (String v : secured.getSupportedProtocols()) {
            if (v.equals("TLSv1.2") || v.equals("TLSv1.3")) {
                versions.add(v);
            }
        }
        p.setProtocols(versions.toArray(new String[0]));
        secured.setSSLParameters(p);
        secured.startHandshake();
        return secured;
    }

    InputStream in() throws IOException {
        return socket.getInputStream();
    }

    OutputStream out() throws IOException {
        return socket.getOutputStream();
    }

    /** Says that nothing more is sent. Android's TLS sockets cannot: there the Close says it alone. */
    void shutdownOutput() {
        try {
            socket.shutdownOutput();
        } catch (IOException | UnsupportedOperationException e) {
            return; // the server ends the connection after the Close
        }
    }

    /** Ends all reading and writing at once. It closes the socket below TLS, because close_notify might wait for the network. */
    void abort() {
        aborted = true;
        Socket s = raw;
        if (s != null) {
            try {
                s.close();
            } catch (IOException e) {
                return; // it is closed all the same
            }
        }
    }
}
