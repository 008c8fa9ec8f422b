package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rollcallgo.client.TestServer.Peer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The README's example and the terminal do what they say. Each runs as a program of its own. */
@Timeout(120)
class ExamplesTest {
    private static final String CLASSES = Path.of(RollcallClient.class.getProtectionDomain().getCodeSource().getLocation().getPath()).toString();

    private static Process java(Path source, String... arguments) throws Exception {
        ProcessBuilder b = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Dfile.encoding=UTF-8",
            "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", CLASSES, source.toString());
        Collections.addAll(b.command(), arguments);
        b.environment().put("TOKEN", "t:alice");
        return b.redirectErrorStream(true).start();
    }

    /** What a program writes. Lines of different threads may come in any order. */
    private static final class Output {
        private final BufferedReader in;
        private final List<String> lines = new ArrayList<>();

        Output(Process p) {
            in = new BufferedReader(new InputStreamReader(p.getInputStream(), StandardCharsets.UTF_8));
        }

        /** Reads until there is a line that begins so. */
        void await(String start) throws Exception {
            while (lines.stream().noneMatch(l -> l.startsWith(start))) {
                String line = in.readLine();
                if (line == null) {
                    throw new AssertionError("no line begins with " + start + ": " + lines);
                }
                lines.add(line);
            }
        }
    }

    private static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(Frame f) {
        return new String(f.body, StandardCharsets.UTF_8);
    }

    private static Push push() {
        return new Push(new UUID(1, 1), Push.TEXT, true, 0, "", Collections.emptyMap(), bytes("news"));
    }

    @Test
    void readme(@TempDir Path dir) throws Exception {
        Matcher example = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(Path.of("README.md")));
        assertTrue(example.find());
        try (TestServer server = new TestServer()) {
            String source = example.group(1).replace("tls://chat.example.org:9000", server.address())
                .replace("5, SECONDS", "60, SECONDS"); // for a machine that is very busy
            assertTrue(source.contains(server.address()));
            Process program = java(Files.writeString(dir.resolve("Hello.java"), source));
            Output out = new Output(program);
            try (Peer p = server.online("session", "s")) {
                assertEquals(TestServer.map("token", "t:alice"), p.logon);
                assertEquals("hello, bob", text(p.next(1)));
                assertEquals("bob", p.frame.to);
                p.send(1, 0, 0, "bob", bytes("hello, alice"));
                p.push(push());
                assertEquals("what is new?", text(p.next(1)));
                p.send(1, Frame.REPLY, p.frame.id, "", bytes("nothing"));
                out.await("ONLINE");
                out.await("bob: hello, alice");
                out.await("push: news");
                out.await("the server says: nothing");
                p.next(Frame.WHO_IS_ONLINE);
                p.send(Frame.WHO_IS_ONLINE, Frame.REPLY, p.frame.id, "", Bodies.idList(Collections.singleton("bob")));
                out.await("online: [bob]");
                p.awaitEnd();
                assertEquals(Frame.CLOSE, p.frame.type);
            }
            out.await("CLOSED");
            assertTrue(program.waitFor(30, TimeUnit.SECONDS));
            assertEquals(0, program.exitValue());
        }
    }

    @Test
    void terminal() throws Exception {
        Path source = Path.of("examples", "Terminal.java");
        assertTrue(Files.readAllLines(source).size() < 100);
        try (TestServer server = new TestServer()) {
            Process program = java(source, server.address(), "alice");
            Output out = new Output(program);
            OutputStream in = program.getOutputStream();
            try (Peer p = server.online()) {
                assertEquals("t:alice", p.logon.get("token"));
                out.await("* ONLINE");
                p.send(1, 0, 9, "bob", bytes("h\u00e9llo"));
                out.await("bob: h\u00e9llo");
                assertEquals("seen", text(p.next(1)));
                p.push(push());
                out.await("push " + push().id() + ": news");
                in.write(bytes("@bob hello, bob\n"));
                in.flush();
                assertEquals("hello, bob", text(p.next(1)));
                assertEquals("bob", p.frame.to);
                p.send(1, Frame.REPLY | Frame.ERROR, p.frame.id, "", Bodies.close(CloseCode.USER_OFFLINE, "bob is offline", TestServer.map()));
                out.await("* UserOffline: bob is offline");
                in.write(bytes("?bob carol\nto the server\n"));
                in.flush();
                p.next(Frame.WHO_IS_ONLINE);
                p.send(Frame.WHO_IS_ONLINE, Frame.REPLY, p.frame.id, "", Bodies.idList(Collections.singleton("carol")));
                out.await("online: [carol]");
                assertEquals("to the server", text(p.next(1)));
                in.close();
                p.awaitEnd();
            }
            assertTrue(program.waitFor(30, TimeUnit.SECONDS));
            assertEquals(0, program.exitValue());
        }
    }
}
