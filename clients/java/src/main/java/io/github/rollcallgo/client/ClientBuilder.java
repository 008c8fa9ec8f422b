package io.github.rollcallgo.client;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import javax.net.ssl.SSLContext;

/**
 * The settings of a client; {@link RollcallClient#builder} makes one. Everything has a default but the address. A builder may be used for
 * several clients, on one thread at a time. Its methods throw IllegalArgumentException for what makes no sense, such as a negative time.
 * Times count in whole milliseconds, 24 days at most: a longer one is as one of 24 days.
 */
public final class ClientBuilder {
    /** The longest time that a setting may have. */
    private static final long LONGEST = Integer.MAX_VALUE;

    final Address address;
    String user = "";
    int device;
    final Map<String, String> fields = new LinkedHashMap<>();
    Callable<String> token;
    final Map<Integer, MessageHandler> handlers = new HashMap<>();
    MessageHandler otherHandler;
    PushHandler pushHandler;
    StateListener stateListener;
    Consumer<Throwable> errorHandler = ClientBuilder::uncaught;
    long minBackoff = 200;
    long maxBackoff = 30_000;
    long stableAfter = 60_000;
    long connectTimeout = 15_000;
    long requestTimeout = 30_000;
    long closeTimeout = 3_000;
    int maxBody;
    int maxInbound = 4 << 20;
    private SSLContext sslContext;
    private Path caFile;

    ClientBuilder(String address) {
        this.address = Address.parse(address);
    }

    /**
     * Sets the user who logs on. Without one the server finds the user by the token.
     *
     * @param id 1 to 255 bytes of UTF-8 without control characters, not beginning with {@code _}
     * @return this
     */
    public ClientBuilder user(String id) {
        Bodies.userId(id);
        if (id.startsWith("_")) {
            throw new IllegalArgumentException("user IDs that begin with _ are reserved");
        }
        user = id;
        return this;
    }

    /**
     * Sets the device class.
     *
     * @param deviceClass the application's number, 0 to 65535; 0, the default, is unspecified
     * @return this
     */
    public ClientBuilder device(int deviceClass) {
        if (deviceClass < 0 || deviceClass > 0xFFFF) {
            throw new IllegalArgumentException("device class " + deviceClass);
        }
        device = deviceClass;
        return this;
    }

    /**
     * Sets the function that returns the token, for example a method reference. It is called before each logon and each renewal, on a
     * thread of its own, within the time limit of {@link #connectTimeout}; when that is over, or the client is closed, the thread is
     * interrupted. If it throws, the attempt fails, and the client tries again later, unless it throws a {@link RollcallException}
     * whose code forbids that. An empty token, or null, is not sent. It must not close the client.
     *
     * @param function returns a token
     * @return this
     */
    public ClientBuilder token(Callable<String> function) {
        token = Objects.requireNonNull(function);
        return this;
    }

    /**
     * Adds a field of the application to every logon and renewal.
     *
     * @param name  1 to 255 bytes of UTF-8
     * @param value at most 65,535 bytes of UTF-8
     * @return this
     */
    public ClientBuilder field(String name, String value) {
        Map<String, String> more = new LinkedHashMap<>(fields);
        more.put(Objects.requireNonNull(name), Objects.requireNonNull(value));
        Bodies.stringMap(more);
        fields.put(name, value);
        return this;
    }

    /**
     * Sets the handler of a message type. Requests of a type without one are answered {@link CloseCode#NO_HANDLER} if they come from the
     * server; all else is dropped.
     *
     * @param type    1 to 0xFEFF
     * @param handler see there for its thread
     * @return this
     */
    public ClientBuilder onMessage(int type, MessageHandler handler) {
        checkType(type);
        handlers.put(type, Objects.requireNonNull(handler));
        return this;
    }

    /**
     * Sets the handler of all message types that have none of their own.
     *
     * @param handler see there for its thread
     * @return this
     */
    public ClientBuilder onOtherMessage(MessageHandler handler) {
        otherHandler = Objects.requireNonNull(handler);
        return this;
    }

    /**
     * Sets the handler of pushes. Without one they are dropped, and not acknowledged.
     *
     * @param handler see there for its thread
     * @return this
     */
    public ClientBuilder onPush(PushHandler handler) {
        pushHandler = Objects.requireNonNull(handler);
        return this;
    }

    /**
     * Sets the listener that is told how the connection goes.
     *
     * @param listener see there for its thread
     * @return this
     */
    public ClientBuilder onState(StateListener listener) {
        stateListener = Objects.requireNonNull(listener);
        return this;
    }

    /**
     * Sets what is done with an exception of a handler or listener, other than a {@link ReplyException}. It is called on the thread of the
     * handlers. By default the exception goes to {@link Thread#getDefaultUncaughtExceptionHandler}: on Android that ends the
     * application; elsewhere there is none, unless the program has set one, and the exception is dropped. The client goes on.
     *
     * @param handler for instance one that writes to a log
     * @return this
     */
    public ClientBuilder onHandlerError(Consumer<Throwable> handler) {
        errorHandler = Objects.requireNonNull(handler);
        return this;
    }

