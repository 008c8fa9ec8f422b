package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.rollcallgo.client.TestServer.Peer;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.Base64;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** TLS verifies the authority and the name. */
@Timeout(120)
class TlsTest {
    @TempDir
    static Path dir;
    private static Identity right;
    private static Identity wrongName;

    /** A server's key, and the certificate that a client may trust. */
    private static final class Identity {
        final SSLContext server;
        final Path pem;

        Identity(String name, String san) throws Exception {
            Path store = dir.resolve(name + ".p12");
            Process keytool = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-genkeypair",
                "-keystore", store.toString(), "-storepass", "secret", "-alias", name, "-keyalg", "EC", "-dname", "CN=" + name, "-ext",
                "san=" + san).inheritIO().start();
            assertEquals(0, keytool.waitFor());
            KeyStore keys = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(store)) {
                keys.load(in, "secret".toCharArray());
            }
            KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            managers.init(keys, "secret".toCharArray());
            server = SSLContext.getInstance("TLS");
            server.init(managers.getKeyManagers(), null, null);
            byte[] der = keys.getCertificate(name).getEncoded();
            String base64 = Base64.getMimeEncoder(64, "\n".getBytes(StandardCharsets.US_ASCII)).encodeToString(der);
            pem = dir.resolve(name + ".pem");
            Files.writeString(pem, "-----BEGIN CERTIFICATE-----\n" + base64 + "\n-----END CERTIFICATE-----\n");
        }
    }

    @BeforeAll
    static void makeKeys() throws Exception {
        right = new Identity("right", "ip:127.0.0.1,dns:localhost");
        wrongName = new Identity("wrong", "dns:other.example");
    }

    @AfterEach
    void noThreads() throws Exception {
        ClientTest.awaitNoThreads();
    }

    /** Serves one connection beside the test; ends with what the client sent last. */
    private static CompletableFuture<Integer> serve(TestServer server) {
        CompletableFuture<Integer> last = new CompletableFuture<>();
        Thread t = new Thread(() -> {
            try (Peer p = server.online()) {
                p.send(1, Frame.REPLY, p.next(1).id, "", p.frame.body);
                p.awaitEnd();
                last.complete(p.frame.type);
            } catch (Exception e) {
                last.completeExceptionally(e);
            }
        });
        t.start();
        return last;
    }

    @Test
    void aTrustedServerIsSpokenToAndClosedInOrder() throws Exception {
        try (TestServer server = new TestServer(right.server)) {
            CompletableFuture<Integer> last = serve(server);
            byte[] body = new byte[500_000];
            try (RollcallClient c = server.builder().caFile(right.pem).connect()) {
                assertEquals(body.length, c.request(1, body).get(30, TimeUnit.SECONDS).body().length);
            }
            assertEquals(Frame.CLOSE, last.get(30, TimeUnit.SECONDS));
        }
    }

    @Test
    void anotherNameIsRefused() throws Exception {
        refused(wrongName.server, wrongName.pem);
    }

    @Test
    void anotherAuthorityIsRefused() throws Exception {
        refused(right.server, wrongName.pem);
    }

    @Test
    void byDefaultTheRuntimeDecides() throws Exception {
        refused(right.server, null);
    }

    private static void refused(SSLContext identity, Path trusted) throws Exception {
        try (TestServer server = new TestServer(identity)) {
            serve(server);
            ClientBuilder b = server.builder();
            if (trusted != null) {
                b.caFile(trusted);
            }
            RollcallException e = assertThrows(RollcallException.class, b::connect);
            assertInstanceOf(SSLException.class, e.getCause());
        }
    }

    @Test
    void anEmptyCaFileIsRefused() throws Exception {
        Path empty = Files.createFile(dir.resolve("empty.pem"));
        assertThrows(RollcallException.class, () -> RollcallClient.builder("tls://127.0.0.1:1").caFile(empty).connect());
    }
}
