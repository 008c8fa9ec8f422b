package io.github.rollcallgo.client;

import java.io.DataInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.CountDownLatch;

/**
 * How many messages of 128 bytes a second go both ways: a client sends them, and gets each back. The other side is a socket that gives
 * back the bytes as they are; it runs in the same process, on the same core if that is all there is.
 */
public final class Bench {
    private static final int MESSAGES = 500_000;
    private static final int ROUNDS = 5;

    private Bench() {
    }

    /** Prints a line a round. */
    public static void main(String[] args) throws Exception {
        try (ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Thread echo = new Thread(() -> serve(listener));
            echo.setDaemon(true);
            echo.start();
            CountDownLatch[] left = {null};
            ClientBuilder b = RollcallClient.builder("tcp://127.0.0.1:" + listener.getLocalPort()).user("bench")
                .onMessage(1, m -> left[0].countDown());
            try (RollcallClient c = b.connect()) {
                byte[] body = new byte[128];
                for (int round = 0; round < ROUNDS; round++) {
                    left[0] = new CountDownLatch(MESSAGES);
                    long start = System.nanoTime();
                    for (int i = 0; i < MESSAGES; i++) {
                        c.send(1, body);
                    }
                    left[0].await();
                    double seconds = (System.nanoTime() - start) / 1e9;
                    System.out.printf("%,d messages a second each way%n", Math.round(MESSAGES / seconds));
                }
            }
        }
    }

    private static void serve(ServerSocket listener) {
        try (Socket s = listener.accept()) {
            s.setTcpNoDelay(true);
            InputStream in = s.getInputStream();
            OutputStream out = s.getOutputStream();
            byte[] header = new byte[Frame.HEADER];
            DataInputStream whole = new DataInputStream(in);
            whole.readFully(header);
            whole.readFully(new byte[(int) Frame.u32(header, 4)]);
            ByteQueue reply = new ByteQueue();
            Frame.append(reply, Frame.LOGON, Frame.REPLY, (int) Frame.u32(header, 8), 0, Frame.NOTHING, Frame.NOTHING, new byte[2]);
            out.write(reply.toArray());
            byte[] buffer = new byte[64 << 10];
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                out.write(buffer, 0, n);
            }
        } catch (java.io.IOException e) {
            System.err.println("the echo has ended: " + e);
        }
    }
}