    /**
     * Sets what TLS trusts. By default it is what the Java runtime trusts. The server's name is verified too, unless the context has an
     * {@code X509ExtendedTrustManager} of the program's own, which does all of this itself.
     *
     * @param context is used for tls:// addresses
     * @return this
     */
    public ClientBuilder sslContext(SSLContext context) {
        sslContext = Objects.requireNonNull(context);
        caFile = null;
        return this;
    }

    /**
     * Makes TLS trust the certificates in a file, and no others. The server's name is verified in any case. The file is read by
     * {@link #connect}.
     *
     * @param pem a file with one or more certificates, in PEM
     * @return this
     */
    public ClientBuilder caFile(Path pem) {
        caFile = Objects.requireNonNull(pem);
        sslContext = null;
        return this;
    }

    /**
     * Sets the bounds of the wait before each attempt to reconnect: a random time from 0 to the lesser of most and least × 2ⁿ, for the
     * n-th attempt, n being at most 8. If the server asks for a wait, of an hour at most, that comes before it.
     *
     * @param least the default is 0.2 s; zero is no wait
     * @param most  the default is 30 s; zero is no wait
     * @return this
     */
    public ClientBuilder backoff(Duration least, Duration most) {
        minBackoff = millis(least, 0);
        maxBackoff = millis(most, 0);
        return this;
    }

    /**
     * Sets how long a connection has to last so that the backoff begins anew.
     *
     * @param time the default is one minute; with zero the backoff begins anew after every connection
     * @return this
     */
    public ClientBuilder stableAfter(Duration time) {
        stableAfter = millis(time, 0);
        return this;
    }

    /**
     * Limits an attempt to connect: the token function, connecting, TLS and the logon together.
     *
     * @param limit the default is 15 s; zero is as 1 ms
     * @return this
     */
    public ClientBuilder connectTimeout(Duration limit) {
        connectTimeout = millis(limit, 1);
        return this;
    }

    /**
     * Limits how long requests without a limit of their own wait for the answer.
     *
     * @param limit the default is 30 s; zero is as 1 ms
     * @return this
     */
    public ClientBuilder requestTimeout(Duration limit) {
        requestTimeout = millis(limit, 1);
        return this;
    }

    /**
     * Limits how long {@link RollcallClient#close} waits for the server to end its side, and then for a running handler.
     *
     * @param limit the default is 3 s; zero is as 1 ms
     * @return this
     */
    public ClientBuilder closeTimeout(Duration limit) {
        closeTimeout = millis(limit, 1);
        return this;
    }

    /**
     * Limits bodies, both ways. Bodies up to the server's own limit are accepted all the same; a larger one ends the client with
     * {@link CloseCode#MESSAGE_TOO_LARGE}.
     *
     * @param bytes 0, the default, is the server's limit, and 1 MiB at least for what comes
     * @return this
     */
    public ClientBuilder maxBody(int bytes) {
        maxBody = notNegative(bytes);
        return this;
    }

    /**
     * Limits how many bytes of messages may wait for the handlers. Above it the client does not read on, but while a request waits for its
     * reply, up to four times the limit; beyond that the connection ends with {@link CloseCode#RATE_LIMITED}, and the client
     * reconnects.
     *
     * @param bytes the default is 4 MiB; 0 lets one message wait
     * @return this
     */
    public ClientBuilder maxInbound(int bytes) {
        maxInbound = Math.max(notNegative(bytes), 1);
        return this;
    }

    /**
     * Connects, logs on, and waits for the answer. It tries once. The caller closes the client.
     *
     * @return a client that is online
     * @throws RollcallException if the server refused the logon, or could not be reached ({@link CloseCode#NETWORK_ERROR}), or the CA
     *                           file could not be read; a {@link ClientClosedException} if the thread was interrupted (it stays so)
     */
    public RollcallClient connect() throws RollcallException {
        Engine engine = new Engine(new Settings(this, address.tls ? trust() : null));
        engine.start();
        return new RollcallClient(engine);
    }

    private SSLContext trust() throws RollcallException {
        try {
            if (sslContext != null) {
                return sslContext;
            }
            return caFile == null ? SSLContext.getDefault() : Trust.onlyIn(caFile);
        } catch (IOException | java.security.GeneralSecurityException e) {
            throw RollcallException.network("no certificates to trust", e);
        }
    }

    static void checkType(int type) {
        if (type < 1 || type >= Frame.FIRST_SYSTEM_TYPE) {
            throw new IllegalArgumentException("message type " + type + "; the application's are 1 to 0xFEFF");
        }
    }

    static long millis(Duration d, long least) {
        if (d.isNegative()) {
            throw new IllegalArgumentException("a negative time");
        }
        return d.getSeconds() >= LONGEST / 1000 ? LONGEST : Math.max(d.toMillis(), least);
    }

    private static int notNegative(int n) {
        if (n < 0) {
            throw new IllegalArgumentException("a negative size");
        }
        return n;
    }

    private static void uncaught(Throwable e) {
        Thread.UncaughtExceptionHandler h = Thread.getDefaultUncaughtExceptionHandler();
        if (h != null) {
            h.uncaughtException(Thread.currentThread(), e);
        }
    }

    /** Shows no field and no token. */
    @Override
    public String toString() {
        return "ClientBuilder{" + address + ", user=" + user + "}";
    }
}
