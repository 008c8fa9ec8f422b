package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The library uses what Android 8 (API level 26) has. There is no Android SDK here. Android 8 has Java 8's classes, less some packages; so
 * the sources have to compile against Java 8's API, and to import nothing but these classes, each of which API level 26 has.
 */
class AndroidTest {
    private static final Path SOURCES = Path.of("src", "main", "java");
    private static final Set<String> IMPORTS = new HashSet<>(Arrays.asList(
        "java.io.IOException", "java.io.InputStream", "java.io.OutputStream", "java.net.InetAddress", "java.net.InetSocketAddress",
        "java.net.Socket", "java.nio.ByteBuffer", "java.nio.CharBuffer", "java.nio.charset.CharacterCodingException",
        "java.nio.charset.StandardCharsets", "java.nio.file.Files", "java.nio.file.Path", "java.security.GeneralSecurityException",
        "java.security.KeyStore", "java.security.cert.Certificate", "java.security.cert.CertificateException",
        "java.security.cert.CertificateFactory", "java.time.Duration", "java.time.Instant", "java.util.ArrayDeque", "java.util.ArrayList",
        "java.util.Arrays", "java.util.Collection", "java.util.Collections", "java.util.Deque", "java.util.HashMap", "java.util.Iterator",
        "java.util.LinkedHashMap", "java.util.LinkedHashSet", "java.util.List", "java.util.Map", "java.util.Objects", "java.util.Set",
        "java.util.TreeMap", "java.util.UUID", "java.util.concurrent.Callable", "java.util.concurrent.CancellationException",
        "java.util.concurrent.CompletableFuture", "java.util.concurrent.ExecutionException", "java.util.concurrent.FutureTask",
        "java.util.concurrent.ScheduledFuture", "java.util.concurrent.ScheduledThreadPoolExecutor",
        "java.util.concurrent.ThreadLocalRandom", "java.util.concurrent.ThreadPoolExecutor", "java.util.concurrent.TimeUnit",
        "java.util.concurrent.TimeoutException", "java.util.concurrent.atomic.AtomicBoolean", "java.util.concurrent.locks.Condition",
        "java.util.concurrent.locks.ReentrantLock", "java.util.function.Consumer", "java.util.function.LongUnaryOperator",
        "javax.net.ssl.SSLContext", "javax.net.ssl.SSLParameters", "javax.net.ssl.SSLSocket", "javax.net.ssl.SSLSocketFactory",
        "javax.net.ssl.TrustManagerFactory"));

    private static Set<Path> sources() throws Exception {
        try (Stream<Path> all = Files.walk(SOURCES)) {
            return all.filter(p -> p.toString().endsWith(".java")).collect(Collectors.toCollection(TreeSet::new));
        }
    }

    @Test
    void compilesAgainstJava8(@TempDir Path out) throws Exception {
        Stream<String> options = Stream.of("--release", "8", "-Xlint:-options", "-d", out.toString());
        String[] arguments = Stream.concat(options, sources().stream().map(Path::toString)).toArray(String[]::new);
        assertEquals(0, ToolProvider.getSystemJavaCompiler().run(null, null, null, arguments));
    }

    @Test
    void namesOnlyClassesOfAndroid8() throws Exception {
        Pattern name = Pattern.compile("\\bjavax?\\.[a-z.]+\\.[A-Z]\\w*");
        Set<String> others = new TreeSet<>();
        int found = 0;
        for (Path p : sources()) {
            for (Matcher m = name.matcher(Files.readString(p)); m.find(); found++) {
                if (!IMPORTS.contains(m.group())) {
                    others.add(m.group());
                }
            }
        }
        assertTrue(found > 50);
        assertEquals(new TreeSet<>(), others);
    }
}
